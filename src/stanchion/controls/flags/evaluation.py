"""Evaluating flags: in memory, in microseconds, and never an exception.

Whatever is wrong (no such flag, a malformed one, a value of another type, attributes that its targeting cannot use)
gives the caller's own value, with the reason ERROR and a code that says what it was (I11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from stanchion.base import Json
from stanchion.controls.flags.documents import compile_flag, type_of
from stanchion.controls.flags.types import (
    Attributes,
    ErrorCode,
    Flag,
    FlagType,
    Frame,
    Reason,
    Refused,
    Resolution,
)

_NOTHING: Final[Attributes] = {}


def evaluate(
    flag: Flag,
    fallback: Json,
    context: Attributes = _NOTHING,
    *,
    now: datetime,
    expected: FlagType | None = None,
) -> Resolution:
    """What `flag` gives for these attributes.

    Args:
        flag: as `compile_flag` made it.
        fallback: the caller's own value, for whenever the flag chooses none.
        context: attributes of whom it is evaluated for; `targetingKey` names the unit that shares are dealt by.
        now: the time, for `$flagd.timestamp` and `now`.
        expected: the type the caller needs; None takes the fallback's, and any if that is None.
    """
    try:
        variant, reason = _chosen(flag, context, now)
        value = fallback if variant is None else _value(flag, variant, expected or type_of(fallback))
    except Refused as refused:
        return Resolution(
            flag=flag.name,
            value=fallback,
            variant=None,
            reason=Reason.ERROR,
            error_code=refused.code,
            message=refused.message,
            metadata=flag.metadata,
        )
    return Resolution(flag=flag.name, value=value, variant=variant, reason=reason, metadata=flag.metadata)


def _chosen(flag: Flag, context: Attributes, now: datetime) -> tuple[str | None, Reason]:
    """The variant (None: the caller's value) and why. Raises Refused."""
    if flag.broken:
        raise Refused(ErrorCode.PARSE_ERROR, flag.broken)
    if not flag.enabled:
        return None, Reason.DISABLED
    if flag.decide is None:
        return flag.default, Reason.DEFAULT if flag.default is None else Reason.STATIC
    try:
        choice = flag.decide(Frame(flag.name, context, int(now.timestamp())))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        message = f"The attributes cannot be read as JSON: {type(error).__name__}."
        raise Refused(ErrorCode.GENERAL, message) from error
    return (flag.default, Reason.DEFAULT) if choice is None else choice


def _value(flag: Flag, variant: str, wanted: FlagType | None) -> Json:
    value = flag.variants[variant]
    if wanted is not None and type_of(value) is not wanted:
        raise Refused(ErrorCode.TYPE_MISMATCH, f"Variant {variant!r} of this flag is no {wanted}.")
    return value


class FlagSet:
    """The flags of one tenant and environment, compiled. Replaced as a whole when a release changes one of them."""

    __slots__ = ("_flags",)

    def __init__(self, documents: Iterable[object]) -> None:
        """`documents` are the bodies of artifacts of kind `flag`; of several with one name the last counts."""
        self._flags: Mapping[str, Flag] = {flag.name: flag for flag in map(compile_flag, documents)}

    def __len__(self) -> int:
        return len(self._flags)

    def __contains__(self, name: object) -> bool:
        return name in self._flags

    def resolve(
        self,
        name: str,
        fallback: Json,
        context: Attributes = _NOTHING,
        *,
        now: datetime,
        expected: FlagType | None = None,
    ) -> Resolution:
        """What the flag `name` gives; arguments are those of `evaluate`. An unknown flag gives `fallback`."""
        flag = self._flags.get(name)
        if flag is None:
            return Resolution(
                flag=name,
                value=fallback,
                variant=None,
                reason=Reason.ERROR,
                error_code=ErrorCode.FLAG_NOT_FOUND,
                message=f"There is no flag {name!r}.",
            )
        return evaluate(flag, fallback, context, now=now, expected=expected)

    def is_on(self, name: str, context: Attributes = _NOTHING, *, now: datetime, fallback: bool = False) -> bool:
        """The value of a boolean flag; `fallback` if it has none."""
        return self.resolve(name, fallback, context, now=now, expected=FlagType.BOOLEAN).value is True
