"""Lists: keyset pages with an opaque cursor. No offsets, so a page never skips or repeats what was there before.

How a page is asked for over HTTP is `stanchion.http`'s business: verbs need none of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from uuid import UUID

from stanchion.base.errors import Invalid

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParams:
    """What a caller asks of a list: at most `limit` items, those after the cursor `after` (None: from the start)."""

    limit: int = LIMIT_DEFAULT
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Generic[T]):
    """What a verb returns for a list: up to `limit` items in order, and the cursor of the rest or None."""

    items: Sequence[T]
    next: str | None


def encode_cursor(*parts: str) -> str:
    """An opaque cursor over the key of the last item shown."""
    return base64.urlsafe_b64encode("\x1f".join(parts).encode()).decode().rstrip("=")


def decode_cursor(text: str, parts: int) -> tuple[str, ...]:
    """The `parts` strings a cursor was made of. Raises Invalid `page.bad_cursor` for anything else."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise bad_cursor() from error
    found = tuple(raw.split("\x1f"))
    if len(found) != parts or "\x00" in raw:
        raise bad_cursor()
    return found


def id_after(page: PageParams) -> UUID | None:
    """The id in the cursor of a list that is ordered by id. Raises Invalid `page.bad_cursor`."""
    if page.after is None:
        return None
    try:
        return UUID(decode_cursor(page.after, 1)[0])
    except ValueError as error:
        raise bad_cursor() from error


def slice_of(rows: Sequence[T], limit: int, key: Callable[[T], tuple[str, ...]]) -> Slice[T]:
    """Cut `rows`, of which a store read `limit + 1`, to a Slice; `key` gives the cursor parts of a row."""
    items = rows[:limit]
    more = len(rows) > limit
    return Slice(items=items, next=encode_cursor(*key(items[-1])) if more and items else None)


def bad_cursor() -> Invalid:
    """The problem of a cursor that no page of this list gave."""
    return Invalid(
        "page.bad_cursor",
        "`after` is not a cursor of this list.",
        hint="Send the `next` of the page before, unchanged, or leave it out to start again.",
    )
