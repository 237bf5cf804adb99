"""All SQL of the effect ledger. Writes of a worker run as role `engine`, fenced by `runs.hold`; a person's as `app`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe, scalar
from stanchion.tools.effects.types import Effect, EffectState


async def lock_of_step(tx: Tx, tenant: str, run_id: UUID, path: str) -> Effect | None:
    """The effect of a step, locked until the transaction ends; None if the step never attempted one."""
    return await maybe(
        tx,
        Effect,
        "select tenant, id, run_id, path, key, connector, connector_digest, operation, class as effect_class, idempotency,"
        " args_digest, state, epoch, receipt, error, resolved_by, evidence, intent_at, outcome_at, attempts"
        " from effects where tenant = %(tenant)s and run_id = %(run_id)s and path = %(path)s for update",
        {"tenant": tenant, "run_id": run_id, "path": path},
    )


async def lock(tx: Tx, tenant: str, effect_id: UUID) -> Effect | None:
    """The effect, locked until the transaction ends."""
    return await maybe(
        tx,
        Effect,
        "select tenant, id, run_id, path, key, connector, connector_digest, operation, class as effect_class, idempotency,"
        " args_digest, state, epoch, receipt, error, resolved_by, evidence, intent_at, outcome_at, attempts"
        " from effects where tenant = %(tenant)s and id = %(id)s for update",
        {"tenant": tenant, "id": effect_id},
    )


async def by_id(tx: Tx, tenant: str, effect_id: UUID) -> Effect | None:
    """The effect, or None."""
    return await maybe(
        tx,
        Effect,
        "select tenant, id, run_id, path, key, connector, connector_digest, operation, class as effect_class, idempotency,"
        " args_digest, state, epoch, receipt, error, resolved_by, evidence, intent_at, outcome_at, attempts"
        " from effects where tenant = %(tenant)s and id = %(id)s",
        {"tenant": tenant, "id": effect_id},
    )


async def insert_intent(tx: Tx, effect: Effect) -> None:
    """Record the intent, before anything is called."""
    await execute(
        tx,
        "insert into effects (tenant, id, run_id, path, key, connector, connector_digest, operation, class, idempotency,"
        " args_digest, state, epoch, intent_at)"
        " values (%(tenant)s, %(id)s, %(run_id)s, %(path)s, %(key)s, %(connector)s, %(connector_digest)s, %(operation)s,"
        " %(class)s, %(idempotency)s, %(args_digest)s, 'INTENT', %(epoch)s, %(intent_at)s)",
        {
            "tenant": effect.tenant,
            "id": effect.id,
            "run_id": effect.run_id,
            "path": effect.path,
            "key": effect.key,
            "connector": effect.connector,
            "connector_digest": effect.connector_digest,
            "operation": effect.operation,
            "class": effect.effect_class,
            "idempotency": effect.idempotency,
            "args_digest": effect.args_digest,
            "epoch": effect.epoch,
            "intent_at": effect.intent_at,
        },
    )


async def renew_intent(tx: Tx, effect: Effect) -> None:
    """An attempt after one that failed, or that nobody saw the end of: the same effect, now under this claim."""
    await execute(
        tx,
        "update effects set state = 'INTENT', args_digest = %(args_digest)s, connector_digest = %(connector_digest)s,"
        " epoch = %(epoch)s, intent_at = %(at)s, error = null, receipt = null, outcome_at = null, resolved_by = null,"
        " evidence = null, attempts = attempts + 1 where tenant = %(tenant)s and id = %(id)s",
        {
            "tenant": effect.tenant,
            "id": effect.id,
            "args_digest": effect.args_digest,
            "connector_digest": effect.connector_digest,
            "epoch": effect.epoch,
            "at": effect.intent_at,
        },
    )


async def set_outcome(
    tx: Tx,
    effect: Effect,
    *,
    state: EffectState,
    at: datetime,
    receipt: Mapping[str, Json] | None = None,
    error: Mapping[str, Json] | None = None,
    resolved_by: str | None = None,
    evidence: str | None = None,
) -> None:
    """What became of the attempt."""
    await execute(
        tx,
        "update effects set state = %(state)s, receipt = %(receipt)s, error = %(error)s, outcome_at = %(at)s,"
        " resolved_by = %(resolved_by)s, evidence = %(evidence)s where tenant = %(tenant)s and id = %(id)s",
        {
            "tenant": effect.tenant,
            "id": effect.id,
            "state": state.value,
            "receipt": None if receipt is None else Jsonb(receipt),
            "error": None if error is None else Jsonb(error),
            "at": at,
            "resolved_by": resolved_by,
            "evidence": evidence,
        },
    )


async def select(
    tx: Tx,
    tenant: str,
    *,
    state: str | None,
    run_id: UUID | None,
    connector: str | None,
    digest: str | None,
    operations: Sequence[str] | None,
    pins: Sequence[Mapping[str, Json]] | None,
    since: datetime | None,
    simulated: bool | None,
    before: UUID | None,
    limit: int,
) -> list[Effect]:
    """Effects that match every filter given, newest first, those before the id `before`.

    `operations`: `connector.resource.verb`. `pins`: of runs whose pins hold one of these.
    """
    return await many(
        tx,
        Effect,
        "select tenant, id, run_id, path, key, connector, connector_digest, operation, class as effect_class, idempotency,"
        " args_digest, state, epoch, attempts, receipt, error, resolved_by, evidence, intent_at, outcome_at from effects e"
        " where tenant = %(tenant)s and (%(state)s::text is null or state = %(state)s)"
        " and (%(run_id)s::uuid is null or run_id = %(run_id)s)"
        " and (%(connector)s::text is null or connector = %(connector)s)"
        " and (%(digest)s::text is null or connector_digest = %(digest)s)"
        " and (%(since)s::timestamptz is null or intent_at >= %(since)s)"
        " and (%(simulated)s::boolean is null or coalesce(receipt ->> 'simulated' = 'true', false) = %(simulated)s)"
        " and (%(operations)s::text[] is null or (connector || '.' || operation = any(%(operations)s)"
        " and exists (select 1 from runs r join pin_sets p on p.tenant = r.tenant and p.digest = r.pins"
        " where r.tenant = e.tenant and r.id = e.run_id"
        " and exists (select 1 from jsonb_array_elements(%(pins)s) w where p.pins @> jsonb_build_array(w)))))"
        " and (%(before)s::uuid is null or id < %(before)s) order by id desc limit %(limit)s",
        {
            "tenant": tenant,
            "state": state,
            "run_id": run_id,
            "connector": connector,
            "digest": digest,
            "since": since,
            "simulated": simulated,
            "operations": None if operations is None else list(operations),
            "pins": None if pins is None else Jsonb(list(pins)),
            "before": before,
            "limit": limit,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """An attempt whose run has ended and whose own end nobody saw."""

    tenant: str
    id: UUID
    run_id: UUID
    key: str
    intent_at: datetime


async def leave(tx: Tx, *, before: datetime, at: datetime, error: Mapping[str, Json], limit: int) -> list[Left]:
    """Role engine, all tenants: attempts begun before `before` that are INTENT though their run has ended become UNKNOWN;
    those that somebody holds are left for the next time. In the order of their ids."""
    found = await many(
        tx,
        Left,
        "with left_open as (select e.id from effects e join runs r on r.id = e.run_id"
        " where e.state = 'INTENT' and e.intent_at < %(before)s and r.status in ('SUCCEEDED', 'FAILED', 'CANCELLED')"
        " order by e.id limit %(limit)s for update of e skip locked)"
        " update effects e set state = 'UNKNOWN', outcome_at = %(at)s, error = %(error)s from left_open"
        " where e.id = left_open.id returning e.tenant, e.id, e.run_id, e.key, e.intent_at",
        {"before": before, "at": at, "error": Jsonb(error), "limit": limit},
    )
    return sorted(found, key=lambda left: left.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """How many effects of one operation have an outcome that nobody knows."""

    connector: str
    operation: str
    effects: int


async def count_unknown_of(tx: Tx, tenant: str) -> int:
    """The tenant's effects whose outcome nobody knows."""
    return int(
        await scalar(
            tx, "select count(*) from effects where tenant = %(tenant)s and state = 'UNKNOWN'", {"tenant": tenant}
        )
    )


async def count_unknown(tx: Tx) -> list[Unknown]:
    """Role engine: effects of all tenants whose outcome nobody knows, the most first."""
    return await many(
        tx,
        Unknown,
        "select connector, operation, count(*) as effects from effects where state = 'UNKNOWN'"
        " group by connector, operation order by effects desc, connector, operation",
    )
