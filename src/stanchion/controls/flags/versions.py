"""flagd's `sem_ver` operator: two versions compared by the precedence of semver.org 2.0.0, item 11.

As flagd does, it takes versions with a leading `v` or `V`, numbers (1.2 is the version `1.2`), and versions that lack
their minor or patch part, which count as 0. Build metadata is left out of the comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from stanchion.base import Json
from stanchion.controls.flags.values import text

# A part has no leading zero; more digits than these no version has, and int() must stay cheap.
_PART: Final = r"(0|[1-9][0-9]{0,30})"
_IDENT: Final = r"(?:0|[1-9][0-9]{0,30}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    rf"v?{_PART}(?:\.{_PART}(?:\.{_PART}(?:-({_IDENT}(?:\.{_IDENT})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?",
    re.ASCII,
)
_CHARACTERS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Version:
    """A version: its three parts, and its prerelease as comparable identifiers (a release sorts after all of them)."""

    parts: tuple[int, int, int]
    prerelease: tuple[tuple[int, int, str], ...]

    @property
    def order(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[int, int, str], ...]]:
        """What versions are sorted by."""
        return self.parts, not self.prerelease, self.prerelease


def parse(value: Json) -> Version | None:
    """The version a text or number says, or None."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    source = text(value)
    if len(source) > _CHARACTERS_MAX:
        return None
    match = _VERSION.fullmatch(source.removeprefix("V"))
    if match is None or source.startswith("Vv"):
        return None
    major, minor, patch, prerelease = match.groups()
    identifiers = tuple(
        (0, int(name), "") if name.isdecimal() else (1, 0, name)
        for name in (prerelease.split(".") if prerelease else ())
    )
    return Version((int(major), int(minor or 0), int(patch or 0)), identifiers)


OPERATORS: Final[Mapping[str, Callable[[Version, Version], bool]]] = {
    "=": lambda a, b: a.order == b.order,
    "!=": lambda a, b: a.order != b.order,
    "<": lambda a, b: a.order < b.order,
    "<=": lambda a, b: a.order <= b.order,
    ">": lambda a, b: a.order > b.order,
    ">=": lambda a, b: a.order >= b.order,
    "^": lambda a, b: a.parts[0] == b.parts[0],
    "~": lambda a, b: a.parts[:2] == b.parts[:2],
}


def sem_ver(arguments: list[Json]) -> bool | None:
    """[version, operator, version] -> whether it holds; None for anything that cannot be compared."""
    if len(arguments) != 3:
        return None
    left, right = parse(arguments[0]), parse(arguments[2])
    operator = OPERATORS.get(arguments[1]) if isinstance(arguments[1], str) else None
    return None if left is None or right is None or operator is None else operator(left, right)
