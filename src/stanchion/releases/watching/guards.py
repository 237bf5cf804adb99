"""The declaration of guards: read from JSON with every flaw at once, and written back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from stanchion.base import Invalid, Json, nearest
from stanchion.releases.watching.types import Better, Declaration, Flaw, Guard, Guards, Kind

ALPHA_DEFAULT: Final = 0.05
GUARDS_MAX: Final = 50
_NUMBER_MAX: Final = 1e15  # beyond any field's bounds; infinities and numbers that are none lie outside too
# What the runtime measures of every run that a rollout has dealt, and the kind that each is.
MEASURED: Final[Mapping[str, Kind]] = {
    "error_rate": Kind.RATE,
    "latency_ms": Kind.EXCEEDANCE,
    "denial_rate": Kind.RATE,
    "override_rate": Kind.RATE,
}
_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,62}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Number:
    """A field that is a number: its default and its bounds; `above` and `below` are outside of them."""

    default: float
    above: float | None = None
    least: float | None = None
    below: float | None = None
    most: float | None = None
    whole: bool = False

    def fits(self, value: float) -> bool:
        return (
            (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
            and (not self.whole or value == int(value))
        )

    def said(self) -> str:
        low = f"above {self.above:g}" if self.above is not None else f"at least {self.least:g}"
        high = f" and below {self.below:g}" if self.below is not None else ""
        high = f" and at most {self.most:g}" if self.most is not None else high
        return f"a {'whole ' * self.whole}number {low}{high}"


_ALPHA: Final = _Number(default=ALPHA_DEFAULT, above=0, most=0.5)
_NUMBERS: Final[Mapping[str, _Number]] = {
    "margin": _Number(default=0.0, least=0, below=1),
    "exclude": _Number(default=0.1, above=0, below=1),
    "samples_min": _Number(default=100, least=1, most=1_000_000, whole=True),
    "staleness_s_max": _Number(default=900, least=1, most=30 * 86_400),
    "window": _Number(default=1000, least=10, most=1_000_000, whole=True),
}
# Only where they are written: no default.
_OPTIONAL: Final[Mapping[str, _Number]] = {
    "alpha": _ALPHA,
    "limit": _Number(default=0, above=0, below=1e15),
    "quantile": _Number(default=0.9, least=0.05, most=0.995),
}
_FIELDS: Final = ("name", "metric", "kind", "better", *_NUMBERS, *_OPTIONAL)


class _Reader:
    """Reads a declaration and keeps a list of what is wrong with it."""

    def __init__(self) -> None:
        self.flaws: list[Flaw] = []

    def flaw(self, pointer: str, message: str, hint: str) -> None:
        self.flaws.append(Flaw(pointer=pointer, message=message, hint=hint))

    def unknown(self, pointer: str, fields: Mapping[str, Json], known: tuple[str, ...]) -> None:
        for key in fields:
            if key not in known:
                near = nearest(key, known)
                hint = f"Did you mean `{near}`?" if near else f"The fields are {', '.join(known)}."
                self.flaw(f"{pointer}/{_escaped(key)}", f"There is no field `{key}`.", hint)

    def number(self, pointer: str, value: Json, field: _Number) -> float | None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            if -_NUMBER_MAX < value < _NUMBER_MAX and field.fits(value):
                return value
            self.flaw(pointer, f"{str(value)[:20]} is out of bounds.", f"Write {field.said()}.")
        else:
            self.flaw(pointer, "This is no number.", f"Write {field.said()}.")
        return None

    def choice(self, pointer: str, value: Json, choices: tuple[str, ...]) -> str | None:
        if isinstance(value, str) and value in choices:
            return value
        near = nearest(str(value), choices)
        said = f"Did you mean `{near}`?" if near else f"Write one of {', '.join(choices)}."
        self.flaw(pointer, f"`{value}` is none of the choices.", said)
        return None

    def name(self, pointer: str, value: Json) -> str | None:
        if isinstance(value, str) and _NAME.match(value):
            return value
        self.flaw(
            pointer,
            "This is no name.",
            "Begin with a small letter and use small letters, digits, `_`, `.` and `-`; at most 63.",
        )
        return None


def read_guards(declaration: Json) -> tuple[Guards | None, tuple[Flaw, ...]]:
    """Read `{"alpha": 0.05, "guards": [{"metric": …, "kind": …}, …]}`.

    A guard takes `metric` and `kind` (`rate`, `score`, `exceedance`; of what the runtime measures itself it is known), an
    exceedance also `limit` or `quantile`; the rest has defaults. Guards without an `alpha` share evenly what the others leave of the whole, so that the chance of
    a false rollback by ANY of them is at most the whole (Bonferroni; no independence is needed).

    Returns:
        The guards and no flaws, or None and all flaws, in the order of the declaration.
    """
    reader = _Reader()
    if not isinstance(declaration, dict):
        reader.flaw("", "The declaration is no object.", 'Write {"alpha": 0.05, "guards": [...]}.')
        return None, tuple(reader.flaws)
    reader.unknown("", declaration, ("alpha", "guards"))
    alpha = reader.number("/alpha", declaration.get("alpha", ALPHA_DEFAULT), _ALPHA)
    entries = declaration.get("guards")
    if not isinstance(entries, list) or not 1 <= len(entries) <= GUARDS_MAX:
        hint = f"Write a list of 1 to {GUARDS_MAX} guards: without one nothing is watched, and nothing may advance."
        reader.flaw("/guards", "There are no guards, or too many.", hint)
        return None, tuple(reader.flaws)
    read = [_guard(reader, f"/guards/{place}", entry) for place, entry in enumerate(entries)]
    _refuse_same_names(reader, read)
    if alpha is not None:
        read = _split(reader, alpha, read)
    if reader.flaws or alpha is None:
        return None, tuple(reader.flaws)
    return Guards(alpha=alpha, guards=tuple(guard for guard in read if guard is not None)), ()


def parse_guards(declaration: Json) -> Guards:
    """`read_guards`, or Invalid `guard.invalid` with every flaw in `errors`: {pointer, message, hint}."""
    guards, flaws = read_guards(declaration)
    if guards is None:
        first = flaws[0]
        raise Invalid(
            "guard.invalid",
            f"{len(flaws)} flaw{'s' * (len(flaws) > 1)} in the guards. First, at {first.pointer or '/'}: {first.message}",
            hint=first.hint,
            errors=[{"pointer": flaw.pointer, "message": flaw.message, "hint": flaw.hint} for flaw in flaws],
        )
    return guards


def guard_json(guard: Guard) -> Declaration:
    """A guard as JSON; reading it back gives an equal one."""
    found: Declaration = {
        "name": guard.name,
        "metric": guard.metric,
        "kind": guard.kind.value,
        "better": guard.better.value,
        "margin": guard.margin,
        "exclude": guard.exclude,
        "alpha": guard.alpha,
        "samples_min": guard.samples_min,
        "staleness_s_max": guard.staleness_s_max,
        "window": guard.window,
    }
    if guard.limit is not None:
        found["limit"] = guard.limit
    if guard.quantile is not None:
        found["quantile"] = guard.quantile
    return found


def guards_json(guards: Guards) -> Declaration:
    """Guards as JSON with every default written out; reading it back gives equal ones."""
    return {"alpha": guards.alpha, "guards": [cast("Json", guard_json(guard)) for guard in guards.guards]}


def _guard(reader: _Reader, pointer: str, entry: Json) -> Guard | None:
    """A guard, or None if it has flaws; alpha 0 stands for its share until the whole is split."""
    if not isinstance(entry, dict):
        reader.flaw(pointer, "A guard is no object.", 'Write {"metric": "errors", "kind": "rate"}.')
        return None
    before = len(reader.flaws)
    reader.unknown(pointer, entry, _FIELDS)
    if "metric" not in entry:
        reader.flaw(f"{pointer}/metric", "`metric` is missing.", "Add it: what is observed.")
    metric = reader.name(f"{pointer}/metric", entry["metric"]) if "metric" in entry else None
    name = reader.name(f"{pointer}/name", entry["name"]) if "name" in entry else metric
    kind = _kind(reader, pointer, entry, metric)
    natural = Better.HIGHER if kind == Kind.SCORE else Better.LOWER
    better = reader.choice(f"{pointer}/better", entry.get("better", natural.value), tuple(Better))
    numbers = {
        key: reader.number(f"{pointer}/{key}", entry.get(key, field.default), field) for key, field in _NUMBERS.items()
    }
    optional = {
        key: reader.number(f"{pointer}/{key}", entry[key], field) for key, field in _OPTIONAL.items() if key in entry
    }
    _refuse_contradictions(reader, pointer, kind, numbers, optional)
    if len(reader.flaws) > before:
        return None
    return Guard(
        name=str(name),
        metric=str(metric),
        kind=Kind(str(kind)),
        better=Better(str(better)),
        margin=float(numbers["margin"] or 0.0),
        exclude=float(numbers["exclude"] or 0.0),
        alpha=float(optional.get("alpha") or 0.0),
        samples_min=int(numbers["samples_min"] or 0),
        staleness_s_max=float(numbers["staleness_s_max"] or 0.0),
        window=int(numbers["window"] or 0),
        limit=_float(optional.get("limit")),
        quantile=_float(optional.get("quantile")),
    )


def _kind(reader: _Reader, pointer: str, entry: Mapping[str, Json], metric: str | None) -> str | None:
    """The guard's kind: as it is written, or as the runtime measures the metric, which nobody may call another."""
    measured = MEASURED.get(metric or "")
    if "kind" not in entry:
        if measured is None and metric is not None:
            near = nearest(metric, MEASURED)
            meant = f"Did you mean the metric {near}? " if near else ""
            reader.flaw(
                f"{pointer}/kind",
                f"`kind` is missing, and the runtime measures no `{metric}` by itself.",
                f"{meant}It measures {', '.join(MEASURED)}; of another, say the kind: rate, score or exceedance.",
            )
        return measured
    kind = reader.choice(f"{pointer}/kind", entry["kind"], tuple(Kind))
    if measured is not None and kind not in (None, measured.value):
        reader.flaw(f"{pointer}/kind", f"`{metric}` is measured as a {measured}.", "Leave `kind` out.")
    return kind


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _refuse_contradictions(
    reader: _Reader,
    pointer: str,
    kind: str | None,
    numbers: Mapping[str, float | None],
    optional: Mapping[str, float | None],
) -> None:
    """What no field shows alone."""
    margin, exclude = numbers["margin"], numbers["exclude"]
    if margin is not None and exclude is not None and exclude <= margin:
        reader.flaw(
            f"{pointer}/exclude",
            f"`exclude` ({exclude:g}) is not above `margin` ({margin:g}): PASS would rule out what is tolerated.",
            f"Write a number above {margin:g}, as {min(margin + 0.1, (1 + margin) / 2):g}.",
        )
    given = [key for key in ("limit", "quantile") if key in optional]
    if kind == Kind.EXCEEDANCE and len(given) != 1:
        text = "`limit` and `quantile` exclude each other." if given else "An exceedance needs a limit."
        hint = "Write `limit` (a value, as 2000) or `quantile` (of the stable arm, as 0.9)."
        reader.flaw(f"{pointer}/limit", text, hint)
    elif kind in {Kind.RATE, Kind.SCORE} and given:
        for key in given:
            text = f"`{key}` means nothing for a {kind}."
            reader.flaw(f"{pointer}/{key}", text, "Remove it, or make the kind `exceedance`.")


