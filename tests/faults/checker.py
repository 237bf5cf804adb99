"""The consistency checker: what clients were promised, what the target received, and what Stanchion says of it.

The target's own append-only log and the clients' own notes are the witnesses; Stanchion's tables are held to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults.load import LIMIT, Notes, amount_of, is_refused

Query = Callable[..., Awaitable[list[tuple]]]


@dataclass(frozen=True)
class Received:
    """One write that the target received, when (its clock, seconds), and whether it was the one that counted."""

    posting: str
    amount: int
    key: str
    at: float


@dataclass
class Outcome:
    """How much was checked, so that an empty check cannot pass for a good one."""

    accepted: int
    effects: int
    decided: int
    refused: int
    intrusions: int

    def __str__(self) -> str:
        return (
            f"{self.accepted} runs accepted and ended, {self.effects} effects, {self.decided} decisions"
            f" ({self.refused} refusals), {self.intrusions} intrusions denied"
        )


async def check(query: Query, notes: Notes, received: list[Received], *, failures_ok: int = 0) -> Outcome:
    """Raise AssertionError unless nothing was lost, doubled, let through without consent, or left without its record."""
    await _nothing_lost(query, notes)
    await _nothing_twice(query, notes, received)
    await _no_bypass(query, notes, received)
    await _audit(query, notes, received)
    return Outcome(
        accepted=len(notes.accepted),
        effects=len(received),
        decided=len(notes.decided),
        refused=sum(verdict == "reject" for verdict, _ in notes.decided.values()),
        intrusions=notes.intrusions[403],
    )


async def _nothing_lost(query: Query, notes: Notes) -> None:
    """L: every run that was accepted has ended well, and there is none that nobody asked for."""
    assert len(notes.accepted) == notes.sent, f"asked for {notes.sent}, accepted {len(notes.accepted)}"
    rows = await query("select id::text, input->>'id', status, error::text from runs where parent_id is null")
    assert {posting: run for run, posting, *_ in rows} == notes.accepted
    assert len(rows) == len(notes.accepted)  # one run per idempotency key, however often it was sent
    assert [row for row in rows if row[2] != "SUCCEEDED"] == []
    stuck = await query("select id::text, status, waiting_kind from runs where status not in ('SUCCEEDED')")
    assert stuck == []
    assert await query("select run_id, path, status from step_runs where status not in ('SUCCEEDED', 'SKIPPED')") == []


async def _nothing_twice(query: Query, notes: Notes, received: list[Received]) -> None:
    """D: the target received each posting once, with the right amount; refused ones never."""
    counts = Counter(write.posting for write in received)
    assert [posting for posting, n in counts.items() if n > 1] == []
    numbers = {posting: int(posting[2:]) for posting in notes.accepted}
    wanted = {posting for posting, number in numbers.items() if not is_refused(number)}
    assert counts.keys() == wanted, f"missing {wanted - counts.keys()}, too many {counts.keys() - wanted}"
    assert [write for write in received if write.amount != amount_of(numbers[write.posting])] == []
    states = await query("select state, count(*) from effects group by state")
    assert states == [("DONE", len(wanted))]


async def _no_bypass(query: Query, notes: Notes, received: list[Received]) -> None:
    """B: no write above the limit before a person who may do so had approved it; nobody else's word counted."""
    gated = [write for write in received if write.amount > LIMIT]
    for write in gated:
        verdict, sent_at = notes.decided[write.posting]
        assert verdict == "approve"
        assert sent_at < write.at, f"{write.posting} was written before anybody decided"
    assert set(notes.intrusions) <= {403, 404, 409, 503, 0}, notes.intrusions
    rows = await query(
        "select r.input->>'id', a.status, a.decided_by, a.requested_by, a.decided_at is not null, count(*) over (partition by r.id)"
        " from approvals a join runs r on r.id = a.run_id"
    )
    for posting, status, by, asked_by, stamped, count in rows:
        verdict = "REJECTED" if is_refused(int(posting[2:])) else "APPROVED"
        assert (status, by, asked_by, stamped, count) == (verdict, "supervisor", "analyst", True, 1), posting
    assert {row[0] for row in rows} == {p for p in notes.accepted if amount_of(int(p[2:])) > LIMIT}


async def _audit(query: Query, notes: Notes, received: list[Received]) -> None:
    """A: audit records match the target's log one to one, attempts their outcomes, and runs their start and end."""
    records = await query(
        "select event_type, target_id, record::json->'extra'->>'key', record::json->'outcome'->>'status',"
        " record::json->'extra'->>'attempt_at' from audit_records where event_type like 'effect.%'"
    )
    done = [key for event, _, key, status, _ in records if event == "effect.completed" and status == "SUCCEEDED"]
    assert sorted(done) == sorted(write.key for write in received)
    attempts = Counter((target, at) for event, target, _, _, at in records if event == "effect.attempted")
    outcomes = Counter((target, at) for event, target, _, _, at in records if event == "effect.completed")
    assert {pair for pair, n in attempts.items() if n > 1} == set()
    # Every outcome that is known belongs to an attempt. An attempt whose worker died is settled by a later one.
    assert {target for target, _ in attempts} == {target for target, _ in outcomes}
    ends = await query(
        "select event_type, count(*), count(distinct run_id) from audit_records"
        " where event_type in ('run.started', 'run.ended', 'approval.decided') group by 1 order by 1"
    )
    n, decided = len(notes.accepted), len(notes.decided)
    assert ends == [("approval.decided", decided, decided), ("run.ended", n, n), ("run.started", n, n)]
