"""Time comes from Env, so that tests and the simulation own it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and sleeping."""

    def now(self) -> datetime:
        """The current time, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the task for `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, timezone-aware, in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - this is the one place that reads it

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        return time.monotonic()  # noqa: TID251 - this is the one place that reads it

    async def sleep(self, seconds: float) -> None:
        """Suspend the task for `seconds`."""
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the one place that sleeps
