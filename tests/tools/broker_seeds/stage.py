"""Where a fault strikes: named points on the way of a PUSH, and a loop that jumps over waiting."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

# What happens at a point: nothing more, or what the target does in place of its answer.
Trap = Callable[[], Awaitable[Any] | Any]
POINTS = (
    "begin", "intent_commit", "intent_committed", "begun", "sending", "broker_entry", "arrived", "written", "broker_answer",
    "answered", "receipt_commit", "receipt_committed", "recorded",
)  # fmt: skip


class JumpLoop(asyncio.SelectorEventLoop):
    """An event loop whose time can be put forward: what waits for an end of time goes on at once."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


class Stage:
    """The points of the attempt that is under way, each with at most one trap, which strikes once."""

    def __init__(self) -> None:
        self._traps: dict[str, Trap] = {}
        self.struck = False
        # How often anything came to a point.
        self.passed: Counter[str] = Counter()

    def trap(self, point: str, trap: Trap) -> None:
        """Have this happen when the attempt comes to that point."""
        assert point in POINTS
        self._traps[point] = trap

    def clear(self) -> None:
        """No trap waits any more."""
        self._traps.clear()
        self.struck = False

    async def at(self, point: str) -> Any:
        """The attempt is here."""
        self.passed[point] += 1
        trap = self._traps.pop(point, None)
        if trap is None:
            return None
        self.struck = True
        found = trap()
        return await found if asyncio.iscoroutine(found) else found

    @staticmethod
    async def turn() -> None:
        """Let everybody else go on."""
        await asyncio.sleep(0.001)

    @staticmethod
    def jump(seconds: float) -> None:
        """Put the loop's time forward."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpLoop)
        loop.ahead_s += seconds
