"""All SQL of the broker's service: what a call is held to, and what broker processes share of a connector. Role engine."""

# ruff: noqa: S608 - only our own literals are put together, which pyright holds to (LiteralString)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe, scalar
from stanchion.tools.broker.breaker_rules import Breaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A run and the effect of one of its steps, as they are now. The effect's columns are None if the step has none.

    `pinned`: whether the connector's version is among the run's pins. `simulated`: whether the effect's first attempt that
    came here was; None if there was none. `claimed`: whether this attempt was written down now.
    """

    status: str
    epoch: int
    root_id: UUID
    requested_by: str
    pins: str
    block: str
    pinned: bool
    effect_id: UUID | None
    effect_state: str | None
    effect_epoch: int | None
    effect_key: str | None
    effect_args: str | None
    effect_connector: str | None
    effect_operation: str | None
    effect_attempts: int | None
    simulated: bool | None = None
    claimed: bool = False


# A run and its effect at one path, as they stand.
_STANDING: Final = (
    "select r.status, r.epoch, r.root_id, r.requested_by, r.pins, r.block,"
    " coalesce(p.pins @> jsonb_build_array(jsonb_build_object('kind', 'connector', 'digest', %(digest)s::text)), false)"
    " as pinned, e.id as effect_id, e.state as effect_state, e.epoch as effect_epoch, e.key as effect_key,"
    " e.args_digest as effect_args, e.connector_digest as effect_connector, e.operation as effect_operation,"
    " e.attempts as effect_attempts, b.simulated"
    " from runs r left join pin_sets p on p.tenant = r.tenant and p.digest = r.pins"
    " left join effects e on e.tenant = r.tenant and e.run_id = r.id and e.path = %(path)s"
    " left join broker_effects b on b.tenant = e.tenant and b.effect_id = e.id"
    " where r.tenant = %(tenant)s and r.id = %(run_id)s"
)


async def standing(tx: Tx, tenant: str, run_id: UUID, path: str, digest: str) -> Standing | None:
    """The one statement before a write: the run, whether it is pinned to the connector's version, the step's effect."""
    return await maybe(
        tx,
        Standing,
        _STANDING,
        {"tenant": tenant, "run_id": run_id, "path": path, "digest": digest},
    )


async def claim_attempt(
    tx: Tx,
    tenant: str,
    run_id: UUID,
    path: str,
    digest: str,
    *,
    epoch: int,
    key: str,
    args: str,
    simulated: bool,
) -> Standing | None:
    """As `standing`, and in the same statement the attempt that is now INTENT under this claim, for this key and these
    arguments, is written down, once: `claimed` is false where it was before, or where the ledger has something else.

    Another broker that brings the same attempt waits for the row and then finds it; so at most one of them claims it. How the
    first attempt was made stays: `simulated`.
    """
    return await maybe(
        tx,
        Standing,
        "with found as (" + _STANDING + "),"
        " claim as (insert into broker_effects as b (tenant, effect_id, attempt, epoch, simulated)"
        " select %(tenant)s, effect_id, effect_attempts, effect_epoch, %(simulated)s from found"
        " where status = 'RUNNING' and epoch = %(epoch)s and pinned and effect_state = 'INTENT' and effect_epoch = %(epoch)s"
        " and effect_key = %(key)s and effect_connector = %(digest)s and effect_args = %(args)s"
        " on conflict (tenant, effect_id) do update set attempt = excluded.attempt, epoch = excluded.epoch, at = excluded.at"
        " where (b.attempt, b.epoch) < (excluded.attempt, excluded.epoch) returning true as claimed)"
        " select found.*, coalesce((select claimed from claim), false) as claimed from found",
        {
            "tenant": tenant,
            "run_id": run_id,
            "path": path,
            "digest": digest,
            "epoch": epoch,
            "key": key,
            "args": args,
            "simulated": simulated,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A published document."""

    name: str
    body: Mapping[str, Json]


