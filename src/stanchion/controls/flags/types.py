"""The nouns of flags: what a flag is, what an evaluation gives and why, and what is wrong with a document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from stanchion.base import Json

# The attributes a flag is evaluated with. `targetingKey` (a text) names the unit that percentages are dealt by.
Attributes = Mapping[str, Json]
TARGETING_KEY = "targetingKey"


class FlagType(StrEnum):
    """What the values of a flag's variants are."""

    BOOLEAN = "boolean"
    STRING = "string"
    NUMBER = "number"
    OBJECT = "object"


class Reason(StrEnum):
    """Why an evaluation gave its value (OpenFeature specification, types, resolution reasons)."""

    STATIC = "STATIC"  # the flag has no targeting
    DEFAULT = "DEFAULT"  # its targeting chose nothing, or it has no default variant: the caller's value
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"  # dealt by shares
    DISABLED = "DISABLED"
    STALE = "STALE"  # decided on what was known a while ago: nobody could look for changes since
    ERROR = "ERROR"


class ErrorCode(StrEnum):
    """What went wrong, as OpenFeature names it."""

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    PROVIDER_NOT_READY = "PROVIDER_NOT_READY"
    GENERAL = "GENERAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What an evaluation gave.

    Attributes:
        flag: the flag's name.
        value: the variant's value, or the caller's fallback. Shared with the flag: not to be changed in place.
        variant: the variant's name; None if the value is the caller's.
        reason: why. `error_code` and `message` say more if it is ERROR.
        metadata: the flag's own.
    """

    flag: str
    value: Json
    variant: str | None
    reason: Reason
    error_code: ErrorCode | None = None
    message: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing wrong with a flag document.

    Attributes:
        pointer: JSON pointer to the value it is about.
        code: stable, such as `flag.unknown_variant`.
        message: what is wrong. `hint`: the way out.
        fatal: true if the flag cannot be evaluated at all (it then gives the caller's value, with PARSE_ERROR). What is
            not fatal refuses a publish all the same, but a flag already out goes on by flagd's rules.
        text, offset: of a fault within a `${ }`: the whole text at `pointer`, and the character in it.
    """

    pointer: str
    code: str
    message: str
    hint: str = ""
    fatal: bool = False
    text: str = ""
    offset: int = 0


# What a flag's targeting chose: the variant and the reason. None: nothing, so the default variant.
Choice = tuple[str, Reason]


class Refused(Exception):  # noqa: N818 - it is turned into a Resolution and seen by nobody else
    """An evaluation that cannot go on: its error code and why. `evaluate` makes a Resolution of it."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# The most an evaluation may do: elements visited by `map`, `reduce` and their kin, and characters built by `cat`.
WORK_MAX = 100_000


class Frame:
    """One evaluation: the flag, the attributes, the time, and how much it has done."""

    __slots__ = ("attributes", "flag", "timestamp", "work")

    def __init__(self, flag: str, attributes: Attributes, timestamp: int) -> None:
        """`timestamp` is in Unix seconds."""
        self.flag = flag
        self.attributes = attributes
        self.timestamp = timestamp
        self.work = 0

    def spend(self, amount: int) -> None:
        """Count elements or characters. Raises Refused over `WORK_MAX`."""
        self.work += amount
        if self.work > WORK_MAX:
            raise Refused(
                ErrorCode.GENERAL, f"The targeting visits or builds more than {WORK_MAX} elements or characters."
            )


Decide = Callable[[Frame], Choice | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A flag, compiled once per version and evaluated many times.

    Attributes:
        variants: name -> value. `default`: the variant where nothing else is chosen; None: the caller's value.
        decide: what its targeting chooses; None if it has no targeting.
        broken: why it cannot be evaluated; empty if it can.
    """

    name: str
    type: FlagType | None
    variants: Mapping[str, Json]
    default: str | None
    enabled: bool
    metadata: Mapping[str, Json]
    decide: Decide | None
    broken: str = ""
