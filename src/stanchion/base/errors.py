"""Problems: every expected failure, as a stable code plus what happened and what to do.

Domains know no HTTP status. The edges translate `Problem.kind`: `web/` to RFC 9457 problem details,
`cli/` to an exit code, the worker to a retry decision. Control flow (`Suspend`, `Cancelled`) derives from
BaseException, so that `except Exception` cannot eat it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Kind(StrEnum):
    """What sort of failure a problem is; the edges map each kind to one answer."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    DENIED = "denied"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    LIMIT_EXCEEDED = "limit_exceeded"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Problem(Exception):  # noqa: N818 - the field's word for this (RFC 9457), and DESIGN's
    """An expected failure.

    Args:
        code: stable, dotted, machine-readable (`approval.expired`); documented in docs/reference/errors.md.
        message: what happened and to which ids, one or two sentences.
        hint: what to do about it; empty if the message already says so.
        retryable: whether the same call may succeed later unchanged; None takes the kind's default.
        fields: JSON-able facts that clients may read (`retry_after_s`, `errors`, ids).
    """

    kind: Kind = Kind.INTERNAL
    retryable_by_default: bool = False

    def __init__(
        self, code: str, message: str, *, hint: str = "", retryable: bool | None = None, **fields: object
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.retryable = self.retryable_by_default if retryable is None else retryable
        self.fields: Mapping[str, object] = fields

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.code, self.message, self.hint, self.retryable, dict(self.fields)))


def _rebuild(
    cls: type[Problem], code: str, message: str, hint: str, retryable: bool, fields: dict[str, object]
) -> Problem:
    return cls(code, message, hint=hint, retryable=retryable, **fields)


class Invalid(Problem):
    """The request or document is malformed; the same call can never succeed."""

    kind = Kind.INVALID


class Unauthenticated(Problem):
    """No credential, or one that is unknown, expired or revoked."""

    kind = Kind.UNAUTHENTICATED


class Denied(Problem):
    """The principal is known and policy says no (I11: default deny)."""

    kind = Kind.DENIED


class NotFound(Problem):
    """No such thing, or none that this principal may see."""

    kind = Kind.NOT_FOUND


class Conflict(Problem):
    """The thing is in a state in which the call makes no sense."""

    kind = Kind.CONFLICT


class LimitExceeded(Problem):
    """A rate limit, size limit or budget is used up; `retry_after_s` says when it is not."""

    kind = Kind.LIMIT_EXCEEDED
    retryable_by_default = True


class Unavailable(Problem):
    """Something that serving needs is away: a database, an external system, a process."""

    kind = Kind.UNAVAILABLE
    retryable_by_default = True


class Internal(Problem):
    """A defect of ours. Carries nothing of the run's content."""

    kind = Kind.INTERNAL


def sentence(words: str) -> str:
    """What a person wrote as a sentence that another may follow: with a full stop, unless it has an end."""
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def present(value: T | None, message: str) -> T:
    """`value`, which cannot be None here; raises Internal like `invariant` if it is."""
    if value is None:
        raise _broken(message)
    return value


def invariant(condition: bool, message: str) -> None:
    """Raise Internal if `condition` is false. Unlike `assert` it stays on under `python -O`."""
    if not condition:
        raise _broken(message)


def _broken(message: str) -> Internal:
    return Internal("internal.invariant", f"Invariant broken: {message}", hint="Please report this.")
