"""Claiming runs into this worker and driving each as a task."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import psycopg

from stanchion.base import Internal, Problem, Unavailable
from stanchion.db import Tx
from stanchion.runs import ending, rules
from stanchion.runs.engine import store
from stanchion.runs.engine.attempt import Reason
from stanchion.runs.engine.execution import Execution
from stanchion.runs.engine.host import Host
from stanchion.runs.engine.loading import load, plan_of
from stanchion.runs.engine.plan import Plan
from stanchion.runs.engine.store import Claimed
from stanchion.runs.engine.writer import Checkpoint
from stanchion.runs.tasks import end_tasks
from stanchion.runs.types import ENGINE_V, LostClaim, RunEndHook, RunStatus, WaitingKind

# Runs taken by one statement.
CLAIM_MAX: Final = 32
# Seconds until a run whose program could not be loaded just now is tried again.
_RELOAD_S: Final = 5.0


class Claims:
    """The runs this worker holds."""

    def __init__(
        self,
        host: Host,
        *,
        queues: Sequence[str],
        capacity: int,
        probation: bool,
        any_strikes: bool,
        hook: RunEndHook | None = None,
    ) -> None:
        self._host = host
        self._hook = hook
        self._queues = tuple(queues)
        self._capacity = capacity
        self._probation = probation
        self._any_strikes = any_strikes
        self._held: dict[UUID, tuple[Execution, asyncio.Task[None]]] = {}
        self._poke = asyncio.Event()
        self._backlog = False
        self._filling = False
        # Runs in this worker's name that nobody executes, because the database refused even to end them: id -> epoch.
        self._orphans: dict[UUID, int] = {}

    @property
    def running(self) -> int:
        """How many runs this worker holds."""
        return len(self._held)

    @property
    def idle(self) -> bool:
        """Whether it holds nothing and is not about to: what a claim took is held only once it is loaded."""
        return not self._held and not self._filling

    def poke(self) -> None:
        """Something may be ready: look as soon as there is a free place."""
        self._poke.set()

    def interrupt(self, run_id: UUID, reason: Reason) -> None:
        """Break off one run's step, if this worker holds the run."""
        held = self._held.get(run_id)
        if held is not None:
            held[0].interrupt(reason)

    async def loop(self) -> None:
        """Claim whenever poked and a place is free, in batches, until cancelled.

        Where every connection is busy, nothing was asked of the database, and the next tick pokes again.
        """
        while True:
            await self._poke.wait()
            self._poke.clear()
            self._filling = True
            try:
                await self._fill()
            except Unavailable as problem:
                if problem.code != "db.pool_exhausted":
                    raise
            finally:
                self._filling = False

    async def _fill(self) -> None:
        while (free := self._capacity - len(self._held)) > 0 and not self._host.draining:
            asked = min(free, CLAIM_MAX)
            if await self._claim(asked) < asked:
                self._backlog = False
                return
        self._backlog = True

    async def _claim(self, limit: int) -> int:
        host = self._host
        async with host.env.db.connection("engine") as tx:
            claimed = await store.claim(
                tx,
                worker=host.worker_id,
                queues=self._queues,
                engine_v=ENGINE_V,
                limit=limit,
                probation=self._probation,
                any_strikes=self._any_strikes,
            )
            if claimed:
                await self._begin(tx, claimed)
        if claimed:
            host.env.telemetry.emit("claim.size", float(len(claimed)))
            for run in claimed:
                host.env.telemetry.emit("run.queued", run.waited_s, run.queue)
        return len(claimed)

    async def _begin(self, tx: Tx, claimed: list[Claimed]) -> None:
        """Start a task for each run; whatever goes wrong, none is left in this worker's name without one."""
        loaded: list[Execution] = []
        try:
            ready = await self._planned(claimed)
            loaded = await load(self._host, tx, [run for run, _ in ready], [plan for _, plan in ready])
        except BaseException:
            self._orphans.update((run.id, run.epoch) for run in claimed)
            raise
        for execution in loaded:
            task = asyncio.create_task(self._drive(execution))
            self._held[execution.run.id] = (execution, task)
        if len(loaded) < len(ready):  # claimed as they were a moment ago: given back, and claimed anew as they are
            begun = {execution.run.id for execution in loaded}
            self._orphans.update((run.id, run.epoch) for run, _ in ready if run.id not in begun)

    async def _planned(self, claimed: list[Claimed]) -> list[tuple[Claimed, Plan]]:
        ready: list[tuple[Claimed, Plan]] = []
        for run in claimed:
            try:
                ready.append((run, await plan_of(self._host, run)))
            except Problem as problem:
                await self._refuse(run, problem)
            except psycopg.Error:
                raise
            except Exception as error:  # noqa: BLE001 - the step runner: what one program breaks must not stop the others
                self._host.env.telemetry.emit("defect", run=str(run.id), error=repr(error))
                await self._refuse(run, Internal("engine.defect", f"The program of run {run.id} cannot be loaded."))
        return ready

    async def _refuse(self, run: Claimed, problem: Problem) -> None:
        """A run whose program cannot be loaded: tried again if that may help, else it ends by that."""
        if problem.retryable:
            await self._postpone(run)
        else:
            await self._end(run, problem)

    async def _postpone(self, run: Claimed) -> None:
        host = self._host
        row: dict[str, Any] = {"id": run.id, "epoch": run.epoch, "cursor": run.cursor, "path": run.path}
        row |= {"status": "SUSPENDED", "waiting_kind": "retry", "waiting_ref": run.path, "delay_s": _RELOAD_S}
        step: dict[str, Any] = {"run_id": run.id, "path": run.path, "position": run.cursor, "verb": ""}
        step |= {"attempt": run.step_attempt or 1, "first_attempt": run.step_first_attempt or 1}
        step |= {"status": "SUSPENDED", "delay_s": _RELOAD_S}
        written = await host.writer.write(Checkpoint(run_id=run.id, run=row, steps=[step] if run.path else []))
        if written is not None:
            host.env.telemetry.emit("run.suspended", 1.0, run.queue, WaitingKind.RETRY.value)
            host.retry_in(_RELOAD_S)
            self._tell(run)

    async def _end(self, run: Claimed, problem: Problem) -> None:
        """End a run that cannot be executed: recorded, counted and told like any other failure."""
        env = self._host.env
        async with env.db.engine_tx() as tx:
            if not await store.lock_claimed(tx, run.id, run.epoch):
                return
            ended = await ending.end_all(
                tx,
                env,
                [run.id],
                RunStatus.FAILED,
                {run.id: rules.error_json(problem, step=run.path)},
                dead_reason=problem.code if run.parent_id is None else None,
                hook=self._hook,
            )
        ending.report(env, ended)
        self._tell(run)

    def _tell(self, run: Claimed) -> None:
        """Watchers hear of a run's end or wait; an item's lets its fan-out go on."""
        self._host.changed(run.id, True)
        if run.parent_id is not None:
            self._host.item_ended(run.tenant, run.parent_id)

    async def _drive(self, execution: Execution) -> None:
        try:
            await execution.drive()
        except LostClaim:
            return
        except (Unavailable, psycopg.OperationalError):
            self._orphans[execution.run.id] = execution.run.epoch
        except Exception as error:  # noqa: BLE001 - the step runner: what could not even fail its run ends it from outside
            await self._give_up(execution.run, error)
        except BaseException:
            # Cancelled, by us (then `abandon` forgets it) or by a handler's own doing: the run is not left behind.
            self._orphans[execution.run.id] = execution.run.epoch
            raise
        finally:
            self._held.pop(execution.run.id, None)
            if self._backlog:
                self._poke.set()

    async def _give_up(self, run: Claimed, error: Exception) -> None:
        self._host.env.telemetry.emit("defect", run=str(run.id), error=repr(error))
        problem = Internal("engine.defect", f"Run {run.id} met a defect of Stanchion: {type(error).__name__}.")
        try:
            await self._end(run, problem)
        except Exception as again:  # noqa: BLE001 - the step runner: then it is handed back
            self._orphans[run.id] = run.epoch
            self._host.env.telemetry.emit("defect", run=str(run.id), error=repr(again))

    async def release_orphans(self) -> None:
        """Give back what the database would not let us end. Raises if it still does not."""
        if self._orphans:
            orphans = sorted(self._orphans)
            async with self._host.env.db.connection("engine") as tx:
                await store.hand_back(tx, self._host.worker_id, orphans)
            for run_id in orphans:
                self._orphans.pop(run_id, None)

    async def abandon(self) -> dict[UUID, int]:
        """Drop every run at once and write nothing: another owns them, or soon will. Returns their ids and epochs."""
        dropped = self._orphans | {run_id: execution.run.epoch for run_id, (execution, _) in self._held.items()}
        await end_tasks([task for _, task in self._held.values()])
        self._held.clear()
        self._orphans.clear()
        return dropped

    async def drained(self, grace_s: float) -> bool:
        """Let steps in hand finish, then break them off, writes last; True if all runs were handed back in time."""
        if not await self._wait(grace_s * 0.6):
            self._interrupt_all(force=False)
            if not await self._wait(grace_s * 0.2):
                self._interrupt_all(force=True)
                await self._wait(grace_s * 0.1)
        return not self._held

    def _interrupt_all(self, *, force: bool) -> None:
        for execution, _ in list(self._held.values()):
            execution.interrupt("drain", force=force)

    async def _wait(self, seconds: float) -> bool:
        tasks = [task for _, task in self._held.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        return not self._held
