"""Does everything that runs could get fit together? The same check as `apply`, over every combination of arms: pure.

An artifact fits by what it refers to, directly or not. So each artifact is read against every combination of versions
that its own surroundings can have: the versions that are live, and those of the rollouts that touch them. A rollout
moves its members together, so it has two sides and no more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stanchion.artifacts import Document, KindSpec
from stanchion.base import Json
from stanchion.releases.rollouts.states import Key
from stanchion.releases.types import Live

# Rollouts that may touch one artifact's surroundings at a time: 64 combinations.
TOUCHING_MAX: Final = 6
# How far the search for the nearest set goes: changed artifacts beside those asked for, and combinations read.
EXTRAS_MAX: Final = 3
READS_MAX: Final = 300

Chosen = Mapping[Key, Live]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A combination that does not fit: which artifact breaks, at which versions of what it refers to, and why."""

    key: Key
    version: int
    beside: tuple[tuple[str, str, int], ...]
    reason: str

    def __str__(self) -> str:
        others = " and ".join(f"{kind} {name} {version}" for kind, name, version in self.beside)
        with_them = f" with {others}" if others else ""
        return f"{self.key[0]} {self.key[1]} {self.version} does not fit{with_them}: {self.reason}"


class Check:
    """Reads combinations; remembers what it read."""

    def __init__(self, kinds: Mapping[str, KindSpec], known: Chosen) -> None:
        """`known`: what is live before the change. Errors that an artifact has there already are nobody's fault now."""
        self._kinds = kinds
        self._known = known
        self._read: dict[tuple[tuple[str, str, int], ...], str] = {}
        self.reads = 0

    def misfits(self, base: Chosen, groups: Sequence[Chosen], about: Iterable[Key]) -> list[Misfit]:
        """What does not fit among the combinations of `base` with any of `groups` in place.

        Args:
            base: what is live after the change, by artifact.
            groups: the candidates of each open rollout.
            about: what the change is about: only surroundings that it belongs to are read.
        """
        offered: dict[Key, list[Live]] = {key: [row] for key, row in base.items()}
        for group in groups:
            for key, row in group.items():
                offered.setdefault(key, []).append(row)
        wanted = set(about)
        found: list[Misfit] = []
        for key in sorted(offered):
            hood = _hood(key, offered)
            if not hood & wanted:
                continue
            touching = [group for group in groups if hood & set(group)]
            if len(touching) > TOUCHING_MAX:
                reason = f"{len(touching)} open rollouts touch it; at most {TOUCHING_MAX} may."
                found.append(Misfit(key=key, version=offered[key][0].version, beside=(), reason=reason))
                continue
            found += self._misfits_of(key, hood, base, touching)
        return found

    def _misfits_of(self, key: Key, hood: set[Key], base: Chosen, touching: Sequence[Chosen]) -> Iterator[Misfit]:
        seen: set[tuple[tuple[str, str, int], ...]] = set()
        for chosen in combinations(base, touching):
            if key not in chosen:
                continue
            around = tuple(
                (kind, name, chosen[kind, name].version) for kind, name in sorted(hood) if (kind, name) in chosen
            )
            if around in seen:
                continue
            seen.add(around)
            reason = self._reason(key, around, chosen)
            if reason:
                direct = {(ref[0], ref[1]) for ref in chosen[key].refs}
                beside = tuple(one for one in around if (one[0], one[1]) in direct)
                yield Misfit(key=key, version=chosen[key].version, beside=beside, reason=reason)

    def _reason(self, key: Key, around: tuple[tuple[str, str, int], ...], chosen: Chosen) -> str:
        asked = ((*key, chosen[key].version), *around)
        if asked not in self._read:
            self.reads += 1
            self._read[asked] = self._misses(key, chosen) or self._errs(key, chosen)
        return self._read[asked]

    def _misses(self, key: Key, chosen: Chosen) -> str:
        missing = sorted({(ref[0], ref[1]) for ref in chosen[key].refs} - set(chosen))
        known = self._known.get(key)
        if known is not None and known.version == chosen[key].version:
            missing = [ref for ref in missing if ref in self._known]
        return f"{missing[0][0]} {missing[0][1]} is not live." if missing else ""

    def _errs(self, key: Key, chosen: Chosen) -> str:
        if key[0] not in self._kinds:
            return ""
        row, before = chosen[key], self._known.get(key)
        errors = self._errors(row, chosen)
        if errors and before is not None and before.version == row.version:
            known = self._errors(before, self._known)
            errors = {found: text for found, text in errors.items() if found not in known}
        return next(iter(errors.values()), "")

    def _errors(self, row: Live, chosen: Chosen) -> dict[tuple[str, str, str], str]:
        def body_of(kind: str, name: str) -> Mapping[str, Json] | None:
            found = chosen.get((kind, name))
            return found.body if found else None

        parsed = self._kinds[row.kind].parse(Document(path=row.source_path, source=row.source), body_of)
        return {
            (issue.code, issue.pointer, issue.message): f"{issue.message} {issue.hint}".strip()
            for issue in parsed.issues
            if issue.severity == "error"
        }


def combinations(base: Chosen, groups: Sequence[Chosen]) -> Iterator[Chosen]:
    """`base` with each subset of `groups` in place, the bare base first."""
    for taken in itertools.product((False, True), repeat=len(groups)):
        chosen = dict(base)
        for group, is_in in zip(groups, taken, strict=True):
            if is_in:
                chosen.update(group)
        yield chosen


def _hood(key: Key, offered: Mapping[Key, Sequence[Live]]) -> set[Key]:
    """An artifact and everything it can reach in any combination."""
    found: set[Key] = set()
    waiting = [key]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        waiting += [(ref[0], ref[1]) for row in offered.get(one, ()) for ref in row.refs]
    return found


def involved(misfits: Iterable[Misfit], fixed: Iterable[Key]) -> list[Key]:
    """Whose versions could be changed so that it fits: who breaks and what it refers to, without what is asked for."""
    names = dict.fromkeys(
        one for misfit in misfits for one in (misfit.key, *((kind, name) for kind, name, _ in misfit.beside))
    )
    asked = set(fixed)
    return [key for key in names if key not in asked]


def nearest(
    near: Sequence[Key],
    versions: Mapping[Key, Sequence[Live]],
    present: Chosen,
    fits: Callable[[Chosen], bool],
    *,
    spent: Callable[[], bool],
) -> dict[Key, Live] | None:
    """The fewest further changes under which it fits, of those the smallest in versions; None if none was found.

    Args:
        near: the artifacts that may change.
        versions: what versions each has.
        present: what each has now.
        fits: whether the change fits with these in place as well.
        spent: whether to give up.
    """
    for count in range(1, min(EXTRAS_MAX, len(near)) + 1):
        tries = [
            extras
            for keys in itertools.combinations(near, count)
            for extras in itertools.product(*(_others(versions.get(key, ()), present.get(key)) for key in keys))
        ]
        for extras in sorted(tries, key=lambda rows: _distance(rows, present)):
            if spent():
                return None
            if fits({(row.kind, row.name): row for row in extras}):
                return {(row.kind, row.name): row for row in extras}
    return None


def _others(rows: Sequence[Live], now: Live | None) -> list[Live]:
    return [row for row in rows if now is None or row.version != now.version]


def _distance(rows: Iterable[Live], present: Chosen) -> int:
    total = 0
    for row in rows:
        now = present.get((row.kind, row.name))
        total += abs(row.version - (now.version if now else 0))
    return total
