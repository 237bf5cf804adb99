"""The live authorization policies of every tenant in the memory of one process: read at its start, on every notification,
and four times a second anyway.

A decision costs no query. They are never pinned: the next call is decided by what is live then.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from stanchion.base import Unavailable
from stanchion.context import Env
from stanchion.controls import Revision, TenantRevision, keeping
from stanchion.controls import Snapshot as PerTenant
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.db import Tx
from stanchion.identity import AuthorizationPolicy
from stanchion.releases.policies import store

CHANNEL: Final = "stanchion_calls"
# Seconds between looks: a policy counts everywhere within a second even if every notification is lost.
LOOK_S: Final = 0.25
# How old what is known may be before nothing outside is changed on it any more.
AGE_S_MAX: Final = 5.0


class Snapshot(PerTenant[tuple[AuthorizationPolicy, ...]]):
    """Fills `identity.PolicySource` for one process, in its environment. Arguments as those of `controls.Snapshot`, and
    `withdrawn`, what is revoked: a revoked policy that is live still can neither permit nor be passed over."""

    channel = CHANNEL
    what = "authorization policies"
    age_event = "policies.age"
    every_s = LOOK_S

    def __init__(
        self, env: Env, *, role: str = "app", notified: bool = True, withdrawn: Withdrawals = NO_WITHDRAWALS
    ) -> None:
        super().__init__(env, role=role, notified=notified)
        self._withdrawn = withdrawn

    def policies(self, tenant: str, *, strict: bool) -> tuple[AuthorizationPolicy, ...]:
        """The tenant's live authorization policies. Raises Unavailable `policy.unread`."""
        age_s = self.age_s
        if age_s is None or (strict and age_s > AGE_S_MAX):
            read = "were not read yet" if age_s is None else f"could not be read for {age_s:.1f} s"
            raise Unavailable(
                "policy.unread",
                f"The authorization policies {read}; nothing is permitted on what may have changed.",
                hint="The database is away or slow, see /health/dependencies; try again when it is back.",
                retry_after_s=1,
            )
        found = self._known.get(tenant, ())
        return tuple(self._checked(tenant, policy) for policy in found) if self._withdrawn.any else found

    def _checked(self, tenant: str, policy: AuthorizationPolicy) -> AuthorizationPolicy:
        stopped = self._withdrawn.stopped(tenant, (policy.digest,))
        if stopped is None:
            return policy
        return AuthorizationPolicy(
            name=policy.name, version=policy.version, digest=policy.digest, cedar="", unreadable=stopped.text
        )

    async def _revised(self, tx: Tx) -> Revision:
        return await store.revision(tx, self._env.environment.name)

    async def _revisions(self, tx: Tx) -> Sequence[TenantRevision]:
        return await store.revisions(tx, self._env.environment.name)

    async def _read(self, tenant: str, rev: int) -> tuple[AuthorizationPolicy, ...]:  # noqa: ARG002 - what is there now is newer or the same
        async with self._transaction(tenant) as tx:
            rows = await store.live(tx, tenant, self._env.environment.name)
        return tuple(_policy(row) for row in rows)


def _policy(row: store.PolicyRow) -> AuthorizationPolicy:
    cedar = row.body.get("cedar")
    said = cedar if isinstance(cedar, str) else ""
    return AuthorizationPolicy(
        name=row.name,
        version=row.version,
        digest=row.digest,
        cedar=said,
        unreadable="" if said else "it holds no Cedar text",
    )


@asynccontextmanager
async def kept(
    env: Env, *, role: str = "app", notified: bool = True, withdrawn: Withdrawals = NO_WITHDRAWALS
) -> AsyncGenerator[Snapshot]:
    """A snapshot that is read before the block begins (or is known to be unread) and kept fresh while it lasts."""
    async with keeping(Snapshot(env, role=role, notified=notified, withdrawn=withdrawn)) as snapshot:
        yield snapshot
