"""The broker's end of its connections: authenticate the peer, take calls, have them performed, answer, end in order.

Many calls are in flight on one connection; each is a task. What is bounded (`intake.Bounds`): the size of a frame and the
time it takes, the calls in flight (`broker.busy` beyond them, nothing done), their bytes (beyond them a peer is not read
from), the bytes of answers that were not read yet (a read's answer beyond them is thrown away: `broker.unread`), how long
they may stay so, connections of a peer, and how long a call may take. A peer that goes takes its reads with it; its writes
are brought to their end, because a write broken off is one whose outcome nobody knows.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from stanchion.base import Json, LimitExceeded, Problem, Unavailable
from stanchion.context import Env
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker import proofs, wire
from stanchion.tools.broker.defects import failed
from stanchion.tools.broker.intake import Bounds, Flow, Intake, Room, too_many, unread_answer
from stanchion.tools.broker.tokens import KEY_BYTES
from stanchion.tools.broker.types import BrokerAsk, BrokerCall, Peer
from stanchion.tools.types import Envelope

_SLACK_SHARE, _SLACK_S_MIN, _SLACK_S_MAX = 0.06, 0.05, 0.25
# Answers that a peer has not read yet; beyond it none of its calls are taken.
_UNREAD_BYTES = 4 * 1024 * 1024
# For TLS to agree and the peer to show its certificate: until then nobody knows whose connection it is.
_HANDSHAKE_S = 10.0
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


# What the broker is asked that is no call of a connector, and who asks -> the answer: `asking.Asks`.
AnswerAsk = Callable[[BrokerAsk, Peer], Awaitable[Mapping[str, Json]]]


# Who is at the other end, given its transport and the key made for it. Raises Denied `broker.stranger`.
Authenticate = Callable[[asyncio.BaseTransport, bytes], Peer]


class BrokerServer:
    """All connections of one broker process."""

    def __init__(
        self,
        service: CallService,
        env: Env,
        bounds: Bounds | None = None,
        answer_ask: AnswerAsk | None = None,
        master: bytes | None = None,
    ) -> None:
        """`master`: the key from which those of tickets follow, where processes have some (`proofs`)."""
        self._service = service
        self._answer_ask = answer_ask
        self.master = master
        self.env = env
        self.stopping = False
        self.bounds = bounds or Bounds()
        self.room = Room(self.bounds.bytes_max, lambda wake: asyncio.get_running_loop().call_soon(wake))
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cutting = False
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
            timeout_s = None if tls is None else _HANDSHAKE_S
            server = await loop.create_server(accept, sock=listener, ssl=tls, ssl_handshake_timeout=timeout_s)
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

    def full_for(self, peer: Peer) -> Problem | None:
        """Why that peer gets no further connection, or None."""
        open_now = sum((other.peer.how, other.peer.name) == (peer.how, peer.name) for other in self._connections)
        return None if open_now < self.bounds.connections_max else too_many(peer, open_now)

    def unread(self, connection: _Connection, size: int) -> Problem | None:
        """Why an answer of `size` bytes is not kept for its peer to read, or None.

        A lone answer always is: only those that wait behind others are counted.
        """
        own, everyone = connection.unread_bytes, sum(other.unread_bytes for other in self._connections)
        if (own == 0 or own + size <= self.bounds.connection_bytes_max) and (
            everyone == 0 or everyone + size <= self.bounds.bytes_max
        ):
            return None
        self.env.telemetry.emit("broker.busy", 1.0)
        return unread_answer(size, own, everyone)

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
        if len(self._tasks) >= self.bounds.calls_max:
            self.env.telemetry.emit("broker.busy", 1.0)
            return LimitExceeded(
                "broker.busy",
                f"The broker has {len(self._tasks)} calls in hand and takes no more; nothing was sent.",
                hint="Try again in a moment; broker.calls_max is the bound.",
                retry_after_s=0.5,
            )
        return None

    def start(self, connection: _Connection, number: int, work: _Work, size: int) -> asyncio.Task[None]:
        """Do `work` and have `connection` answer it."""
        task = asyncio.get_running_loop().create_task(self._perform(connection, number, work))
        self._tasks.add(task)
        self.env.telemetry.emit("broker.calls", float(len(self._tasks)))

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self.env.telemetry.emit("broker.calls", float(len(self._tasks)))
            connection.ended(number, size)

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
            return failed(self.env, work.name, error, writes=work.writes)

    async def _done(self, peer: Peer, work: _Work) -> Answer:
        if work.call is not None:
            return await self._service.perform(work.call, peer)
        if self._answer_ask is None or work.ask is None:
            raise Unavailable("broker.not_asked", f"This broker answers nothing like {work.name}.", retryable=False)
        return await self._answer_ask(work.ask, peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What one message asks for: a call of a connector, or something of the broker itself."""

    name: str
    timeout_s: float
    writes: bool = False
    call: BrokerCall | None = None
    ask: BrokerAsk | None = None

    def problem(self, code: str, what: str) -> AdapterProblem:
        """That it was broken off. Of a write the outcome is not known."""
        hint = "The next attempt asks again."
        return AdapterProblem(
            code, f"{self.name} {what}.", hint=hint, retryable=True, sent=self.writes, resource=self.name
        )


