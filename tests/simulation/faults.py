"""Which faults a seed has, how often each was hit, and the network between a process and the database."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from types import coroutine
from typing import Final

import psycopg

from tests.simulation.loop import Loop
from tests.simulation.store import Commit

# Faults that a call draws: kind -> the chance per call at the highest intensity.
CHANCES: Final[Mapping[str, float]] = {
    "commit slow": 0.05,
    "commit lost, not applied": 0.012,
    "commit lost, applied": 0.012,
    "commit refused": 0.02,
    "request lost, session dead": 0.004,
    "answer lost, session dead": 0.004,
    "connection refused": 0.08,
    "wake-up lost": 0.25,
    "wake-up late": 0.15,
    "wake-up twice": 0.15,
    "target fails before the effect": 0.2,
    "target answers, and the answer is lost": 0.2,
    "target slow": 0.15,
    "answer to a client lost": 0.15,
}
# Faults that happen at drawn times: kind -> how many of them at most in one seed.
EVENTS: Final[Mapping[str, int]] = {
    "worker crash": 4,
    "worker crash at a callback": 3,
    "worker paused past its lease": 2,
    "worker drained": 2,
    "worker partitioned": 2,
    "server restart": 1,
    "session terminated": 6,
    "target refuses for a while": 1,
    "client process crash": 2,
    "run that kills its worker": 1,
}
# Faults that a process is born with.
INBORN: Final = ("clock skew", "clock drift")
KINDS: Final = (*CHANCES, *EVENTS, *INBORN)

# How long a request hangs in a partition until the session is given up (`tcp_user_timeout` of stanchion.db).
GIVEN_UP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """A fault at a time, in seconds from the beginning."""

    at: float
    kind: str


class Faults:
    """The faults of one seed. A seed has some kinds of them, each with an intensity of its own (swarm testing)."""

    def __init__(self, rng: random.Random, chaos_s: float) -> None:
        self.rng = rng
        self.on = True
        # Until when a restarting server takes no connection.
        self.down_until = -1.0
        self.hits: Counter[str] = Counter()
        # Where the world's own callbacks run: it belongs to no process.
        self.context = contextvars.Context()
        self.chances = {kind: most * rng.choice((0.0, 0.3, 1.0)) for kind, most in CHANCES.items()}
        self.events = sorted(
            (
                # What takes its time to be noticed happens early enough to be.
                Event(rng.uniform(0.3, chaos_s - (11.0 if "lease" in kind or "partition" in kind else 0.0)), kind)
                for kind, most in EVENTS.items()
                for _ in range(rng.choice((0, 0, 1, most)))
            ),
            key=lambda event: (event.at, event.kind),
        )

    def happens(self, kind: str) -> bool:
        """Whether the fault happens to this call; counted if it does."""
        chance = self.chances[kind]
        if chance and self.on and self.rng.random() < chance:
            self.hits[kind] += 1
            return True
        return False

    def hit(self, kind: str) -> None:
        """Count a fault that happened."""
        self.hits[kind] += 1


@coroutine
def _turn() -> Generator[None, None, None]:
    """Let others run."""
    yield


def _dead(what: str) -> psycopg.OperationalError:
    return psycopg.OperationalError(f"simulated: {what}")


class FaultyLink:
    """Fills `store.Link` for one process. While `cut` is set nothing passes."""

    def __init__(self, loop: Loop, faults: Faults, rng: random.Random) -> None:
        self._loop = loop
        self._faults = faults
        self._random = rng.random
        self.cut: asyncio.Future[None] | None = None
        # Ends the session that hears wake-ups, and tells whether there was one: what slows commits also ends sessions.
        self.deafen: Callable[[], bool] = lambda: False
        chances = faults.chances
        self._request = chances["request lost, session dead"]
        self._reply = chances["answer lost, session dead"]
        names = ("commit slow", "commit lost, not applied", "commit lost, applied", "commit refused")
        self._commit = sum(chances[name] for name in names)
        self._commits = [(name, chances[name]) for name in names]

    async def connect(self) -> None:
        """May be refused."""
        await self._pass()
        await self._loop.sleep(self._random() * 0.004)
        if self._loop.now < self._faults.down_until or self._faults.happens("connection refused"):
            raise _dead("connection refused")

    def request(self) -> Awaitable[None] | None:
        """On its way there."""
        if self.cut is not None:
            return self._after(self.request)
        draw = self._random()
        if draw < self._request and self._faults.on:
            self._faults.hit("request lost, session dead")
            raise _dead("the session ended before the statement ran")
        if draw > 0.75:
            return self._loop.sleep((draw - 0.75) * 0.012)
        return _turn() if draw > 0.4 else None

    async def _after(self, then: Callable[[], Awaitable[None] | None]) -> None:
        """Wait for the end of the partition first."""
        await self._pass()
        if (waits := then()) is not None:
            await waits

    def commit(self) -> Awaitable[Commit] | Commit:
        """At the server: what becomes of the commit."""
        draw = self._random()
        if draw < self._commit and self._faults.on:
            for name, chance in self._commits:
                if draw < chance:
                    self._faults.hit(name)
                    return self._committed(name)
                draw -= chance
        return Commit.OK

    async def _committed(self, name: str) -> Commit:
        if name == "commit slow":
            if self._random() < 0.12 and self.deafen():
                self._faults.hit("session terminated")
            await self._loop.sleep(0.05 + 4.0 * self._random() ** 3)
            return Commit.OK
        await self._loop.sleep(self._random() * 0.01)
        if name == "commit lost, not applied":
            return Commit.LOST_BEFORE
        return Commit.LOST_AFTER if name == "commit lost, applied" else Commit.REFUSED

    def reply(self) -> Awaitable[None] | None:
        """On its way back."""
        if self.cut is not None:
            return self._after(self.reply)
        draw = self._random()
        if draw < self._reply and self._faults.on:
            self._faults.hit("answer lost, session dead")
            raise _dead("the session ended before the answer came")
        return self._loop.sleep((draw - 0.97) * 0.2) if draw > 0.97 else None

    def deliver(self, channel: str, payload: str) -> list[float]:
        """A wake-up's delays."""
        if self.cut is not None:
            return []
        delay = self._random() * 0.003
        if self._faults.happens("wake-up lost"):
            return []
        if self._faults.happens("wake-up late"):
            return [delay + 2.0 * self._random()]
        if self._faults.happens("wake-up twice"):
            return [delay, delay + self._random() * 0.5]
        return [delay]

    async def _pass(self) -> None:
        """Wait for the end of a partition, until the session is given up."""
        if self.cut is None:
            return
        done, _ = await asyncio.wait([self.cut], timeout=GIVEN_UP_S)
        if not done:
            raise _dead("no answer from the server")
