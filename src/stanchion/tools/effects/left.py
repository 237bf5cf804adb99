"""Attempts that were left: their worker was lost, and their run ended from outside before anybody saw how they ended."""

from __future__ import annotations

from typing import Final

from stanchion import audit
from stanchion.base import Json
from stanchion.context import Env, system_actor
from stanchion.tools.effects import store
from stanchion.tools.effects.ledger import audit_stamp
from stanchion.tools.effects.rules import INTENT_SETTLED_AFTER
from stanchion.tools.effects.store import Left

# The rest is taken in the next rounds.
_AT_ONCE: Final = 500
_WHY: Final[dict[str, Json]] = {
    "code": "effect.outcome_unknown",
    "message": "The run ended while its worker was lost; nobody saw how this attempt ended.",
}


async def settle_left(env: Env) -> int:
    """The scheduler's duty: what was attempted for a run that has ended, by a call that can no longer be under way, is
    UNKNOWN from now on: listed, counted and resolved by a person like any other. Returns how many there were.

    A run that goes on settles its attempt itself; so it does after a retry of the run, which asks the target first.
    """
    at = env.clock.now()
    async with env.db.engine_tx() as tx:
        found = await store.leave(tx, before=at - INTENT_SETTLED_AFTER, at=at, error=_WHY, limit=_AT_ONCE)
        if found:
            await audit.insert_many(tx, [_record(env, left) for left in found])
    return len(found)


def _record(env: Env, left: Left) -> audit.AuditRecord:
    return audit.build(
        clock=env.clock,
        ids=env.ids,
        tenant=left.tenant,
        environment=env.environment.name,
        actor=system_actor("engine", left.tenant),
        event_type="effect.completed",
        target=("effect", left.id),
        run_id=left.run_id,
        outcome=audit.Outcome(status="UNKNOWN", error_class=str(_WHY["code"]), receipt=None),
        extra={"key": left.key, "attempt_at": audit_stamp(left.intent_at)},
    )
