"""Ending tasks for sure."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

# How long a cancelled task may take before it is cancelled again.
_AGAIN_S: Final = 0.5


async def end_tasks(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel `tasks` and return when all have ended, whatever they raise.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which the database driver waits with, may lose a
    cancellation that comes as its wait ends.
    """
    every = list(tasks)
    pending = {task for task in every if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
    for task in every:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as never retrieved
