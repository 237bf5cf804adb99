"""Guards on the command line: how they are said with a rollout, and how their findings are shown."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output

_NUMBER = re.compile(r"\d+(\.\d+)?")
_FINDINGS = output.columns("guard", "verdict", "candidate", "stable", "worse by", "against it", "for it")

OPTIONS = (
    click.option(
        "--guards", "guards_file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="A file (YAML or JSON) with {alpha, guards: [{metric, …}]}.",
    ),
    click.option(
        "--guard", "guard", multiple=True, metavar="METRIC[:FIELD=VALUE,…]",
        help="What is compared while it is out: error_rate, or latency_ms:quantile=0.9,margin=0.05.",
    ),
)  # fmt: skip


def declared(file: Path | None, said: Sequence[str]) -> dict[str, Any] | None:
    """The declaration as the API takes it; None if nothing is to be guarded. Raises Invalid `cli.usage`."""
    if file is None and not said:
        return None
    found = _read(file) if file is not None else {}
    guards = found.get("guards", [])
    if not isinstance(guards, list):
        raise Invalid("cli.usage", f"`guards` of {file} is no list.", hint="Write guards: [{metric: error_rate}].")
    return {**found, "guards": [*cast("list[Any]", guards), *(_guard(one) for one in said)]}


def _read(file: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - 90 ms that only this option pays

    try:
        found: object = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid("cli.usage", f"{file} cannot be read: {error}", hint="Write YAML or JSON in UTF-8.") from error
    if not isinstance(found, dict):
        raise Invalid("cli.usage", f"{file} holds no object.", hint="Write guards: [{metric: error_rate}].")
    # By way of JSON, so that what YAML alone knows (a date) is refused here and not on the way.
    try:
        return cast("dict[str, Any]", json.loads(json.dumps(found)))
    except TypeError as error:
        raise Invalid("cli.usage", f"{file} holds what JSON has not: {error}.", hint="Quote it.") from error


def _guard(said: str) -> dict[str, Any]:
    """One guard from `error_rate` or `latency_ms:quantile=0.9,margin=0.05`."""
    metric, _, fields = said.partition(":")
    guard: dict[str, Any] = {"metric": metric.strip()}
    for part in fields.split(",") if fields else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not value:
            raise Invalid(
                "cli.usage", f"{part!r} of guard {metric} says nothing.", hint="Write FIELD=VALUE, as margin=0.05."
            )
        guard[name] = json.loads(value) if _NUMBER.fullmatch(value) else value
    return guard


def named(guards: Any) -> str:
    """The names of a rollout's guards."""
    return ", ".join(guard["name"] for guard in guards["guards"])


def show(judgement: Mapping[str, Any] | None, guards: Mapping[str, Any] | None) -> None:
    """Print each guard's finding as a table: verdict, both arms' means and counts, and what speaks against and for it."""
    if judgement is None or guards is None:
        return
    kinds = {guard["name"]: guard["kind"] for guard in guards["guards"]}
    click.echo()
    output.write_table([_row(found, kinds.get(found["guard"], "rate")) for found in judgement["guards"]], _FINDINGS)


def _row(found: Mapping[str, Any], kind: str) -> dict[str, Any]:
    evidence = found["evidence"]
    difference = evidence.get("difference")
    return {
        "guard": found["guard"],
        "verdict": found["verdict"].upper(),
        "candidate": _arm(evidence.get("candidate_mean"), evidence.get("candidate_count", 0), kind),
        "stable": _arm(evidence.get("stable_mean"), evidence.get("stable_count", 0), kind),
        "worse by": "" if difference is None else f"{difference * 100:.3g} points",
        "against it": _proof(evidence.get("e_worse_peak"), evidence.get("threshold")),
        "for it": _proof(evidence.get("e_harmless"), evidence.get("threshold")),
    }


def _arm(mean: float | None, count: int, kind: str) -> str:
    if mean is None:
        return f"{count} runs"
    return f"{mean:.3f} of {count}" if kind == "score" else f"{mean:.1%} of {count}"


def _proof(wealth: float | None, threshold: float | None) -> str:
    return "" if wealth is None or threshold is None else f"{min(wealth, 9999):.3g} of {threshold:.3g}"
