"""Refresh tokens that a server gave in place of declared ones: kept encrypted, exchanged by one process at a time.

A server that rotates refresh tokens takes each of them once. So the next one must be stored before the access token that came
with it is used, what has been asked for is brought to its end whoever still waits for it, and two brokers must not exchange the
same one. Whoever exchanges holds the row for a while; the others wait for what it stores, and use its access token.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from stanchion.base import Invalid, Unavailable, canonical, dumps, loads
from stanchion.context import Env
from stanchion.secrets.holding import store
from stanchion.secrets.holding.envelope import decrypted, encrypted
from stanchion.secrets.holding.keyring import Keyring
from stanchion.secrets.types import Exchange, Granted

# An exchange is over by then, or its process is gone: as long as a call of a token endpoint may take, and some.
HELD_S: Final = 60.0
# How often those who wait look.
_LOOK_S: Final = 0.1
# A refresh token that nobody used for so long is forgotten when another is stored.
FORGOTTEN_DAYS: Final = 400
_CLOSE_S: Final = 5.0
_LAST_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """Which grant: its row, and the data key that it is encrypted under."""

    tenant: str
    declared: bytes
    key_id: UUID
    key: bytes

    @property
    def context(self) -> bytes:
        """What the row's text is bound to."""
        return canonical(["stanchion refresh token v1", self.tenant, self.declared.hex(), str(self.key_id)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """What a row holds, in the open. `until`: seconds since 1970 at which the access token ends."""

    refresh_token: str
    access_token: str
    until: float

    def __repr__(self) -> str:
        return f"_Opened(until={self.until:.0f})"


class KeptTokens:
    """Fills `TokenKeeping`. `close` waits for exchanges that are under way."""

    def __init__(self, env: Env, keyring: Keyring) -> None:
        self._env = env
        self._keyring = keyring
        self._id = env.ids.new()
        self._tasks: set[asyncio.Task[Granted]] = set()
        # What the database did not take: tried again before anything else, lest the server is shown a used token.
        self._unstored: dict[bytes, tuple[_Row, int, _Opened]] = {}

    async def use(self, tenant: str, declared: Sequence[str], exchange: Exchange, *, not_this: str = "") -> Granted:
        """As `TokenKeeping.use`."""
        key_id, key = await self._keyring.writing(tenant)
        digest = hmac.digest(key, canonical(["stanchion declared grant v1", *declared]), "sha256")
        row = _Row(tenant=tenant, declared=digest, key_id=key_id, key=key)
        while True:
            generation, kept = await self._looked(row)
            life_s = 0.0 if kept is None else kept.until - self._env.clock.now().timestamp()
            if kept is not None and kept.access_token != not_this and usable(life_s):
                return Granted(access_token=kept.access_token, life_s=life_s, refresh_token=kept.refresh_token)
            async with self._env.db.tenant_tx(tenant) as tx:
                held = await store.hold_refresh(tx, tenant, digest, generation, by=self._id, for_s=HELD_S)
            if held:
                return await self._shielded(self._exchanged(row, generation, kept, exchange))
            await self._env.clock.sleep(_LOOK_S)

    async def close(self) -> None:
        """Wait for exchanges under way: what they bring is nowhere else."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSE_S)
        for row, generation, kept in list(self._unstored.values()):
            await self._stored(row, generation, kept)

    async def _looked(self, row: _Row) -> tuple[int, _Opened | None]:
        """The row's generation and what it holds."""
        if (unstored := self._unstored.get(row.declared)) is not None:
            await self._stored(*unstored)
        async with self._env.db.tenant_tx(row.tenant) as tx:
            found = await store.refresh(tx, row.tenant, row.declared)
        if found is None or found.ciphertext is None:
            return (0 if found is None else found.generation), None
        if found.data_key != row.key_id:
            raise _damaged()
        text = decrypted(row.key, found.ciphertext, row.context, what="a refresh token")
        try:
            said = loads(text)
            if not isinstance(said, dict):
                raise _damaged()
            kept = _Opened(
                refresh_token=str(said["refresh_token"]),
                access_token=str(said["access_token"]),
                until=float(str(said["until"])),
            )
        except (Invalid, KeyError, ValueError):
            raise _damaged() from None
        return found.generation, kept

    async def _exchanged(self, row: _Row, generation: int, kept: _Opened | None, exchange: Exchange) -> Granted:
        """Ask the server, with the token kept last, and store what it gives before anybody uses it."""
        before = None if kept is None else kept.refresh_token
        try:
            granted = await exchange(before)
        except BaseException:
            async with self._env.db.tenant_tx(row.tenant) as tx:
                await store.release_refresh(tx, row.tenant, row.declared, by=self._id)
            raise
        now = self._env.clock.now().timestamp()
        new = _Opened(
            refresh_token=granted.refresh_token or before or "",
            access_token=granted.access_token,
            until=now + granted.life_s,
        )
        await self._stored(row, generation, new)
        return granted

    async def _stored(self, row: _Row, generation: int, kept: _Opened) -> None:
        """Write it; what cannot be written now is kept here, and written before the next use."""
        said = {"refresh_token": kept.refresh_token, "access_token": kept.access_token, "until": kept.until}
        text = encrypted(row.key, dumps(said), row.context, self._env.ids)
        self._unstored[row.declared] = (row, generation, kept)
        try:
            async with self._env.db.tenant_tx(row.tenant) as tx:
                await store.save_refresh(tx, row.tenant, row.declared, generation, data_key=row.key_id, ciphertext=text)
                await store.forget_refresh(tx, row.tenant, FORGOTTEN_DAYS)
        except Exception as error:  # noqa: BLE001 - whatever keeps the database from it, the only copy must not go with it
            self._env.telemetry.emit("secret.refresh_token_unstored", 1.0, error=type(error).__name__)
            return
        del self._unstored[row.declared]

    async def _shielded(self, work: Coroutine[object, object, Granted]) -> Granted:
        """Bring it to its end, also if its caller no longer waits."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Granted]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where nobody waits any more


def _damaged() -> Unavailable:
    return Unavailable(
        "secret.damaged",
        "What is stored of a refresh token does not open, or is none.",
        hint="Authorise anew at the server and rotate the connector's secret.",
        retryable=False,
    )


def usable(life_s: float) -> bool:
    """Whether an access token that lives so long yet is still handed out: not in its last seconds, lest it ends on its way."""
    return life_s > _LAST_S
