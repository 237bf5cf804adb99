"""A run in the middle of a PUSH, a target that logs every write it receives, and an effect port between them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from stanchion.audit import list_records
from stanchion.base import Json
from stanchion.blueprints import Op, OpKind
from stanchion.context import Actor, Ctx, Env
from stanchion.http import PageParams
from stanchion.runs import Claim, StepCall, Suspend, WaitingKind
from stanchion.tools import EffectPort, PushHandler
from stanchion.tools.adapter import Adapter
from stanchion.tools.adapters.registry import Adapters
from tests.conformance import worlds

RECORD: dict[str, Json] = {"case_id": "C1", "tier": "minor", "articles": [5], "comment": None}
RAW: dict[str, Json] = {"case_id": "C1", "tier": "minor", "articles": [5]}


class Crash(BaseException):
    """The process dies here."""


class CrashingAdapter:
    """An adapter of the real kind whose process dies before or after the target has done its work."""

    def __init__(self, inner: Adapter, window: str) -> None:
        self._inner = inner
        self.window = window
        self.name = inner.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def push(self, target, record, idempotency_key):
        if self.window == "before_call":
            raise Crash
        envelope = await self._inner.push(target, record, idempotency_key)
        if self.window == "after_call":
            raise Crash
        return envelope


def admin(env: Env, tenant: str = "acme", principal: str = "olga") -> Ctx:
    actor = Actor(
        tenant=tenant,
        principal=principal,
        principal_id="0199c1e0-0000-7000-8000-000000000001",
        kind="user",
        roles=frozenset({"operator"}),
        credential="api_key:1",
    )
    return Ctx(env=env, actor=actor)


async def new_run(env: Env, superuser: str, *, epoch: int = 1) -> UUID:
    """A RUNNING run of tenant acme at that epoch."""
    run_id = env.ids.new()
    async with await psycopg.AsyncConnection.connect(superuser, autocommit=True) as tx:
        await tx.execute("insert into tenants (name, display_name) values ('acme', 'Acme') on conflict do nothing")
        await tx.execute(
            "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status, input, requested_by,"
            " root_id, epoch, path) values ('acme', %s, 'b', 1, 'p', 'local', 1, 'RUNNING', '{}', 'ada', %s, %s, 'record')",
            (run_id, run_id, epoch),
        )
        await tx.execute(
            "insert into step_runs (tenant, run_id, path, position, verb, status, rev) values"
            " ('acme', %s, 'record', 0, 'push', 'RUNNING', 1)",
            (run_id,),
        )
    return run_id


async def reclaim(superuser: str, run_id: UUID, epoch: int) -> None:
    async with await psycopg.AsyncConnection.connect(superuser, autocommit=True) as tx:
        await tx.execute("update runs set epoch = %s, status = 'RUNNING' where id = %s", (epoch, run_id))


def call_of(
    world: worlds.World,
    run_id: UUID,
    *,
    epoch: int = 1,
    attempt: int = 1,
    path: str = "record",
    record: Json = None,
    op: Mapping[str, Any] | None = None,
    timeout_s: float | None = None,
) -> StepCall:
    return StepCall(
        claim=Claim(tenant="acme", run_id=run_id, epoch=epoch),
        root_id=run_id,
        blueprint="b",
        path=path,
        attempt=attempt,
        resumed=attempt > 1,
        op=Op(kind=OpKind.STEP, path=path, exits={}, **(op or {})),
        config={"connector": "casebook", "resource": "outcomes", "record": RAW if record is None else record},
        bodies={("connector", "casebook"): world.body},
        digests={("connector", "casebook"): "sha256:" + str(hash(str(world.body)))},
        requested_by="ada",
        facts={},
        traceparent=None,
        timeout_s=timeout_s,
    )


class Bench:
    """One environment with one SQLite target."""

    def __init__(self, env: Env, superuser: str, root: Path, approvals: Any = None, **push: Json) -> None:
        self.env, self.superuser = env, superuser
        self.adapters = Adapters(root, env.clock, home="acme")
        self.world = worlds.make_sqlite(root, self.adapters)
        self.world.body["resources"]["outcomes"]["push"].update(push)
        if push.get("idempotency", "probe") != "probe":
            del self.world.body["resources"]["outcomes"]["push"]["probe"]
        self.approvals = approvals

    def handler(self, window: str | None = None) -> PushHandler:
        """A worker's handler; its process dies at `window`."""
        adapters = Adapters(Path("unused"), self.env.clock)
        adapters.by_name = dict(self.adapters.by_name)
        if window:
            adapters.by_name["sql"] = CrashingAdapter(self.adapters.get("sql"), window)  # type: ignore[index]
        return PushHandler(adapters, EffectPort(self.env, self.approvals))

    async def received(self) -> list[str]:
        return [case for case, _ in await self.world.received()]

    async def effect(self, run_id: UUID) -> dict[str, Any]:
        async with await psycopg.AsyncConnection.connect(
            self.superuser, row_factory=psycopg.rows.dict_row
        ) as connection:
            cursor = await connection.execute("select * from effects where run_id = %s", (run_id,))
            return await cursor.fetchone() or {}

    async def audited(self, run_id: UUID) -> list[str]:
        """Event types of the run's effects, in order."""
        found = await list_records(admin(self.env), PageParams(limit=100), run_id=run_id)
        return [record.event_type for record in reversed(found.items)]


async def suspend_of(bench: Bench, call: StepCall) -> str:
    """Perform a PUSH that suspends its run, and do with the suspension what the engine does; return its `ref`."""
    with pytest.raises(Suspend) as caught:
        await bench.handler().execute(bench.env, call)
    return await suspended(bench, call.claim.run_id, caught.value)


async def suspended(bench: Bench, run_id: UUID, suspend: Suspend) -> str:
    """What the engine does with a suspension: the run's row, and `also` in the same transaction."""
    assert suspend.kind is WaitingKind.EFFECT
    assert suspend.ref is not None
    async with bench.env.db.engine_tx() as tx:
        await tx.execute(
            "update runs set status = 'SUSPENDED', waiting_kind = 'effect', waiting_ref = %s where id = %s",
            (suspend.ref, run_id),
        )
        if suspend.also is not None:
            await suspend.also(tx)
    return suspend.ref
