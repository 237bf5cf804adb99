from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from stanchion.approvals import (
    TRANSITIONS,
    Approval,
    ApprovalCheck,
    ApprovalStatus,
    PendingApprovals,
    Verdict,
    decide,
    expire_due,
    list_approvals,
    measure,
    show,
)
from stanchion.approvals.rules import as_stored
from stanchion.base import Conflict, Denied, Invalid, NotFound, Problem, digest
from stanchion.context import Ctx, Env
from stanchion.db import Database
from stanchion.http import PageParams
from tests.approvals.support import (
    SHOWN,
    FrozenClock,
    add_run,
    add_step,
    ask,
    audit_of,
    body_of,
    call_of,
    run_state,
)
from tests.artifacts.support import ctx_of
from tests.conftest import make_env

REASON = "The fine matches the gravity."


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def env(fresh_database_urls, clock: FrozenClock):
    async with Database(fresh_database_urls) as db:
        yield make_env(db, clock=clock)


def approver(env: Env, name: str = "bo", tenant: str = "acme") -> Ctx:
    return ctx_of(env, tenant, principal=name, roles=("approver",))


async def asked(env: Env, **call: object) -> tuple[Approval, UUID]:
    run_id = await add_run(env, tenant=str(call.get("tenant", "acme")))
    approval_id = await ask(env, call_of(run_id=run_id, **call))
    return await show(approver(env, tenant=str(call.get("tenant", "acme"))), approval_id), run_id


async def refused(call) -> Problem:
    with pytest.raises(Problem) as caught:
        await call
    return caught.value


async def test_an_approval_shows_what_was_asked_and_wakes_its_run(env: Env, clock: FrozenClock) -> None:
    approval, run_id = await asked(env)
    assert approval.status is ApprovalStatus.PENDING
    assert (approval.shown, approval.facts) == (SHOWN, {"fine_eur": 250000.0})
    assert approval.title == "Fine of 250000.0 euros"
    assert approval.requested_by == "ada"
    assert approval.expires_at == clock.at + timedelta(hours=72)
    assert await run_state(env, run_id) == ("SUSPENDED", "approval")
    clock.at += timedelta(hours=1)
    after = await decide(approver(env), approval.id, Verdict.APPROVE, reason=REASON, args_digest=approval.args_digest)
    assert (after.status, after.decided_by, after.decided_at) == (ApprovalStatus.APPROVED, "bo", clock.at)
    assert await show(approver(env), approval.id) == after
    assert (await run_state(env, run_id))[0] == "PENDING"
    assert await audit_of(env, approval.id) == [("approval.requested", "system:engine"), ("approval.decided", "bo")]


async def test_the_record_of_a_decision_holds_what_was_bound(env: Env) -> None:
    approval, _ = await asked(env)
    await decide(approver(env), approval.id, Verdict.REJECT, reason=REASON, args_digest=approval.args_digest)
    async with env.db.engine_tx() as tx:
        row = await (
            await tx.execute("select record::jsonb from audit_records where event_type = 'approval.decided'")
        ).fetchone()
    assert row is not None
    extra = row[0]["extra"]
    assert extra["bound"] == [digest(SHOWN[0])]
    assert extra["args_digest"] == approval.args_digest
    assert (extra["status"], extra["nonce"], extra["roles"]) == ("REJECTED", approval.nonce, ["approver"])
    assert row[0]["reason"] == digest(REASON)
    assert "uphold" not in str(row[0])


async def test_of_twenty_concurrent_deciders_one_wins(env: Env) -> None:
    approval, run_id = await asked(env)
    verdicts = [Verdict.APPROVE, Verdict.REJECT] * 10
    results = await asyncio.gather(
        *(
            decide(approver(env, f"bo{n}"), approval.id, verdict, reason=REASON, args_digest=approval.args_digest)
            for n, verdict in enumerate(verdicts)
        ),
        return_exceptions=True,
    )
    won = [r for r in results if isinstance(r, Approval)]
    lost = [r for r in results if isinstance(r, Conflict)]
    assert (len(won), len(lost)) == (1, 19)
    assert {problem.code for problem in lost} == {"approval.decided"}
    assert await show(approver(env), approval.id) == won[0]
    assert [event for event, _ in await audit_of(env, approval.id)] == ["approval.requested", "approval.decided"]
    assert (await run_state(env, run_id))[0] == "PENDING"


