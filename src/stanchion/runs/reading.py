"""Verbs that read: runs, steps, items, workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from stanchion.base import Invalid, Json
from stanchion.base.paging import PageParams, Slice, decode_cursor, slice_of
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.runs import rules, simulated, store
from stanchion.runs.types import (
    BlueprintRun,
    Listed,
    RunDetail,
    RunStatus,
    RunSummary,
    StepRun,
    WaitingKind,
    WaitingOn,
    WorkerRow,
)


async def show(ctx: Ctx, run_id: UUID) -> RunDetail:
    """One run with its pins, why it waits, and its items. Raises NotFound `run.unknown`."""
    ctx.require("runs.read")
    async with ctx.tx() as tx:
        run = await store.select_run(tx, ctx.tenant, run_id)
        pins = await store.select_pins(tx, ctx.tenant, run.pins)
        items = await store.count_items(tx, ctx.tenant, [run_id])
        waiting = await _waiting_on(tx, run)
        count = await simulated.count_whole(tx, ctx.tenant, run_id)
    return RunDetail(
        run=run,
        digest=digest_among(pins, run.blueprint),
        pins=pins,
        waiting_on=waiting,
        items=items[0] if items else None,
        simulated=count,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The run that an earlier request with the same idempotency key started, as it is now."""

    status: RunStatus
    version: int
    digest: str


async def started_earlier(ctx: Ctx, run_id: UUID) -> Earlier:
    """How the run of a repeated start stands: part of the answer to a start, so it takes `runs.start` alone, which the
    start was asked for with the Blueprint's name. Raises NotFound `run.unknown`."""
    async with ctx.tx() as tx:
        run = await store.select_run(tx, ctx.tenant, run_id)
        pins = await store.select_pins(tx, ctx.tenant, run.pins)
    return Earlier(status=RunStatus(run.status), version=run.version, digest=digest_among(pins, run.blueprint))


def digest_among(pins: Sequence[Mapping[str, Json]], blueprint: str) -> str:
    """The digest of the Blueprint among a run's pins; of a run of a tool (`tool.NAME`), that of the tool."""
    kind, name = ("tool", blueprint.partition(".")[2]) if "." in blueprint else ("blueprint", blueprint)
    return next((str(p["digest"]) for p in pins if (p["kind"], p["name"]) == (kind, name)), "")


async def waiting_on(ctx: Ctx, run_id: UUID) -> WaitingOn | None:
    """Why a run does not go on; None if it is running or has ended. Raises NotFound `run.unknown`."""
    return (await show(ctx, run_id)).waiting_on


async def list_runs(
    ctx: Ctx,
    page: PageParams,
    *,
    status: RunStatus | None = None,
    blueprint: str | None = None,
    waiting: WaitingKind | None = None,
    since: datetime | None = None,
    parent: UUID | None = None,
) -> Slice[Listed]:
    """Runs, newest first: top-level ones, or the items of `parent`."""
    ctx.require("runs.read")
    async with ctx.tx() as tx:
        found = await store.select_runs(
            tx,
            ctx.tenant,
            # A run that waits for a worker is PENDING and stores no kind: the status finds it.
            status=RunStatus.PENDING if waiting is WaitingKind.WORKER and status is None else status,
            blueprint=blueprint,
            waiting_on=None if waiting is WaitingKind.WORKER else waiting,
            since=since,
            parent=parent,
            after=after_id(page.after),
            limit=page.limit + 1,
        )
        listed = await _with_reasons(tx, ctx.tenant, found)
    return slice_of(listed, page.limit, lambda row: (str(row.run.id),))


