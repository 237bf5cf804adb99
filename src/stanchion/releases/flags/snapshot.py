"""The live flags of every tenant in the memory of one process: read at its start, on every notification, and twice a
second anyway.

An evaluation costs no query and no wait; only documents that are new are compiled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from stanchion.base import Json
from stanchion.context import Env
from stanchion.controls import Revision, TenantRevision, keeping
from stanchion.controls import Snapshot as PerTenant
from stanchion.controls.flags import Attributes, FlagType
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.db import Tx
from stanchion.releases.flags import rules, store
from stanchion.releases.flags.types import Answer, LiveFlags, Served
from stanchion.releases.rollouts import store as rollout_store

CHANNEL: Final = "stanchion_flags"
_NOTHING: Final = LiveFlags()


class Snapshot(PerTenant[LiveFlags]):
    """The flags of every tenant in this process's environment.

    Args:
        env: the process's Env, its database open.
        notified: whether it also listens for notifications; without, it learns of a change at its next look.
        switches: what is killed. withdrawn: what is revoked. Who asks for a flag that is gets their own value.
    """

    channel = CHANNEL
    what = "flags"
    age_event = "flags.age"
    every_s = rules.LOOK_S
    read_s_max = 5.0  # a look may compile many documents

    def __init__(
        self,
        env: Env,
        *,
        notified: bool = True,
        switches: Kills = NO_KILLS,
        withdrawn: Withdrawals = NO_WITHDRAWALS,
    ) -> None:
        super().__init__(env, role="app", notified=notified)
        self._switches = switches
        self._withdrawn = withdrawn
        self._compiled: dict[str, Served] = {}

    def of(self, tenant: str) -> LiveFlags:
        """The tenant's flags, as this process knows them. Empty for a tenant that has none."""
        return self._known.get(tenant, _NOTHING)

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
                self._known.get(tenant, _NOTHING),
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

    async def _revised(self, tx: Tx) -> Revision:
        return await store.revision(tx, self._env.environment.name)

    async def _revisions(self, tx: Tx) -> Sequence[TenantRevision]:
        return await store.revisions(tx, self._env.environment.name)

    async def _read(self, tenant: str, rev: int) -> LiveFlags:
        async with self._transaction(tenant) as tx:
            offer = await rollout_store.offer_of_kind(tx, tenant, self._env.environment.name, "flag")
        # What is compiled stays so if the look runs out of time: the next one goes on from there.
        compiled = self._compiled
        for row in (*offer.live, *offer.candidates):
            if row.digest not in compiled:
                compiled[row.digest] = rules.served(row)
                # Compiling takes some 0.4 ms each (measured): a tenant's first thousand must not hold up everybody else.
                await self._env.clock.sleep(0)
        return rules.live_flags(offer, rev, compiled)

    def _learned(self, revision: Revision) -> None:
        self._compiled = {served.digest: served for flags in self._known.values() for served in _served(flags)}
        self._env.telemetry.emit("flags.live", float(sum(len(flags.entries) for flags in self._known.values())))
        self._env.telemetry.emit("flags.revision", float(revision.total))


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
