"""What is killed, in the memory of one process: read at its start, on every notification, and four times a second anyway.

A use costs an attribute and, only if anything anywhere is killed, two look-ups in a dict. A look for changes is one
query of one number; the kills of a tenant are read again only when its number has changed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from stanchion.context import Env
from stanchion.controls.kills import rules, store
from stanchion.controls.kills.types import Blocked, Kill
from stanchion.controls.looking import Looking, keeping

CHANNEL: Final = "stanchion_kills"
# Seconds; see Looking.
_READ_S_MAX: Final = 2.0


class Snapshot(Looking):
    """The kill switches of every tenant, for one process. Implements `Kills`.

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
            what="kill switches",
            age_event="kills.age",
            every_s=rules.LOOK_S,
            read_s_max=_READ_S_MAX,
        )
        self._index: rules.Index = {}
        self._kills: dict[str, list[Kill]] = {}
        self._revs: dict[str, int] = {}
        self._revision: store.Revision | None = None
        # A use asks this first, so it is a plain attribute. Before the first read nobody knows, hence True.
        self.any = True

    def blocked(self, tenant: str, kind: str, name: str, digest: str | None, *, strict: bool = False) -> Blocked | None:
        """What stops this use, or None. Before the first read, and with `strict` when too old, everything is stopped."""
        age_s = self.age_s
        if age_s is None or (strict and age_s > rules.AGE_S_MAX):
            return rules.unread_blocked(age_s)
        kill = rules.find(self._index, tenant, kind, name, digest) if self._index else None
        return None if kill is None else rules.blocked_by(kill)

    def admit(self, tenant: str, kind: str, name: str, digest: str | None) -> None:
        """Return if new work may begin. Raises Denied `kill.active`, Unavailable `kill.unread`."""
        age_s = self.age_s
        if age_s is None or age_s > rules.AGE_S_MAX:
            raise rules.unread(age_s)
        if self._index:
            kill = rules.find(self._index, tenant, kind, name, digest)
            if kill is not None:
                self._env.telemetry.emit("kill.stopped", 1.0, "start")
                raise rules.denied(kill)

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
            self._kills[tenant] = await self._read(tenant)
            self._revs[tenant] = rev
        if revision != self._revision:
            self._index = rules.index_of(kill for kills in self._kills.values() for kill in kills)
            self.any = bool(self._index)
            self._env.telemetry.emit("kills.active", float(sum(map(len, self._kills.values()))))
        self._revision, self._read_at = revision, began

    async def _read(self, tenant: str) -> list[Kill]:
        transaction = self._env.db.tenant_tx(tenant) if self._role == "app" else self._env.db.engine_tx()
        async with transaction as tx:
            return await store.in_force(tx, tenant)


@asynccontextmanager
async def kept(env: Env, *, role: str, notified: bool = True) -> AsyncGenerator[Snapshot]:
    """A snapshot that is read before the block begins (or is known to be unread) and kept fresh while it lasts."""
    async with keeping(Snapshot(env, role=role, notified=notified)) as snapshot:
        yield snapshot