def _work_of(message: Mapping[str, Json]) -> _Work:
    if "ask" in message:
        ask = wire.ask_of(message)
        return _Work(name=ask.operation, timeout_s=ask.timeout_s, ask=ask)
    call = wire.call_of(message)
    return _Work(name=wire.name_of(call), timeout_s=call.timeout_s, writes=wire.writes(call), call=call)


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
        self._intake = Intake(server.room, server.bounds.connection_bytes_max, self._pump)
        self._running: dict[int, tuple[asyncio.Task[None], bool]] = {}
        self._nonce = b""
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Done once the peer has said that no more calls come.
        self.parted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Authenticate the peer and greet it, or hang up."""
        self._transport = cast("asyncio.Transport", transport)
        self._flow = Flow(self._transport, self._server.bounds, self._intake, self._refuse)
        env = self._server.env
        key = env.ids.secret(KEY_BYTES)
        try:
            self.peer = self._authenticate(transport, key)
        except Problem as problem:
            env.telemetry.emit("broker.stranger", 1.0, reason=problem.message)
            self._transport.abort()
            return
        if (problem := self._server.full_for(self.peer)) is not None:
            self._refuse(problem)
            return
        keep_watch(transport)
        self._transport.set_write_buffer_limits(high=_UNREAD_BYTES)
        self._server.joined(self)
        hello: dict[str, object] = {"v": wire.WIRE_V, "key": key.hex(), "now": env.clock.now().timestamp()}
        if self._server.master is not None and self.peer.how == "unix":
            self._nonce = env.ids.secret(KEY_BYTES)
            hello["nonce"] = self._nonce.hex()
        self.send({"hello": hello})
        if self._server.stopping:
            self.send({"stopping": True})

    def data_received(self, data: bytes) -> None:
        """Take what has come; who does not speak the language is hung up on."""
        if not self._transport.is_closing():
            self._intake.add(data)
            self._pump()

    def _pump(self) -> None:
        """Take every whole frame for which there is room, then see to it that the next one comes, in time."""
        whole = False
        try:
            while (found := self._intake.next()) is not None:
                whole = True
                self._take(*found)
        except Problem as problem:
            self._refuse(problem)
        self._flow.go_on(whole=whole)

    def _refuse(self, problem: Problem) -> None:
        """Say why, and hang up."""
        self._server.env.telemetry.emit("broker.stranger", 1.0, reason=problem.message)
        said = {"code": problem.code, "message": problem.message, "hint": problem.hint}
        self.send({"refused": said})
        self._intake.close()
        self._transport.close()

    def _take(self, message: dict[str, Json], size: int) -> None:
        if isinstance(cancelled := message.get("cancel"), int):
            task, reads = self._running.get(cancelled, (None, False))
            if task is not None and reads:
                task.cancel()
            self._intake.done(size)
            return
        if "goodbye" in message:
            self._part()
            self._intake.done(size)
            return
        if "proof" in message:
            self._intake.done(size)
            self._prove(message["proof"])
            return
        self._nonce = b""  # a ticket is shown first of all, or not
        number = message.get("id")
        if not isinstance(number, int) or number in self._running:
            self._intake.done(size)
            raise LimitExceeded("broker.bad_frame", "A peer sent a call without an id of its own.", retryable=False)
        try:
            work = _work_of(message)
            if (problem := self._server.refused()) is not None:
                raise problem
        except Problem as problem:
            self.answer(number, problem)
            self._intake.done(size)
            return
        self._running[number] = (self._server.start(self, number, work, size), not work.writes)

    def _prove(self, said: Json) -> None:
        """The peer shows its ticket: from here on it is what that says, and its tokens are signed with the key of both."""
        nonce, self._nonce = self._nonce, b""
        self.peer, mac = proofs.proven(self.peer, self._server.master, nonce, wire.proof_of(said))
        self.send({"proven": {"mac": mac.hex()}})

    def ended(self, number: int, size: int) -> None:
        """A call was answered; its frame had `size` bytes."""
        self._running.pop(number, None)
        self._intake.done(size)

    def answer(self, number: int, answer: Answer | Problem, *, writes: bool = False) -> None:
        """Say what became of a call. An answer that cannot be sent is a problem of that call alone: of a write, one that says
        that it may have been applied."""
        try:
            said = (
                wire.problem_said(number, answer) if isinstance(answer, Problem) else wire.answer_said(number, answer)
            )
            data = wire.frame(said)
            droppable = not writes and not isinstance(answer, Problem)
            if droppable and (problem := self._server.unread(self, len(data))) is not None:
                raise problem
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

    @property
    def unread_bytes(self) -> int:
        """Bytes of answers that the peer's socket has not taken."""
        return self._transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._flow.unread()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._flow.read()
        self._pump()

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
        self._flow.close()
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