async def test_every_refusal_changes_nothing(env: Env, clock: FrozenClock) -> None:
    approval, run_id = await asked(env)
    good = {"reason": REASON, "args_digest": approval.args_digest}
    for call, code, kind in (
        (decide(approver(env), approval.id, Verdict.APPROVE, **{**good, "reason": "ok"}), "approval.reason", Invalid),
        (
            decide(approver(env), approval.id, Verdict.APPROVE, **{**good, "args_digest": digest(0)}),
            "approval.changed",
            Conflict,
        ),
        (decide(ctx_of(env, principal="bo"), approval.id, Verdict.APPROVE, **good), "approval.not_allowed", Denied),
        (decide(approver(env, "ada"), approval.id, Verdict.APPROVE, **good), "approval.self", Denied),
        (decide(approver(env), UUID(int=5), Verdict.APPROVE, **good), "approval.unknown", NotFound),
    ):
        problem = await refused(call)
        assert (problem.code, type(problem)) == (code, kind)
    clock.at = approval.expires_at
    # Past its time, and no sweep has marked it yet.
    assert (await refused(decide(approver(env), approval.id, Verdict.APPROVE, **good))).code == "approval.expired"
    assert (await show(approver(env), approval.id)).status is ApprovalStatus.PENDING
    assert await run_state(env, run_id) == ("SUSPENDED", "approval")
    assert [event for event, _ in await audit_of(env, approval.id)] == ["approval.requested"]


async def test_a_second_decision_is_refused_naming_the_first(env: Env) -> None:
    approval, _ = await asked(env)
    good = {"reason": REASON, "args_digest": approval.args_digest}
    await decide(approver(env), approval.id, Verdict.APPROVE, **good)
    problem = await refused(decide(approver(env, "cy"), approval.id, Verdict.REJECT, **good))
    assert problem.code == "approval.decided"
    assert "bo" in problem.message


async def test_the_sweep_expires_what_is_due_and_nothing_else(env: Env, clock: FrozenClock) -> None:
    due, due_run = await asked(env, expires="1h")
    later, later_run = await asked(env, expires="2h")
    other, other_run = await asked(env, tenant="umbra", expires="1h")
    assert await expire_due(env) == 0
    clock.at += timedelta(hours=1)
    assert await expire_due(env) == 2
    assert await expire_due(env) == 0
    assert (await show(approver(env), due.id)).status is ApprovalStatus.EXPIRED
    assert (await show(approver(env, tenant="umbra"), other.id)).status is ApprovalStatus.EXPIRED
    assert (await show(approver(env), later.id)).status is ApprovalStatus.PENDING
    assert [(await run_state(env, r))[0] for r in (due_run, other_run, later_run)] == [
        "PENDING",
        "PENDING",
        "SUSPENDED",
    ]
    assert await audit_of(env, due.id) == [
        ("approval.requested", "system:engine"),
        ("approval.expired", "system:engine"),
    ]
    problem = await refused(decide(approver(env), due.id, Verdict.APPROVE, reason=REASON, args_digest=due.args_digest))
    assert problem.code == "approval.expired"


async def test_more_is_expired_than_one_reading_holds(env: Env, clock: FrozenClock) -> None:
    for _ in range(101):
        await asked(env, expires="1h")
    clock.at += timedelta(hours=1)
    assert await expire_due(env) == 101


