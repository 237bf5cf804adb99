"""The broker's end of its connections: authenticate the peer, take calls, have them performed, answer, end in order.

Many calls are in flight on one connection; each is a task. What is bounded: the size of a frame, the calls and the bytes
of calls in flight in this process (`broker.busy` beyond them, nothing done), how long a peer may leave answers unread, and
how long a call may take. A peer that goes takes its reads with it; its writes are brought to their end, because a write
broken off is one whose outcome nobody knows.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

from stanchion.base import Internal, Json, LimitExceeded, Problem, Unavailable
from stanchion.context import Env
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker import wire
from stanchion.tools.broker.tokens import KEY_BYTES
from stanchion.tools.broker.types import BrokerCall, Peer
from stanchion.tools.types import Envelope

_SLACK_SHARE, _SLACK_S_MIN, _SLACK_S_MAX = 0.06, 0.05, 0.25
# A peer that has not read an answer for so long is gone, whatever the network says.
_UNREAD_S = 30.0
# Answers that a peer has not read yet; beyond it none of its calls are taken.
_UNREAD_BYTES = 4 * 1024 * 1024
# The kernel ends a connection whose bytes nobody acknowledged for so long (tcp(7)): a partition is not a reset.
TCP_LOST_S = 10
_FLUSH_S = 2.0
# For a peer to say that it has sent its last call; ours do at once.
_PARTING_S = 1.0


Answer = Envelope | Mapping[str, "Json"]


class CallService(Protocol):
    """Performs an authenticated call: `service.Broker`."""

    async def perform(self, call: BrokerCall, peer: Peer) -> Answer:
        """Check and perform one call. Raises Problem."""
        ...


# What the broker is asked that is no call of a connector: (operation, what is said with it) -> the answer.
AnswerAsk = Callable[[str, Mapping[str, Json]], Awaitable[Mapping[str, Json]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one broker process holds at once: calls, and bytes of their frames."""

    calls_max: int = 1024
    bytes_max: int = 256 * 1024 * 1024


# Who is at the other end, given its transport and the key made for it. Raises Denied `broker.stranger`.
Authenticate = Callable[[asyncio.BaseTransport, bytes], Peer]


