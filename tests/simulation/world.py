"""The outside world: a bank whose ledger is the only thing the checkers trust, and the adapter that speaks to it.

A request travels to the bank, is refused or carried out there, and its answer travels back. What the bank does is done
by the world and not by the process that asked: a worker that dies after it sent a request does not stop it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stanchion.base import Json
from stanchion.tools.adapter import Target
from stanchion.tools.adapters.call import Call
from stanchion.tools.types import Envelope, Record
from tests.simulation.faults import Faults
from tests.simulation.loop import Loop, current_process
from tests.simulation.work import Log


@dataclass(slots=True)
class Received:
    """One write that reached the bank; `applied` says whether it changed anything there."""

    seq: int
    at: float
    resource: str
    key: str
    record: Mapping[str, Json]
    applied: bool
    process: str


class Bank:
    """What is outside: orders to look up, and a ledger of every write that arrived."""

    def __init__(self, loop: Loop, log: Log, faults: Faults, rng: random.Random) -> None:
        self.loop = loop
        self.log = log
        self.faults = faults
        self.rng = rng
        self.orders: dict[str, dict[str, Json]] = {}
        self.ledger: list[Received] = []
        self.keys: dict[tuple[str, str], Received] = {}
        # What was applied, by key alone.
        self.applied: dict[str, Received] = {}
        self.natural: dict[tuple[str, str, Json], Received] = {}
        # Requests on their way, by key: who settles an effect of unknown outcome waits until there is none.
        self.travelling: dict[str, int] = {}
        self.refusing_until = -1.0

    def write(self, resource: str, record: Mapping[str, Json], key: str, process: str) -> bool:
        """Carry out a write, if it is new by the resource's own rule; whether it was."""
        if resource in ("keyed", "probed"):
            applied = (resource, key) not in self.keys
        elif resource == "natural":
            applied = (resource, str(record["order"]), record["amount"]) not in self.natural
        else:
            applied = True
        received = Received(self.log.next(), self.loop.time(), resource, key, dict(record), applied, process)
        self.ledger.append(received)
        if applied:
            self.keys[resource, key] = received
            self.applied[key] = received
            self.natural[resource, str(record["order"]), record["amount"]] = received
        return applied


class SimulatedAdapter:
    """Fills `tools.Adapter` as the PUSH and LOOKUP handlers use it: one per process."""

    name = "simulated"

    def __init__(self, bank: Bank, clock: Any) -> None:
        self._bank = bank
        self._clock = clock
        self._faults = bank.faults

    async def lookup(self, target: Target, key: Json) -> Envelope:
        call = Call(target=target, clock=self._clock)
        await self._travel(target)
        return call.looked_up(self._bank.orders.get(str(key)))

    async def _travel(self, target: Target) -> None:
        if self._refuses():
            raise target.problem("adapter.refused", "is closed", retryable=True)
        await self._bank.loop.sleep(self._bank.rng.random() * 0.02)

    def _refuses(self) -> bool:
        if self._bank.loop.time() < self._bank.refusing_until:
            self._faults.hit("target refuses for a while")
            return True
        return self._faults.happens("target fails before the effect")

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        bank, loop = self._bank, self._bank.loop
        call = Call(target=target, clock=self._clock)
        if self._refuses():
            await loop.sleep(bank.rng.random() * 0.01)
            raise target.problem("adapter.refused", "did not take the call", retryable=True)
        slow = self._faults.happens("target slow")
        there = bank.rng.random() * (4.0 if slow else 0.02)
        back = bank.rng.random() * (2.0 if slow else 0.02)
        lost = self._faults.happens("target answers, and the answer is lost")
        answer: asyncio.Future[bool] = loop.create_future()
        process = current_process()
        bank.travelling[idempotency_key] = bank.travelling.get(idempotency_key, 0) + 1

        def arrive() -> None:
            bank.travelling[idempotency_key] -= 1
            applied = bank.write(target.resource.name, record, idempotency_key, process.name if process else "")
            if not lost:
                loop.call_later(back, come_back, applied, context=bank.faults.context)

        def come_back(applied: bool) -> None:
            if not answer.done():
                answer.set_result(applied)

        loop.call_later(there, arrive, context=bank.faults.context)
        try:
            async with asyncio.timeout(target.timeout_s):
                applied = await answer
        except TimeoutError:
            raise target.problem(
                "adapter.timeout", "did not answer", retryable=target.operation.idempotency != "none", sent=True
            ) from None
        return call.pushed(applied=applied, rows=int(applied), idempotency_key=idempotency_key)

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:
        await self._travel(target)
        return (target.resource.name, idempotency_key) in self._bank.keys

    async def close(self) -> None:
        """Nothing is held."""


class SimulatedAdapters:
    """Stands for `tools.adapters.registry.Adapters`."""

    def __init__(self, adapter: SimulatedAdapter) -> None:
        self._adapter = adapter

    def get(self, name: str) -> Any:
        assert name == "simulated"
        return self._adapter
