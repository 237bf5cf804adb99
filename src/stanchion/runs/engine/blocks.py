"""for_each over a block, from the parent's side: create the items as child runs, wait for them, collect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stanchion.base import Json
from stanchion.blueprints import ForEach, OpKind
from stanchion.runs import fanout, rules
from stanchion.runs.engine import suspension
from stanchion.runs.engine.attempt import Left
from stanchion.runs.engine.items import fan_out_output, item_failed, values_of
from stanchion.runs.engine.plan import OpPlan
from stanchion.runs.types import RunStatus, StepStatus, WaitingKind

if TYPE_CHECKING:
    from stanchion.runs.engine.execution import Execution


async def run_block(execution: Execution, op: OpPlan, for_each: ForEach) -> Json:
    """Go on with a fan-out, whatever state its children are in; return {succeeded, failed} once it is done.

    Raises Invalid `for_each.item_failed` if that fails the step; Left once the run waits for its items.
    """
    run, env = execution.run, execution.host.env
    values = values_of(execution, op, for_each)
    rule = rules.FanOut(
        total=len(values),
        concurrency=for_each.concurrency,
        on_item_error=for_each.on_item_error,
        max_failures=for_each.max_failures,
    )
    claim = execution.claim
    block = for_each.block or ""
    first = execution.plan.blocks[block][0]
    opening = fanout.Opening(
        tenant=run.tenant,
        environment=run.environment,
        blueprint=run.blueprint,
        version=run.version,
        pins=run.pins,
        queue=run.queue,
        traceparent=run.traceparent,
        block=block,
        path=first.path,
        verb=first.verb,
        empty=first.op.kind is OpKind.END,
    )
    if await fanout.create(env, claim, op.path, opening, values, rule):
        await fanout.cancel_queued(env, claim, op.path)
        return await _collect(execution, op, rule)
    await _wait(execution, op, rule)
    raise Left


async def _collect(execution: Execution, op: OpPlan, rule: rules.FanOut) -> Json:
    succeeded: list[tuple[int, Json]] = []
    failed: list[tuple[int, Json]] = []
    for item in await fanout.ended_items(execution.host.env, execution.run.id, op.path):
        if item.status == RunStatus.SUCCEEDED:
            succeeded.append((item.item_no, item.output))
        elif item.status == RunStatus.FAILED or not item.never_started:
            failed.append((item.item_no, dict(item.error or {})))
    if rules.fan_out_failed(rule, len(failed)):
        raise item_failed(op.path, len(failed), rule.total, failed[0][1])
    return fan_out_output(succeeded, failed)


async def _wait(execution: Execution, op: OpPlan, rule: rules.FanOut) -> None:
    row: dict[str, Any] = execution.notes.row(op, StepStatus.SUSPENDED)
    row["fan_out"] = {
        "total": rule.total,
        "concurrency": rule.concurrency,
        "on_item_error": rule.on_item_error,
        "max_failures": rule.max_failures,
    }
    written = await execution.write(
        RunStatus.SUSPENDED, op, [row], 0, waiting_kind=WaitingKind.CHILD.value, waiting_ref=op.path
    )
    # Only now may items begin: whichever of "the parent waits" and "an item ended" commits last looks after the rest.
    execution.host.item_ended(execution.run.tenant, execution.run.id)
    suspension.suspended(execution, WaitingKind.CHILD, written)
