"""One claimed run in a worker: from its claim until it ends, waits, is handed back or is lost.

The run goes from op to op of its block. Gates, guards and jumps are decided on the way, in memory; their StepRuns are
written by the next checkpoint, which also carries the row of the step that is executed next (I1). An execution holds
everything of its run (values, tenant, outputs), and nothing outside it does: when it is dropped, all of it is gone.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from contextlib import nullcontext
from typing import Any, Final

import psycopg

from stanchion.audit import AuditRecord, trace_id_of
from stanchion.audit import build as build_audit
from stanchion.base import Internal, Invalid, Json, Problem, Unavailable, canonical, raw
from stanchion.blueprints import OpKind, Retry
from stanchion.context import system_actor
from stanchion.runs import rules
from stanchion.runs.engine import blocks, items, suspension
from stanchion.runs.engine.attempt import (
    Done,
    Failed,
    Hand,
    Interrupted,
    Left,
    Outcome,
    Reason,
    Waits,
    perform,
    too_large,
)
from stanchion.runs.engine.host import Host
from stanchion.runs.engine.notes import Notes, Row
from stanchion.runs.engine.plan import OpPlan, Plan, runs_something, truth
from stanchion.runs.engine.store import Claimed, Written
from stanchion.runs.engine.writer import Also, Checkpoint
from stanchion.runs.types import Claim, LostClaim, RunStatus, StepRun, StepStatus, Suspend, WaitingKind
from stanchion.telemetry import is_sampled

_NO_RETRY: Final = Retry()
# Asked for at every op: a member of an enum is dearer to look up than a name.
_RUNNING: Final = RunStatus.RUNNING
_END: Final = OpKind.END
_JUMP: Final = OpKind.JUMP
_GATE: Final = OpKind.GATE
_FAN_OUT: Final = OpKind.FAN_OUT
_ENDED: Final = frozenset(s.value for s in rules.ENDED)


class Execution:
    """One claimed run."""

    def __init__(
        self, host: Host, plan: Plan, run: Claimed, scope: dict[str, Json], steps: Mapping[str, StepRun]
    ) -> None:
        self.host = host
        self.plan = plan
        self.run = run
        self.ops = plan.blocks[run.block]
        # The op that answers for what goes wrong now.
        self.at = self.ops[run.cursor]
        self.scope = scope
        self.outputs: dict[str, Json] = scope["steps"]  # type: ignore[assignment]
        self.stored = steps
        self.notes = Notes(run.id, run.path, steps, host.env.telemetry)
        self.claim = Claim(tenant=run.tenant, run_id=run.id, epoch=run.epoch)
        # One hand for the steps that follow one another; items have their own. In the order in which they began.
        self._hand = Hand()
        self.hands: dict[Hand, None] = {self._hand: None}
        self.cancel_reason: str | None = None
        self.interruption: Reason | None = None

    # --- what the worker calls

    async def drive(self) -> None:
        """Execute until the run leaves this worker. Raises LostClaim if a newer epoch owns the run."""
        run = self.run
        traced = is_sampled(run.traceparent)
        span = self.host.env.telemetry.span("run", run.traceparent, run=str(run.id)) if traced else nullcontext()
        with span:
            try:
                await self._drive_or_fail()
            except Left:
                return

    async def _drive_or_fail(self) -> None:
        """A problem that no step answers for fails the run; only what the database cannot take now passes through."""
        try:
            await self._drive()
        except (Unavailable, psycopg.OperationalError):
            raise
        except Problem as problem:
            await self._fail_here(problem)
        except Exception as error:  # noqa: BLE001 - the step runner: a defect of ours ends one run, not the worker
            self.host.env.telemetry.emit("defect", run=str(self.run.id), step=self.at.path, error=repr(error))
            where = f"at step {self.at.path!r}" if self.at.path else "at its end"
            await self._fail_here(
                Internal(
                    "engine.defect", f"Run {self.run.id} met a defect of Stanchion {where}: {type(error).__name__}."
                )
            )

    async def _fail_here(self, problem: Problem) -> None:
        """Fail the step the run stands at; at the block's end there is none."""
        op = self.at
        if not op.path:
            await self._end(RunStatus.FAILED, op, problem=problem, dead=True, step="output")
        # It may have been noted as done already.
        self.notes.drop(op.path)
        attempt, first = self.run.step_attempt or 1, self.run.step_first_attempt or 1
        if op.position != self.run.cursor:
            attempt = first = 1
        await self.fail(op, Failed(problem, retryable=False), attempt=attempt, first=first)

    def interrupt(self, reason: Reason, *, force: bool = False) -> None:
        """Break off the step in hand, unless it writes, and then end (`cancel`) or hand back (`drain`) the run."""
        self.interruption = reason
        for hand in self.hands:
            hand.interrupt(reason, force=force)

    # --- going from op to op

    async def _drive(self) -> None:
        index = await self._walk(self.run.cursor)
        if index != self.run.cursor or self.notes.rows or not runs_something(self.ops[index]):
            await self._go_on(index, None)
        resumed = self._resumed()
        attempt, first = self.run.step_attempt or 1, self.run.step_first_attempt or 1
        errors = self.run.step_errors
        if index != self.run.cursor:
            resumed, attempt, first, errors = False, 1, 1, None
        while True:
            op = self.at = self.ops[index]
            if op.op.kind is _FAN_OUT:
                done = await self._fan_out(op)
            else:
                done = await self._step(op, attempt, first, errors, resumed=resumed)
            index = await self._walk(self._next(op, done))
            await self._go_on(index, op)
            resumed, attempt, first, errors = False, 1, 1, None

    def _resumed(self) -> bool:
        """Whether the current step's attempt began before this claim: it was interrupted, or it suspended."""
        return bool(self.run.step_began) and self.run.waited_for != WaitingKind.RETRY

    def _next(self, op: OpPlan, done: Done) -> int:
        if done.exit is None:
            return op.position + 1
        if done.exit not in op.op.exits:
            raise Internal("step.unknown_exit", f"Step {op.path!r} took an exit {done.exit!r} that it does not have.")
        return op.op.exits[done.exit]

    async def _walk(self, index: int) -> int:
        """From `index` through gates, jumps and skipped steps to the next op that is executed, or to the end."""
        while True:
            op = self.at = self.ops[index]
            kind = op.op.kind
            if kind is _END:
                return index
            if kind is _JUMP:
                index = op.op.target
                continue
            if self.host.withdrawals.any and suspension.revoked(self, op) is not None:
                return index  # not even decided about
            try:
                guard = op.op.step.guard if op.op.step is not None else None
                if guard is not None and not truth(guard.evaluate(self.scope), op.path, "if"):
                    self.notes.ended(op, StepStatus.SKIPPED)
                    index = op.op.exits.get("skipped", index + 1)
                    continue
                if kind is not _GATE:
                    return index
                index = self._gate(op, index)
            except Problem as problem:
                await self.fail(op, Failed(problem, retryable=False), attempt=1)

    def _gate(self, op: OpPlan, index: int) -> int:
        condition = op.op.condition
        taken = condition is None or truth(condition.evaluate(self.scope), op.path, "logic_gate.if")
        output: dict[str, Json] = {"branch": "then" if taken else "else"}
        self.notes.ended(op, StepStatus.SUCCEEDED, output=canonical(output))
        self.outputs[op.step_id] = output
        return index + 1 if taken else op.op.target

    async def _go_on(self, index: int, last: OpPlan | None) -> None:
        """Commit what is done, with the row of what comes next; or the run's end, or the hand-back of a drain.

        If the database refuses the rows, step `last` fails: it returned what cannot be stored.
        """
        rows, noted = self.notes.rows, len(self.notes.rows)
        if last is not None:
            self.at = last
        try:
            await self._commit_next(self.ops[index])
        except Invalid as problem:
            if last is None:
                raise
            self.notes.reopen(*(row["path"] for row in rows[:noted]))
            await self.fail(last, Failed(problem, retryable=False), attempt=1)

    async def _commit_next(self, op: OpPlan) -> None:
        if self.host.withdrawals.any and (wish := suspension.revoked(self, op)) is not None and not self._cancelling:
            await suspension.hold_back(self, op, wish)
        if op.op.kind is _END:
            await self._succeed(op)
        drain = self.host.draining or self.interruption == "drain"
        status = StepStatus.PENDING if drain else StepStatus.RUNNING
        self.notes.add(self.notes.row(op, status, started=not drain))
        written = await self.commit(RunStatus.PENDING if drain else RunStatus.RUNNING, op)
        if drain:
            raise Left
        reason = written.cancel_reason or self.cancel_reason
        if reason is not None:
            await self.cancelled(op)

    # --- one step

    async def _step(self, op: OpPlan, attempt: int, first: int, errors: list[Json] | None, *, resumed: bool) -> Done:
        outcome = await self.attempt(op, self._hand, path=op.path, attempt=attempt, resumed=resumed, scope=self.scope)
        if isinstance(outcome, Done):
            self.succeeded(op, outcome, attempt, first)
            return outcome
        if isinstance(outcome, Waits):
            await suspension.suspend(self, op, outcome.suspend, attempt=attempt, first=first)
        elif isinstance(outcome, Interrupted):
            await self.interrupted(op, attempt=attempt, first=first)
        elif self.may_retry(op, outcome, attempt, first):
            await suspension.retry(self, op, outcome.problem, attempt=attempt, first=first, errors=errors)
        else:
            await self.fail(op, outcome, attempt=attempt, first=first, errors=errors)
        raise Left  # every branch above has ended the stay of the run in this worker

    def take_hand(self) -> Hand:
        """A new hand for an item, which a pending interruption stops before it begins."""
        hand = Hand()
        hand.reason = self.interruption
        self.hands[hand] = None
        return hand

    async def attempt(
        self, op: OpPlan, hand: Hand, *, path: str, attempt: int, resumed: bool, scope: Mapping[str, Json]
    ) -> Outcome:
        """Perform one attempt and count it; or wait, if the Blueprint is killed or what the op uses is revoked."""
        if (wish := self._held(op)) is not None:
            return Waits(wish)
        return await perform(
            self.host.env,
            self.plan,
            self.run,
            self.claim,
            op,
            hand,
            path=path,
            attempt=attempt,
            resumed=resumed,
            scope=scope,
        )

    def _held(self, op: OpPlan) -> Suspend | None:
        """What holds an op back that is about to be performed, of which nothing was known when its row was committed."""
        if self.host.kills.any and (wish := suspension.killed(self)) is not None:
            return wish
        if self.host.withdrawals.any and (wish := suspension.revoked(self, op)) is not None:
            self.host.env.telemetry.emit("withdrawal.stopped", 1.0, "step")
            return wish
        return None

    @property
    def _cancelling(self) -> bool:
        return self.cancel_reason is not None or self.interruption == "cancel"

    def may_retry(self, op: OpPlan, failed: Failed, attempt: int, first: int) -> bool:
        """Whether the step's policy allows another attempt after this failure."""
        policy = op.op.step.retry if op.op.step is not None else _NO_RETRY
        return rules.may_retry(policy, attempt=attempt, first_attempt=first, retryable=failed.retryable)

    def succeeded(self, op: OpPlan, done: Done, attempt: int, first: int) -> None:
        """Note the step's success for the next checkpoint and for the expressions after it."""
        self.notes.ended(op, StepStatus.SUCCEEDED, output=done.data, attempt=attempt, first=first)
        self.outputs[op.step_id] = done.output

    async def _fan_out(self, op: OpPlan) -> Done:
        for_each = op.op.step.for_each if op.op.step is not None else None
        if for_each is None:
            raise Internal("engine.bad_program", f"Op {op.path!r} fans out without a for_each.")
        attempt, first = self.run.step_attempt or 1, self.run.step_first_attempt or 1
        if op.position != self.run.cursor:
            attempt = first = 1
        if for_each.block is not None and (wish := self._held(op)) is not None:
            await suspension.suspend(self, op, wish, attempt=attempt, first=first)
        try:
            if for_each.block is None:
                output = await items.run_items(self, op, for_each)
            else:
                output = await blocks.run_block(self, op, for_each)
            data = canonical(output)
            if len(data) > rules.FAN_OUT_OUTPUT_MAX:
                raise too_large(op.path, len(data), rules.FAN_OUT_OUTPUT_MAX)
        except Problem as problem:
            await self.fail(op, Failed(problem, retryable=False), attempt=attempt, first=first)
            raise Left from problem
        done = Done(output, data, None)
        self.succeeded(op, done, attempt, first)
        return done

    # --- how a run leaves

    async def _succeed(self, op: OpPlan) -> None:
        self.at = op
        template = self.plan.block(self.run.block).output
        try:
            output = canonical(template.render(self.scope)) if template is not None else b"null"
            if len(output) > rules.FAN_OUT_OUTPUT_MAX:
                raise too_large("output", len(output), rules.FAN_OUT_OUTPUT_MAX)
        except Problem as problem:
            await self._end(RunStatus.FAILED, op, problem=problem, dead=True, step="output")
        else:
            await self._end(RunStatus.SUCCEEDED, op, output=output)

    async def fail(
        self, op: OpPlan, failed: Failed, *, attempt: int, first: int = 1, errors: list[Json] | None = None
    ) -> None:
        """End the run as FAILED by this step."""
        error = rules.error_json(failed.problem, step=op.path)
        kept = rules.kept_errors(errors, error, attempt) if attempt > 1 else None
        self.notes.ended(op, StepStatus.FAILED, error=error, attempt=attempt, first=first, errors=kept)
        await self._end(RunStatus.FAILED, op, problem=failed.problem, dead=failed.dead)

    async def interrupted(self, op: OpPlan, *, attempt: int, first: int) -> None:
        """The step in hand was broken off: the run is cancelled, or handed back as it stands."""
        if self.interruption == "cancel":
            await self.cancelled(op, attempt=attempt, first=first)
        self.notes.add(self.notes.row(op, StepStatus.PENDING, attempt=attempt, first=first))
        await self.commit(RunStatus.PENDING, op)
        raise Left

    async def cancelled(self, op: OpPlan, *, attempt: int = 1, first: int = 1, also: Also | None = None) -> None:
        """End the run as CANCELLED, `also` in the same transaction; the step it stood at fails by that."""
        problem = suspension.run_cancelled(self.run.id)
        error = rules.error_json(problem, step=op.path)
        self.notes.ended(op, StepStatus.FAILED, error=error, attempt=attempt, first=first)
        await self._end(RunStatus.CANCELLED, op, problem=problem, dead=False, also=also)

    async def _end(
        self,
        status: RunStatus,
        op: OpPlan,
        *,
        output: bytes | None = None,
        problem: Problem | None = None,
        dead: bool = False,
        step: str | None = None,
        also: Also | None = None,
    ) -> None:
        run, env = self.run, self.host.env
        fields: dict[str, Any] = {}
        if output is not None:
            fields["output"] = raw(output)
            self.notes.carry(output)
        if problem is not None:
            fields["error"] = rules.error_json(problem, step=step or op.path)
            if dead and run.parent_id is None:
                fields["dead_reason"] = problem.code
        record = build_audit(
            clock=env.clock,
            ids=env.ids,
            tenant=run.tenant,
            environment=run.environment,
            actor=system_actor("engine", run.tenant),
            event_type="run.ended",
            target=("run", run.id),
            run_id=run.id,
            after=self.notes.digest(),
            trace_id=trace_id_of(run.traceparent),
            extra={
                "status": str(status),
                "steps": self.notes.count,
                "attempt": run.attempt,
                **({"code": problem.code} if problem is not None else {}),
            },
        )
        written = await self.commit(
            status, op, audit=record, also=suspension.with_the_end(self, status, op, also), **fields
        )
        suspension.report_end(self, status, written, fields.get("dead_reason"))
        raise Left

    # --- checkpoints

    def commit(self, status: RunStatus, op: OpPlan, **fields: Any) -> Coroutine[Any, Any, Written]:
        """Write the noted rows and the run's own row, `fields` as `write` takes them; return once they are durable.
        Raises LostClaim if fenced."""
        return self.write(status, op, *self.notes.take(), **fields)

    async def write(
        self,
        status: RunStatus,
        op: OpPlan,
        rows: list[Row],
        weight: int,
        *,
        audit: AuditRecord | None = None,
        also: Also | None = None,
        **fields: Any,
    ) -> Written:
        """Write exactly `rows` (items of a fan-out commit side by side, each its own); with `also`, in a transaction of
        their own."""
        run = self.run
        row = {"id": run.id, "epoch": run.epoch, "status": status, "cursor": op.position, "path": op.path, **fields}
        checkpoint = Checkpoint(run.id, row, rows, audit, weight + 400)
        writer = self.host.writer
        written = await (writer.write(checkpoint) if also is None else writer.write_with(checkpoint, also))
        if written is None:
            raise LostClaim
        if written.cancel_reason is not None:
            self.cancel_reason = written.cancel_reason
        if not written.told:
            self.host.changed(run.id, status is not _RUNNING)
        return written
