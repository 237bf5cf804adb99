"""Every problem code that the source raises, with its kind, what it means and the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.codes import collect
from docs.generator.error_texts import KINDS, NOT_CODES, SECTIONS
from docs.generator.tables import code, table

from stanchion.base import Kind, LimitExceeded, Unavailable
from stanchion.http import problems as wire
from stanchion.identity.types import ACTIONS
from stanchion.telemetry.catalogue import CATALOGUE

# What every problem of these kinds is unless it says otherwise (base/errors.py).
RETRIED = {found.kind for found in (LimitExceeded, Unavailable) if found.retryable_by_default}


def faults() -> list[str]:
    """How the table and the source differ: codes nobody explains, explanations of what is never raised."""
    found = collect()
    said = {name for section in SECTIONS.values() for name in section}
    known = set(found.kinds) | set(KINDS)
    unknown = {
        name: place
        for name, place in found.others.items()
        if name not in CATALOGUE and name not in ACTIONS and name not in NOT_CODES and name not in KINDS
    }
    return [
        *(f"{name} is raised and not explained" for name in sorted(known - said)),
        *(f"{name} is explained and not raised" for name in sorted(said - known)),
        *(f"{name} ({place}) is neither a code nor in NOT_CODES" for name, place in sorted(unknown.items())),
        *(
            f"{name} of KINDS is not in the source"
            for name in KINDS
            if name not in found.others and name not in found.kinds
        ),
        *(f"{name} of NOT_CODES is not in the source" for name in NOT_CODES if name not in found.others),
    ]


def _codes() -> str:
    if wrong := faults():
        raise SystemExit("errors: " + "; ".join(wrong))
    kinds = {**collect().kinds, **{name: {kind} for name, kind in KINDS.items()}}
    out: list[str] = []
    for heading, said in SECTIONS.items():
        rows = [
            (code(name), ", ".join(sorted(kinds[name])), retryable(name), meaning, way)
            for name, (meaning, way) in said.items()
        ]
        out.append(f"## {heading}\n\n{table(('code', 'kind', 'retryable', 'what happened', 'the way out'), rows)}")
    return "\n".join(out)


def retryable(name: str) -> str:
    """Whether repeating may help, as the source says: `yes`, `no`, or `sometimes`; a code of KINDS as its kind does."""
    said = collect().retryable.get(name) or {Kind(KINDS[name]) in RETRIED if KINDS[name] != "document" else False}
    return "sometimes" if len(said) > 1 or None in said else "yes" if True in said else "no"


def _kinds() -> str:
    special = {kind: [] for kind in Kind}
    for name, status in wire._STATUS_BY_CODE.items():  # noqa: SLF001 - the one place that knows
        special[Kind(next(iter(_kind_of(name))))].append(f"{status} for {code(name)}")
    rows = [
        (
            code(kind.value),
            str(wire._STATUS[kind]) + (f" ({'; '.join(special[kind])})" if special[kind] else ""),  # noqa: SLF001 - as above
            "yes" if kind in RETRIED else "no",
        )
        for kind in Kind
    ]
    return table(("kind", "HTTP status", "retryable unless it says otherwise"), rows)


def _kind_of(name: str) -> set[str]:
    return {KINDS[name]} if name in KINDS else collect().kinds[name]


PARTS: Mapping[str, Callable[[], str]] = {"errors.codes": _codes, "errors.kinds": _kinds}