async def published(tx: Tx, tenant: str, kind: Literal["connector", "tool"], digest: str) -> Body | None:
    """The connector or tool of that digest, or None if the tenant has none."""
    return await maybe(
        tx,
        Body,
        "select name, body from artifacts where tenant = %(tenant)s and kind = %(kind)s and digest = %(digest)s",
        {"tenant": tenant, "kind": kind, "digest": digest},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A connector's tokens: `tokens` were left `elapsed_s` ago."""

    tokens: float
    elapsed_s: float


async def lock_bucket(tx: Tx, tenant: str, name: str, *, full: int) -> Bucket:
    """The bucket of a connector, locked until the transaction ends; made `full` where there is none."""
    found = await maybe(
        tx,
        Bucket,
        "insert into connector_limits as l (tenant, connector, tokens) values (%(tenant)s, %(name)s, %(full)s)"
        " on conflict (tenant, connector) do update set tokens = l.tokens"
        " returning tokens, extract(epoch from clock_timestamp() - refilled_at)::double precision as elapsed_s",
        {"tenant": tenant, "name": name, "full": float(full)},
    )
    return found or Bucket(tokens=float(full), elapsed_s=0.0)


async def save_bucket(tx: Tx, tenant: str, name: str, *, tokens: float) -> None:
    """What is left of the bucket, now."""
    await execute(
        tx,
        "update connector_limits set tokens = %(tokens)s, refilled_at = clock_timestamp()"
        " where tenant = %(tenant)s and connector = %(name)s",
        {"tenant": tenant, "name": name, "tokens": tokens},
    )


async def places_of_others(tx: Tx, tenant: str, name: str, holder: UUID) -> int:
    """How many places other processes hold; those of processes long dead are forgotten. The bucket's row must be locked."""
    return int(
        await scalar(
            tx,
            "with gone as (delete from connector_places where tenant = %(tenant)s and connector = %(name)s"
            " and expires_at < clock_timestamp() - interval '1 minute') select coalesce(sum(places), 0) from connector_places where tenant = %(tenant)s and connector = %(name)s"
            " and holder <> %(holder)s and expires_at > clock_timestamp()",
            {"tenant": tenant, "name": name, "holder": holder},
        )
    )


async def hold_places(tx: Tx, tenant: str, name: str, holder: UUID, *, places: int, lease_s: float) -> None:
    """Hold this many places for `lease_s` seconds from now; none gives all back."""
    if places == 0:
        await execute(
            tx,
            "delete from connector_places where tenant = %(tenant)s and connector = %(name)s and holder = %(holder)s",
            {"tenant": tenant, "name": name, "holder": holder},
        )
        return
    await execute(
        tx,
        "insert into connector_places (tenant, connector, holder, places, expires_at)"
        " values (%(tenant)s, %(name)s, %(holder)s, %(places)s, clock_timestamp() + make_interval(secs => %(lease_s)s))"
        " on conflict (tenant, connector, holder) do update set places = excluded.places, expires_at = excluded.expires_at",
        {"tenant": tenant, "name": name, "holder": holder, "places": places, "lease_s": lease_s},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRow:
    """A connector's breaker, and the database's time when it was read."""

    tenant: str
    connector: str
    state: Literal["CLOSED", "OPEN"]
    calls: int
    failures: int
    counted_from: datetime
    until: datetime
    openings: int
    asked: bool
    reason: str
    trial_until: datetime | None
    at: datetime

    @property
    def breaker(self) -> Breaker:
        """As the rules know it."""
        return Breaker(
            state=self.state,
            calls=self.calls,
            failures=self.failures,
            counted_from=self.counted_from,
            until=self.until,
            openings=self.openings,
            asked=self.asked,
            reason=self.reason,
            trial_until=self.trial_until,
        )


async def lock_breaker(tx: Tx, tenant: str, name: str) -> BreakerRow:
    """The breaker of a connector, locked until the transaction ends; made closed where there is none."""
    found = await maybe(
        tx,
        BreakerRow,
        "insert into connector_breakers as b (tenant, connector, state, calls, failures, counted_from, until, openings,"
        " asked, reason) values (%(tenant)s, %(name)s, 'CLOSED', 0, 0, clock_timestamp(), clock_timestamp(), 0, false, '')"
        " on conflict (tenant, connector) do update set state = b.state returning tenant, connector, state, calls,"
        " failures, counted_from, until, openings, asked, reason, trial_until, clock_timestamp() as at",
        {"tenant": tenant, "name": name},
    )
    assert found is not None  # noqa: S101 - an upsert returns its row
    return found


async def save_breaker(tx: Tx, tenant: str, name: str, breaker: Breaker) -> None:
    """The breaker as it is now."""
    await execute(
        tx,
        "update connector_breakers set state = %(state)s, calls = %(calls)s, failures = %(failures)s,"
        " counted_from = %(counted_from)s, until = %(until)s, openings = %(openings)s, asked = %(asked)s,"
        " reason = %(reason)s, trial_until = %(trial_until)s where tenant = %(tenant)s and connector = %(name)s",
        {
            "tenant": tenant,
            "name": name,
            "state": breaker.state,
            "calls": breaker.calls,
            "failures": breaker.failures,
            "counted_from": breaker.counted_from,
            "until": breaker.until,
            "openings": breaker.openings,
            "asked": breaker.asked,
            "reason": breaker.reason,
            "trial_until": breaker.trial_until,
        },
    )


async def open_breakers(tx: Tx, *, limit: int) -> list[BreakerRow]:
    """The breakers that are open, of all tenants."""
    return await many(
        tx,
        BreakerRow,
        "select tenant, connector, state, calls, failures, counted_from, until, openings, asked, reason, trial_until,"
        " clock_timestamp() as at from connector_breakers where state = 'OPEN' order by tenant, connector limit %(limit)s",
        {"limit": limit},
    )
