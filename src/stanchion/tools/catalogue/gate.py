"""The tool gate: reading its evidence, and trying what has to be tried."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, Denied, Unavailable
from stanchion.context import Ctx, Environment
from stanchion.db import Tx
from stanchion.runs import ended_within
from stanchion.tools.catalogue import rules, store
from stanchion.tools.catalogue.calling import Means, call
from stanchion.tools.catalogue.kind import faults_of_tool
from stanchion.tools.catalogue.loading import Loaded, load
from stanchion.tools.catalogue.snapshot import Known, admitted, flag_of
from stanchion.tools.catalogue.types import CaseResult, Point, ToolState, Trial, TrialPoint

# Trials of a point that are looked at, newest first; older ones are history.
_TRIALS_MAX: Final = 10
# How long a dry run may take before it counts as not tried.
TRIAL_S_MAX: Final = 30.0


async def evidence_of(tx: Tx, ctx: Ctx, means: Means, found: Loaded) -> rules.Evidence:
    """Everything that the gate judges a version by, as it is now."""
    version, environment = found.version, ctx.env.environment
    trials = await _trials(tx, ctx, found)
    approvals = await store.approvals(tx, ctx.tenant, version.tool.name, version.told) if version.told else []
    policy = found.others.get(("policy", version.tool.approval or ""))
    asking = policy is not None and policy.body.get("type") == "approval"
    return rules.Evidence(
        version=version,
        environment=environment,
        schema_faults=tuple(
            f"{fault.pointer or '/'}: {fault.message}"
            for fault in faults_of_tool(found.body, found.lookup, means.verbs)
        ),
        cases=tuple(_judged(ctx, means, found)),
        approval_version=policy.version if policy is not None and asking else None,
        trials=trials,
        runs=await _runs(tx, ctx, version.tool.digest, trials),
        approvals=tuple(approvals),
    )


async def _trials(tx: Tx, ctx: Ctx, found: Loaded) -> tuple[Trial, ...]:
    tool = found.version.tool
    every = await store.trials(
        tx, ctx.tenant, ctx.env.environment.name, tool.name, tool.digest, limit=_TRIALS_MAX
    )  # fmt: skip
    return tuple(one for one in every if one.connector_digest == found.version.connector_digest)


async def _runs(tx: Tx, ctx: Ctx, digest: str, trials: tuple[Trial, ...]) -> dict[UUID, rules.TrialRun]:
    found: dict[UUID, rules.TrialRun] = {}
    for run_id in {one.run_id for one in trials if one.run_id is not None}:
        row = await store.run_of(tx, ctx.tenant, run_id, digest)
        if row is None:
            continue
        effects = await store.effects_of(tx, ctx.tenant, run_id)
        found[run_id] = rules.TrialRun(
            run_id=run_id,
            status=row.status,
            dry_run=row.dry_run,
            pinned=row.pinned,
            started=row.started,
            ended=row.ended,
            effects=tuple((str(e.id), e.state, e.simulated, e.attempted, e.completed) for e in effects),
        )
    return found


def _judged(ctx: Ctx, means: Means, found: Loaded) -> list[CaseResult]:
    """Each authorization case, asked of the policies that are live in this process now."""
    results: list[CaseResult] = []
    for case in found.version.tool.cases:
        question = rules.question_of(
            found.version,
            rules.actor_of_case(ctx.tenant, case.principal, case.principal_kind, case.roles),
            ctx.tenant,
            environment=Environment(name=case.environment, production=case.production),
            arguments=case.arguments,
            connector_environment="" if found.connector is None else found.connector.environment,
        )
        try:
            results.append(CaseResult(case=case, verdict=means.calls.judge_call(question)))
        except Unavailable as problem:
            results.append(CaseResult(case=case, verdict=None, unread=problem.message))
    return results


async def check(ctx: Ctx, means: Means, name: str, version: int | None) -> tuple[Loaded, tuple[Point, ...]]:
    """The eight points of a version, the live one if none is said. Changes nothing. Raises NotFound `tool.unknown`."""
    ctx.require("tools.read", name=name)
    async with ctx.tx() as tx:
        found = await load(tx, ctx, name, version)
        points = rules.judge(await evidence_of(tx, ctx, means, found))
    return found, points


async def attempt(ctx: Ctx, means: Means, name: str, version: int | None) -> tuple[Loaded, tuple[Point, ...]]:
    """Try what the gate wants tried (a dry run, its repetition, the disable path), then judge.

    Raises as `calling.call`; Conflict `tool.no_example` if there are no arguments to try it with.
    """
    ctx.require("tools.call", name=name)
    async with ctx.tx() as tx:
        found = await load(tx, ctx, name, version)
    tool = found.version.tool
    if not tool.examples:
        raise Conflict(
            "tool.no_example",
            f"Tool {name} has no example, and so nothing to be tried with.",
            hint="Publish a version with `examples`.",
        )
    await _try_twice(ctx, means, found)
    await _try_disabling(ctx, found)
    return await check(ctx, means, name, found.version.version)


async def _try_twice(ctx: Ctx, means: Means, found: Loaded) -> None:
    """A dry run of the first example, and the very same request again: one run, one effect."""
    tool, number = found.version.tool, found.version.version
    key = f"tool-trial-{ctx.env.ids.new()}"
    example = tool.examples[0]
    first = await call(ctx, means, tool.name, example.arguments, version=number, dry_run=True, idempotency_key=key)
    if not await ended_within(ctx, means.watcher, first.run_id, TRIAL_S_MAX):
        return
    again = await call(ctx, means, tool.name, example.arguments, version=number, dry_run=True, idempotency_key=key)
    async with ctx.tx() as tx:
        effects = await store.effects_of(tx, ctx.tenant, first.run_id)
    if again.run_id != first.run_id or len({e.key for e in effects}) != len(effects) or len(effects) > 1:
        return
    said = f"asked twice with one Idempotency-Key, run {first.run_id} is the one run"
    said += " with one effect under one key" if effects else ""
    await _note(ctx, found, "idempotency", said, first.run_id)


async def _try_disabling(ctx: Ctx, found: Loaded) -> None:
    """The state is set to disabled in a transaction that is taken back, and the point of use asked by what it then reads:
    trying the way out neither enables what is disabled nor stops what is in use."""
    tool, refused = found.version.tool, ""
    try:
        await _refused_when_off(ctx, found)
    except _TakenBack as end:
        refused = end.refused
    if refused == "tool.disabled":
        said = f"with {flag_of(tool.name, found.version.version)} off, a call was refused ({refused})"
        await _note(ctx, found, "disable_path", said, None)


async def _refused_when_off(ctx: Ctx, found: Loaded) -> None:
    """Raise _TakenBack, always, with the code by which a call was refused."""
    environment = ctx.env.environment
    async with ctx.tx() as tx:
        await store.set_state(tx, ctx.tenant, environment.name, _off(ctx, found))
        states = await store.states(tx, ctx.tenant, environment.name)
        known = Known(states={(one.name, one.digest): one for one in states})
        try:
            admitted(known, found.version.tool, found.version.connector_digest or "", environment)
        except Denied as problem:
            raise _TakenBack(problem.code) from None
        raise _TakenBack("")


class _TakenBack(Exception):  # noqa: N818 - control flow: the transaction is to leave nothing
    """Ends a transaction that only tried something."""

    def __init__(self, refused: str) -> None:
        super().__init__(refused)
        self.refused = refused


def _off(ctx: Ctx, found: Loaded) -> ToolState:
    version = found.version
    return ToolState(
        name=version.tool.name,
        version=version.version,
        digest=version.tool.digest,
        connector_digest=version.connector_digest or "",
        enabled=False,
        reason="trying the disable path",
        by=ctx.actor.principal,
        at=ctx.now,
    )


async def _note(ctx: Ctx, found: Loaded, point: TrialPoint, said: str, run_id: UUID | None) -> None:
    version = found.version
    trial = Trial(
        id=ctx.env.ids.new(),
        name=version.tool.name,
        version=version.version,
        digest=version.tool.digest,
        connector_digest=version.connector_digest or "",
        point=point,
        run_id=run_id,
        detail=said,
        by=ctx.actor.principal,
        at=ctx.now,
    )
    async with ctx.tx() as tx:
        await store.add_trial(tx, ctx.tenant, ctx.env.environment.name, trial)
        await audit.record(
            tx,
            ctx,
            "tool.tried",
            target=("artifact", f"tool/{version.tool.name}"),
            run_id=run_id,
            extra={
                "name": version.tool.name,
                "version": version.version,
                "digest": version.tool.digest,
                "point": point,
            },
        )
