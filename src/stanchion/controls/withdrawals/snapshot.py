"""What is withdrawn, in the memory of one process: read at its start, on every notification, and four times a second anyway.

A use costs an attribute and, only if anything anywhere is withdrawn, a look-up per version used. A look for changes is one
query of one number; the withdrawals of a tenant are read again only when its number has changed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from stanchion.context import Env
from stanchion.controls.looking import Looking, keeping
from stanchion.controls.withdrawals import rules, store
from stanchion.controls.withdrawals.types import PinLike, Stopped, Withdrawal

CHANNEL: Final = "stanchion_withdrawals"
# Seconds; see Looking.
_READ_S_MAX: Final = 2.0


class Snapshot(Looking):
    """The withdrawn versions of every tenant, for one process. Implements `Withdrawals`.

    Args:
        env: the process's Env, its database open.
        role: the database role whose pool it reads with: `app` or `engine`.
        notified: whether it also listens for notifications; without, it learns of a change at its next look.
    """

    def __init__(self, env: Env, *, role: str, notified: bool = True) -> None:
        super().__init__(
            env,
            role=role,
            channel=CHANNEL if notified else None,
            what="withdrawn versions",
            age_event="withdrawals.age",
            every_s=rules.LOOK_S,
            read_s_max=_READ_S_MAX,
        )
        self._index: rules.Index = {}
        self._known: dict[str, list[Withdrawal]] = {}
        self._revs: dict[str, int] = {}
        self._revision: store.Revision | None = None
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

    async def refresh(self) -> None:
        """Look once. Raises what the database says; the snapshot stays as it was then, and ages."""
        began = self._env.clock.monotonic()
        async with self._env.db.connection(self._role) as tx:
            revision = await store.revision(tx)
            changed: Mapping[str, int] = {}
            if revision != self._revision:
                found = await store.revisions(tx)
                changed = {row.tenant: row.rev for row in found if self._revs.get(row.tenant) != row.rev}
        for tenant, rev in changed.items():
            # A newer state than the number says does no harm: the number then differs at the next look. A look that runs
            # out of time goes on where it was.
            self._known[tenant] = await self._read(tenant)
            self._revs[tenant] = rev
        if revision != self._revision:
            self._index = rules.index_of(one for known in self._known.values() for one in known)
            self._env.telemetry.emit("withdrawals.active", float(sum(map(len, self._known.values()))))
        self._revision, self._read_at = revision, began
        self.any = bool(self._index)

    async def _read(self, tenant: str) -> list[Withdrawal]:
        transaction = self._env.db.tenant_tx(tenant) if self._role == "app" else self._env.db.engine_tx()
        async with transaction as tx:
            return await store.in_force(tx, tenant)

    async def look(self) -> None:
        """Look once, and keep what is known if that fails; from then on every use asks how old that is."""
        await super().look()
        self.any = self.any or self._failing


@asynccontextmanager
async def kept(env: Env, *, role: str, notified: bool = True) -> AsyncGenerator[Snapshot]:
    """A snapshot that is read before the block begins (or is known to be unread) and kept fresh while it lasts."""
    async with keeping(Snapshot(env, role=role, notified=notified)) as snapshot:
        yield snapshot
