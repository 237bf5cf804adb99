"""Runs and GOVERN calls for tests of approvals, without an engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.approvals import GovernHandler, PolicyKind
from stanchion.artifacts import Document
from stanchion.base import digest
from stanchion.blueprints import Op, OpKind, Step
from stanchion.context import Env
from stanchion.runs import Claim, StepCall, Suspend

POLICY = """\
policy: supervisor-approval
type: approval
description: A supervisor looks at high fines.
owner: casework
facts:
  type: object
  required: [fine_eur]
  properties:
    fine_eur: {type: number, minimum: 0}
    country: {type: string}
when: facts.fine_eur > 100000.0
title: Fine of ${facts.fine_eur} euros
ask:
  roles: [approver]
  principals: [cfo]
  expires: 72h
"""
KIND = PolicyKind()
SHOWN = [{"case_id": "ES-1", "outcome": "uphold"}]


class FrozenClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 18, 9, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def parse(source: str = POLICY, *, lookup=lambda kind, name: None):
    return KIND.parse(Document(path="policies/p.yaml", source=source), lookup)


def body_of(source: str = POLICY, *, lookup=lambda kind, name: None) -> dict[str, Any]:
    parsed = parse(source, lookup=lookup)
    assert parsed.issues == ()
    return dict(parsed.body)


def call_of(
    *,
    tenant: str = "acme",
    run_id: UUID,
    root_id: UUID | None = None,
    path: str = "approval",
    attempt: int = 1,
    resumed: bool = False,
    policy: dict[str, Any] | None = None,
    facts: Any = None,
    show: list[Any] | None = None,
    exits: dict[str, int] | None = None,
    requested_by: str = "ada",
    verb: str = "govern",
    approvals: tuple[str, ...] = (),
    **config: Any,
) -> StepCall:
    body = policy or body_of()
    raw = {"policy": body["policy"], "show": ["${input}"], **config}
    step = Step(id=path.rsplit("/", 1)[-1], verb=verb, config={}, raw=raw)
    key = ("policy", body["policy"])
    return StepCall(
        claim=Claim(tenant=tenant, run_id=run_id, epoch=1),
        root_id=root_id or run_id,
        blueprint="case-triage",
        path=path,
        attempt=attempt,
        resumed=resumed,
        op=Op(kind=OpKind.STEP, path=path, step=step, exits=exits or {}, approvals=approvals),
        config={
            "policy": body["policy"],
            "facts": {"fine_eur": 250000.0} if facts is None else facts,
            "show": SHOWN if show is None else show,
            **config,
        },
        bodies={key: body},
        digests={key: digest(body)},
        requested_by=requested_by,
        facts={},
        traceparent=None,
        timeout_s=None,
    )


async def suspended(env: Env, call: StepCall) -> Suspend:
    """Execute GOVERN and expect it to ask."""
    try:
        result = await GovernHandler().execute(env, call)
    except Suspend as wish:
        return wish
    raise AssertionError(f"it did not suspend: {result}")


async def ask(env: Env, call: StepCall) -> UUID:
    """What the engine does with a suspension: the run waits and the approval's row is there, in one transaction."""
    wish = await suspended(env, call)
    assert wish.also is not None
    assert wish.ref is not None
    async with env.db.engine_tx() as tx:
        await tx.execute(
            "update runs set status = 'SUSPENDED', waiting_kind = %s, waiting_ref = %s, wake_at = %s where id = %s",
            (wish.kind.value, wish.ref, wish.wake_at, call.claim.run_id),
        )
        await wish.also(tx)
    return UUID(wish.ref)


async def add_run(
    env: Env, *, tenant: str = "acme", parent: tuple[UUID, str, int] | None = None, root: UUID | None = None
) -> UUID:
    """A RUNNING run; `parent` is (run, path, item number)."""
    run_id = env.ids.new()
    async with env.db.engine_tx() as tx:
        await tx.execute(
            "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status, input, requested_by,"
            " root_id, parent_id, parent_path, block, item_no, epoch) values (%s, %s, 'case-triage', 1, 'sha256:x',"
            " 'local', 1, 'RUNNING', '{}', 'ada', %s, %s, %s, %s, %s, 1)",
            (
                tenant,
                run_id,
                root or run_id,
                *(parent[:2] if parent else (None, None)),
                parent[1] if parent else "",
                parent[2] if parent else None,
            ),
        )
    return run_id


async def add_step(
    env: Env,
    run_id: UUID,
    path: str,
    *,
    tenant: str = "acme",
    status: str = "SUCCEEDED",
    decision: str | None = None,
    attempt: int = 1,
) -> None:
    async with env.db.engine_tx() as tx:
        await tx.execute(
            "insert into step_runs (tenant, run_id, path, position, verb, status, attempt, output, rev)"
            " values (%s, %s, %s, 0, 'govern', %s, %s, %s, 1)",
            (tenant, run_id, path, status, attempt, Jsonb({"decision": decision}) if decision else None),
        )


async def run_state(env: Env, run_id: UUID) -> tuple[str, str | None]:
    async with env.db.engine_tx() as tx:
        row = await (await tx.execute("select status, waiting_kind from runs where id = %s", (run_id,))).fetchone()
    assert row is not None
    return row[0], row[1]


async def audit_of(env: Env, approval_id: UUID) -> list[tuple[str, str]]:
    """(event, actor) of the records about an approval, in their order."""
    async with env.db.engine_tx() as tx:
        rows = await (
            await tx.execute(
                "select event_type, actor from audit_records where target_kind = 'approval' and target_id = %s order by id",
                (str(approval_id),),
            )
        ).fetchall()
    return [(row[0], row[1]) for row in rows]
