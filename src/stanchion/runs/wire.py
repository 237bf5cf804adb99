"""Bodies of the runs' routes, and how rows become them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from stanchion.http import Model, Reply, example
from stanchion.runs import samples
from stanchion.runs.deadletters import DeadDetail
from stanchion.runs.reading import Earlier
from stanchion.runs.starting import Started
from stanchion.runs.types import DeadLetter, ItemSummary, Listed, RunDetail, RunStatus, StepRun

Reason = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]


class StartBody(Model):
    """What to start."""

    model_config = Model.model_config | example({"input": {"country": "Germany"}})

    input: Any = Field(
        default_factory=dict, description="The input, as the Blueprint's schema wants it; `{}` if left out."
    )
    queue: str = Field("default", pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Which workers execute it.")
    priority: int = Field(0, ge=-100, le=100, description="Higher goes first within a queue.")


class TaskBody(Model):
    """A task to submit."""

    model_config = Model.model_config | example({"input": {"country": "Germany"}})

    input: Any = Field(
        default_factory=dict, description="The input, as the Blueprint's schema wants it; `{}` if left out."
    )


class ReasonBody(Model):
    """Why: kept with the run, its digest in the audit record."""

    model_config = Model.model_config | example({"reason": "The casebook is free again."})

    reason: Reason


class FilterBody(Model):
    """Which dead letters: all that match every field given."""

    model_config = Model.model_config | example({"reason": samples.ERROR["code"]})

    reason: str | None = Field(None, max_length=200, pattern=r"^[^\x00]*$")
    blueprint: str | None = Field(None, max_length=63, pattern=r"^[^\x00]*$")
    since: datetime | None = None


class SelectionBody(Model):
    """Dead letters by id, all of them or none; or by filter, at most `max` of them, the newest first."""

    model_config = Model.model_config | example(
        {"filter": {"reason": samples.ERROR["code"]}, "max": 100, "reason": "The casebook is free again."}
    )

    run_ids: Annotated[list[UUID], Field(max_length=1000)] | None = Field(None, description="These; or give `filter`.")
    filter: FilterBody | None = Field(None, description="All that match every field given; or give `run_ids`.")
    max: int = Field(1000, ge=1, le=1000, description="At most so many of the filter's, the newest first.")
    reason: Reason


class WaitingReply(Reply):
    """Why a run does not go on."""

    model_config = Reply.model_config | example(samples.WAITING)

    kind: str
    ref: str | None
    since: datetime | None
    until: datetime | None
    text: str


class ItemsReply(Reply):
    """How the items of a run's fan-outs stand."""

    model_config = Reply.model_config | example(samples.ITEMS)

    total: int
    succeeded: int
    failed: int
    cancelled: int
    running: int
    waiting: int
    queued: int


class SummaryReply(Reply):
    """A run in a list. `simulated`: how many writes of its own steps were only simulated; of one run, its items' too."""

    model_config = Reply.model_config | example(samples.SUMMARY)

    id: UUID
    blueprint: str
    version: int
    status: RunStatus
    waiting_on: WaitingReply | None
    queue: str
    attempt: int
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error: dict[str, Any] | None
    dead_reason: str | None
    parent_id: UUID | None
    item_no: int | None
    simulated: int


class RunReply(SummaryReply):
    """A run with everything about it but its steps."""

    model_config = Reply.model_config | example(samples.RUN)

    digest: str
    environment: str
    priority: int
    input: Any
    output: Any
    cancel_reason: str | None
    pins: list[dict[str, Any]]
    items: ItemsReply | None


class AcceptedReply(Reply):
    """A run just accepted; `Location` is where it stands. If an earlier request with the same Idempotency-Key started it
    (`repeated`), status, version and digest are that run's as it is now."""

    model_config = Reply.model_config | example(
        {
            "run_id": samples.ID,
            "status": "PENDING",
            "blueprint": "case-triage",
            "version": 3,
            "digest": samples.DIGEST,
            "queue": "default",
            "repeated": False,
        }
    )

    run_id: UUID
    status: RunStatus
    blueprint: str
    version: int
    digest: str
    queue: str
    repeated: bool


class EndedReply(RunReply):
    """A run that ended while the caller waited: `run_id` is its `id`."""

    model_config = Reply.model_config | example({"run_id": samples.ID, **samples.SUCCEEDED})

    run_id: UUID


class StepReply(Reply):
    """One StepRun. `errors` are failures of earlier attempts; `simulated`: its write was not performed."""

    model_config = Reply.model_config | example(samples.STEP)

    path: str
    verb: str
    status: str
    attempt: int
    item_no: int | None
    output: Any
    error: dict[str, Any] | None
    errors: list[Any] | None
    started_at: datetime | None
    ended_at: datetime | None
    simulated: bool


class StepsReply(Reply):
    """A run's StepRuns in order."""

    model_config = Reply.model_config | example({"items": [samples.STEP]})

    items: list[StepReply]


class DeadReply(Reply):
    """A dead letter."""

    model_config = Reply.model_config | example(samples.DEAD)

    id: UUID
    blueprint: str
    version: int
    queue: str
    reason: str
    error: dict[str, Any] | None
    step: str
    attempt: int
    strikes: int
    requested_by: str
    created_at: datetime
    ended_at: datetime
    parent_id: UUID | None