async def list_items(ctx: Ctx, run_id: UUID, page: PageParams, *, status: RunStatus | None = None) -> Slice[Listed]:
    """The items of a run's fan-outs in their order. Raises NotFound `run.unknown`."""
    ctx.require("runs.read")
    async with ctx.tx() as tx:
        await store.select_run(tx, ctx.tenant, run_id)
        found = await store.select_items(
            tx, ctx.tenant, run_id, status=status, after=_after_number(page.after), limit=page.limit + 1
        )
        listed = await _with_reasons(tx, ctx.tenant, found)
    return slice_of(listed, page.limit, lambda row: (str(row.run.item_no),))


async def list_steps(ctx: Ctx, run_id: UUID) -> list[StepRun]:
    """The run's StepRuns in order. Raises NotFound `run.unknown`."""
    ctx.require("runs.read")
    async with ctx.tx() as tx:
        await store.select_run(tx, ctx.tenant, run_id)
        return await store.load_steps(tx, [run_id])


async def list_workers(ctx: Ctx) -> list[WorkerRow]:
    """Workers that live, and those that ended within the last hour."""
    ctx.require("workers.read")
    async with ctx.tx() as tx:
        return await store.select_workers(tx)


async def _with_reasons(tx: Tx, tenant: str, runs: list[RunSummary]) -> list[Listed]:
    queues = {run.queue for run in runs if run.status == RunStatus.PENDING}
    workers = {queue: await store.count_workers(tx, queue) for queue in sorted(queues)}
    causes = {cause.run_id: cause for cause in await _causes(tx, tenant, runs)}
    found = {row.run_id: row.writes for row in await simulated.count_own(tx, tenant, [run.id for run in runs])}
    return [
        Listed(
            run=run,
            waiting_on=reason_of(run, workers.get(run.queue, 0), causes.get(run.id)),
            simulated=found.get(run.id, 0),
        )
        for run in runs
    ]


async def _waiting_on(tx: Tx, run: BlueprintRun) -> WaitingOn | None:
    workers = await store.count_workers(tx, run.queue) if run.status == RunStatus.PENDING else 0
    return reason_of(run, workers, next(iter(await _causes(tx, run.tenant, [run])), None))


async def _causes(tx: Tx, tenant: str, runs: Sequence[BlueprintRun | RunSummary]) -> list[store.RetryCause]:
    """Of the runs that wait for a retry, what their step failed of; no query where none does."""
    waiting = [run for run in runs if run.waiting_kind == WaitingKind.RETRY]
    return await store.select_retry_causes(tx, tenant, [run.id for run in waiting]) if waiting else []


def reason_of(
    run: BlueprintRun | RunSummary, workers: int, cause: store.RetryCause | StepRun | None = None
) -> WaitingOn | None:
    """Why this run waits; `workers` is how many live ones serve its queue, `cause` the step that it tries again."""
    found = rules.waiting_on(
        status=RunStatus(run.status),
        kind=WaitingKind(run.waiting_kind) if run.waiting_kind is not None else None,
        ref=run.waiting_ref,
        since=run.waiting_since,
        until=run.wake_at,
        path=run.path,
        queue=run.queue,
        ready_at=run.ready_at,
        workers=workers,
    )
    if found is None or found.kind is not WaitingKind.RETRY or cause is None or not cause.error:
        return found
    text = rules.retry_text(path=cause.path, attempt=cause.attempt, error=cause.error, until=found.until)
    return replace(found, text=text)


def after_id(after: str | None) -> UUID | None:
    """The id a cursor holds. Raises Invalid `page.bad_cursor`."""
    if after is None:
        return None
    try:
        return UUID(decode_cursor(after, 1)[0])
    except ValueError as error:
        raise _bad_cursor() from error


def _after_number(after: str | None) -> int:
    if after is None:
        return -1
    try:
        number = int(decode_cursor(after, 1)[0])
    except ValueError as error:
        raise _bad_cursor() from error
    if not 0 <= number < 2**31:
        raise _bad_cursor()
    return number


def _bad_cursor() -> Invalid:
    return Invalid("page.bad_cursor", "`after` is not a cursor of this list.", hint="Leave it out to start again.")
