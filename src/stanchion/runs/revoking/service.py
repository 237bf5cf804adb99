"""What revocations do to runs, in the transactions of their verbs; and the duty that lets runs go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stanchion.base import dumps
from stanchion.context import Env
from stanchion.controls import withdrawals
from stanchion.db import Tx
from stanchion.runs.revoking import store
from stanchion.runs.revoking.types import BoundRun, Counts, OpenRun
from stanchion.runs.types import PinSet, RunStatus

# Runs that one transaction wakes, and roots that are read at a time.
BATCH: Final = 500


async def count(tx: Tx, tenant: str, digest: str) -> Counts:
    """How many runs are bound to a version and have not ended."""
    return (await counts(tx, tenant, [digest]))[digest]


async def counts(tx: Tx, tenant: str, digests: Sequence[str]) -> dict[str, Counts]:
    """The same of several versions, by digest."""
    rows = await store.count(tx, tenant, digests) if digests else []
    return {digest: _counts([row for row in rows if row.digest == digest]) for digest in digests}


def _counts(rows: Sequence[store.StatusCount]) -> Counts:
    def of(status: RunStatus) -> int:
        return sum(row.n for row in rows if row.status == status and not row.stopped)

    return Counts(
        stopped=sum(row.n for row in rows if row.stopped),
        running=of(RunStatus.RUNNING),
        waiting=of(RunStatus.SUSPENDED),
        queued=of(RunStatus.PENDING),
    )


async def bound(
    tx: Tx, tenant: str, digest: str, *, stopped: bool = False, before: UUID | None = None, limit: int
) -> list[BoundRun]:
    """Those runs, newest first, past `before`; with `stopped` only those that stopped before their next use."""
    return await store.bound(tx, tenant, digest, stopped=stopped, before=before, limit=limit)


async def roots(tx: Tx, tenant: str, digest: str, *, stopped: bool, before: UUID | None) -> list[UUID]:
    """Ids of the next `BATCH` of those runs, newest first, past `before`."""
    return [run.run_id for run in await bound(tx, tenant, digest, stopped=stopped, before=before, limit=BATCH)]


async def locked(tx: Tx, tenant: str, root: UUID) -> list[OpenRun]:
    """What has not ended of a run and its items, locked; empty if it has ended. A worker that holds one of them goes on
    with it: its checkpoints wait for this transaction.

    The tree is read until it stays: while the first reading waited for a lock, another item may have fanned out, or begun
    its step. Once all are locked nobody adds to it, since items are inserted under a lock of their parent.
    """
    found = await store.lock_tree(tx, tenant, root)
    while True:
        again = await store.lock_tree(tx, tenant, root)
        if [run.id for run in again] == [run.id for run in found]:
            return again
        found = again


async def repin(
    tx: Tx, tenant: str, runs: Sequence[OpenRun], pins: PinSet, *, digest: str, again: Sequence[UUID]
) -> list[str]:
    """Bind locked runs, none of which is RUNNING, to another pin set; return the queues in which something is ready.

    Args:
        tx: the transaction that locked them.
        tenant: theirs.
        runs: of one tree.
        pins: the new set; its first pin is the Blueprint.
        digest: the revoked version: who waited before it goes on.
        again: those that begin the step they stand at anew.
    """
    members = [{"kind": p.kind, "name": p.name, "version": p.version, "digest": p.digest} for p in pins.pins]
    await store.insert_pin_set(tx, tenant, pins.digest, dumps(members).decode())
    ids = [run.id for run in runs]
    ready = await store.set_pins(tx, tenant, ids, pins=pins.digest, version=pins.pins[0].version, digest=digest)
    if again:
        ready += await store.ask_again(tx, tenant, again)
    return sorted(set(ready))


async def wake_reinstated(env: Env) -> set[str]:
    """The scheduler's duty: let runs go on whose version is no longer revoked (or that waited for the revocations to be
    read); return the queues in which something became ready. A run that meets another revocation waits again, on that."""
    queues: set[str] = set()
    while True:
        async with env.db.engine_tx() as tx:
            waited = await store.waited_for(tx)
            if not waited:
                return queues
            held = await withdrawals.revoked_among(tx, [one.ref for one in waited])
            free = [one for one in waited if (one.tenant, one.ref) not in held]
            woken = await store.wake(tx, free, BATCH) if free else []
        queues |= set(woken)
        if len(woken) < BATCH:
            return queues
