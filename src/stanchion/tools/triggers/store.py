"""SQL of triggers: which are live, which runs are being started, and what came of deliveries."""

from __future__ import annotations

from uuid import UUID

from stanchion.db import Tx, execute, many, maybe, scalar
from stanchion.tools.triggers.types import Delivery, LiveTrigger


async def live(tx: Tx, tenant: str, environment: str, *, after: str | None, limit: int) -> list[LiveTrigger]:
    """Live triggers by name, those after `after`."""
    return await many(
        tx,
        LiveTrigger,
        "select r.name, r.version, r.digest, a.body, r.released_at, r.released_by from releases r"
        " join artifacts a on a.tenant = r.tenant and a.kind = r.kind and a.name = r.name and a.version = r.version"
        " where r.tenant = %(tenant)s and r.environment = %(environment)s and r.kind = 'trigger'"
        " and (%(after)s::text is null or r.name > %(after)s) order by r.name limit %(limit)s",
        {"tenant": tenant, "environment": environment, "after": after, "limit": limit},
    )


async def live_one(tx: Tx, tenant: str, environment: str, name: str) -> LiveTrigger | None:
    """The live version of one trigger, or None."""
    return await maybe(
        tx,
        LiveTrigger,
        "select r.name, r.version, r.digest, a.body, r.released_at, r.released_by from releases r"
        " join artifacts a on a.tenant = r.tenant and a.kind = r.kind and a.name = r.name and a.version = r.version"
        " where r.tenant = %(tenant)s and r.environment = %(environment)s and r.kind = 'trigger' and r.name = %(name)s",
        {"tenant": tenant, "environment": environment, "name": name},
    )


async def earlier(tx: Tx, tenant: str, environment: str, trigger: str, dedupe: str) -> Delivery | None:
    """The first delivery of this dedupe value that is known to have a run."""
    return await maybe(
        tx,
        Delivery,
        "select id, trigger, version, source, received_at, dedupe, outcome, reason, run_id from trigger_deliveries"
        " where tenant = %(tenant)s and environment = %(environment)s and trigger = %(trigger)s and dedupe = %(dedupe)s"
        " and run_id is not null order by id limit 1",
        {"tenant": tenant, "environment": environment, "trigger": trigger, "dedupe": dedupe},
    )


async def claimed(tx: Tx, tenant: str, environment: str, trigger: str, dedupe: str) -> UUID | None:
    """The run that some delivery of this dedupe value was about to start, and did."""
    return await scalar(
        tx,
        "select (select c.run_id from trigger_claims c join runs r on r.tenant = c.tenant and r.id = c.run_id"
        " where c.tenant = %s and c.environment = %s and c.trigger = %s and c.dedupe = %s order by c.run_id limit 1)",
        (tenant, environment, trigger, dedupe),
    )


async def claim(tx: Tx, tenant: str, environment: str, trigger: str, dedupe: str, run_id: UUID) -> None:
    """Write down which run is about to be started for this dedupe value."""
    await execute(
        tx,
        "insert into trigger_claims (tenant, run_id, environment, trigger, dedupe) values (%s, %s, %s, %s, %s)",
        (tenant, run_id, environment, trigger, dedupe),
    )


async def add(tx: Tx, tenant: str, environment: str, new: Delivery) -> None:
    """Insert a delivery."""
    await execute(
        tx,
        "insert into trigger_deliveries (tenant, id, environment, trigger, version, source, received_at, dedupe, outcome,"
        " reason, run_id) values (%(tenant)s, %(id)s, %(environment)s, %(trigger)s, %(version)s, %(source)s,"
        " %(received_at)s, %(dedupe)s, %(outcome)s, %(reason)s, %(run_id)s)",
        {
            "tenant": tenant,
            "id": new.id,
            "environment": environment,
            "trigger": new.trigger,
            "version": new.version,
            "source": new.source,
            "received_at": new.received_at,
            "dedupe": new.dedupe,
            "outcome": new.outcome,
            "reason": new.reason,
            "run_id": new.run_id,
        },
    )


async def deliveries(
    tx: Tx, tenant: str, environment: str, trigger: str, *, outcome: str | None, after: UUID | None, limit: int
) -> list[Delivery]:
    """Deliveries of a trigger, newest first, those before the id `after`."""
    return await many(
        tx,
        Delivery,
        "select id, trigger, version, source, received_at, dedupe, outcome, reason, run_id from trigger_deliveries"
        " where tenant = %(tenant)s and environment = %(environment)s and trigger = %(trigger)s"
        " and (%(outcome)s::text is null or outcome = %(outcome)s) and (%(after)s::uuid is null or id < %(after)s::uuid)"
        " order by id desc limit %(limit)s",
        {
            "tenant": tenant,
            "environment": environment,
            "trigger": trigger,
            "outcome": outcome,
            "after": after,
            "limit": limit,
        },
    )


async def delete_old(tx: Tx, *, days: int, limit: int) -> int:
    """Forget deliveries of more than `days` ago, at most `limit`; how many. Role `engine`."""
    return await execute(
        tx,
        "delete from trigger_deliveries where id in (select id from trigger_deliveries"
        " where received_at < (select clock_timestamp()) - make_interval(days => %(days)s) order by received_at limit %(limit)s)",
        {"days": days, "limit": limit},
    )


async def delete_beyond(tx: Tx, *, most: int, limit: int) -> int:
    """Forget the oldest deliveries of triggers that have more than `most`, at most `limit`; how many. Role `engine`."""
    return await execute(
        tx,
        "delete from trigger_deliveries where id in (select id from (select id, row_number() over"
        " (partition by tenant, environment, trigger order by id desc) as place from trigger_deliveries) as placed"
        " where place > %(most)s limit %(limit)s)",
        {"most": most, "limit": limit},
    )


async def delete_old_claims(tx: Tx, *, days: int, limit: int) -> int:
    """Forget claims of more than `days` ago, at most `limit`; how many. Role `engine`."""
    return await execute(
        tx,
        "delete from trigger_claims where run_id in (select run_id from trigger_claims"
        " where claimed_at < (select clock_timestamp()) - make_interval(days => %(days)s) order by claimed_at limit %(limit)s)",
        {"days": days, "limit": limit},
    )


async def delete_claims_beyond(tx: Tx, *, most: int, limit: int) -> int:
    """Forget the oldest claims of triggers that have more than `most`, at most `limit`; how many. Role `engine`."""
    return await execute(
        tx,
        "delete from trigger_claims where run_id in (select run_id from (select run_id, row_number() over"
        " (partition by tenant, environment, trigger order by run_id desc) as place from trigger_claims) as placed"
        " where place > %(most)s limit %(limit)s)",
        {"most": most, "limit": limit},
    )
