"""SQL of simulated writes of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from stanchion.db import Tx, many, scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """How many writes of a run's own steps were simulated."""

    run_id: UUID
    writes: int


async def count_own(tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> list[Simulated]:
    """Those of these runs that have any; items are runs of their own and count for themselves."""
    return await many(
        tx,
        Simulated,
        "select run_id, count(*) as writes from step_runs where tenant = %(tenant)s and run_id = any(%(ids)s)"
        " and verb in ('push', 'execute') and output -> 'receipt' ->> 'simulated' = 'true' group by run_id",
        {"tenant": tenant, "ids": list(run_ids)},
    )


async def count_whole(tx: Tx, tenant: str, run_id: UUID) -> int:
    """Those of a run and of all the items below it."""
    return int(
        await scalar(
            tx,
            "with recursive tree as (select id from runs where tenant = %(tenant)s and id = %(run_id)s"
            " union all select r.id from runs r join tree t on r.parent_id = t.id where r.tenant = %(tenant)s)"
            " select count(*) from step_runs s join tree t on t.id = s.run_id where s.tenant = %(tenant)s"
            " and s.verb in ('push', 'execute') and s.output -> 'receipt' ->> 'simulated' = 'true'",
            {"tenant": tenant, "run_id": run_id},
        )
    )
