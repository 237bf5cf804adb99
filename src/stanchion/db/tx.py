"""Transactions and the few ways a store reads rows.

A `Tx` is a psycopg connection inside an open transaction. Stores take it as their first argument, run literal
SQL through `one`, `maybe`, `many` and `execute`, and never commit: the verb that opened it does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg.rows import args_row, class_row, tuple_row
from psycopg.types.json import set_json_dumps, set_json_loads

from stanchion.base import NotFound, dumps, loads

Tx = psycopg.AsyncConnection[Any]
Params = Mapping[str, object] | Sequence[object]
RowT = TypeVar("RowT")

set_json_dumps(dumps)
set_json_loads(loads)


async def many(tx: Tx, row: type[RowT], query: LiteralString, params: Params = ()) -> list[RowT]:
    """All rows of `query` as instances of the dataclass `row`, whose fields are the column names."""
    async with tx.cursor(row_factory=class_row(row)) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchall()


async def many_by_position(tx: Tx, row: Callable[..., RowT], query: LiteralString, params: Params = ()) -> list[RowT]:
    """All rows of `query`, each `row(*columns)`: for the few statements whose rows are made thousands of times a second.
    The query's columns stand in the order of the fields."""
    async with tx.cursor(row_factory=args_row(row)) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchall()


async def maybe(tx: Tx, row: type[RowT], query: LiteralString, params: Params = ()) -> RowT | None:
    """The first row of `query` as `row`, or None."""
    async with tx.cursor(row_factory=class_row(row)) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchone()


async def one(tx: Tx, row: type[RowT], query: LiteralString, params: Params = (), *, missing: NotFound) -> RowT:
    """The first row of `query` as `row`. Raises `missing` if there is none."""
    found = await maybe(tx, row, query, params)
    if found is None:
        raise missing
    return found


async def scalars(tx: Tx, query: LiteralString, params: Params = ()) -> list[Any]:
    """The first column of all rows."""
    async with tx.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, params)
        return [row[0] for row in await cursor.fetchall()]


async def scalar(tx: Tx, query: LiteralString, params: Params = ()) -> Any:
    """The first column of the first row, or None."""
    async with tx.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(query, params)
        row = await cursor.fetchone()
        return None if row is None else row[0]


async def execute(tx: Tx, query: LiteralString, params: Params = (), *, prepare: bool | None = None) -> int:
    """Run `query`; return the number of rows it changed. `prepare` True prepares it at first sight."""
    async with tx.cursor() as cursor:
        await cursor.execute(query, params, prepare=prepare)
        return cursor.rowcount
