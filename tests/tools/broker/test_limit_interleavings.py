"""Whatever order the statements, calls, cancellations and failures of several processes come in: never more calls at once than
the limit, no wake-up is lost, no place is.

The orders are what is looked at, so time is the event loop's own and jumps to what is due next, and the three statements stand
on a row in memory with one lock, as PostgreSQL's row has (what the statements themselves do is tests/tools/broker/test_limits).
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.base import LimitExceeded
from stanchion.tools.broker import limit_rules as rules
from stanchion.tools.broker import store
from stanchion.tools.broker.limits import ConnectorLimits
from stanchion.tools.connectors import connector_of
from stanchion.tools.types import Connector
from tests.tools.broker.held import BODY


class _Leaping(selectors.SelectSelector):
    """Waits for nothing: the time that a loop would wait passes at once."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everything waits for ever"
        self.passed += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.passed


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(main)


class _Clock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass
class Row:
    """A connector's row: its bucket, the places of each process, and what is yet to go wrong."""

    latencies: Iterator[float]
    faults: Iterator[str]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    tokens: float | None = None
    refilled_at: float = 0.0
    places: dict[UUID, tuple[int, float]] = field(default_factory=dict)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def late(self) -> None:
        await asyncio.sleep(next(self.latencies))

    @asynccontextmanager
    async def engine_tx(self) -> AsyncIterator[Any]:
        await self.late()
        tx = SimpleNamespace(row=self, writes=[], locked=False)
        fault = next(self.faults)
        try:
            yield tx
            await self.late()
            if fault == "rolled back":
                raise psycopg.OperationalError("the connection is gone")
            for write in tx.writes:
                write()
        finally:
            if tx.locked:
                self.lock.release()
        await self.late()
        if fault == "committed":
            raise psycopg.OperationalError("the connection is gone")


async def lock_bucket(tx: Any, tenant: str, name: str, *, full: int) -> store.Bucket:
    row: Row = tx.row
    await row.late()
    await row.lock.acquire()
    tx.locked = True
    if row.tokens is None:
        row.tokens, row.refilled_at = float(full), row.now()
    return store.Bucket(tokens=row.tokens, elapsed_s=row.now() - row.refilled_at)


async def save_bucket(tx: Any, tenant: str, name: str, *, tokens: float) -> None:
    await tx.row.late()
    tx.writes.append(lambda: (setattr(tx.row, "tokens", tokens), setattr(tx.row, "refilled_at", tx.row.now())))


async def places_of_others(tx: Any, tenant: str, name: str, holder: UUID) -> int:
    await tx.row.late()
    return sum(n for other, (n, until) in tx.row.places.items() if other != holder and until > tx.row.now())


async def hold_places(tx: Any, tenant: str, name: str, holder: UUID, *, places: int, lease_s: float) -> None:
    await tx.row.late()
    until = tx.row.now() + lease_s
    tx.writes.append(lambda: tx.row.places.__setitem__(holder, (places, until)))


@pytest.fixture(autouse=True)
def on_a_row_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for statement in (lock_bucket, save_bucket, places_of_others, hold_places):
        monkeypatch.setattr(store, statement.__name__, statement)


def process(row: Row, number: int) -> ConnectorLimits:
    ids = SimpleNamespace(new=lambda: UUID(int=number))
    return ConnectorLimits(SimpleNamespace(ids=ids, clock=_Clock(), db=row))  # type: ignore[arg-type]


def connector(**limits: Any) -> Connector:
    return connector_of({**BODY, "limits": limits}, "sha256:x")


def forever(value: Any) -> Iterator[Any]:
    while True:
        yield value


@dataclass(frozen=True, kw_only=True)
class Asked:
    process: int
    at: float
    lasts: float
    timeout_s: float
    cancelled_after: float | None


TIMES = st.integers(0, 60).map(lambda n: n / 20)
CALLS = st.lists(
    st.builds(
        Asked,
        process=st.integers(0, 2),
        at=TIMES,
        lasts=TIMES,
        timeout_s=st.sampled_from([0.1, 1.0, 10.0]),
        cancelled_after=st.none() | TIMES,
    ),
    min_size=2,
    max_size=14,
)


