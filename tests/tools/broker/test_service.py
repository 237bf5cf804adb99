"""The broker believes nothing of a call: the token, the ledger, the Blueprint, the approval and the three locks each stop it
alone, and what comes back holds no credential."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import pytest

from stanchion.base import Denied, Internal, Invalid, LimitExceeded, Problem, Unavailable, digest
from stanchion.blueprints import OpKind
from stanchion.context import Environment
from stanchion.controls.kills import Blocked
from stanchion.controls.withdrawals import Stopped
from stanchion.identity import CedarCalls
from stanchion.runs import Suspend, WaitingKind
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker import checks, service, store
from stanchion.tools.broker.breaker import Breakers
from stanchion.tools.broker.measures import Measures
from stanchion.tools.broker.scrubbing import MARK, Scrubber
from stanchion.tools.held import waiting
from stanchion.tools.types import Envelope
from tests.tools.broker.held import PASSWORD, PEER, RECORD, Held


@pytest.fixture
async def superuser(cluster, database_urls) -> str:
    return cluster.superuser(database_urls)


@pytest.fixture
async def held(env, superuser: str) -> Held:
    found = Held(env, superuser)
    await found.begin()
    return found


async def refused(held: Held, code: str, op: str = "push", **other: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await held.perform(op, **other)
    assert caught.value.code == code
    assert held.adapter.asked == []
    return caught.value


async def test_a_push_that_everything_agrees_to_is_performed_with_its_credential(held: Held) -> None:
    envelope = await held.perform()
    assert isinstance(envelope, Envelope)
    assert envelope.metadata["applied"] is True
    assert held.adapter.asked == [("push", (RECORD, envelope.metadata["idempotency_key"]))]
    assert held.adapter.passwords == [PASSWORD]
    question = held.policy.asked[0]
    assert (question.action, question.connector, question.resource, question.operation) == (
        "effects.perform",
        "casebook",
        "outcomes",
        "push",
    )
    assert question.arguments == RECORD


async def test_reads_a_probe_and_a_test_are_performed(held: Held) -> None:
    assert isinstance(await held.perform("fetch"), Envelope)
    assert isinstance(await held.perform("lookup"), Envelope)
    assert await held.perform("probe") == {"applied": True}
    assert await held.perform("test") == {"detail": f"Signed in with {MARK}."}
    assert [op for op, _ in held.adapter.asked] == ["fetch", "lookup", "probe", "test"]
    assert [q.action for q in held.policy.asked] == ["tools.call", "tools.call", "effects.perform"]


# --- the call itself


async def test_a_token_of_another_connection_is_refused(held: Held) -> None:
    stranger = replace(PEER, session_key=bytes(32))
    with pytest.raises(Denied) as caught:
        await held.broker.perform(held.call(), stranger)
    assert caught.value.code == "broker.bad_token"
    assert held.adapter.asked == []


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"asker": {"epoch": 2}}, "broker.bad_token"),
        ({"connector": "other"}, "broker.bad_token"),
        ({"key": "eff_other"}, "broker.bad_token"),
    ],
)
async def test_a_call_changed_after_it_was_signed_is_refused(held: Held, other: dict[str, Any], code: str) -> None:
    signed, changed = held.call(), held.call(**other)
    with pytest.raises(Denied) as caught:
        await held.broker.perform(replace(changed, token=signed.token), PEER)
    assert caught.value.code == code
    assert held.adapter.asked == []


async def test_only_a_version_that_the_tenant_published_under_that_name_is_called(held: Held) -> None:
    await refused(held, "broker.unknown_connector", digest="sha256:" + "0" * 64)
    await refused(held, "broker.unknown_connector", connector="payroll")
    await refused(held, "broker.unknown_connector", tenant="globex", asker={"tenant": "globex"})


async def test_a_document_changed_behind_our_back_is_not_believed(held: Held) -> None:
    await held.sql(
        'update artifacts set body = body || \'{"environment": "production"}\' where digest = %s', held.digest
    )
    with pytest.raises(Internal) as caught:
        await held.perform()
    assert caught.value.code == "broker.corrupt_connector"
    assert held.adapter.asked == []


@pytest.mark.parametrize(
    ("op", "other", "code"),
    [
        ("push", {"operation": "fetch"}, "broker.bad_call"),
        ("fetch", {"operation": "push"}, "broker.bad_call"),
        ("push", {"arguments": {"record": "x"}}, "broker.bad_call"),
        ("push", {"asker": {"tenant": "globex"}}, "broker.bad_call"),
        ("fetch", {"arguments": {"where": {}, "limit": 10**9, "page": None}}, "broker.bad_call"),
        ("fetch", {"arguments": {"where": {}, "limit": 1, "page": 7}}, "broker.bad_call"),
        ("fetch", {"resource": "nothing"}, "connector.unknown_resource"),
    ],
)
async def test_a_call_that_contradicts_itself_is_refused(held: Held, op: str, other: dict[str, Any], code: str) -> None:
    await refused(held, code, op, **other)


async def test_a_call_for_nobody_is_refused(held: Held) -> None:
    call = replace(held.call("fetch"), asker=None)
    from stanchion.tools.broker import tokens

    call = replace(call, token=tokens.sign(call, PEER.session_key, held.env.clock.now().timestamp()))
    with pytest.raises(Denied) as caught:
        await held.broker.perform(call, PEER)
    assert caught.value.code == "broker.no_asker"


# --- the ledger and the Blueprint


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("delete from effects where run_id = %s", "broker.no_intent"),
        ("update effects set state = 'DONE' where run_id = %s", "broker.no_intent"),
        ("update effects set state = 'UNKNOWN' where run_id = %s", "broker.no_intent"),
        ("update effects set epoch = 0 where run_id = %s", "broker.stale_intent"),
        ("update effects set key = 'eff_' || id::text where run_id = %s", "broker.other_effect"),
        ("update effects set connector_digest = 'sha256:x' where run_id = %s", "broker.other_effect"),
        ("update effects set operation = 'cases.push' where run_id = %s", "broker.other_effect"),
        ("update effects set args_digest = 'sha256:x' where run_id = %s", "broker.other_arguments"),
        ("update runs set epoch = 2 where id = %s", "broker.stale_claim"),
        ("update runs set status = 'PENDING' where id = %s", "broker.stale_claim"),
        ("update runs set requested_by = 'eve' where id = %s", "broker.no_such_run"),
        ("update runs set tenant = 'globex' where id = %s", "broker.no_such_run"),
        ("update runs set pins = 'none' where id = %s", "broker.not_pinned"),
    ],
)
async def test_a_write_is_sent_only_as_the_ledger_has_it(held: Held, change: str, code: str) -> None:
    await held.sql(change, held.run_id)
    problem = await refused(held, code)
    assert problem.kind.value == "denied"
    if code != "broker.other_arguments":
        await refused(held, code, "probe")


async def test_a_write_of_other_arguments_is_refused(held: Held) -> None:
    await refused(held, "broker.other_arguments", arguments={"record": {**RECORD, "outcome": "reopen"}})


async def test_what_an_approval_was_shown_is_what_is_sent(held: Held) -> None:
    await refused(held, "broker.record_differs", arguments={"record": RECORD, "raw": {**RECORD, "outcome": "reopen"}})
    await refused(held, "push.bad_record", arguments={"record": RECORD, "raw": {"case_id": 7}})


async def test_a_step_writes_only_where_the_blueprint_says(held: Held) -> None:
    step = held.programs.op.step
    assert step is not None
    op = held.programs.op
    for raw in ({"connector": "other"}, {"resource": "other"}, {"tool": "post-outcome"}):
        held.programs.op = replace(op, step=replace(step, raw={**step.raw, **raw}))
        await refused(held, "broker.other_step")
        await held.next_attempt()
    held.programs.op = replace(op, step=replace(step, verb="fetch"))
    await refused(held, "broker.other_step")
    await held.next_attempt()
    held.programs.op = replace(op, path="elsewhere")
    await refused(held, "broker.no_such_step")
    await held.next_attempt()
    held.programs.op = replace(op, kind=OpKind.END, step=None)
    await refused(held, "broker.no_such_step")


async def test_an_item_is_the_step_of_its_number(env, superuser: str) -> None:
    held = Held(env, superuser)
    await held.begin(path="record[3]")
    from stanchion.tools import effect_key

    key = effect_key(held.run_id, held.run_id, "record[3]")
    assert isinstance(await held.perform(asker={"path": "record[3]"}, key=key), Envelope)


async def test_the_approval_is_looked_at_again(held: Held) -> None:
    held.programs.op = replace(held.programs.op, approvals=("approval",), own_fields=frozenset({"outcome"}))
    held.approvals.refusal = Denied("approval.missing", "Nobody approved this.")
    await refused(held, "approval.missing")
    asked = held.approvals.asked[0]
    assert (asked["tenant"], asked["run_id"], asked["path"]) == ("acme", held.run_id, "record")
    assert asked["paths"] == ("approval",)
    assert asked["record_digest"] == digest({"case_id": "C1"})
    held.approvals.refusal = None
    await held.next_attempt()
    assert isinstance(await held.perform(), Envelope)


# --- kill switches and revocations


class Killed:
    any = True

    def blocked(self, tenant, kind, name, digest, *, strict=False):
        return Blocked(ref="kill-1", text="killed", again_s=2.0) if kind == "connector" else None

    def admit(self, tenant, kind, name, digest):
        return None


class Revoked:
    any = True

    def __init__(self, *digests: str) -> None:
        self.digests = digests

    def stopped(self, tenant, uses, *, strict=False):
        return Stopped(ref=self.digests[0], text="revoked") if set(self.digests) & set(uses) else None

    def admit(self, tenant, pins):
        return None


@pytest.mark.parametrize("op", ["push", "fetch"])
async def test_what_the_broker_knows_to_be_killed_is_not_called_and_the_run_waits(held: Held, op: str) -> None:
    held.broker = held.another(kills=Killed())
    problem = await refused(held, "kill.held_back", op)
    wait = waiting(problem)
    assert isinstance(wait, Suspend)
    assert (wait.kind, wait.ref, wait.after_s) == (WaitingKind.KILLED, "kill-1", 2.0)


async def test_what_the_broker_knows_to_be_revoked_is_not_used(held: Held) -> None:
    held.broker = held.another(withdrawn=Revoked(held.digest))
    wait = waiting(await refused(held, "release.held_back", "fetch"))
    assert wait is not None
    assert (wait.kind, wait.ref) == (WaitingKind.REVOKED, held.digest)
    held.broker = held.another(withdrawn=Revoked("sha256:blueprint"))
    await refused(held, "release.held_back")
    assert waiting(Denied("auth.denied", "x", waits_for="killed")) is None


class KilledTool(Killed):
    def blocked(self, tenant, kind, name, digest, *, strict=False):
        found = (kind, name, digest) == ("tool", "post-cost", "sha256:tool")
        return Blocked(ref="kill-2", text="killed") if found else None


async def test_a_killed_or_revoked_tool_is_not_used_and_policy_is_asked_about_it(held: Held) -> None:
    through = {"asker": {"tool": "post-cost", "tool_digest": "sha256:tool"}}
    held.programs.tool = "post-cost"
    assert isinstance(await held.perform("fetch", **through), Envelope)
    assert (held.policy.asked[-1].tool, held.policy.asked[-1].tool_digest) == ("post-cost", "sha256:tool")
    held.adapter.asked.clear()
    held.broker = held.another(kills=KilledTool())
    assert "the tool 'post-cost' was killed" in (await refused(held, "kill.held_back", "fetch", **through)).message
    held.broker = held.another(withdrawn=Revoked("sha256:tool"))
    await refused(held, "release.held_back", "fetch", **through)
    held.broker = held.another(kills=KilledTool())
    held.programs.tool = ""
    assert isinstance(await held.perform("fetch"), Envelope)  # the connector itself is not killed


# --- the three locks of I10, each with the other two open


def production(held: Held, name: str = "production") -> Any:
    return replace(held.env, environment=Environment(name=name, production=True))


async def test_first_lock_the_environment_of_the_connector(held: Held) -> None:
    """The secret is issued to production and policy permits; the connector is bound to `local`."""
    held.secrets.issued_to = "production"
    held.broker = held.another(production(held))
    problem = await refused(held, "effect.wrong_environment")
    assert "'local'" in problem.message
    assert "'production'" in problem.message


async def test_first_lock_outside_production_simulates(held: Held) -> None:
    held.secrets.issued_to = "sandbox"
    held.broker = held.another(replace(held.env, environment=Environment(name="sandbox", production=False)))
    envelope = await held.perform()
    assert held.adapter.asked == []
    assert held.adapter.passwords == []
    assert envelope.metadata["simulated"] is True
    assert envelope.metadata["applied"] is True
    assert envelope.metadata["record"] == RECORD
    assert "nothing was sent" in envelope.narrative
    assert await held.perform("probe") == {"applied": False}
    assert isinstance(await held.perform("fetch"), Envelope)  # reads are as before


async def test_second_lock_the_environment_of_the_secret(held: Held) -> None:
    """The connector is bound to this environment and policy permits; the secret is issued to another."""
    held.secrets.issued_to = "production"
    problem = await refused(held, "secret.wrong_environment")
    assert "production" in problem.message
    await refused(held, "secret.wrong_environment", "fetch")


class NoPolicies:
    def policies(self, tenant, *, strict):
        return ()


async def test_third_lock_policy(env, superuser: str) -> None:
    """The connector is bound to this environment, its secret issued to it; nothing permits the write in production."""
    held = Held(env, superuser, environment="production")
    await held.begin()
    held.secrets.issued_to = "production"
    held.broker = held.another(production(held), policy=CedarCalls(NoPolicies()))
    await refused(held, "auth.denied")
    assert isinstance(await held.perform("fetch"), Envelope)


async def test_with_all_three_open_production_is_written(env, superuser: str) -> None:
    held = Held(env, superuser, environment="production")
    await held.begin()
    held.secrets.issued_to = "production"
    held.broker = held.another(production(held))
    assert (await held.perform()).metadata["applied"] is True


# --- what comes back


def encodings(value: str) -> dict[str, str]:
    return {
        "plain": value,
        "base64": base64.b64encode(b"user:" + value.encode()).decode(),
        "hex": value.encode().hex(),
        "percent": "".join(f"%{b:02X}" for b in value.encode()),
    }


async def test_an_answer_that_echoes_the_credential_is_scrubbed(held: Held) -> None:
    async def echo(target):
        value = target.credentials.value("/password")
        target.credentials.derived("access-token-made-of-it")
        said = encodings(value)
        return Envelope(
            records=[{"case_id": said["base64"], "outcome": said["hex"]}],
            metrics={},
            trace={"traceparent": said["plain"]},
            narrative=f"Signed in as {said['plain']}",
            metadata={"truncated": False, "page": said["percent"], "token": "access-token-made-of-it"},
        )

    held.adapter.answer = echo
    envelope = await held.perform("fetch")
    scrubber = Scrubber([PASSWORD, "access-token-made-of-it"])
    assert not scrubber.found_in(repr(envelope))
    assert repr(envelope).count(MARK) == 6
    assert envelope.metadata["truncated"] is False


async def test_a_problem_that_echoes_the_credential_is_scrubbed_and_keeps_what_it_says(held: Held) -> None:
    async def fail(target):
        said = encodings(target.credentials.value("/password"))
        try:
            int(said["plain"])
        except ValueError as error:
            raise target.problem(
                "adapter.status",
                f"said {said['base64']}.",
                hint=said["hex"],
                sent=True,
                status=500,
                location=said["percent"],
            ) from error

    held.adapter.answer = fail
    with pytest.raises(AdapterProblem) as caught:
        await held.perform()
    problem = caught.value
    assert problem.sent
    assert problem.fields["status"] == 500
    assert not Scrubber([PASSWORD]).found_in(f"{problem} {problem.fields}")
    assert problem.__cause__ is None
    assert problem.__suppress_context__


@pytest.mark.parametrize(("code", "fields"), [("adapter.status", {"status": 401}), ("adapter.not_authenticated", {})])
async def test_a_target_that_does_not_know_the_new_value_yet_is_called_with_the_one_before(
    held: Held, code: str, fields: dict[str, Any]
) -> None:
    held.secrets.before = "the-one-before"

    async def knows_only_the_old(target):
        if target.credentials.value("/password") == PASSWORD:
            raise target.problem(code, "did not let us in.", **fields)
        return Envelope(records=[], metrics={}, trace={}, narrative="", metadata={"truncated": False})

    held.adapter.answer = knows_only_the_old
    assert isinstance(await held.perform("fetch"), Envelope)
    assert held.adapter.passwords == [PASSWORD, "the-one-before"]
    held.secrets.before = ""
    with pytest.raises(AdapterProblem):
        await held.perform("fetch")


# --- limits and the breaker


async def test_a_connector_that_took_its_share_refuses_with_a_time(env, superuser: str) -> None:
    held = Held(env, superuser, limits={"calls_per_s": 0.01, "burst": 2})
    await held.begin()
    other = held.another()
    await held.perform("fetch")
    await other.perform(held.call("fetch"), PEER)
    for broker in (held.broker, other):
        with pytest.raises(LimitExceeded) as caught:
            await broker.perform(held.call("fetch"), PEER)
        assert caught.value.code == "connector.rate_limited"
        assert caught.value.retryable
        assert 90 < float(str(caught.value.fields["retry_after_s"])) <= 101
    assert len(held.adapter.asked) == 2


async def test_a_target_that_fails_is_left_alone_by_every_broker(env, superuser: str) -> None:
    held = Held(env, superuser)
    await held.begin()
    other = held.another()

    async def down(target):
        raise target.problem("adapter.unreachable", "cannot be reached.", retryable=True)

    held.adapter.answer = down
    for _ in range(5):
        with pytest.raises(AdapterProblem):
            await held.perform("fetch")
    await other._breakers.refresh()
    for broker in (held.broker, other):
        with pytest.raises(Unavailable) as caught:
            await broker.perform(held.call("fetch"), PEER)
        assert caught.value.code == "connector.breaker_open"
        assert caught.value.retryable
        assert 0 < float(str(caught.value.fields["retry_after_s"])) <= 5
    assert len(held.adapter.asked) == 5
    # Its time is over: one call tries, and closes it for all.
    await held.sql("update connector_breakers set until = clock_timestamp() - interval '1 second'")
    await held.broker._breakers.refresh()
    await other._breakers.refresh()
    held.adapter.answer = None
    assert isinstance(await other.perform(held.call("fetch"), PEER), Envelope)
    await held.broker._breakers.refresh()
    assert isinstance(await held.perform("fetch"), Envelope)


async def test_a_record_that_the_target_refuses_opens_nothing(held: Held) -> None:
    async def refuses(target):
        raise target.problem("adapter.status", "answered with status 422.", status=422)

    held.adapter.answer = refuses
    for _ in range(12):
        with pytest.raises(AdapterProblem):
            await held.perform("fetch")
    assert await held.sql("select state from connector_breakers where connector = 'casebook'") in ([], [("CLOSED",)])


async def test_retry_after_is_honoured(held: Held) -> None:
    async def busy(target):
        raise target.problem(
            "adapter.status", "answered with status 429.", status=429, retry_after_s=60.0, retryable=True
        )

    held.adapter.answer = busy
    with pytest.raises(AdapterProblem):
        await held.perform("fetch")
    with pytest.raises(Unavailable) as caught:
        await held.perform("fetch")
    assert caught.value.code == "connector.breaker_open"
    assert 55 < float(str(caught.value.fields["retry_after_s"])) <= 60
    assert "asked to be left alone" in caught.value.message


async def test_time_that_is_used_up_sends_nothing(held: Held) -> None:
    with pytest.raises(LimitExceeded) as caught:
        await held.perform("fetch", timeout_s=0.01)
    assert caught.value.code == "broker.no_time_left"
    assert held.adapter.asked == []


async def test_calls_are_measured_by_connector_and_operation(held: Held) -> None:
    await held.perform("fetch")
    with pytest.raises(Invalid):
        await held.perform("push", operation="fetch")
    text = held.env.telemetry.expose().decode()
    assert 'stanchion_connector_calls_total{connector="casebook",operation="outcomes.fetch",outcome="ok"} 1.0' in text
    assert (
        'connector_errors_total{class="invalid",code="broker.bad_call",connector="casebook",operation="push"} 1.0'
        in text
    )


async def test_a_call_that_broke_or_was_broken_off_is_not_counted_as_one_that_went_well(held: Held) -> None:
    async def breaks(_target):
        raise RuntimeError("a defect")

    held.adapter.answer = breaks
    with pytest.raises(Problem) as caught:
        await held.perform("fetch")
    assert caught.value.code == "broker.failed"
    began = asyncio.Event()

    async def hangs(_target):
        began.set()
        await asyncio.Event().wait()

    held.adapter.answer = hangs
    call = asyncio.create_task(held.perform("fetch"))
    await began.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    text = held.env.telemetry.expose().decode()
    assert 'stanchion_connector_calls_total{connector="other",operation="fetch",outcome="broken_off"} 2.0' in text
    assert 'operation="outcomes.fetch",outcome="ok"' not in text


async def test_while_one_call_tries_an_open_breaker_the_others_cost_no_statement(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held.sql(
        "insert into connector_breakers (tenant, connector, state, calls, failures, counted_from, until, openings, asked,"
        " reason) values ('acme', 'casebook', 'OPEN', 5, 5, now(), now() - interval '1 second', 1, false, 'adapter.timeout')"
    )
    breakers = held.broker._breakers
    await breakers.refresh()
    trial = await breakers.admit("acme", "casebook", timeout_s=30.0)
    assert trial.trial
    statements = 0
    real = store.lock_breaker

    async def counted(*args: Any) -> Any:
        nonlocal statements
        statements += 1
        return await real(*args)

    monkeypatch.setattr(store, "lock_breaker", counted)
    await breakers.refresh()
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            await breakers.admit("acme", "casebook", timeout_s=30.0)
        assert float(str(caught.value.fields["retry_after_s"])) == 1.0
    assert statements == 0
    await breakers.ended(trial, None)
    assert not (await breakers.admit("acme", "casebook", timeout_s=30.0)).trial


async def test_breakers_beyond_the_connectors_that_are_told_apart_are_shown_together(env, superuser: str) -> None:
    held = Held(env, superuser)
    await held.begin()
    measures = Measures(env, connectors_max=1)
    breakers = Breakers(env, measures.label)
    await held.sql(
        "insert into connector_breakers (tenant, connector, state, calls, failures, counted_from, until, openings, asked,"
        " reason) select 'acme', 'c' || n, 'OPEN', 5, 5, now(), now() + n * interval '1 minute', 1, false, 'x'"
        " from generate_series(0, 3) n"
    )
    await breakers.refresh()
    shown = [line for line in env.telemetry.expose().decode().splitlines() if "connector_breaker_open{" in line]
    assert {line.split("{")[1] for line in shown} >= {'connector="c0"} 0.5', 'connector="other"} 1.0'}
    assert not any('"c1"' in line for line in shown)
    await held.sql("delete from connector_breakers")
    await breakers.refresh()
    assert 'connector_breaker_open{connector="other"} 0.0' in env.telemetry.expose().decode()


async def test_a_trial_that_never_came_to_the_target_does_not_close_its_breaker(held: Held) -> None:
    """A record that cannot be written into a path, a host that egress refuses: the target may be as ill as before."""
    await held.sql(
        "insert into connector_breakers (tenant, connector, state, calls, failures, counted_from, until, openings, asked,"
        " reason) values ('acme', 'casebook', 'OPEN', 5, 5, now(), now() - interval '1 second', 3, false, 'adapter.timeout')"
    )
    await held.broker._breakers.refresh()
    state = "select state, openings, trial_until is null from connector_breakers where connector = 'casebook'"
    for code in ("adapter.bad_parameter", "egress.address_denied"):

        async def refuses(target, code=code):
            raise target.problem(code, "cannot be asked.")

        held.adapter.answer = refuses
        with pytest.raises(AdapterProblem) as caught:
            await held.perform("fetch")
        assert caught.value.code == code
        assert await held.sql(state) == [("OPEN", 3, True)]

    async def answers(target):
        raise target.problem("adapter.status", "answered with status 422.", status=422)

    held.adapter.answer = answers
    with pytest.raises(AdapterProblem):
        await held.perform("fetch")
    assert await held.sql(state) == [("CLOSED", 0, True)]


async def test_a_write_is_put_into_its_canonical_form_once_for_each_thing_it_is_compared_with(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the call's record, as what the step has, and as what the ledger knows: not again for each who asks."""
    made: list[str] = []

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: made.append(f"{module.__name__}.{name}") or real(*args))

    counted(service, "digest")
    counted(checks, "digest")
    counted(checks, "args_digest")
    await held.perform()
    package = "stanchion.tools.broker"
    assert sorted(made) == [f"{package}.checks.args_digest", f"{package}.checks.digest", f"{package}.service.digest"]
