"""The live flags of every tenant in the memory of one process: read at its start, on every notification, and twice a
second anyway.

An evaluation costs no query and no wait. A look for changes is one query of one number; the flags of a tenant are read
again only when its number has changed, and only documents that are new are compiled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from stanchion.base import Json
from stanchion.context import Env
from stanchion.controls import Looking, keeping
from stanchion.controls.flags import Attributes, FlagType
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.releases.flags import rules, store
from stanchion.releases.flags.types import Answer, LiveFlags, Served
from stanchion.releases.rollouts import store as rollout_store

CHANNEL: Final = "stanchion_flags"
# Seconds; a look may compile many documents.
_READ_S_MAX: Final = 5.0
_NOTHING: Final = LiveFlags()


class Snapshot(Looking):
    """The flags of every tenant in this process's environment.

    Args:
        env: the process's Env, its database open.
        notified: whether it also listens for notifications; without, it learns of a change at its next look.
        switches: what is killed. withdrawn: what is revoked. Who asks for a flag that is gets their own value.
    """

    def __init__(
        self,
        env: Env,
        *,
        notified: bool = True,
        switches: Kills = NO_KILLS,
        withdrawn: Withdrawals = NO_WITHDRAWALS,
    ) -> None:
        super().__init__(
            env,
            role="app",
            channel=CHANNEL if notified else None,
            what="flags",
            age_event="flags.age",
            every_s=rules.LOOK_S,
            read_s_max=_READ_S_MAX,
        )
        self._switches = switches
        self._withdrawn = withdrawn
        self._flags: dict[str, LiveFlags] = {}
        self._known: dict[str, Served] = {}
        self._revision: store.Revision | None = None

    def of(self, tenant: str) -> LiveFlags:
        """The tenant's flags, as this process knows them. Empty for a tenant that has none."""
        return self._flags.get(tenant, _NOTHING)

    def evaluate(
        self,
        tenant: str,
        name: str,
        fallback: Json = None,
        context: Attributes | None = None,
        *,
        principal: str = "",
        expected: FlagType | None = None,
    ) -> Answer:
        """What a flag gives for these attributes, from memory. Never raises; arguments as `rules.evaluated` takes them."""
        age_s = self.age_s
        if age_s is None:
            answer = rules.unread(name, fallback)
        else:
            answer = rules.evaluated(
                self._flags.get(tenant, _NOTHING),
                name,
                fallback,
                {} if context is None else context,
                tenant=tenant,
                principal=principal,
                age_s=age_s,
                now=self._env.clock.now(),
                expected=expected,
                stopped=self._stopped(tenant, name) if self._switches.any or self._withdrawn.any else None,
            )
        self._env.telemetry.emit("flag.evaluated", 1.0, answer.resolution.reason.value)
        return answer

    def _stopped(self, tenant: str, name: str) -> rules.Stopped:
        def why(digest: str) -> str:
            found = self._switches.blocked(tenant, "flag", name, digest) or self._withdrawn.stopped(tenant, (digest,))
            return "" if found is None else found.text

        return why

    async def refresh(self) -> None:
        """Look once. Raises what the database says; the snapshot stays as it was then, and ages."""
        began = self._env.clock.monotonic()
        environment = self._env.environment.name
        async with self._env.db.connection("app") as tx:
            revision = await store.revision(tx, environment)
            moved: dict[str, int] = {}
            if revision != self._revision:
                found = await store.revisions(tx, environment)
                moved = {row.tenant: row.rev for row in found if self.of(row.tenant).revision != row.rev}
        for tenant, rev in moved.items():
            # A newer state than the number says does no harm: the number then differs at the next look.
            self._flags[tenant] = await self._read(tenant, rev)
        if moved:
            self._known = {served.digest: served for flags in self._flags.values() for served in _served(flags)}
        if moved or self._revision is None:
            self._env.telemetry.emit("flags.live", float(sum(len(flags.entries) for flags in self._flags.values())))
            self._env.telemetry.emit("flags.revision", float(revision.total))
        self._revision, self._read_at = revision, began

    async def _read(self, tenant: str, revision: int) -> LiveFlags:
        async with self._env.db.tenant_tx(tenant) as tx:
            offer = await rollout_store.offer_of_kind(tx, tenant, self._env.environment.name, "flag")
        # What is compiled stays so if the look runs out of time: the next one goes on from there.
        known = self._known
        for row in (*offer.live, *offer.candidates):
            if row.digest not in known:
                known[row.digest] = rules.served(row)
                # Compiling takes some 0.4 ms each (measured): a tenant's first thousand must not hold up everybody else.
                await self._env.clock.sleep(0)
        return rules.live_flags(offer, revision, known)


def _served(flags: LiveFlags) -> list[Served]:
    found = [(entry.live, entry.candidate) for entry in flags.entries.values()]
    return [served for pair in found for served in pair if served is not None]


@asynccontextmanager
async def kept(
    env: Env, *, notified: bool = True, switches: Kills = NO_KILLS, withdrawn: Withdrawals = NO_WITHDRAWALS
) -> AsyncGenerator[Snapshot]:
    """A snapshot that is read before the block begins (or is known to be unread) and kept fresh while it lasts."""
    snapshot = Snapshot(env, notified=notified, switches=switches, withdrawn=withdrawn)
    async with keeping(snapshot):
        yield snapshot
