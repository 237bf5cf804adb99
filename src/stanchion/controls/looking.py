"""What a process keeps in memory of something that changes seldom and has to be heard of soon.

It is read at the start, on every notification, and every so often anyway: a lost notification costs one such pause, and a
database that is away makes what is known older, which its age tells.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeVar

from stanchion.context import Env
from stanchion.db import Tx
from stanchion.queue import hear

_RECONNECT_S: Final = 1.0
# A run that met something nobody could read looks again after so long, whoever else is alive to wake it.
AGAIN_S: Final = 1.0


class Looking(ABC):
    """Keeps something fresh by looking for changes. Subclasses say what a look reads, and set `_read_at` by it.

    Args:
        env: the process's Env, its database open.
        role: the database role whose pool it reads with: `app` or `engine`.
        channel: whose notifications it hears; None for no other looks than those every `every_s` seconds.
        what: what is kept, for the report of a failed look.
        age_event: the event that tells its age.
        every_s: seconds between looks. `read_s_max`: a look that takes longer has failed; the next one begins on
            another connection.
    """

    def __init__(
        self, env: Env, *, role: str, channel: str | None, what: str, age_event: str, every_s: float, read_s_max: float
    ) -> None:
        self._env = env
        self._role = role
        self._channel = channel
        self._what = what
        self._age_event = age_event
        self._every_s = every_s
        self._read_s_max = read_s_max
        self._read_at: float | None = None
        self._poke = asyncio.Event()
        self._failing = False

    @property
    def age_s(self) -> float | None:
        """How long ago the last successful look began; None before the first."""
        return None if self._read_at is None else self._env.clock.monotonic() - self._read_at

    @abstractmethod
    async def refresh(self) -> None:
        """Look once. Raises what the database says; what is known stays as it was then, and ages."""

    async def look(self) -> None:
        """Look once, and keep what is known if that fails."""
        try:
            async with asyncio.timeout(self._read_s_max):
                await self.refresh()
        except Exception as error:  # noqa: BLE001 - the last frame of a duty: looks that ended unseen would never be told
            if not self._failing:  # told once; the age tells the rest
                self._env.telemetry.emit("duty.failed", duty=self._what, error=repr(error))
            self._failing = True
        else:
            self._failing = False
        if self.age_s is not None:
            self._env.telemetry.emit(self._age_event, self.age_s)

    async def run(self) -> None:
        """Look for changes until cancelled."""
        hearing = None if self._channel is None else asyncio.create_task(self._hear(self._channel))
        try:
            while True:
                try:
                    async with asyncio.timeout(self._every_s):
                        await self._poke.wait()
                except TimeoutError:
                    pass
                self._poke.clear()
                await self.look()
        finally:
            if hearing is not None:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _hear(self, channel: str) -> None:
        await hear(self._env, self._role, (channel,), lambda _: self._poke.set(), retry_s=_RECONNECT_S)


KnownT = TypeVar("KnownT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """How often something was changed for any tenant. `tenants` tenants have such a number; `total` is their sum: each only
    rises and none goes away, so the two are the same only if nothing was changed."""

    tenants: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRevision:
    """The number of one tenant."""

    tenant: str
    rev: int


class Snapshot(Looking, Generic[KnownT]):
    """Something of every tenant in the memory of one process. A look for changes is one query of one number; what a tenant has
    is read again only when its own number has changed.

    Subclasses say what is kept and how it is read; `_known` has it by tenant.

    Attributes:
        channel, what, age_event, every_s, read_s_max: see Looking.

    Args:
        env: the process's Env, its database open.
        role: the database role whose pool it reads with: `app` or `engine`.
        notified: whether it also listens for notifications; without, it learns of a change at its next look.
    """

    channel: ClassVar[str]
    what: ClassVar[str]
    age_event: ClassVar[str]
    every_s: ClassVar[float]
    read_s_max: ClassVar[float] = 2.0

    def __init__(self, env: Env, *, role: str, notified: bool) -> None:
        super().__init__(
            env,
            role=role,
            channel=self.channel if notified else None,
            what=self.what,
            age_event=self.age_event,
            every_s=self.every_s,
            read_s_max=self.read_s_max,
        )
        self._known: dict[str, KnownT] = {}
        self._revs: dict[str, int] = {}
        self._revision: Revision | None = None
        self._turn = asyncio.Lock()

    @abstractmethod
    async def _revised(self, tx: Tx) -> Revision:
        """The one number."""

    @abstractmethod
    async def _revisions(self, tx: Tx) -> Sequence[TenantRevision]:
        """The number of each tenant that has one."""

    @abstractmethod
    async def _read(self, tenant: str, rev: int) -> KnownT:
        """What the tenant has now; its number was `rev`."""

    def _learned(self, revision: Revision) -> None:
        """Called when all that changed was read: for what is made of every tenant's."""

    def _transaction(self, tenant: str) -> AbstractAsyncContextManager[Tx]:
        """In which the role reads what is the tenant's."""
        return self._env.db.tenant_tx(tenant) if self._role == "app" else self._env.db.engine_tx()

    async def refresh(self) -> None:
        """Look once. Raises what the database says; what is known stays as it was then, and ages.

        Looks take turns: one that began earlier would leave its older state, and its greater age, if it ended later.
        """
        async with self._turn:
            await self._refresh()

    async def _refresh(self) -> None:
        began = self._env.clock.monotonic()
        async with self._env.db.connection(self._role) as tx:
            revision = await self._revised(tx)
            changed: Mapping[str, int] = {}
            if revision != self._revision:
                found = await self._revisions(tx)
                changed = {row.tenant: row.rev for row in found if self._revs.get(row.tenant) != row.rev}
        for tenant, rev in changed.items():
            # A newer state than the number says does no harm: the number then differs at the next look. A look that runs
            # out of time goes on where it was.
            self._known[tenant] = await self._read(tenant, rev)
            self._revs[tenant] = rev
        if revision != self._revision:
            self._learned(revision)
        self._revision, self._read_at = revision, began


LookingT = TypeVar("LookingT", bound=Looking)


@asynccontextmanager
async def keeping(kept: LookingT) -> AsyncGenerator[LookingT]:
    """It is read before the block begins (or is known to be unread) and kept fresh while it lasts."""
    await kept.look()
    task = asyncio.create_task(kept.run())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
