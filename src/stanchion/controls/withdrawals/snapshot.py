"""What is withdrawn, in the memory of one process: read at its start, on every notification, and four times a second anyway.

A use costs an attribute and, only if anything anywhere is withdrawn, a look-up per version used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from stanchion.context import Env
from stanchion.controls.looking import Revision, TenantRevision, keeping
from stanchion.controls.looking import Snapshot as PerTenant
from stanchion.controls.withdrawals import rules, store
from stanchion.controls.withdrawals.types import PinLike, Stopped, Withdrawal
from stanchion.db import Tx

CHANNEL: Final = "stanchion_withdrawals"


class Snapshot(PerTenant[list[Withdrawal]]):
    """The withdrawn versions of every tenant, for one process. Implements `Withdrawals`; arguments as those of
    `controls.Snapshot`."""

    channel = CHANNEL
    what = "withdrawn versions"
    age_event = "withdrawals.age"
    every_s = rules.LOOK_S

    def __init__(self, env: Env, *, role: str, notified: bool = True) -> None:
        super().__init__(env, role=role, notified=notified)
        self._index: rules.Index = {}
        # A use asks this first, so it is a plain attribute. Before the first read nobody knows, hence True; and True
        # again when it is too old, so that what changes the outside world stops without a look at the clock per step.
        self.any = True

    def stopped(self, tenant: str, uses: Iterable[str], *, strict: bool = False) -> Stopped | None:
        """What stops this use, or None. Before the first read, and with `strict` when too old, everything is stopped."""
        age_s = self.age_s
        if age_s is None or (strict and age_s > rules.AGE_S_MAX):
            return rules.unread_stopped(age_s)
        known = self._index.get(tenant)
        found = rules.revoked(known, uses) if known else None
        return None if found is None else rules.stopped_by(found)

    def admit(self, tenant: str, pins: Sequence[PinLike]) -> None:
        """Return if a new run may begin on these. Raises Conflict `release.revoked`, `release.drained`, Unavailable
        `release.unread`."""
        age_s = self.age_s
        if age_s is None or age_s > rules.AGE_S_MAX:
            raise rules.unread(age_s)
        known = self._index.get(tenant)
        if not known:
            return
        for pin in pins:
            found = known.get(pin.digest)
            if found is not None:
                self._env.telemetry.emit("withdrawal.stopped", 1.0, "start")
                raise rules.start_refused(found)

    async def _revised(self, tx: Tx) -> Revision:
        return await store.revision(tx)

    async def _revisions(self, tx: Tx) -> Sequence[TenantRevision]:
        return await store.revisions(tx)

    async def _read(self, tenant: str, rev: int) -> list[Withdrawal]:  # noqa: ARG002 - what is there now is newer or the same
        async with self._transaction(tenant) as tx:
            return await store.in_force(tx, tenant)

    def _learned(self, revision: Revision) -> None:  # noqa: ARG002 - the rows are known already
        self._index = rules.index_of(one for known in self._known.values() for one in known)
        self._env.telemetry.emit("withdrawals.active", float(sum(map(len, self._known.values()))))

    async def refresh(self) -> None:
        """Look once. Raises what the database says; the snapshot stays as it was then, and ages."""
        await super().refresh()
        self.any = bool(self._index)

    async def look(self) -> None:
        """Look once, and keep what is known if that fails; from then on every use asks how old that is."""
        await super().look()
        self.any = self.any or self._failing


@asynccontextmanager
async def kept(env: Env, *, role: str, notified: bool = True) -> AsyncGenerator[Snapshot]:
    """A snapshot that is read before the block begins (or is known to be unread) and kept fresh while it lasts."""
    async with keeping(Snapshot(env, role=role, notified=notified)) as snapshot:
        yield snapshot
