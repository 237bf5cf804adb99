"""SQL of live configs: what is live of them with its content, and which versions unfinished runs are pinned to."""

from __future__ import annotations

from stanchion.db import Tx, many
from stanchion.releases.configs.types import ConfigRow, Held


async def rows(
    tx: Tx, tenant: str, environment: str, *, name: str | None = None, after: str | None = None, limit: int = 1
) -> list[ConfigRow]:
    """What is live of configs, by name, past `after`; or of one name."""
    return await many(
        tx,
        ConfigRow,
        "select l.name, l.version, l.digest, a.owner, a.body, a.source, a.source_path, l.released_at, l.released_by,"
        " m.candidate_version as candidate, m.rollout_id as rollout from releases l"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version"
        " left join rollout_members m on m.tenant = l.tenant and m.environment = l.environment and m.kind = l.kind"
        " and m.name = l.name and m.ended_at is null"
        " where l.tenant = %(tenant)s and l.environment = %(environment)s and l.kind = 'config'"
        " and (%(name)s::text is null or l.name = %(name)s) and (%(after)s::text is null or l.name > %(after)s)"
        " order by l.name limit %(limit)s",
        {"tenant": tenant, "environment": environment, "name": name, "after": after, "limit": limit},
    )


async def held(tx: Tx, tenant: str, environment: str, name: str, *, sets_max: int, runs_max: int) -> list[Held]:
    """Unfinished top-level runs of the environment by the version that they are pinned to, newest version first: of the
    newest `sets_max` pin sets the newest `runs_max` runs each. Index `pin_members_pkey`, then `runs_by_pins`."""
    return await many(
        tx,
        Held,
        "with sets as (select pins, version from pin_members"
        " where tenant = %(tenant)s and kind = 'config' and name = %(name)s order by created_at desc, pins limit %(sets)s)"
        " select sets.version, count(*)::int as runs from sets cross join lateral (select status, environment from runs"
        " where tenant = %(tenant)s and pins = sets.pins and parent_id is null order by id desc limit %(runs)s) r"
        " where r.status in ('PENDING', 'RUNNING', 'SUSPENDED') and r.environment = %(environment)s"
        " group by sets.version order by sets.version desc",
        {"tenant": tenant, "environment": environment, "name": name, "sets": sets_max, "runs": runs_max},
    )
