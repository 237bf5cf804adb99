"""From claimed rows to executions: programs, earlier outputs, and what items read of the runs above them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

from stanchion.base import Internal, Json
from stanchion.db import Tx
from stanchion.runs.engine import store
from stanchion.runs.engine.execution import Execution
from stanchion.runs.engine.host import Host
from stanchion.runs.engine.plan import Plan
from stanchion.runs.engine.store import Ancestor, Claimed
from stanchion.runs.store import load_steps
from stanchion.runs.types import StepRun, StepStatus


@dataclass(slots=True, kw_only=True)
class _Above:
    """What the items of one claim batch read of enclosing runs; dropped with the batch."""

    runs: dict[UUID, Ancestor]
    outputs: dict[tuple[UUID, str], Json]


async def plan_of(host: Host, run: Claimed) -> Plan:
    """The plan of a run's pinned program. Raises Problem if it cannot be loaded."""
    plan = host.plans.of(run.tenant, await host.resolver.load(run.tenant, run.pins))
    if run.block not in plan.blocks or run.cursor >= len(plan.blocks[run.block]):
        raise Internal("engine.bad_program", f"The program of run {run.id} has no op {run.cursor} in {run.block!r}.")
    return plan


async def load(host: Host, tx: Tx, claimed: Sequence[Claimed], plans: Sequence[Plan]) -> list[Execution]:
    """Executions for freshly claimed runs, in a bounded number of queries whatever their number.

    A run is left out whose current StepRun the claim did not see as it is: a claim that had to wait for its worker's row
    looks at steps as they were before the wait, and the run has moved on since.
    """
    steps: dict[UUID, dict[str, StepRun]] = defaultdict(dict)
    # A run that is claimed for the first time has no StepRun but the one of its first op.
    if resumed := [run.id for run in claimed if run.epoch > 1]:
        for step in await load_steps(tx, resumed):
            steps[step.run_id][step.path] = step
    above = await _load_above(tx, claimed, plans)
    return [
        Execution(host, plan, run, _scope(run, plan, steps[run.id], above), steps[run.id])
        for run, plan in zip(claimed, plans, strict=True)
        if run.step_status is not None or run.path not in steps[run.id]
    ]


async def _load_above(tx: Tx, claimed: Sequence[Claimed], plans: Sequence[Plan]) -> _Above:
    above = _Above(runs={}, outputs={})
    items = [(run, plan) for run, plan in zip(claimed, plans, strict=True) if run.parent_id is not None]
    wanted = {id_ for run, _ in items for id_ in (run.parent_id, run.root_id) if id_ is not None}
    while missing := wanted - above.runs.keys():
        found = await store.load_ancestors(tx, sorted(missing))
        if not found:
            break
        above.runs.update((run.id, run) for run in found)
        wanted |= {run.parent_id for run in found if run.parent_id is not None}
    paths = {path for run, plan in items for path in plan.block(run.block).outer}
    if paths:
        for output in await store.load_outputs(tx, sorted(above.runs), sorted(paths)):
            above.outputs[output.run_id, output.path] = output.output
    return above


def _scope(run: Claimed, plan: Plan, steps: dict[str, StepRun], above: _Above) -> dict[str, Json]:
    """What the run's expressions read (`Place.schema` of blueprints is the same, as types)."""
    ids = {op.path: op.step_id for op in plan.blocks[run.block]}
    outputs: dict[str, Json] = {
        ids[path]: step.output for path, step in steps.items() if step.status == StepStatus.SUCCEEDED and ids.get(path)
    }
    scope: dict[str, Json] = {
        "input": run.input,
        "steps": outputs,
        "run": {
            "id": str(run.id),
            "blueprint": run.blueprint,
            "environment": run.environment,
            "requested_by": run.requested_by,
            "started_at": run.started_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        },
    }
    if plan.configs:
        scope["config"] = plan.configs_in(run.environment)
    if run.parent_id is not None:
        _add_item(scope, outputs, run, plan, above)
    return scope


def _add_item(scope: dict[str, Json], outputs: dict[str, Json], run: Claimed, plan: Plan, above: _Above) -> None:
    """A child's own input is its item; `input` is its root's, and outer steps are those of the runs above it."""
    scope["input"] = above.runs[run.root_id].input
    scope["item"] = run.input
    scope["item_no"] = run.item_no
    parent_id = run.parent_id
    alias = _alias(plan, run, above)
    if alias is not None:
        scope[alias] = run.input
    outer = plan.block(run.block).outer
    while parent_id is not None:
        for path in outer:
            if (parent_id, path) in above.outputs:
                outputs[path.rsplit("/", 1)[-1]] = above.outputs[parent_id, path]
        parent_id = above.runs[parent_id].parent_id


def _alias(plan: Plan, run: Claimed, above: _Above) -> str | None:
    parent = above.runs[run.parent_id] if run.parent_id is not None else None
    for op in plan.blocks[parent.block] if parent is not None else ():
        if op.path == run.parent_path and op.op.step is not None and op.op.step.for_each is not None:
            return op.op.step.for_each.alias
    return None
