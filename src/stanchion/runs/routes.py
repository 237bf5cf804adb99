"""HTTP: runs, their steps, items and events; dead letters; tasks; workers."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response

from stanchion.controls.kills import Kills
from stanchion.http import CtxDep, Page, PageDep, asks, shows
from stanchion.queue import Notifier
from stanchion.runs import deadletters, reading, samples, service, wire
from stanchion.runs.deadletters import DeadFilter
from stanchion.runs.starting import Starter
from stanchion.runs.streams import EventStream, last_event_id, run_events
from stanchion.runs.types import RunEndHook, RunStatus, WaitingKind
from stanchion.runs.watching import Watcher, changes, ended_within

_Blueprint = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
_Word = Annotated[str | None, Query(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="A name of your own for this start; repeated with the same body it answers with the first run.",
    ),
]
# `Prefer: wait=N` (RFC 7240 §4.3), in seconds; more than this is answered like this.
WAIT_S_MAX: Final = 30.0
# Read from the request itself: nonsense in it counts as none (WHATWG HTML §9.2.4).
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The last `id` seen: only what came after it is sent.",
}
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])")


def build_router(watcher: Watcher, starter: Starter, notifier: Notifier, hook: RunEndHook | None = None) -> APIRouter:
    """The routes of runs.

    Args:
        watcher: of event streams and waits; the caller closes it.
        starter: starts runs.
        notifier: tells workers and watchers; of role app.
        hook: told when a cancel ends runs.
    """
    router = APIRouter(prefix="/api")
    _add_starts(router, starter, watcher)
    _add_reads(router)
    _add_streams(router, watcher)
    _add_decisions(router, notifier, hook, starter.kills)
    _add_dead_letters(router, notifier, starter.kills)
    return router


def _add_starts(router: APIRouter, starter: Starter, watcher: Watcher) -> None:
    @router.post(
        "/blueprints/{name}/runs",
        tags=["runs"],
        status_code=202,
        summary="Start a run",
        operation_id="start_run",
        response_model=None,
        responses={
            202: {"model": wire.AcceptedReply, "description": "Accepted: the run is durable."},
            200: {"model": wire.EndedReply, "description": "`Prefer: wait` was given and the run has ended."},
        },
    )
    async def start_run(
        ctx: CtxDep,
        name: _Blueprint,
        body: wire.StartBody,
        response: Response,
        idempotency_key: _Key = None,
        prefer: Annotated[
            str | None,
            Header(alias="Prefer", max_length=200, description="`wait=N`: wait up to N seconds, at most 30."),
        ] = None,
    ) -> wire.AcceptedReply | wire.EndedReply:
        """Accept a run of the Blueprint's live version. With `Prefer: wait=N`, answer once it has ended, if it does so in
        time."""
        hears = watcher.hears
        started = await starter.start(
            ctx, name, body.input, queue=body.queue, priority=body.priority, idempotency_key=idempotency_key
        )
        response.headers["Location"] = f"/api/runs/{started.run_id}"
        seconds = _wanted_wait(prefer)
        if seconds is not None:
            response.headers["Preference-Applied"] = f"wait={seconds:g}"
            if await ended_within(ctx, watcher, started.run_id, seconds, heard=hears and not started.repeated):
                response.status_code = 200
                return wire.ended_reply(await reading.show(ctx, started.run_id))
        earlier = await reading.started_earlier(ctx, started.run_id) if started.repeated else None
        return wire.accepted_reply(started, earlier)

    @router.post(
        "/tasks/{blueprint}", tags=["tasks"], status_code=202, summary="Submit a task", operation_id="submit_task"
    )
    async def submit_task(
        ctx: CtxDep, blueprint: _Blueprint, body: wire.TaskBody, response: Response, idempotency_key: _Key = None
    ) -> wire.TaskReply:
        """Submit a task: the end user's way to start a run."""
        ctx.require("tasks.submit", blueprint=blueprint)
        started = await starter.start(ctx, blueprint, body.input, idempotency_key=idempotency_key)
        response.headers["Location"] = f"/api/tasks/{started.run_id}"
        return wire.TaskReply(task_id=started.run_id)

    @router.get("/tasks/{task_id}", tags=["tasks"], summary="Show a task", operation_id="show_task")
    async def show_task(ctx: CtxDep, task_id: UUID) -> wire.TaskStateReply:
        """A task's state, what it waits for, its result."""
        ctx.require("tasks.read")
        return wire.task_reply(await reading.show(ctx, task_id))


