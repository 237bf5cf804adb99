"""Lists on the wire: what a page looks like, and the query parameters that ask for one. The cursors are `base.paging`'s."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from stanchion.base.paging import LIMIT_DEFAULT, LIMIT_MAX, PageParams

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A list on the wire: the items in order, and what to send as `after` for the next ones, or null at the end."""

    items: list[T]
    next: str | None


def page_params(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX, description="At most this many items.")] = LIMIT_DEFAULT,
    after: Annotated[str | None, Query(max_length=512, description="`next` of the page before.")] = None,
) -> PageParams:
    """The query parameters of every list."""
    return PageParams(limit=limit, after=after)


PageDep = Annotated[PageParams, Depends(page_params)]
