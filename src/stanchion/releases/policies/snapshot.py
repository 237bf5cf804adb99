"""The live authorization policies of every tenant in the memory of one process: read at its start, on every notification,
and four times a second anyway.

A decision costs no query. A look for changes is one query of one number; a tenant's policies are read again only when its
number has changed. They are never pinned: the next call is decided by what is live then.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from stanchion.base import Unavailable
from stanchion.context import Env
from stanchion.controls import Looking, keeping
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.identity import AuthorizationPolicy
from stanchion.releases.policies import store

CHANNEL: Final = "stanchion_calls"
# Seconds between looks: a policy counts everywhere within a second even if every notification is lost.
LOOK_S: Final = 0.25
# How old what is known may be before nothing outside is changed on it any more.
AGE_S_MAX: Final = 5.0
_READ_S_MAX: Final = 2.0


class Snapshot(Looking):
    """Fills `identity.PolicySource` for one process, in its environment.

    Args:
        env: the process's Env, its database open.
        role: the database role whose pool it reads with: `app` or `engine`.
        notified: whether it also listens for notifications; without, it learns of a change at its next look.
        withdrawn: what is revoked: a revoked policy that is live still can neither permit nor be passed over.
    """

    def __init__(
        self, env: Env, *, role: str = "app", notified: bool = True, withdrawn: Withdrawals = NO_WITHDRAWALS
    ) -> None:
        super().__init__(
            env,
            role=role,
            channel=CHANNEL if notified else None,
            what="authorization policies",
            age_event="policies.age",
            every_s=LOOK_S,
            read_s_max=_READ_S_MAX,
        )
        self._withdrawn = withdrawn
        self._policies: dict[str, tuple[AuthorizationPolicy, ...]] = {}
        self._revs: dict[str, int] = {}
        self._revision: store.Revision | None = None

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
        found = self._policies.get(tenant, ())
        return tuple(self._checked(tenant, policy) for policy in found) if self._withdrawn.any else found

    def _checked(self, tenant: str, policy: AuthorizationPolicy) -> AuthorizationPolicy:
        stopped = self._withdrawn.stopped(tenant, (policy.digest,))
        if stopped is None:
            return policy
        return AuthorizationPolicy(
            name=policy.name, version=policy.version, digest=policy.digest, cedar="", unreadable=stopped.text
        )

    async def refresh(self) -> None:
        """Look once. Raises what the database says; the snapshot stays as it was then, and ages."""
        began = self._env.clock.monotonic()
        environment = self._env.environment.name
        async with self._env.db.connection(self._role) as tx:
            revision = await store.revision(tx, environment)
            changed: Mapping[str, int] = {}
            if revision != self._revision:
                found = await store.revisions(tx, environment)
                changed = {row.tenant: row.rev for row in found if self._revs.get(row.tenant) != row.rev}
        for tenant, rev in changed.items():
            # A newer state than the number says does no harm: the number then differs at the next look.
            self._policies[tenant] = await self._read(tenant, environment)
            self._revs[tenant] = rev
        self._revision, self._read_at = revision, began

    async def _read(self, tenant: str, environment: str) -> tuple[AuthorizationPolicy, ...]:
        transaction = self._env.db.tenant_tx(tenant) if self._role == "app" else self._env.db.engine_tx()
        async with transaction as tx:
            rows = await store.live(tx, tenant, environment)
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
