"""From a presented credential to an Actor, with a memory of at most a second.

What is remembered is the stored row and its principal, never a verdict: secret, expiry and revocation are judged on
every request. A revocation therefore counts on every process within `TTL_S` plus one look-up, less than a second.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from stanchion.base import Unauthenticated
from stanchion.context import Actor, Env
from stanchion.identity import store
from stanchion.identity.pepper import Pepper
from stanchion.identity.rules import Presented, actor_of, proves, read_key, read_token, refusal
from stanchion.identity.types import CredentialKind, CredentialRow, Principal

# Counted from before the look-up, so that what it read is never believed longer than this.
TTL_S: Final = 0.9
_ENTRIES_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    row: CredentialRow | None
    principal: Principal | None
    at: float


class Authenticator:
    """One per process. `by_key` and `by_session` raise Unauthenticated with the reason and the way out."""

    def __init__(self, env: Env, pepper: Pepper, *, ttl_s: float = TTL_S, entries_max: int = _ENTRIES_MAX) -> None:
        self._env = env
        self._pepper = pepper
        self._ttl_s = ttl_s
        self._entries_max = entries_max
        self._known: OrderedDict[tuple[CredentialKind, str], _Known] = OrderedDict()
        self._asking: dict[tuple[CredentialKind, str], asyncio.Task[_Known]] = {}

    @property
    def pepper(self) -> Pepper:
        """The pepper, for the verbs that make credentials."""
        return self._pepper

    def age_s(self) -> float:
        """The age in seconds of the oldest row that would still be believed; 0 if there is none."""
        now = self._env.clock.monotonic()
        return max((now - k.at for k in self._known.values() if now - k.at < self._ttl_s), default=0.0)

    async def by_key(self, text: str) -> Actor:
        """The Actor of an API key. A key that is malformed, mistyped or of another environment costs no look-up."""
        try:
            presented = read_key(text, self._env.environment.name)
        except Unauthenticated as error:
            raise self._refused(error) from None
        return await self._actor("api_key", presented)

    async def by_session(self, text: str) -> Actor:
        """The Actor of a session cookie."""
        try:
            presented = read_token(text)
        except Unauthenticated as error:
            raise self._refused(error) from None
        return await self._actor("session", presented)

    def forget(self, actor: Actor) -> None:
        """Look the actor's credential up afresh next time: here a revocation counts at once."""
        kind, _, row_id = actor.credential.partition(":")
        if kind in ("api_key", "session"):
            self._known.pop((kind, row_id), None)

    def forget_key(self, key_id: UUID) -> None:
        """Look that key up afresh next time."""
        self._known.pop(("api_key", str(key_id)), None)

    async def _actor(self, kind: CredentialKind, presented: Presented) -> Actor:
        known = await self._row(kind, presented)
        if not proves(self._pepper.bytes(), kind, known.row, presented) or known.row is None:
            unknown = Unauthenticated(
                "auth.unknown", "The credential is not known here.", hint="Check the key, or sign in again."
            )
            raise self._refused(unknown)
        why_not = refusal(kind, known.row, known.principal, self._env.clock.now())
        if why_not is not None or known.principal is None:
            raise self._refused(why_not or Unauthenticated("auth.disabled", "The principal is gone."))
        return actor_of(known.principal, f"{kind}:{presented.id}", known.row.scopes)

    async def _row(self, kind: CredentialKind, presented: Presented) -> _Known:
        key = (kind, str(presented.id))
        known = self._known.get(key)
        if known is not None and self._env.clock.monotonic() - known.at < self._ttl_s:
            self._known.move_to_end(key)
            return known
        task = self._asking.get(key)
        if task is None:
            # Requests that come meanwhile wait for this one look-up; a caller that gives up does not cancel it.
            task = asyncio.create_task(self._look_up(kind, presented))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)

    async def _look_up(self, kind: CredentialKind, presented: Presented) -> _Known:
        at = self._env.clock.monotonic()
        read = store.presented_key if kind == "api_key" else store.presented_session
        principal: Principal | None = None
        async with self._env.db.presented_tx(str(presented.id)) as tx:
            row = await read(tx, presented.id)
            if row is not None:
                await store.enter_tenant(tx, row.tenant)
                principal = await store.principal_of_id(tx, row.tenant, row.principal_id)
        known = _Known(row=row, principal=principal, at=at)
        self._known[kind, str(presented.id)] = known
        while len(self._known) > self._entries_max:
            self._known.popitem(last=False)
        return known

    def _refused(self, error: Unauthenticated) -> Unauthenticated:
        self._env.telemetry.emit("auth.refused", 1, error.code.removeprefix("auth."))
        return error