async def test_a_decision_and_the_sweep_at_once_end_it_once(env: Env, clock: FrozenClock) -> None:
    for _ in range(5):
        approval, _ = await asked(env, expires="1h")
        in_time = approver(env)
        clock.at += timedelta(hours=1)
        early = make_env(env.db, clock=FrozenClock())
        early.clock.at = approval.created_at
        in_time = approver(early)
        results = await asyncio.gather(
            decide(in_time, approval.id, Verdict.APPROVE, reason=REASON, args_digest=approval.args_digest),
            expire_due(env),
            return_exceptions=True,
        )
        final = (await show(approver(env), approval.id)).status
        if isinstance(results[0], Approval):
            assert (final, results[1]) == (ApprovalStatus.APPROVED, 0)
        else:
            assert isinstance(results[0], Conflict)
            assert (results[0].code, final, results[1]) == ("approval.expired", ApprovalStatus.EXPIRED, 1)
        assert len(await audit_of(env, approval.id)) == 2


async def test_what_a_cancelled_run_asks_is_cancelled_in_its_transaction(env: Env) -> None:
    approval, run_id = await asked(env)
    other, _ = await asked(env)
    hook = PendingApprovals(env)
    with pytest.raises(RuntimeError):
        await _cancel_and_fail(env, hook, run_id)
    assert (await show(approver(env), approval.id)).status is ApprovalStatus.PENDING
    async with approver(env).tx() as tx:
        await hook.runs_ended(tx, "acme", [run_id])
    assert (await show(approver(env), approval.id)).status is ApprovalStatus.CANCELLED
    assert (await show(approver(env), other.id)).status is ApprovalStatus.PENDING
    assert [event for event, _ in await audit_of(env, approval.id)] == ["approval.requested", "approval.cancelled"]
    problem = await refused(
        decide(approver(env), approval.id, Verdict.APPROVE, reason=REASON, args_digest=approval.args_digest)
    )
    assert problem.code == "approval.cancelled"


async def _cancel_and_fail(env: Env, hook: PendingApprovals, run_id: UUID) -> None:
    async with env.db.engine_tx() as tx:
        await hook.runs_ended(tx, "acme", [run_id])
        raise RuntimeError("the cancel failed")


async def test_another_tenant_sees_and_decides_nothing(env: Env) -> None:
    approval, run_id = await asked(env)
    theirs = approver(env, tenant="umbra")
    good = {"reason": REASON, "args_digest": approval.args_digest}
    assert (await refused(show(theirs, approval.id))).code == "approval.unknown"
    assert (await refused(decide(theirs, approval.id, Verdict.APPROVE, **good))).code == "approval.unknown"
    assert (await list_approvals(theirs, PageParams())).items == []
    async with theirs.tx() as tx:
        row = await (await tx.execute("select count(*) from approvals where tenant = 'acme'")).fetchone()
        assert row == (0,)
        # The wall holds also where a statement forgets the tenant.
        assert (await tx.execute("update approvals set status = 'APPROVED'")).rowcount == 0
        await PendingApprovals(env).runs_ended(tx, "acme", [run_id])
    assert (await show(approver(env), approval.id)).status is ApprovalStatus.PENDING


async def test_lists_are_oldest_first_and_filtered(env: Env) -> None:
    first, first_run = await asked(env)
    second, _ = await asked(env)
    child = await add_run(env, parent=(first_run, "triage", 0), root=first_run)
    third_id = await ask(env, call_of(run_id=child, root_id=first_run, path="triage/approval"))
    ctx = approver(env)
    page = await list_approvals(ctx, PageParams(limit=2), status=ApprovalStatus.PENDING)
    assert [a.id for a in page.items] == [first.id, second.id]
    rest = await list_approvals(ctx, PageParams(limit=2, after=page.next), status=ApprovalStatus.PENDING)
    assert ([a.id for a in rest.items], rest.next) == ([third_id], None)
    assert [a.id for a in (await list_approvals(ctx, PageParams(), run_id=first_run)).items] == [first.id, third_id]
    assert [a.id for a in (await list_approvals(ctx, PageParams(), run_id=child)).items] == [third_id]
    await decide(ctx, first.id, Verdict.REJECT, reason=REASON, args_digest=first.args_digest)
    pending = await list_approvals(ctx, PageParams(), status=ApprovalStatus.PENDING)
    assert [a.id for a in pending.items] == [second.id, third_id]
    rejected = await list_approvals(ctx, PageParams(), status=ApprovalStatus.REJECTED)
    assert [a.id for a in rejected.items] == [first.id]


