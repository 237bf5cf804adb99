"""Pure decisions of the engine: transitions, backoff, poison, fan-outs, digests. Time and randomness are passed in."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from stanchion.base import Json, Problem, canonical, digest, digest_bytes
from stanchion.blueprints import Retry
from stanchion.controls.withdrawals import UNREAD
from stanchion.runs.types import RunStatus, StepRun, StepStatus, WaitingKind, WaitingOn

# A run's states (DESIGN §2), and only the changes that something makes (docs/adr/0034-changes-of-state.md): PENDING and
# SUSPENDED runs are ended by cancel alone, a poison run by the sweep while RUNNING; one that waited and fails is woken first.
TRANSITIONS: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.CANCELLED}),
    RunStatus.RUNNING: frozenset(
        {RunStatus.PENDING, RunStatus.SUSPENDED, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED}
    ),
    RunStatus.SUSPENDED: frozenset({RunStatus.PENDING, RunStatus.CANCELLED}),
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.FAILED: frozenset({RunStatus.PENDING, RunStatus.SUSPENDED}),
    RunStatus.CANCELLED: frozenset({RunStatus.SUSPENDED}),
}

# A step's states. A claim marks its step RUNNING before anything is decided about it. A step goes back to PENDING when a
# draining worker hands its run back or a person retries the run; what had not ended when its run did is FAILED.
STEP_TRANSITIONS: Final[Mapping[StepStatus, frozenset[StepStatus]]] = {
    StepStatus.PENDING: frozenset({StepStatus.RUNNING, StepStatus.FAILED}),
    StepStatus.RUNNING: frozenset(
        {
            StepStatus.PENDING,
            StepStatus.SUCCEEDED,
            StepStatus.FAILED,
            StepStatus.SKIPPED,
            StepStatus.SUSPENDED,
            StepStatus.UNKNOWN,
        }
    ),
    StepStatus.SUSPENDED: frozenset({StepStatus.RUNNING, StepStatus.FAILED}),
    StepStatus.UNKNOWN: frozenset({StepStatus.RUNNING, StepStatus.FAILED}),
    StepStatus.SUCCEEDED: frozenset(),
    StepStatus.SKIPPED: frozenset(),
    StepStatus.FAILED: frozenset({StepStatus.PENDING}),
}

ENDED: Final = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})

# Deaths of its worker, without a checkpoint between them, after which a run is executed alone, and dead-lettered.
PROBATION_STRIKES: Final = 2
POISON_STRIKES: Final = 3

# One StepRun's output. Above it a result belongs into a record set by reference.
STEP_OUTPUT_MAX: Final = 1 << 20
# The collected outputs of a for_each, each bounded by the above.
FAN_OUT_OUTPUT_MAX: Final = 16 << 20
FAN_OUT_ITEMS_MAX: Final = 10_000
# Failures of earlier attempts that a StepRun keeps: the newest ones.
ERRORS_KEPT: Final = 20


def may(before: RunStatus, after: RunStatus) -> bool:
    """Whether a run may go from `before` to `after`."""
    return after in TRANSITIONS[before]


def retry_delay_s(policy: Retry, failed: int, rng: random.Random) -> float:
    """Seconds before the attempt after the `failed`-th one (1-based): full jitter over the policy's bound.

    Full jitter is uniform over [0, bound] (AWS Builders' Library, "Timeouts, retries and backoff with jitter").
    """
    bound = policy.initial_s
    if policy.backoff == "exponential":
        bound = policy.initial_s * 2.0 ** min(failed - 1, 62)
    return rng.uniform(0.0, min(policy.max_s, bound))


def may_retry(policy: Retry, *, attempt: int, first_attempt: int, retryable: bool) -> bool:
    """Whether attempt number `attempt` of a budget that began at `first_attempt` is followed by another."""
    return retryable and attempt - first_attempt + 1 < policy.attempts


def verdict_on_lost(
    *, strikes: int, on_probation: bool, parent_alive: bool, confirmed: bool, lease_over: bool
) -> Literal["reclaim", "spare", "poison", "wait"]:
    """What to do with a run whose worker died.

    A run with fewer than three strikes goes back to the queue. The third death happens in a probation child, and
    blames the run only if the child died by itself: its parent, alive, confirms that; a child that its parent's
    death took along is no evidence (`spare`: the strike is taken back). While a living parent has not spoken yet,
    wait for its word, at most until the child's lease is over.
    """
    if strikes < POISON_STRIKES:
        return "reclaim"
    if not on_probation or confirmed:
        return "poison"
    if not parent_alive:
        return "spare"
    return "poison" if lease_over else "wait"


def error_json(problem: Problem, *, step: str) -> dict[str, Json]:
    """What a failed run or step stores of a problem: {code, message, hint, step} and the line where one is known."""
    error: dict[str, Json] = {
        "code": problem.code,
        "message": problem.message[:4000],
        "hint": problem.hint[:1000],
        "step": step,
    }
    line = problem.fields.get("line")
    if isinstance(line, int):
        error["line"] = line
    return error


def kept_errors(errors: list[Json] | None, error: Mapping[str, Json], attempt: int) -> list[Json]:
    """The failures of earlier attempts with this one added; only the newest are kept."""
    kept: list[Json] = [*(errors or []), {"attempt": attempt, **error}]
    return kept[-ERRORS_KEPT:]


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """What a waiting for_each over a block must know: how many items, how many at once, when to stop."""

    total: int
    concurrency: int
    on_item_error: Literal["stop", "continue"]
    max_failures: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemCounts:
    """Items of a fan-out by state: queued were never started; active are PENDING or RUNNING; waiting are SUSPENDED."""

    queued: int
    active: int
    waiting: int
    succeeded: int
    failed: int
    cancelled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOutStep:
    """What to do for a fan-out now: start `release` more items, and whether the parent goes on."""

    release: int
    done: bool


def fan_out_failed(fan_out: FanOut, failed: int) -> bool:
    """Whether `failed` items fail the whole for_each."""
    if fan_out.max_failures is not None:
        return failed > fan_out.max_failures
    return failed > 0 and fan_out.on_item_error == "stop"


def next_of_fan_out(fan_out: FanOut, counts: ItemCounts) -> FanOutStep:
    """How a waiting fan-out goes on. An item that waits (for a person, a retry) frees its place.

    Once the for_each has failed no further item is started, and it is done when those that began have ended.
    """
    stopping = fan_out_failed(fan_out, counts.failed + counts.cancelled)
    open_items = counts.active + counts.waiting + (0 if stopping else counts.queued)
    release = 0 if stopping else max(0, min(counts.queued, fan_out.concurrency - counts.active))
    return FanOutStep(release=release, done=open_items == 0)


def step_entry(path: str, verb: str, status: str, attempt: int, output: bytes | None, code: str | None) -> list[str]:
    """One StepRun's line in the run digest; `output` is its canonical JSON."""
    return [path, verb, status, str(attempt), digest_bytes(output) if output is not None else "", code or ""]


def run_digest(entries: Iterable[list[str]]) -> str:
    """The digest over a run's ordered StepRuns that its end record carries (I6)."""
    return digest(list(entries))


def digest_of_steps(steps: Iterable[StepRun]) -> str:
    """The same digest from stored rows, as an auditor computes it: rows in the order of `list_steps`."""
    return run_digest(entry_of(step) for step in steps)


def entry_of(step: StepRun) -> list[str]:
    """The line of a stored StepRun in the run digest."""
    output = canonical(step.output) if step.status == StepStatus.SUCCEEDED else None
    code = str(step.error["code"]) if step.error else None
    return step_entry(step.path, step.verb, step.status, step.attempt, output, code)


_TEXTS: Final[Mapping[WaitingKind, str]] = {
    WaitingKind.APPROVAL: "It waits for a person to decide approval {ref}.",
    WaitingKind.CHILD: "It waits for the items of step {ref}.",
    WaitingKind.RETRY: "Step {path} failed and will be tried again.",
    WaitingKind.CONCURRENCY: "It is an item that waits until fewer items of its for_each run at once.",
    WaitingKind.EFFECT: "It is not known whether effect {ref} happened: the target is asked, or a person must say.",
    WaitingKind.WORKER_LOST: "Its worker was lost; it is in queue {queue} again and the next free worker resumes it.",
    WaitingKind.KILLED: "Kill switch {ref} holds it back; it goes on by itself when that is lifted.",
    WaitingKind.REVOKED: (
        "What it uses next is revoked: {ref}. It goes on with another version (stanchion release repin), or when this one is"
        " reinstated."
    ),
    WaitingKind.BROKER: (
        "Step {path} waits for the broker, which could not take its call ({ref}); nothing was sent. It looks again by itself."
    ),
}


_UNREAD: Final = "What is killed or revoked could not be read, so it does not go on; it looks again by itself."
# Of an error's message so many characters are told in the text of a wait; the StepRun has it whole.
_CAUSE_MAX: Final = 200


def retry_text(*, path: str, attempt: int, error: Mapping[str, Json], until: datetime | None) -> str:
    """Why a run waits for a retry, in one sentence: which attempt comes when, and what the last one failed of."""
    message = str(error.get("message") or "").rstrip(".")
    cause = message if len(message) <= _CAUSE_MAX else message[:_CAUSE_MAX] + "…"
    when = f" at {until:%Y-%m-%d %H:%M:%S} UTC" if until is not None else ""
    return f"Step {path} is tried again{when}, attempt {attempt}, after {error.get('code')} ({cause})."


def waiting_on(
    *,
    status: RunStatus,
    kind: WaitingKind | None,
    ref: str | None,
    since: datetime | None,
    until: datetime | None,
    path: str,
    queue: str,
    ready_at: datetime,
    workers: int,
) -> WaitingOn | None:
    """Why a run waits, or None if it is running or ended. `workers` is how many live ones serve its queue."""
    if status == RunStatus.SUSPENDED and kind is not None:
        text = _UNREAD if ref == UNREAD else _TEXTS[kind].format(ref=ref or "?", path=path, queue=queue)
        if until is not None:
            text += f" Until {until:%Y-%m-%d %H:%M:%S} UTC at the latest."
        return WaitingOn(kind=kind, ref=ref, since=since, until=until, text=text)
    if status != RunStatus.PENDING:
        return None
    found = WaitingKind.WORKER_LOST if kind == WaitingKind.WORKER_LOST and workers else WaitingKind.WORKER
    if workers == 0:
        text = f"No live worker serves queue {queue}: start one with `stanchion serve worker`."
    elif found == WaitingKind.WORKER_LOST:
        text = _TEXTS[found].format(queue=queue)
    else:
        text = f"It waits for a free place on one of {workers} worker(s) of queue {queue}."
    return WaitingOn(kind=found, ref=queue, since=ready_at, until=None, text=text)