def _refuse_same_names(reader: _Reader, guards: list[Guard | None]) -> None:
    seen: dict[str, int] = {}
    for place, guard in enumerate(guards):
        if guard is None:
            continue
        if guard.name in seen:
            reader.flaw(
                f"/guards/{place}/name",
                f"Guard {seen[guard.name]} is called `{guard.name}` too.",
                "Give one of them a `name` of its own.",
            )
        seen.setdefault(guard.name, place)


def _split(reader: _Reader, alpha: float, guards: list[Guard | None]) -> list[Guard | None]:
    """Give each guard without an alpha an even part of what the others leave."""
    spent = math.fsum(guard.alpha for guard in guards if guard is not None)
    sharing = sum(guard is None or not guard.alpha for guard in guards)
    left = alpha - spent
    if left < -1e-12 or (sharing and left <= 1e-12):
        reader.flaw(
            "/alpha",
            f"The guards' own alphas add up to {spent:g}, the whole is {alpha:g}"
            + (f", and {sharing} guard{'s' * (sharing > 1)} without one would get nothing." if sharing else "."),
            "Lower the guards' alphas, or raise the whole: it is the chance of rolling back a good candidate.",
        )
        return guards
    return [
        replace(guard, alpha=left / sharing) if guard is not None and not guard.alpha else guard for guard in guards
    ]


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