async def test_the_gauges_tell_how_many_wait_and_how_long(env: Env, clock: FrozenClock) -> None:
    def exposed() -> dict[str, float]:
        lines = env.telemetry.expose().decode().splitlines()
        return {
            name: float(value)
            for name, value in (
                line.split() for line in lines if line.startswith("stanchion_approvals_") and "{" not in line
            )
        }

    await measure(env)
    assert exposed()["stanchion_approvals_pending"] == 0
    approval, _ = await asked(env)
    clock.at += timedelta(minutes=5)
    await asked(env, tenant="umbra")
    await measure(env)
    assert exposed()["stanchion_approvals_pending"] == 2
    assert exposed()["stanchion_approvals_oldest_age_seconds"] == 300
    await decide(approver(env), approval.id, Verdict.APPROVE, reason=REASON, args_digest=approval.args_digest)
    await measure(env)
    assert exposed()["stanchion_approvals_pending"] == 1
    assert exposed()["stanchion_approvals_oldest_age_seconds"] == 0


async def test_the_states_are_the_table_s(env: Env) -> None:
    async with env.db.engine_tx() as tx:
        row = await (
            await tx.execute(
                "select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'approvals'::regclass"
                " and conname = 'approvals_status_check'"
            )
        ).fetchone()
    assert row is not None
    assert {s for s in row[0].split("'") if s.isupper() and s.isalpha()} == {s.value for s in TRANSITIONS}


class DenyAll:
    def check(self, actor, action, resource) -> None:
        raise Denied("auth.denied", f"{action} is not permitted.")


async def test_every_verb_asks_first(env: Env) -> None:
    ctx = approver(make_env(env.db, authorizer=DenyAll()))
    for call in (
        show(ctx, UUID(int=1)),
        list_approvals(ctx, PageParams()),
        decide(ctx, UUID(int=1), Verdict.APPROVE, reason=REASON, args_digest=""),
    ):
        assert (await refused(call)).code == "auth.denied"


async def approve_and_end(env: Env, run_id: UUID, path: str, *, attempt: int = 1, show_: list | None = None) -> None:
    approval_id = await ask(env, call_of(run_id=run_id, path=path, attempt=attempt, show=show_))
    approval = await show(approver(env), approval_id)
    await decide(approver(env), approval_id, Verdict.APPROVE, reason=REASON, args_digest=approval.args_digest)
    await add_step(env, run_id, path, decision="approved", attempt=attempt)


async def check(env: Env, run_id: UUID, record: object, *paths: str, tenant: str = "acme") -> None:
    call = call_of(run_id=run_id, tenant=tenant, path="record", verb="push", approvals=paths)
    async with env.db.engine_tx() as tx:
        await ApprovalCheck().check(tx, call, digest(record))


async def test_an_effect_needs_the_approval_of_its_own_run_and_record(env: Env) -> None:
    run_id, other = await add_run(env), await add_run(env)
    await approve_and_end(env, run_id, "approval")
    await check(env, run_id, SHOWN[0], "approval")
    await check(env, run_id, {"anything": 1})
    changed = await refused(check(env, run_id, {**SHOWN[0], "outcome": "drop"}, "approval"))
    assert (changed.code, type(changed)) == ("approval.arguments_changed", Denied)
    for call in (
        check(env, other, SHOWN[0], "approval"),
        check(env, run_id, SHOWN[0], "approval", "second"),
        check(env, run_id, SHOWN[0], "approval", tenant="umbra"),
    ):
        assert (await refused(call)).code == "approval.missing"