class DeadDetailReply(DeadReply):
    """A dead letter with its input, the versions it is bound to, and its StepRuns."""

    model_config = Reply.model_config | example(
        {
            **samples.DEAD,
            "digest": samples.DIGEST,
            "input": samples.RUN["input"],
            "pins": samples.RUN["pins"],
            "steps": [samples.FAILED_STEP],
        }
    )

    digest: str
    input: Any
    pins: list[dict[str, Any]]
    steps: list[StepReply]


class DecidedReply(Reply):
    """The dead letters a call decided about."""

    model_config = Reply.model_config | example({"count": 1, "run_ids": [samples.ID]})

    count: int
    run_ids: list[UUID]


class TaskReply(Reply):
    """A task just accepted."""

    model_config = Reply.model_config | example({"task_id": samples.ID})

    task_id: UUID


class TaskStateReply(Reply):
    """A task as the person who submitted it sees it. `simulated`: how many of its writes were only simulated."""

    model_config = Reply.model_config | example(
        {
            "task_id": samples.ID,
            "status": "waiting",
            "waits_on": samples.WAITING["text"],
            "result": None,
            "error": None,
            "simulated": 0,
        }
    )

    task_id: UUID
    status: Literal["queued", "running", "waiting", "done", "failed", "cancelled"]
    waits_on: str | None
    result: Any
    error: dict[str, Any] | None
    simulated: int


class WorkerReply(Reply):
    """A worker process."""

    model_config = Reply.model_config | example(samples.WORKER)

    id: UUID
    name: str
    host: str
    pid: int
    engine_v: int
    queues: list[str]
    capacity: int
    running: int
    state: str
    started_at: datetime
    beat_at: datetime
    lease_until: datetime
    ended_at: datetime | None


class WorkersReply(Reply):
    """Workers that live, and those that ended within the last hour."""

    model_config = Reply.model_config | example({"items": [samples.WORKER]})

    items: list[WorkerReply]


def summary_reply(listed: Listed) -> SummaryReply:
    """A list row."""
    run = listed.run
    return SummaryReply.model_validate(
        {
            **_fields(run, SummaryReply),
            "waiting_on": _waiting(listed.waiting_on),
            "simulated": listed.simulated,
        }
    )


def run_reply(detail: RunDetail) -> RunReply:
    """A run."""
    return RunReply.model_validate(_run_fields(detail))


def accepted_reply(started: Started, earlier: Earlier | None = None) -> AcceptedReply:
    """A run just accepted: said from what its start wrote, without reading it back. A repeated start is answered with
    `earlier`, the run as it is now."""
    return AcceptedReply(
        run_id=started.run_id,
        status=RunStatus.PENDING if earlier is None else earlier.status,
        blueprint=started.blueprint,
        version=started.version if earlier is None else earlier.version,
        digest=started.digest if earlier is None else earlier.digest,
        queue=started.queue,
        repeated=started.repeated,
    )


def ended_reply(detail: RunDetail) -> EndedReply:
    """A run that ended while the caller waited."""
    return EndedReply.model_validate({**_run_fields(detail), "run_id": detail.run.id})


def step_reply(step: StepRun) -> StepReply:
    """A StepRun."""
    return StepReply.model_validate(step)


def dead_reply(letter: DeadLetter) -> DeadReply:
    """A dead letter."""
    return DeadReply.model_validate({**_fields(letter, DeadReply), "step": letter.path})


def dead_detail_reply(detail: DeadDetail) -> DeadDetailReply:
    """A dead letter in full."""
    return DeadDetailReply.model_validate(
        {
            **_fields(detail.letter, DeadReply),
            "step": detail.letter.path,
            "digest": detail.digest,
            "input": detail.input,
            "pins": [dict(pin) for pin in detail.pins],
            "steps": [step_reply(step) for step in detail.steps],
        }
    )


def items_reply(items: ItemSummary | None) -> ItemsReply | None:
    """Item counts, or None if the run does not fan out."""
    return None if items is None else ItemsReply.model_validate(items)


def task_reply(detail: RunDetail) -> TaskStateReply:
    """The end user's view."""
    run = detail.run
    states: dict[str, Any] = {
        "PENDING": "queued",
        "RUNNING": "running",
        "SUSPENDED": "waiting",
        "SUCCEEDED": "done",
        "FAILED": "failed",
        "CANCELLED": "cancelled",
    }
    return TaskStateReply(
        task_id=run.id,
        status=states[str(run.status)],
        waits_on=detail.waiting_on.text if detail.waiting_on is not None else None,
        result=run.output,
        error=dict(run.error) if run.error is not None else None,
        simulated=detail.simulated,
    )


def _run_fields(detail: RunDetail) -> dict[str, Any]:
    return {
        **_fields(detail.run, RunReply),
        "waiting_on": _waiting(detail.waiting_on),
        "digest": detail.digest,
        "pins": [dict(pin) for pin in detail.pins],
        "items": items_reply(detail.items),
        "simulated": detail.simulated,
    }


def _waiting(waiting: object) -> WaitingReply | None:
    return None if waiting is None else WaitingReply.model_validate(waiting)


def _fields(row: object, model: type[Reply]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in model.model_fields if hasattr(row, name)}
