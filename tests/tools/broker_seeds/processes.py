"""A broker and workers as processes that die: everything they hold is gone at once, and nobody is told."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stanchion import tools
from stanchion.base.settings import Settings
from stanchion.bootstrap.parts import Parts
from stanchion.context import Env
from stanchion.processes.sockets import listen_unix
from stanchion.tools import EffectPort, PushHandler
from stanchion.tools.adapters.http import HttpAdapter
from stanchion.tools.adapters.sql import SqlAdapter
from stanchion.tools.broker.client import BrokerClient, unix_route
from stanchion.tools.broker.remote import RemoteAdapters
from stanchion.tools.broker.server import BrokerServer
from stanchion.tools.broker.service import Broker, tended
from stanchion.tools.broker.sessions import unix_peer
from stanchion.tools.effects.ledger import Ledger
from tests.tools.broker_seeds.stage import Stage


class Crash(BaseException):
    """The process dies here."""


class BrokerProcess:
    """The broker's service behind its socket, which can be killed in the middle of everything.

    Of what a broker holds, its own memory dies with it (attempts, breakers, places, connections); policies, secrets and adapters are
    those of `like`, since reading them anew takes most of a start.
    """

    def __init__(self, env: Env, settings: Settings, like: Any) -> None:
        self._env, self._settings, self._like = env, settings, like
        self._started, self._stop = asyncio.Event(), asyncio.Event()
        self._killed = False
        self.server: BrokerServer
        self.service: Broker
        self._task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        path, uids = self._settings.broker_socket, {os.geteuid(): frozenset({"worker"})}
        like = self._like
        async with tended(Broker(self._env, like._adapters, like._judges)) as self.service:
            self.server = BrokerServer(self.service, self._env)
            await self.server.listen(listen_unix(path), lambda transport, key: unix_peer(transport, uids, key))
            self._started.set()
            await self._stop.wait()
            if not self._killed:
                await self.server.drain(5)

    async def started(self) -> None:
        """Wait until it takes calls."""
        waiting = asyncio.create_task(self._started.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            waiting.cancel()
            self._task.result()

    def kill(self) -> None:
        """SIGKILL: connections end, calls end where they are, nobody is answered."""
        self._killed = True
        for listening in self.server._listening:
            listening.close()
        for connection in set(self.server._connections):
            connection.abort()
        for task in set(self.server._tasks):
            task.cancel()
        self._stop.set()

    def ask_to_end(self) -> None:
        """SIGTERM: it answers what it has in hand."""
        self._stop.set()

    async def ended(self) -> None:
        """Wait until nothing of it is left."""
        await self._task


class Brokers:
    """The broker of a machine, and its successors."""

    def __init__(self, env: Env, settings: Settings, like: Any) -> None:
        self._make = lambda: BrokerProcess(env, settings, like)
        self.now = self._make()
        self._before: list[BrokerProcess] = []

    def kill(self) -> None:
        """Kill it; its supervisor starts another at once."""
        self.now.kill()
        self._before.append(self.now)
        self.now = self._make()

    def forget(self) -> None:
        """What the broker has seen of connectors' failures."""
        self.now.service._breakers._open = {}

    async def replace(self) -> None:
        """As an upgrade does: a second one takes the socket, then the first is asked to end."""
        before, self.now = self.now, self._make()
        await self.now.started()
        before.ask_to_end()
        self._before.append(before)

    async def idle(self) -> None:
        """Wait until no call is in any broker's hands."""
        await self.now.started()
        while self.now.server.calls or any(broker.server.calls for broker in self._before):
            await Stage.turn()
        for broker in self._before:
            await broker.ended()
        self._before.clear()

    async def close(self) -> None:
        """End them all."""
        self.now.ask_to_end()
        for broker in (*self._before, self.now):
            await broker.ended()


class _Client(BrokerClient):
    """`twice`: each write is asked for a second time on the same connection, as if it had been delivered twice."""

    stage: Stage
    twice = False

    async def call(self, call: Any) -> Any:
        if call.op != "push":
            return await super().call(call)
        await self.stage.at("sending")
        if not self.twice:
            return await super().call(call)
        self.twice = False
        first, _ = await asyncio.gather(super().call(call), super().call(call), return_exceptions=True)
        if isinstance(first, BaseException):
            raise first
        return first


class _Ledger(Ledger):
    def __init__(self, env: Env, stage: Stage) -> None:
        super().__init__(env, None)
        self._stage, self._what = stage, "intent"

    async def begin(self, *args: Any) -> Any:
        self._what = "intent"
        await self._stage.at("begin")
        begun = await super().begin(*args)
        await self._stage.at("begun")
        return begun

    async def end(self, *args: Any, **said: Any) -> None:
        self._what = "receipt"
        await self._stage.at("answered")
        await super().end(*args, **said)
        await self._stage.at("recorded")

    async def _commit(self, batch: Sequence[Any]) -> Any:
        what = self._what
        await self._stage.at(f"{what}_commit")
        settled = await super()._commit(batch)
        await self._stage.at(f"{what}_committed")
        return settled


class WorkerProcess:
    """What a worker performs effects with."""

    def __init__(self, env: Env, settings: Settings, parts: Parts, stage: Stage) -> None:
        path = settings.broker_socket
        self.client = _Client(unix_route(path), where=str(path), clock=env.clock, rng=random.Random(1))
        self.client.stage = stage
        port = EffectPort(env, None)
        port._ledger = _Ledger(env, stage)
        self._env = env
        self._handler = PushHandler(RemoteAdapters(tools.NamedAdapters(), self.client), port)
        self.alive = True
        self.task: asyncio.Task[Any] | None = None

    def execute(self, call: Any) -> asyncio.Task[Any]:
        """Begin an attempt."""
        self.task = asyncio.create_task(self._handler.execute(self._env, call))
        return self.task

    def _hang_up(self) -> None:
        self.alive = False
        self.client._closed = True
        for link in set(self.client._links):
            link.abort()

    def crash(self) -> None:
        """SIGKILL, at a point of its own code."""
        self._hang_up()
        raise Crash

    def kill(self) -> None:
        """SIGKILL, while it waits for something."""
        self._hang_up()
        if self.task is not None:
            self.task.cancel()


@asynccontextmanager
async def watched(stage: Stage) -> AsyncIterator[None]:
    """The adapters of the broker pass the stage's points; the SQL one also those of a target, which is a file there."""
    http, sql = HttpAdapter.push, SqlAdapter.push

    async def over_http(self: Any, target: Any, record: Any, key: str) -> Any:
        await stage.at("broker_entry")
        envelope = await http(self, target, record, key)
        await stage.at("broker_answer")
        return envelope

    async def over_sql(self: Any, target: Any, record: Any, key: str) -> Any:
        await stage.at("broker_entry")
        _broken(target, await stage.at("arrived"))
        envelope = await sql(self, target, record, key)
        _broken(target, await stage.at("written"))
        await stage.at("broker_answer")
        return envelope

    HttpAdapter.push, SqlAdapter.push = over_http, over_sql  # type: ignore[method-assign]
    try:
        yield
    finally:
        HttpAdapter.push, SqlAdapter.push = http, sql  # type: ignore[method-assign]


def _broken(target: Any, how: Any) -> None:
    """What the driver says of a connection on which the target did that."""
    if how is None:
        return
    code = {"silent": "adapter.timeout", "reset": "adapter.unreachable"}.get(how, "adapter.status")
    raise target.problem(code, "did not answer.", retryable=True, sent=how != "429" or _blind(target))


def _blind(target: Any) -> bool:
    return target.operation.idempotency == "none"