async def test_an_approval_of_an_enclosing_run_covers_its_items(env: Env) -> None:
    root = await add_run(env)
    child = await add_run(env, parent=(root, "triage", 3), root=root)
    grandchild = await add_run(env, parent=(child, "triage/lines", 0), root=root)
    stranger = await add_run(env)
    await approve_and_end(env, root, "approval")
    await check(env, grandchild, SHOWN[0], "approval")
    await add_step(env, child, "triage/approval", decision="not_required")
    await check(env, grandchild, SHOWN[0], "approval", "triage/approval")
    assert (await refused(check(env, root, SHOWN[0], "triage/approval"))).code == "approval.missing"
    assert (await refused(check(env, stranger, SHOWN[0], "approval"))).code == "approval.missing"


async def test_an_approval_of_an_earlier_attempt_does_not_cover_the_next(env: Env) -> None:
    run_id = await add_run(env)
    await ask(env, call_of(run_id=run_id, attempt=1))
    approval = (await list_approvals(approver(env), PageParams())).items[0]
    await decide(approver(env), approval.id, Verdict.APPROVE, reason=REASON, args_digest=approval.args_digest)
    await add_step(env, run_id, "approval", decision="approved", attempt=2)
    assert (await refused(check(env, run_id, SHOWN[0], "approval"))).code == "approval.missing"


async def test_values_are_bound_as_they_read_back_from_the_store(env: Env) -> None:
    record = {"big": 1e16, "huge": 1e300, "whole": 2.0, "zero": -0.0, "edge": 1.8446744073709552e19, "n": [5e18, -1e17]}
    run_id = await add_run(env)
    await approve_and_end(env, run_id, "approval", show_=[record])
    stored = (await list_approvals(approver(env), PageParams())).items[0].shown[0]
    assert digest(stored) == digest(as_stored(record))
    await check(env, run_id, record, "approval")
    await check(env, run_id, stored, "approval")


async def test_the_policy_s_digest_is_part_of_what_is_decided(env: Env) -> None:
    first, _ = await asked(env)
    other = body_of()
    other["description"] = "Another version."
    run_id = await add_run(env)
    second = await show(approver(env), await ask(env, call_of(run_id=run_id, policy=other)))
    assert first.policy_digest != second.policy_digest
    assert first.args_digest != second.args_digest


class Heard:
    """A notifier that remembers."""

    def __init__(self) -> None:
        self.said: list[object] = []

    def ready(self, queue: str) -> None:
        self.said.append(queue)

    def changed(self, run_id: UUID, ended: bool) -> None:
        self.said.append((run_id, ended))


async def test_workers_are_told_once_it_is_committed_and_only_then(env: Env, clock: FrozenClock) -> None:
    heard = Heard()
    approval, run_id = await asked(env)
    good = {"reason": REASON, "args_digest": approval.args_digest, "notifier": heard}
    await refused(decide(approver(env, "ada"), approval.id, Verdict.APPROVE, **good))
    assert heard.said == []
    await decide(approver(env), approval.id, Verdict.APPROVE, **good)
    assert heard.said == ["default", (run_id, True)]
    heard.said.clear()
    _, late_run = await asked(env)
    clock.at += timedelta(hours=72)
    assert await expire_due(env, heard) == 1
    assert heard.said == ["default", (late_run, True)]


async def test_a_decision_while_the_run_is_awake_is_not_lost(env: Env) -> None:
    approval, run_id = await asked(env)
    async with env.db.engine_tx() as tx:
        await tx.execute(
            "update runs set status = 'RUNNING', waiting_kind = null, waiting_ref = null where id = %s", (run_id,)
        )
    await decide(approver(env), approval.id, Verdict.APPROVE, reason=REASON, args_digest=approval.args_digest)
    async with env.db.engine_tx() as tx:
        row = await (await tx.execute("select status, wakes from runs where id = %s", (run_id,))).fetchone()
    # The engine's checkpoint reads this token: a suspension on it does not wait.
    assert row == ("RUNNING", [f"approval:{approval.id}"])