def _wanted_wait(prefer: str | None) -> float | None:
    match = _WAIT.search(prefer or "")
    return min(float(match.group(1)), WAIT_S_MAX) if match else None


def _add_reads(router: APIRouter) -> None:
    @router.get("/runs", tags=["runs"], summary="List runs", operation_id="list_runs")
    async def list_runs(
        ctx: CtxDep,
        page: PageDep,
        status: RunStatus | None = None,
        blueprint: _Word = None,
        waiting_on: WaitingKind | None = None,
        since: Annotated[datetime | None, Query(description="Created then or later.")] = None,
        parent: Annotated[UUID | None, Query(description="Items of this run instead of top-level runs.")] = None,
    ) -> Page[wire.SummaryReply]:
        """Runs, newest first: top-level ones, or the items of `parent`."""
        found = await reading.list_runs(
            ctx, page, status=status, blueprint=blueprint, waiting=waiting_on, since=since, parent=parent
        )
        return Page(items=[wire.summary_reply(row) for row in found.items], next=found.next)

    @router.get("/runs/{run_id}", tags=["runs"], summary="Show a run", operation_id="show_run")
    async def show_run(ctx: CtxDep, run_id: UUID) -> wire.RunReply:
        """A run with its pins, why it waits, and how its items stand."""
        return wire.run_reply(await reading.show(ctx, run_id))

    @router.get("/runs/{run_id}/steps", tags=["runs"], summary="List a run's StepRuns", operation_id="list_steps")
    async def list_steps(ctx: CtxDep, run_id: UUID) -> wire.StepsReply:
        """The StepRuns of a run in order."""
        return wire.StepsReply(items=[wire.step_reply(step) for step in await reading.list_steps(ctx, run_id)])

    @router.get(
        "/runs/{run_id}/items",
        tags=["runs"],
        summary="List a run's items",
        operation_id="list_items",
        responses=shows({"items": [samples.ITEM], "next": None}),
    )
    async def list_items(
        ctx: CtxDep, run_id: UUID, page: PageDep, status: RunStatus | None = None
    ) -> Page[wire.SummaryReply]:
        """The child runs of a run's fan-outs, in the order of their items."""
        found = await reading.list_items(ctx, run_id, page, status=status)
        return Page(items=[wire.summary_reply(row) for row in found.items], next=found.next)

    @router.get("/workers", tags=["workers"], summary="List workers", operation_id="list_workers")
    async def list_workers(ctx: CtxDep) -> wire.WorkersReply:
        """Workers with their state, what they hold and until when their lease runs."""
        return wire.WorkersReply(
            items=[wire.WorkerReply.model_validate(row) for row in await reading.list_workers(ctx)]
        )


def _add_streams(router: APIRouter, watcher: Watcher) -> None:
    @router.get(
        "/runs/{run_id}/events",
        tags=["runs"],
        summary="Follow a run",
        operation_id="follow_run",
        status_code=200,
        response_class=EventStream,
        openapi_extra={"parameters": [_LAST_EVENT_ID]},
        responses={200: {"content": {"text/event-stream": {"example": samples.EVENTS}}}},
    )
    async def follow_run(ctx: CtxDep, run_id: UUID, request: Request) -> Any:
        """Server-Sent Events `run`, `step` and `items`, with the bodies of the run, its StepRuns and the counts of its
        items; `end` when the run has ended. Resumes after `Last-Event-ID`. A comment every 15 seconds says that it
        lives."""
        after = last_event_id(request)
        ctx.require("runs.read")
        await changes(ctx, run_id, after)  # an unknown run is a 404, not an empty stream
        return EventStream(ctx, run_events(ctx, watcher, run_id, after))


