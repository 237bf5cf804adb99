"""What a kill concerns, and the duty that lets runs go on."""

from __future__ import annotations

from typing import Final

from stanchion import artifacts
from stanchion.base import NotFound
from stanchion.context import Env
from stanchion.controls import kills
from stanchion.controls.kills import InFlight
from stanchion.db import Tx
from stanchion.runs.killing import store
from stanchion.runs.types import RunStatus

# Runs of an impact that are named, and runs that one transaction wakes.
NAMED_MAX: Final = 10
BATCH: Final = 500


class PinnedKind:
    """A kind of artifact that runs pin: a kill of it concerns the runs whose pins hold it. Any kind of artifact becomes
    killable by being registered so, once its point of use asks."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    async def digest(self, tx: Tx, tenant: str, name: str, version: int | None) -> str | None:
        """The digest of that version. Raises NotFound `kill.unknown_target`."""
        known = dict(await artifacts.versions(tx, tenant, self.kind, name))
        if not known or (version is not None and version not in known):
            what = f"{self.kind} {name!r}" + (f" version {version}" if known else "")
            raise _unknown(f"There is no {what}.", f"`stanchion artifact list --kind {self.kind}` lists what there is.")
        return None if version is None else known[version]

    async def in_flight(self, tx: Tx, tenant: str, name: str, digest: str | None) -> InFlight:
        """The runs that are pinned to it and have not ended."""
        return await _in_flight(tx, tenant, self.kind, name, digest)


class TenantKind:
    """The tenant itself: a kill concerns all its runs."""

    kind = kills.TENANT

    async def digest(self, tx: Tx, tenant: str, name: str, version: int | None) -> str | None:
        """Nothing: a tenant has no versions. Raises NotFound `kill.unknown_target` for another tenant's name."""
        del tx
        if name != tenant or version is not None:
            raise _unknown(f"A tenant can only kill itself, whole: tenant/{tenant}.", "Sign in to the other tenant.")
        return None

    async def in_flight(self, tx: Tx, tenant: str, name: str, digest: str | None) -> InFlight:
        """All runs of the tenant that have not ended."""
        del name, digest
        return await _in_flight(tx, tenant, None, "", None)


def _unknown(message: str, hint: str) -> NotFound:
    return NotFound("kill.unknown_target", message, hint=hint)


async def _in_flight(tx: Tx, tenant: str, kind: str | None, name: str, digest: str | None) -> InFlight:
    counts = {row.status: row.n for row in await store.count_in_flight(tx, tenant, kind, name, digest)}
    newest = await store.newest_in_flight(tx, tenant, kind, name, digest, NAMED_MAX)
    return InFlight(
        running=counts.get(RunStatus.RUNNING, 0),
        waiting=counts.get(RunStatus.SUSPENDED, 0),
        queued=counts.get(RunStatus.PENDING, 0),
        newest=tuple(newest),
    )


async def wake_lifted(env: Env) -> set[str]:
    """The scheduler's duty: let runs go on whose kill is lifted (or that waited for the switches to be read); return the
    queues in which something became ready. A run that meets another kill waits again, on that."""
    queues: set[str] = set()
    while True:
        async with env.db.engine_tx() as tx:
            refs = await store.refs_waited_for(tx)
            if not refs:
                return queues
            held = await kills.in_force_among(tx, refs)
            lifted = [ref for ref in refs if ref not in held]
            woken = await store.wake(tx, lifted, BATCH) if lifted else []
        queues |= set(woken)
        if len(woken) < BATCH:
            return queues
