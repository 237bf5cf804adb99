"""for_each on a step: every item is a StepRun `path[n]` of the same run, up to `concurrency` of them at once.

Lanes take items in order. The commit that ends an item carries the row of the lane's next item, so that no item is
executed before its row is committed (I1) and n items cost n + 1 commits, shared with other runs' as always. An item
that waits (for its retry, for an effect's outcome) does not hold its lane; when nothing else is left to do, the run
suspends until the earliest of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from stanchion.base import Invalid, Json, Problem, raw
from stanchion.blueprints import ForEach
from stanchion.runs import rules
from stanchion.runs.engine import suspension
from stanchion.runs.engine.attempt import Done, Failed, Interrupted, Left, Outcome, Waits
from stanchion.runs.engine.plan import OpPlan
from stanchion.runs.engine.writer import Checkpoint
from stanchion.runs.tasks import end_tasks
from stanchion.runs.types import LostClaim, RunStatus, StepRun, StepStatus, Suspend, WaitingKind

if TYPE_CHECKING:
    from stanchion.runs.engine.execution import Execution


# What holds items back from without, whatever they do.
_HELD: Final = frozenset({WaitingKind.KILLED, WaitingKind.REVOKED})


@dataclass(slots=True, kw_only=True)
class _Item:
    no: int
    path: str
    value: Json
    attempt: int = 1
    first: int = 1
    errors: list[Json] | None = None
    resumed: bool = False


@dataclass(slots=True, kw_only=True)
class _Wait:
    kind: WaitingKind
    ref: str | None
    after_s: float | None


def values_of(execution: Execution, op: OpPlan, for_each: ForEach) -> list[Json]:
    """The items of a for_each. Raises Invalid if they are no list, or too many."""
    values = for_each.items.evaluate(execution.scope)
    if not isinstance(values, list):
        raise Invalid(
            "for_each.not_a_list",
            f"`for_each.in` of step {op.path!r} gave {type(values).__name__}, not a list.",
            hint="Name the field that holds the records, such as `steps.cases.records`.",
        )
    if len(values) > rules.FAN_OUT_ITEMS_MAX:
        raise Invalid(
            "for_each.too_many_items",
            f"Step {op.path!r} would fan out over {len(values)} items; at most {rules.FAN_OUT_ITEMS_MAX} are allowed.",
            hint="Fetch a page at a time and start one run per page.",
        )
    return values


def item_scope(scope: dict[str, Json], for_each: ForEach, item_no: int, value: Json) -> dict[str, Json]:
    """The scope of one item: everything the step sees, and the item under its names."""
    names: dict[str, Json] = {**scope, "item": value, "item_no": item_no}
    if for_each.alias is not None:
        names[for_each.alias] = value
    return names


def item_failed(path: str, failed: int, total: int, first_error: Json) -> Invalid:
    """What a for_each fails of, telling the first failure."""
    told = first_error if isinstance(first_error, dict) else {}
    return Invalid(
        "for_each.item_failed",
        f"{failed} of {total} items of step {path!r} failed; the first: {told.get('message', 'unknown')}",
        hint=str(told.get("hint") or "Requeue the run to try the failed items again, once the cause is mended."),
    )


def fan_out_output(succeeded: list[tuple[int, Json]], failed: list[tuple[int, Json]]) -> Json:
    """The output of a for_each: outputs and errors of its items, each in the items' order."""
    good: list[Json] = [{"item_no": no, "output": output} for no, output in sorted(succeeded, key=_number)]
    bad: list[Json] = [{"item_no": no, "error": _told(error)} for no, error in sorted(failed, key=_number)]
    return {"succeeded": good, "failed": bad}


def _told(error: Json) -> Json:
    full = error if isinstance(error, dict) else {}
    return {"code": full.get("code"), "message": full.get("message")}


def _number(pair: tuple[int, Json]) -> int:
    return pair[0]


async def run_items(execution: Execution, op: OpPlan, for_each: ForEach) -> Json:
    """Execute all items of a for_each step; return {succeeded, failed}.

    Raises Invalid `for_each.item_failed` if that fails the step; Left if the run suspended, ended or was handed back.
    """
    return await _Items(execution, op, for_each).run()