class Trial:
    def __init__(self, row: Row, limits: Connector) -> None:
        self.limits, self.row = limits, row
        self.processes = [process(row, number) for number in range(3)]
        self.in_flight = self.begun = 0

    async def call(self, asked: Asked) -> None:
        await asyncio.sleep(asked.at)
        try:
            async with self.processes[asked.process].admitted("acme", self.limits, timeout_s=asked.timeout_s):
                self.in_flight += 1
                self.begun += 1
                assert self.in_flight <= (self.limits.limits.concurrent or 1000)
                try:
                    await asyncio.sleep(asked.lasts)
                finally:
                    self.in_flight -= 1
        except (LimitExceeded, psycopg.OperationalError):
            pass

    async def tended(self, limits: ConnectorLimits) -> None:
        while True:
            await asyncio.sleep(0.5)
            try:
                await limits.tend()
            except psycopg.OperationalError:
                continue

    async def run(self, calls: list[Asked]) -> None:
        duties = [asyncio.create_task(self.tended(limits)) for limits in self.processes]
        tasks = [asyncio.create_task(self.call(asked)) for asked in calls]
        for task, asked in zip(tasks, calls, strict=True):
            if asked.cancelled_after is not None:
                asyncio.get_running_loop().call_later(asked.at + asked.cancelled_after, task.cancel)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError), outcome
        # Nothing is left of them: the next call of each process begins at once, and then every place is given back.
        self.row.faults = forever("")
        await asyncio.sleep(4.0)
        for number in range(3):
            await self.call(Asked(process=number, at=0.0, lasts=0.0, timeout_s=10.0, cancelled_after=None))
            await asyncio.sleep(4.0)
        for limits in self.processes:
            assert [(a.used, a.waiting, a.places) for a in limits._accounts.values()] in ([], [(0, 0, 0)])
        assert sum(n for n, _ in self.row.places.values()) == 0
        for duty in duties:
            duty.cancel()


@settings(max_examples=300)
@given(
    calls=CALLS,
    latencies=st.lists(st.integers(0, 40).map(lambda n: n / 100), min_size=1, max_size=30),
    faults=st.lists(st.sampled_from(["", "", "", "rolled back", "committed"]), max_size=20),
    limits=st.fixed_dictionaries(
        {"concurrent": st.integers(1, 4)},
        optional={"calls_per_s": st.sampled_from([2, 20]), "burst": st.sampled_from([1, 8])},
    ),
)
def test_never_more_at_once_than_the_limit_and_nothing_is_left_behind(
    calls: list[Asked], latencies: list[float], faults: list[str], limits: dict[str, int]
) -> None:
    async def main() -> None:
        def again(values: list[Any], then: Any) -> Iterator[Any]:
            yield from values
            yield from forever(then)

        await Trial(Row(again(latencies, 0.01), again(faults, "")), connector(**limits)).run(calls)

    run(main())


def test_a_place_that_is_freed_while_its_waiter_asks_is_not_waited_for() -> None:
    async def main() -> None:
        row = Row(forever(0.02), forever(""))
        limits, limited = process(row, 1), connector(concurrent=1)
        began = list[float]()

        async def one(lasts: float) -> None:
            async with limits.admitted("acme", limited, timeout_s=10.0):
                began.append(asyncio.get_running_loop().time())
                await asyncio.sleep(lasts)

        first = asyncio.create_task(one(0.15))
        await asyncio.sleep(0.18)
        assert len(began) == 1  # this call ends after the next one has looked, and before that has its answer
        await one(0.0)
        await first
        assert began[1] - (began[0] + 0.15) < rules.PLACE_RETRY_S / 2

    run(main())


def test_places_whose_lease_is_over_are_not_taken_back_from_who_has_them_now() -> None:
    async def main() -> None:
        row = Row(forever(0.0), forever(""))
        one, two, limited = process(row, 1), process(row, 2), connector(concurrent=2)
        async with one.admitted("acme", limited, timeout_s=1.0):
            pass
        await asyncio.sleep(rules.PLACES_LEASE_S + 1)  # this process stood still
        (account,) = one._accounts.values()
        account.used_at = asyncio.get_running_loop().time()
        async with two.admitted("acme", limited, timeout_s=1.0), two.admitted("acme", limited, timeout_s=1.0):
            await one.tend()
            assert sum(n for n, until in row.places.values() if until > row.now()) == 2
            with pytest.raises(LimitExceeded):
                async with one.admitted("acme", limited, timeout_s=0.1):
                    pass

    run(main())


def test_a_place_is_not_given_back_under_a_call_that_waits_for_its_token() -> None:
    async def main() -> None:
        row = Row(forever(0.01), forever(""))
        one, two = process(row, 1), process(row, 2)
        limited = connector(concurrent=1, calls_per_s=20, burst=1)
        async with one.admitted("acme", limited, timeout_s=1.0):
            pass
        await asyncio.sleep(rules.PLACES_IDLE_S + 1)
        tending = asyncio.create_task(one.tend())
        async with one.admitted("acme", limited, timeout_s=5.0):
            await tending
            with pytest.raises(LimitExceeded):
                async with two.admitted("acme", limited, timeout_s=0.5):
                    pass

    run(main())
