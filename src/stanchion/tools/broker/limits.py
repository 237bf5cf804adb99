"""Rate limits and places of connectors, shared by all broker processes through PostgreSQL.

A process takes tokens in chunks and holds places, so most calls cost no statement. A call that finds nothing waits its turn
for a while, first come first served; what would take longer is refused with the time after which it may succeed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from stanchion.base import LimitExceeded
from stanchion.context import Env
from stanchion.tools.broker import limit_rules as rules
from stanchion.tools.broker import store
from stanchion.tools.types import Connector, Limits

# A call waits at most this share of its own time for its turn, and at most so many seconds.
PATIENCE_SHARE: Final = 0.5
PATIENCE_S: Final = 5.0
# Connectors with limits that a process keeps account of.
_ACCOUNTS_MAX: Final = 4096


@dataclass(slots=True)
class _Account:
    """What this process holds of one connector. Times are of the process's monotonic clock."""

    tokens: int = 0
    tokens_until: float = 0.0
    places: int = 0
    places_until: float = 0.0
    used: int = 0
    used_at: float = 0.0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    # Held for one transaction and what is learned from it, so that an older one never overwrites a newer one's word.
    row: asyncio.Lock = field(default_factory=asyncio.Lock)
    freed: asyncio.Event = field(default_factory=asyncio.Event)


