"""The SQL of readiness."""

from __future__ import annotations

from stanchion.db import Tx, scalar, scalars


async def ping(tx: Tx) -> None:
    """One round trip to the database."""
    await scalar(tx, "select 1")


async def applied_migrations(tx: Tx) -> list[str]:
    """The names of the migrations that the database has."""
    return await scalars(tx, "select name from migrations")