def _add_decisions(router: APIRouter, notifier: Notifier, hook: RunEndHook | None, kills: Kills) -> None:
    @router.post(
        "/runs/{run_id}/cancel",
        tags=["runs"],
        summary="Cancel a run",
        operation_id="cancel_run",
        responses=shows(samples.CANCELLED),
        openapi_extra=asks({"reason": samples.CANCELLED["cancel_reason"]}),
    )
    async def cancel_run(ctx: CtxDep, run_id: UUID, body: wire.ReasonBody) -> wire.RunReply:
        """Cancel a run and its items. A step in hand that writes is awaited."""
        return wire.run_reply(await service.cancel(ctx, notifier, run_id, reason=body.reason, hook=hook))

    @router.post(
        "/runs/{run_id}/retry",
        tags=["runs"],
        summary="Retry a failed run",
        operation_id="retry_run",
        responses=shows(samples.RETRIED),
    )
    async def retry_run(ctx: CtxDep, run_id: UUID, body: wire.ReasonBody) -> wire.RunReply:
        """Begin a new attempt of a FAILED run at the step it failed at."""
        return wire.run_reply(await deadletters.retry(ctx, notifier, run_id, reason=body.reason, kills=kills))


def _add_dead_letters(router: APIRouter, notifier: Notifier, kills: Kills) -> None:
    @router.get("/dlq", tags=["dlq"], summary="List dead letters", operation_id="list_dead_letters")
    async def list_dead_letters(
        ctx: CtxDep,
        page: PageDep,
        reason: Annotated[_Word, Query(description="The code of the error it FAILED by.")] = None,
        blueprint: _Word = None,
        since: Annotated[datetime | None, Query(description="FAILED then or later.")] = None,
    ) -> Page[wire.DeadReply]:
        """FAILED runs that wait for a person's decision, newest first."""
        where = DeadFilter(reason=reason, blueprint=blueprint, since=since)
        found = await deadletters.list_dead(ctx, page, where)
        return Page(items=[wire.dead_reply(letter) for letter in found.items], next=found.next)

    @router.get("/dlq/{run_id}", tags=["dlq"], summary="Show a dead letter", operation_id="show_dead_letter")
    async def show_dead_letter(ctx: CtxDep, run_id: UUID) -> wire.DeadDetailReply:
        """A dead letter with its error, attempts, strikes, input, pins and StepRuns."""
        return wire.dead_detail_reply(await deadletters.show_dead(ctx, run_id))

    @router.post("/dlq/requeue", tags=["dlq"], summary="Requeue dead letters", operation_id="requeue_dead_letters")
    async def requeue(ctx: CtxDep, body: wire.SelectionBody) -> wire.DecidedReply:
        """Begin a new attempt of each, at the step it failed at; its failed items with it. Ids are taken all or none."""
        done = await deadletters.requeue(
            ctx,
            notifier,
            run_ids=body.run_ids,
            where=_where(body.filter),
            most=body.max,
            reason=body.reason,
            kills=kills,
        )
        return wire.DecidedReply(count=len(done), run_ids=done)

    @router.post(
        "/dlq/discard",
        tags=["dlq"],
        summary="Discard dead letters",
        operation_id="discard_dead_letters",
        openapi_extra=asks({"run_ids": [samples.ITEM["parent_id"]], "reason": "The cases were closed by hand."}),
    )
    async def discard(ctx: CtxDep, body: wire.SelectionBody) -> wire.DecidedReply:
        """Decide that these stay failed. Ids are taken all or none."""
        done = await deadletters.discard(
            ctx, run_ids=body.run_ids, where=_where(body.filter), most=body.max, reason=body.reason
        )
        return wire.DecidedReply(count=len(done), run_ids=done)


def _where(body: wire.FilterBody | None) -> DeadFilter | None:
    return None if body is None else DeadFilter(reason=body.reason, blueprint=body.blueprint, since=body.since)