class ConnectorLimits:
    """The limits of every connector, for one process."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._holder: UUID = env.ids.new()
        self._accounts: OrderedDict[tuple[str, str], _Account] = OrderedDict()

    @asynccontextmanager
    async def admitted(self, tenant: str, connector: Connector, *, timeout_s: float) -> AsyncGenerator[None]:
        """The block is one call within the connector's limits.

        Raises LimitExceeded `connector.rate_limited` with `retry_after_s`; then nothing was sent.
        """
        limits = connector.limits
        if limits == Limits():
            yield
            return
        account = self._account(tenant, connector.name)
        await self._wait(tenant, connector, account, min(PATIENCE_S, timeout_s * PATIENCE_SHARE))
        account.used += 1
        try:
            yield
        finally:
            account.used -= 1
            account.used_at = self._env.clock.monotonic()
            account.freed.set()

    async def _wait(self, tenant: str, connector: Connector, account: _Account, patience_s: float) -> None:
        """Take a token and find a place, in turn."""
        clock = self._env.clock
        until = clock.monotonic() + patience_s
        rate = connector.limits.calls_per_s
        ahead_s = account.waiting / rate if rate else 0.0
        if ahead_s > patience_s:
            raise _refused(connector, ahead_s)
        account.waiting += 1
        try:
            async with asyncio.timeout(max(0.001, patience_s)), account.turn:
                while True:
                    account.freed.clear()  # before the look: what is freed during it is not to be waited for
                    if (wait_s := await self._taken(tenant, connector, account)) <= 0:
                        break
                    if clock.monotonic() + wait_s > until:
                        raise _refused(connector, wait_s)
                    await self._pause(account, wait_s, connector.limits)
        except TimeoutError:
            raise _refused(connector, max(ahead_s, rules.PLACE_RETRY_S)) from None
        finally:
            account.waiting -= 1

    async def _pause(self, account: _Account, wait_s: float, limits: Limits) -> None:
        if limits.concurrent is None:
            await self._env.clock.sleep(wait_s)
            return
        try:  # a place of our own may become free sooner
            async with asyncio.timeout(wait_s):
                await account.freed.wait()
        except TimeoutError:
            pass

    async def _taken(self, tenant: str, connector: Connector, account: _Account) -> float:
        """0 if a call may begin now, its token taken; else after how many seconds to look again."""
        limits = connector.limits
        while True:
            now = self._env.clock.monotonic()
            if now >= account.tokens_until:
                account.tokens = 0
            if now >= account.places_until:
                account.places = 0
            wants_token = limits.calls_per_s is not None and account.tokens < 1
            wants_place = limits.concurrent is not None and account.used >= account.places
            if not (wants_token or wants_place):
                break
            wait_s = await self._more(tenant, connector, account, token=wants_token, place=wants_place)
            if wait_s > 0:
                return wait_s
            # While a token was fetched the place may have been given back: looked at again, until both are there at once.
        if limits.calls_per_s is not None:
            account.tokens -= 1
        return 0.0

    async def _more(self, tenant: str, connector: Connector, account: _Account, *, token: bool, place: bool) -> float:
        """Take a chunk of tokens and some places, in one transaction. How long to wait if there was none of either.

        What was taken counts once it is committed: a transaction that fails, or whose call is cancelled, has given nothing.
        Times are those from before the statements, so that nothing is held here for longer than in the database.
        """
        limits, wait_s = connector.limits, 0.0
        held, tokens = None, None
        async with account.row:
            began = self._env.clock.monotonic()
            async with self._env.db.engine_tx() as tx:
                bucket = await store.lock_bucket(tx, tenant, connector.name, full=limits.burst_or_default)
                if place:
                    others = await store.places_of_others(tx, tenant, connector.name, self._holder)
                    held = rules.places(limits, others=others, mine=account.places, used=account.used)
                    await store.hold_places(
                        tx, tenant, connector.name, self._holder, places=held, lease_s=rules.PLACES_LEASE_S
                    )
                    wait_s = 0.0 if account.used < held else rules.PLACE_RETRY_S
                if token and wait_s == 0.0:
                    grant = rules.take(bucket.tokens, bucket.elapsed_s, limits)
                    await store.save_bucket(tx, tenant, connector.name, tokens=grant.left)
                    tokens, wait_s = grant.tokens, grant.wait_s
            if held is not None:
                account.places, account.places_until = held, began + rules.PLACES_LEASE_S
            if tokens is not None:
                account.tokens, account.tokens_until = tokens, self._env.clock.monotonic() + rules.LEASE_S
        return wait_s

    async def tend(self) -> None:
        """A duty, about once a second: renew the places in use, give back those of connectors without work."""
        now = self._env.clock.monotonic()
        for (tenant, name), account in list(self._accounts.items()):
            if account.places == 0 and account.used == 0:
                continue
            held = rules.kept(mine=account.places, used=account.used, idle_s=now - account.used_at)
            if held == account.places and account.places_until - now > rules.PLACES_LEASE_S / 2:
                continue
            await self._hold(tenant, name, account, held)

    async def close(self) -> None:
        """Give every place back."""
        for (tenant, name), account in list(self._accounts.items()):
            if account.places:
                await self._hold(tenant, name, account, 0)

    async def _hold(self, tenant: str, name: str, account: _Account, held: int) -> None:
        """Hold no more than so many of the places that this process still has, and those in use.

        Not in turn: who waits for a token has that for seconds. The row's lock keeps this apart from `_more`, and a call that
        begins meanwhile counts with the places that are left. Of places whose lease is over only those in use are held again:
        the others may be somebody else's.
        """
        async with account.row:
            began = self._env.clock.monotonic()
            async with self._env.db.engine_tx() as tx:
                await store.lock_bucket(tx, tenant, name, full=0)
                lasts = self._env.clock.monotonic() < account.places_until
                held = account.places = max(min(held, account.places) if lasts else 0, account.used)
                await store.hold_places(tx, tenant, name, self._holder, places=held, lease_s=rules.PLACES_LEASE_S)
            account.places_until = began + rules.PLACES_LEASE_S

    def _account(self, tenant: str, name: str) -> _Account:
        found = self._accounts.get((tenant, name))
        if found is None:
            found = self._accounts[tenant, name] = _Account()
            self._forget()
        self._accounts.move_to_end((tenant, name))
        return found

    def _forget(self) -> None:
        """Drop the account that was used least recently, if nothing is going on in it."""
        if len(self._accounts) > _ACCOUNTS_MAX:
            key, oldest = next(iter(self._accounts.items()))
            if not (oldest.used or oldest.waiting or oldest.places):
                del self._accounts[key]


def _refused(connector: Connector, wait_s: float) -> LimitExceeded:
    limits = connector.limits
    rate = f"{limits.calls_per_s:g} calls a second" if limits.calls_per_s is not None else ""
    places = f"{limits.concurrent} calls at the same time" if limits.concurrent is not None else ""
    return LimitExceeded(
        "connector.rate_limited",
        f"The connector {connector.name!r} takes {' and '.join(part for part in (rate, places) if part)};"
        " nothing was sent.",
        hint="Give the step `retry`, or raise the connector's `limits` if its target can take more.",
        retry_after_s=round(max(wait_s, 0.01), 3),
        connector=connector.name,
    )
