"""What a process needs to serve, asked by its readiness."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import psycopg

from stanchion.base import Problem
from stanchion.context import Env

_ASK_S = 2.0


def database_and(
    env: Env, role: str, more: Callable[[], Mapping[str, str]]
) -> Callable[[], Awaitable[Mapping[str, str]]]:
    """Needs: the database as `role`, and what `more` says of the process itself."""

    async def needs() -> Mapping[str, str]:
        wrong = ""
        try:
            async with asyncio.timeout(_ASK_S), env.db.connection(role) as tx:
                await tx.execute("select 1")
        except TimeoutError:
            wrong = f"it did not answer within {_ASK_S:g} s"
        except (Problem, psycopg.Error) as error:
            wrong = str(error)
        return {"database": wrong, **more()}

    return needs
