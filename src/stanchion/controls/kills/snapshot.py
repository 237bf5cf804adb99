"""What is killed, in the memory of one process: read at its start, on every notification, and four times a second anyway.

A use costs an attribute and, only if anything anywhere is killed, two look-ups in a dict.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from stanchion.context import Env
from stanchion.controls.kills import rules, store
from stanchion.controls.kills.types import Blocked, Kill
from stanchion.controls.looking import Revision, TenantRevision, keeping
from stanchion.controls.looking import Snapshot as PerTenant
from stanchion.db import Tx

CHANNEL: Final = "stanchion_kills"


class Snapshot(PerTenant[list[Kill]]):
    """The kill switches of every tenant, for one process. Implements `Kills`; arguments as those of `controls.Snapshot`."""

    channel = CHANNEL
    what = "kill switches"
    age_event = "kills.age"
    every_s = rules.LOOK_S

    def __init__(self, env: Env, *, role: str, notified: bool = True) -> None:
        super().__init__(env, role=role, notified=notified)
        self._index: rules.Index = {}
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

    async def _revised(self, tx: Tx) -> Revision:
        return await store.revision(tx)

    async def _revisions(self, tx: Tx) -> Sequence[TenantRevision]:
        return await store.revisions(tx)

    async def _read(self, tenant: str, rev: int) -> list[Kill]:  # noqa: ARG002 - what is there now is newer or the same
        async with self._transaction(tenant) as tx:
            return await store.in_force(tx, tenant)

    def _learned(self, revision: Revision) -> None:  # noqa: ARG002 - the rows are known already
        self._index = rules.index_of(kill for kills in self._known.values() for kill in kills)
        self.any = bool(self._index)
        self._env.telemetry.emit("kills.active", float(sum(map(len, self._known.values()))))


@asynccontextmanager
async def kept(env: Env, *, role: str, notified: bool = True) -> AsyncGenerator[Snapshot]:
    """A snapshot that is read before the block begins (or is known to be unread) and kept fresh while it lasts."""
    async with keeping(Snapshot(env, role=role, notified=notified)) as snapshot:
        yield snapshot