class _Items:
    def __init__(self, execution: Execution, op: OpPlan, for_each: ForEach) -> None:
        self.execution = execution
        self.op = op
        self.for_each = for_each
        self.todo: deque[_Item] = deque()
        # Items that have a row and have not ended.
        self.open: dict[int, _Item] = {}
        self.waiting: list[_Wait] = []
        # A kill switch or a revocation holds an item back: no further one is begun.
        self.held = False
        self.succeeded: list[tuple[int, Json]] = []
        self.failed: list[tuple[int, Json]] = []
        values = values_of(execution, op, for_each)
        self.rule = rules.FanOut(
            total=len(values),
            concurrency=for_each.concurrency,
            on_item_error=for_each.on_item_error,
            max_failures=for_each.max_failures,
        )
        for no, value in enumerate(values):
            path = f"{op.path}[{no}]"
            self._sort(_Item(no=no, path=path, value=value), execution.stored.get(path))

    def _sort(self, item: _Item, stored: StepRun | None) -> None:
        """Where an item of an earlier stay in a worker stands."""
        if stored is None:
            self.todo.append(item)
        elif stored.status == StepStatus.SUCCEEDED:
            self.succeeded.append((item.no, stored.output))
        elif stored.status == StepStatus.FAILED:
            self.failed.append((item.no, dict(stored.error or {})))
        else:
            # Still open: its line in the run's digest is written when it ends.
            self.execution.notes.reopen(item.path)
            self.open[item.no] = item
            item.attempt, item.first, item.errors = stored.attempt, stored.first_attempt, stored.errors
            again = stored.status == StepStatus.SUSPENDED and stored.wake_at is not None
            item.resumed = not again and stored.started_at is not None
            if again and stored.wake_at is not None and stored.wake_at > self.execution.run.db_now:
                after_s = (stored.wake_at - self.execution.run.db_now).total_seconds()
                self.waiting.append(_Wait(kind=WaitingKind.RETRY, ref=self.op.path, after_s=after_s))
            else:
                self.todo.append(item)

    async def run(self) -> Json:
        """Go through all items."""
        first = [item for item in (self._next() for _ in range(self.for_each.concurrency)) if item is not None]
        if first:
            rows = [self._row(item, StepStatus.RUNNING, started=True) for item in first]
            await self._write(rows, 0)
            await _together([self._lane(item) for item in first])
        execution, op = self.execution, self.op
        if execution.interruption == "cancel" or execution.cancel_reason is not None:
            self._close(suspension.run_cancelled(execution.run.id))
            await execution.cancelled(op)
        if self._handing_back() and (self.todo or execution.interruption == "drain"):
            row = execution.notes.row(op, StepStatus.PENDING)
            await execution.write(RunStatus.PENDING, op, [row], 0)
            raise Left
        if self.waiting:
            await self._suspend()
        if rules.fan_out_failed(self.rule, len(self.failed)):
            problem = item_failed(op.path, len(self.failed), self.rule.total, min(self.failed, key=_number)[1])
            self._close(problem)
            raise problem
        return fan_out_output(self.succeeded, self.failed)

    def _close(self, problem: Problem) -> None:
        """Items that were begun and will not go on fail with the run: no StepRun of an ended run stays open."""
        for item in list(self.open.values()):
            error = rules.error_json(problem, step=item.path)
            row = self._ended(item, StepStatus.FAILED, None, problem.code)
            self.execution.notes.add(row | {"error": error})

    def _handing_back(self) -> bool:
        return self.execution.host.draining or self.execution.interruption is not None

    def _next(self) -> _Item | None:
        """The next item to start, or None if there is none or none may be started any more."""
        if not self.todo or self._handing_back() or self.execution.cancel_reason is not None:
            return None
        if self.held or rules.fan_out_failed(self.rule, len(self.failed)):
            return None
        item = self.todo.popleft()
        self.open[item.no] = item
        return item

    async def _lane(self, item: _Item) -> None:
        current: _Item | None = item
        while current is not None:
            hand = self.execution.take_hand()
            outcome = await self.execution.attempt(
                self.op,
                hand,
                path=current.path,
                attempt=current.attempt,
                resumed=current.resumed,
                scope=item_scope(self.execution.scope, self.for_each, current.no, current.value),
            )
            self.execution.hands.pop(hand, None)
            current = await self._commit(current, outcome)

    async def _commit(self, item: _Item, outcome: Outcome) -> _Item | None:
        """Commit an item's end together with the start of the lane's next one."""
        row, weight = self._settle(item, outcome)
        following = self._next()
        rows = [row]
        if following is not None:
            rows.append(self._row(following, StepStatus.RUNNING, started=True))
        try:
            if isinstance(outcome, Waits) and outcome.suspend.also is not None:
                await self._write_with(rows, outcome.suspend)
            else:
                await self._write(rows, weight)
        except Invalid as problem:
            if not isinstance(outcome, Done):
                raise
            # What the item returned cannot be stored: it fails alone.
            self.succeeded = [pair for pair in self.succeeded if pair[0] != item.no]
            rows[0], _ = self._settle(item, Failed(problem, retryable=False))
            await self._write(rows, 0)
        return following

    def _settle(self, item: _Item, outcome: Outcome) -> tuple[dict[str, Any], int]:
        if isinstance(outcome, Done):
            self.succeeded.append((item.no, outcome.output))
            row = self._ended(item, StepStatus.SUCCEEDED, outcome.data, None)
            return row | {"output": raw(outcome.data)}, len(outcome.data)
        if isinstance(outcome, Interrupted):
            return self._row(item, StepStatus.PENDING), 0
        if isinstance(outcome, Waits):
            return self._waits(item, outcome.suspend), 0
        error = rules.error_json(outcome.problem, step=item.path)
        if self.execution.may_retry(self.op, outcome, item.attempt, item.first):
            failed = item.attempt - item.first + 1
            delay_s = suspension.delay(self.execution, self.op, outcome.problem, failed)
            self.waiting.append(_Wait(kind=WaitingKind.RETRY, ref=self.op.path, after_s=delay_s))
            self.execution.host.env.telemetry.emit("step.retried", 1.0, self.op.verb)
            row = self._row(item, StepStatus.SUSPENDED, attempt=item.attempt + 1)
            errors = rules.kept_errors(item.errors, error, item.attempt)
            item.attempt += 1
            return row | {"error": error, "errors": errors, "delay_s": delay_s}, 0
        self.failed.append((item.no, error))
        row = self._ended(item, StepStatus.FAILED, None, outcome.problem.code) | {"error": error}
        if item.attempt > item.first:
            row["errors"] = rules.kept_errors(item.errors, error, item.attempt)
        return row, 0

    def _waits(self, item: _Item, wish: Suspend) -> dict[str, Any]:
        after_s = wish.after_s
        row = self._row(item, suspension.waiting_status(wish))
        if wish.wake_at is not None:
            after = wish.wake_at - self.execution.host.env.clock.now()
            after_s = max(after, timedelta()).total_seconds()
            row["delay_s"] = after_s
        self.waiting.append(_Wait(kind=wish.kind, ref=wish.ref, after_s=after_s))
        self.held = self.held or wish.kind in _HELD
        return row

    def _row(
        self, item: _Item, status: StepStatus, *, attempt: int | None = None, started: bool = False
    ) -> dict[str, Any]:
        return self.execution.notes.row(
            self.op,
            status,
            path=item.path,
            item_no=item.no,
            attempt=attempt or item.attempt,
            first=item.first,
            started=started,
        )

    def _ended(self, item: _Item, status: StepStatus, output: bytes | None, code: str | None) -> dict[str, Any]:
        self.open.pop(item.no, None)
        self.execution.notes.enter(self.op, item.path, item.no, status, item.attempt, output, code)
        self.execution.host.env.telemetry.emit("step.ended", 1.0, self.op.verb, status.value)
        return self._row(item, status) | {"ended": True}

    async def _write(self, rows: list[dict[str, Any]], weight: int) -> None:
        await self.execution.write(RunStatus.RUNNING, self.op, rows, weight)

    async def _write_with(self, rows: list[dict[str, Any]], wish: Suspend) -> None:
        run = self.execution.run
        head = {"id": run.id, "epoch": run.epoch, "status": "RUNNING", "cursor": self.op.position, "path": self.op.path}
        if wish.also is None:
            return
        written = await self.execution.host.writer.write_with(
            Checkpoint(run_id=run.id, run=head, steps=rows), wish.also
        )
        if written is None:
            raise LostClaim

    async def _suspend(self) -> None:
        """Nothing is left but items that wait: the run waits for what a person or a target must say, if there is
        such an item, and in any case no longer than until the earliest due time."""
        asked = [wait for wait in self.waiting if wait.kind is not WaitingKind.RETRY]
        # The lifting of a kill lets all go on (and so does another version in place of a revoked one), and those that
        # wait for a person wait again then.
        asked.sort(key=lambda wait: wait.kind not in _HELD)
        kind, ref = (asked[0].kind, asked[0].ref) if asked else (WaitingKind.RETRY, self.op.path)
        due = [wait.after_s for wait in self.waiting if wait.after_s is not None]
        row = self.execution.notes.row(self.op, StepStatus.SUSPENDED)
        fields: dict[str, Any] = {"waiting_kind": kind.value, "waiting_ref": ref}
        if due:
            fields["delay_s"] = min(due)
            self.execution.host.retry_in(min(due))
        written = await self.execution.write(RunStatus.SUSPENDED, self.op, [row], 0, **fields)
        suspension.suspended(self.execution, kind, written)


async def _together(lanes: list[Any]) -> None:
    """Await all lanes; if one raises, stop the others and raise that."""
    tasks = [asyncio.ensure_future(lane) for lane in lanes]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        await end_tasks(tasks)
