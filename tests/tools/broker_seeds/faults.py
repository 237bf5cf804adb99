"""What goes wrong with one attempt of a PUSH: each fault strikes at one point of its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.tools.broker_seeds.outside import TIMEOUT_S
from tests.tools.broker_seeds.processes import Brokers, WorkerProcess
from tests.tools.broker_seeds.stage import Stage


@dataclass(kw_only=True)
class Attempt:
    """The attempt that a fault is planted into.

    `frozen` is set when it stands still and something else must go on; it goes on itself when `thawed` is set.
    """

    stage: Stage
    worker: WorkerProcess
    brokers: Brokers
    frozen: asyncio.Event = field(default_factory=asyncio.Event)
    thawed: asyncio.Event = field(default_factory=asyncio.Event)

    async def broker_killed(self) -> Any:
        """The call is in the broker's hands when it dies; nothing that it began comes back."""
        self.brokers.kill()
        if asyncio.current_task() is not self.worker.task:
            await asyncio.Event().wait()

    async def broker_killed_at_target(self) -> str:
        self.brokers.kill()
        return "reset"

    async def stand_still(self) -> None:
        self.frozen.set()
        await self.thawed.wait()

    async def outlive(self) -> None:
        """The worker dies, and its call stands still in the broker until another worker has come and gone."""
        self.worker.kill()
        await self.stand_still()

    async def silent(self) -> str:
        Stage.jump(TIMEOUT_S + 0.05)
        return "silent"

    def twice(self) -> None:
        self.worker.client.twice = True


def _lost() -> None:
    raise psycopg.OperationalError("the answer of the commit was lost")


def _refused() -> None:
    raise psycopg.DataError("the commit was refused")


def _at(point: str, what: Callable[[Attempt], Any]) -> Callable[[Attempt], None]:
    return lambda attempt: attempt.stage.trap(point, what(attempt))


def _answer(how: str) -> Callable[[Attempt], Any]:
    return lambda _: lambda: how


FAULTS: dict[str, Callable[[Attempt], None]] = {
    # The worker dies, wherever it is.
    "worker_killed_before_intent": _at("begin", lambda a: a.worker.crash),
    "worker_killed_after_intent": _at("begun", lambda a: a.worker.crash),
    "worker_killed_before_sending": _at("sending", lambda a: a.worker.crash),
    "worker_killed_after_sending": _at("broker_entry", lambda a: a.worker.kill),
    "worker_killed_after_the_write": _at("written", lambda a: a.worker.kill),
    "worker_killed_with_the_answer": _at("answered", lambda a: a.worker.crash),
    "worker_killed_after_the_receipt": _at("recorded", lambda a: a.worker.crash),
    # The database takes a commit and its answer is lost, or it does not take it.
    "intent_lost": _at("intent_commit", lambda _: _lost),
    "intent_answer_lost": _at("intent_committed", lambda _: _lost),
    "receipt_lost": _at("receipt_commit", lambda _: _lost),
    "receipt_answer_lost": _at("receipt_committed", lambda _: _lost),
    "receipt_refused": _at("receipt_commit", lambda _: _refused),
    # The broker dies or is replaced.
    "broker_killed_before_the_call": _at("sending", lambda a: a.broker_killed),
    "broker_killed_before_sending": _at("broker_entry", lambda a: a.broker_killed),
    "broker_killed_after_the_write": _at("written", lambda a: a.broker_killed_at_target),
    "broker_killed_with_the_answer": _at("broker_answer", lambda a: a.broker_killed),
    "broker_replaced_during_the_call": _at("broker_entry", lambda a: a.brokers.replace),
    # The target, before it writes and after.
    "target_500": _at("arrived", _answer("500")),
    "target_500_after_the_write": _at("written", _answer("500")),
    "target_reset": _at("arrived", _answer("reset")),
    "target_reset_after_the_write": _at("written", _answer("reset")),
    "target_silent": _at("arrived", lambda a: a.silent),
    "target_silent_after_the_write": _at("written", lambda a: a.silent),
    "target_busy": _at("arrived", _answer("429")),
    # The same call twice, and calls that come late.
    "delivered_twice": _at("begun", lambda a: a.twice),
    "worker_frozen_before_sending": _at("sending", lambda a: a.stand_still),
    "call_outlives_its_worker": _at("broker_entry", lambda a: a.outlive),
}
