"""Load that keeps arriving while faults happen: a client that starts runs over HTTP, and a person who decides.

Both behave as good clients do: an answer that is no answer, or a 503, is repeated with the same idempotency key until
the run is accepted. Both keep their own notes, so that what was promised is known without asking Stanchion.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp

# Every third posting is above the policy's limit; every ninth is refused by the person who decides.
LIMIT = 100
PAUSE_S = 0.1


def amount_of(number: int) -> int:
    return 500 if number % 3 == 0 else 50


def is_refused(number: int) -> bool:
    return number % 9 == 0


@dataclass(frozen=True)
class Answer:
    """One answer of the web process to one request; status 0: the connection broke instead."""

    at: float
    what: str
    status: int
    code: str
    seconds: float
    retry_after: str | None = None
    problem: bool = False


@dataclass
class Notes:
    """What clients saw.

    `accepted`: posting -> run id of a 202. `decided`: posting -> (verdict, wall-clock time before it was first sent).
    """

    blueprint: str = "posting"
    sent: int = 0
    accepted: dict[str, str] = field(default_factory=dict)
    accepted_at: dict[str, float] = field(default_factory=dict)
    decided: dict[str, tuple[str, float]] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    intrusions: Counter[int] = field(default_factory=Counter)
    answers: list[Answer] = field(default_factory=list)

    def failures(self, since: float = 0.0) -> list[Answer]:
        return [answer for answer in self.answers if not 200 <= answer.status < 300 and answer.at >= since]

    def failure_counts(self, since: float = 0.0) -> dict[tuple[int, str], int]:
        return dict(Counter((answer.status, answer.code) for answer in self.failures(since)))

    def last_failures(self, count: int = 8) -> list[str]:
        """The last answers that were none or a refusal, with the age of each."""
        now = time.time()
        return [f"{a.what}: {a.status} {a.code}, {now - a.at:.1f} s ago" for a in self.failures()[-count:]]


class Clients:
    """The two clients of one deployment. `url` may be changed under way, as a load balancer would."""

    def __init__(self, url: str, keys: dict[str, str], notes: Notes, *, rate_hz: float = 20.0) -> None:
        self.url = url
        self.blueprint = "posting"
        self.notes = notes
        self.rate_hz = rate_hz
        self._keys = keys
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        self._feeding = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[Clients]:
        self._loops = [asyncio.create_task(self._feed()), asyncio.create_task(self._decide())]
        try:
            yield self
        finally:
            for task in (*self._loops, *self._tasks):
                task.cancel()
            await asyncio.gather(*self._loops, *self._tasks, return_exceptions=True)
            await self._session.close()

    async def stop_feeding(self) -> None:
        """No new work; everything asked for so far is accepted in the end."""
        self._loops[0].cancel()
        await asyncio.gather(self._loops[0], return_exceptions=True)
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self.check_alive()

    def check_alive(self) -> None:
        for task in self._loops:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _feed(self) -> None:
        due = time.monotonic()
        while True:
            if len(self._tasks) < 300:
                number = self.notes.sent
                self.notes.sent += 1
                task = asyncio.create_task(self._start(number))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            due = max(due + 1 / self.rate_hz, time.monotonic() - 1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _start(self, number: int) -> None:
        posting = f"p-{number:06}"
        body = {"input": {"id": posting, "amount": amount_of(number)}}
        blueprint = self.blueprint
        while True:
            answer, said = await self.call(
                "POST", f"/api/blueprints/{blueprint}/runs", "analyst", body, {"Idempotency-Key": posting}
            )
            if answer.status == 202:
                self.notes.accepted[posting] = said["run_id"]
                self.notes.accepted_at[posting] = time.time()
                return
            assert answer.status in (0, 503), f"{posting}: {answer} {said}"
            await asyncio.sleep(PAUSE_S)

    async def _decide(self) -> None:
        while True:
            answer, page = await self.call("GET", "/api/approvals?status=PENDING&limit=100", "supervisor")
            if answer.status == 200:
                for approval in page["items"]:
                    await self._decide_one(approval)
            await asyncio.sleep(PAUSE_S)

    async def _decide_one(self, approval: dict) -> None:
        posting = approval["shown"][0]["id"]
        number = int(posting[2:])
        body = {"reason": "as the book says", "args_digest": approval["args_digest"]}
        path = f"/api/approvals/{approval['id']}"
        if number % 4 == 0:  # somebody without the right tries first
            answer, _ = await self.call("POST", f"{path}/approve", "analyst", body)
            self.notes.intrusions[answer.status] += 1
        verdict = "reject" if is_refused(number) else "approve"
        self.notes.decided.setdefault(posting, (verdict, time.time()))
        answer, _ = await self.call("POST", f"{path}/{verdict}", "supervisor", body)
        if answer.status in (200, 409):
            self.notes.settled.add(posting)
        else:
            assert answer.status in (0, 503), answer

    async def call(
        self,
        method: str,
        path: str,
        who: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        url: str | None = None,
    ) -> tuple[Answer, dict]:
        """One request, noted; what it cannot be told is status 0. `url`: of another process than the load's."""
        began, at = time.monotonic(), time.time()
        said: dict = {}
        status, retry_after, problem = 0, None, False
        try:
            async with self._session.request(
                method, (url or self.url) + path, json=body, headers={"Authorization": f"Bearer {self._keys[who]}", **(headers or {})}
            ) as response:  # fmt: skip
                said = await response.json(content_type=None)
                status, retry_after = response.status, response.headers.get("retry-after")
                problem = response.content_type == "application/problem+json"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = {"code": type(error).__name__}
        answer = Answer(
            at=at, what=f"{method} {path.partition('?')[0]}", status=status, code=str(said.get("code", "")),
            seconds=time.monotonic() - began, retry_after=retry_after, problem=problem,
        )  # fmt: skip
        if who != "analyst" or status != 403:
            self.notes.answers.append(answer)
        return answer, said