class BrokerServer:
    """All connections of one broker process."""

    def __init__(
        self, service: CallService, env: Env, bounds: Bounds | None = None, answer_ask: AnswerAsk | None = None
    ) -> None:
        self._service = service
        self._answer_ask = answer_ask
        self.env = env
        self.stopping = False
        self._bounds = bounds or Bounds()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cutting = False
        self._bytes = 0
        self._listening: list[asyncio.Server] = []

    @property
    def calls(self) -> int:
        """Calls in flight."""
        return len(self._tasks)

    @property
    def connections(self) -> int:
        """Peers that are connected."""
        return len(self._connections)

    async def listen(
        self, listener: socket.socket, authenticate: Authenticate, tls: ssl.SSLContext | None = None
    ) -> asyncio.Server:
        """Take connections from `listener` until the result is closed, or `drain`."""
        loop = asyncio.get_running_loop()

        def accept() -> _Connection:
            return _Connection(self, authenticate)

        if listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(accept, sock=listener)
        else:
            server = await loop.create_server(accept, sock=listener, ssl=tls)
        self._listening.append(server)
        return server

    async def drain(self, grace_s: float) -> None:
        """Take no new calls, end those in flight within `grace_s`, deliver their answers, close every connection.

        A call that is still running then is broken off; whoever waits for it hears so (for a write: that its outcome is
        not known).
        """
        self.stopping = True
        for server in self._listening:
            server.close()
        for connection in self._connections:
            connection.send({"stopping": True})
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=grace_s)
        left = set(self._tasks)
        self._cutting = True
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        # Calls that were on their way when the peer heard so are answered too: after its goodbye there are none.
        parting = [connection.parted for connection in self._connections if not connection.parted.done()]
        if parting:
            await asyncio.wait(parting, timeout=_PARTING_S)
        gone = [connection.finish() for connection in self._connections]
        if gone:
            await asyncio.wait(gone, timeout=_FLUSH_S)
        for connection in set(self._connections):
            connection.abort()

    # --- what connections tell

    def joined(self, connection: _Connection) -> None:
        """A peer was authenticated."""
        self._connections.add(connection)
        self.env.telemetry.emit("broker.connections", float(len(self._connections)))

    def left(self, connection: _Connection) -> None:
        """A peer is gone."""
        self._connections.discard(connection)
        self.env.telemetry.emit("broker.connections", float(len(self._connections)))

    def refused(self) -> Problem | None:
        """Why no call can be taken now, or None."""
        if self.stopping:
            return Unavailable(
                "broker.stopping",
                "The broker is stopping and takes no more calls; nothing was sent.",
                hint="Its successor takes them.",
            )
        if len(self._tasks) >= self._bounds.calls_max or self._bytes >= self._bounds.bytes_max:
            self.env.telemetry.emit("broker.busy", 1.0)
            return LimitExceeded(
                "broker.busy",
                f"The broker has {len(self._tasks)} calls in hand ({self._bytes >> 20} MiB) and takes no more;"
                " nothing was sent.",
                hint="Try again in a moment; broker.calls_max is the bound.",
                retry_after_s=0.5,
            )
        return None

    def start(self, connection: _Connection, number: int, work: _Work, size: int) -> asyncio.Task[None]:
        """Do `work` and have `connection` answer it."""
        task = asyncio.get_running_loop().create_task(self._perform(connection, number, work))
        self._tasks.add(task)
        self._bytes += size
        self.env.telemetry.emit("broker.calls", float(len(self._tasks)))

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._bytes -= size
            self.env.telemetry.emit("broker.calls", float(len(self._tasks)))
            connection.ended(number)

        task.add_done_callback(ended)
        return task

    async def _perform(self, connection: _Connection, number: int, work: _Work) -> None:
        try:
            answer = await self._outcome(connection.peer, work)
        except asyncio.CancelledError:
            if not self._cutting:
                return  # nobody waits for it
            answer = work.problem("broker.stopped", "was broken off because the broker had to stop")
        connection.answer(number, answer, writes=work.writes)

    async def _outcome(self, peer: Peer, work: _Work) -> Answer | Problem:
        try:
            async with asyncio.timeout(work.timeout_s + slack_s(work.timeout_s)):
                return await self._done(peer, work)
        except Problem as problem:
            return problem
        except TimeoutError:
            return work.problem("broker.timeout", f"was broken off after {work.timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 - the last frame of a call: one that breaks must not take the others with it
            # The kind of error only: its words may hold what the target said.
            self.env.telemetry.emit("broker.failed", 1.0, call=work.name, error=type(error).__name__)
            message = f"{work.name} failed in the broker ({type(error).__name__})."
            if work.writes:
                return AdapterProblem("broker.failed", message, sent=True, retryable=False)
            return Internal("broker.failed", message, hint="Please report this.")

    async def _done(self, peer: Peer, work: _Work) -> Answer:
        if work.call is not None:
            return await self._service.perform(work.call, peer)
        if self._answer_ask is None:
            raise Unavailable("broker.not_asked", f"This broker answers nothing like {work.name}.", retryable=False)
        return await self._answer_ask(work.name, work.said)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What one message asks for: a call of a connector, or something of the broker itself."""

    name: str
    timeout_s: float
    writes: bool = False
    call: BrokerCall | None = None
    said: Mapping[str, Json] = field(default_factory=dict[str, "Json"])

    def problem(self, code: str, what: str) -> AdapterProblem:
        """That it was broken off. Of a write the outcome is not known."""
        hint = "The next attempt asks again."
        return AdapterProblem(
            code, f"{self.name} {what}.", hint=hint, retryable=True, sent=self.writes, resource=self.name
        )


def _work_of(message: Mapping[str, Json]) -> _Work:
    if "ask" in message:
        operation, said, timeout_s = wire.ask_of(message)
        return _Work(name=operation, timeout_s=timeout_s, said=said)
    call = wire.call_of(message)
    name = f"{call.connector}.{call.resource}" if call.resource else call.connector
    return _Work(name=name, timeout_s=call.timeout_s, writes=wire.writes(call), call=call)


def slack_s(timeout_s: float) -> float:
    """What the broker waits beyond a call's own time before it breaks the call off itself; its client waits twice as
    long."""
    return max(_SLACK_S_MIN, min(_SLACK_S_MAX, timeout_s * _SLACK_SHARE))


class _Connection(asyncio.Protocol):
    """One peer. It is told nothing before it is authenticated."""

    peer: Peer

    def __init__(self, server: BrokerServer, authenticate: Authenticate) -> None:
        self._server = server
        self._authenticate = authenticate
        self._frames = wire.Frames()
        self._running: dict[int, tuple[asyncio.Task[None], bool]] = {}
        self._unread: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Done once the peer has said that no more calls come.
        self.parted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Authenticate the peer and greet it, or hang up."""
        self._transport = cast("asyncio.Transport", transport)
        env = self._server.env
        key = env.ids.secret(KEY_BYTES)
        try:
            self.peer = self._authenticate(transport, key)
        except Problem as problem:
            env.telemetry.emit("broker.stranger", 1.0, reason=problem.message)
            self._transport.abort()
            return
        keep_watch(transport)
        self._transport.set_write_buffer_limits(high=_UNREAD_BYTES)
        self._server.joined(self)
        self.send({"hello": {"v": wire.WIRE_V, "key": key.hex(), "now": env.clock.now().timestamp()}})
        if self._server.stopping:
            self.send({"stopping": True})

    def data_received(self, data: bytes) -> None:
        """Take what has come; who does not speak the language is hung up on."""
        try:
            for message, size in self._frames.feed(data):
                self._take(message, size)
        except Problem as problem:
            self._server.env.telemetry.emit("broker.stranger", 1.0, reason=problem.message)
            self._transport.abort()

    def _take(self, message: dict[str, Json], size: int) -> None:
        if isinstance(cancelled := message.get("cancel"), int):
            task, reads = self._running.get(cancelled, (None, False))
            if task is not None and reads:
                task.cancel()
            return
        if "goodbye" in message:
            self._part()
            return
        number = message.get("id")
        if not isinstance(number, int) or number in self._running:
            raise LimitExceeded("broker.bad_frame", "A peer sent a call without an id of its own.", retryable=False)
        try:
            work = _work_of(message)
        except Problem as problem:
            self.answer(number, problem)
            return
        if (problem := self._server.refused()) is not None:
            self.answer(number, problem)
            return
        self._running[number] = (self._server.start(self, number, work, size), not work.writes)

    def ended(self, number: int) -> None:
        """A call was answered."""
        self._running.pop(number, None)

    def answer(self, number: int, answer: Answer | Problem, *, writes: bool = False) -> None:
        """Say what became of a call. An answer that cannot be sent is a problem of that call alone: of a write, one that says
        that it may have been applied."""
        try:
            said = (
                wire.problem_said(number, answer) if isinstance(answer, Problem) else wire.answer_said(number, answer)
            )
            data = wire.frame(said)
        except Problem as problem:
            sent = answer.sent if isinstance(answer, AdapterProblem) else writes and not isinstance(answer, Problem)
            unsaid = AdapterProblem(problem.code, problem.message, hint=problem.hint, sent=True) if sent else problem
            data = wire.frame(wire.problem_said(number, unsaid))
        self._write(data)

    def send(self, message: Mapping[str, object]) -> None:
        """Say something that answers no call."""
        self._write(wire.frame(message))

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        """The peer does not read: take nothing more from it, and give it up after a while."""
        self._transport.pause_reading()
        self._unread = asyncio.get_running_loop().call_later(_UNREAD_S, self._transport.abort)

    def resume_writing(self) -> None:
        """The peer reads again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _part(self) -> None:
        if not self.parted.done():
            self.parted.set_result(None)

    def finish(self) -> asyncio.Future[None]:
        """Close once everything is sent; the result is done when it is."""
        self._transport.close()
        return self._gone

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop calls it so
        """Nobody waits for the peer's reads any more; its writes go on to their end."""
        if self._unread is not None:
            self._unread.cancel()
        for task, reads in self._running.values():
            if reads:
                task.cancel()
        self._server.left(self)
        self._part()
        if not self._gone.done():
            self._gone.set_result(None)


def keep_watch(transport: asyncio.BaseTransport) -> None:
    """Have the kernel notice a TCP peer that no longer acknowledges anything."""
    here = transport.get_extra_info("socket")
    if here is None or here.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    here.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        (socket.TCP_KEEPIDLE, TCP_LOST_S // 2),
        (socket.TCP_KEEPINTVL, 2),
        (socket.TCP_KEEPCNT, 3),
        (socket.TCP_USER_TIMEOUT, TCP_LOST_S * 1000),
        (socket.TCP_NODELAY, 1),
    ):
        here.setsockopt(socket.IPPROTO_TCP, name, value)
