"""The client's end: one connection to the broker for a whole process, many calls in flight on it.

A call that finds no connection waits for one, so a broker that is started again is a pause and no failure. What became of a call whose answer never came is said exactly: `sent` is False only where it certainly never
left this process or the broker said that it did not take it; a write that may have left is one whose outcome nobody saw,
and the ledger asks the target (I5). A silent peer is no reset: every wait has an end, and on a connection from which nothing at
all came while a call waited its whole time no other begins.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

from stanchion.base import Clock, Denied, Json, Problem
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker import proofs, wire
from stanchion.tools.broker.proofs import Ticket
from stanchion.tools.broker.server import keep_watch, slack_s
from stanchion.tools.broker.tokens import KEY_BYTES, sign, sign_ask
from stanchion.tools.broker.types import BrokerAsk, BrokerCall
from stanchion.tools.broker.wire import writes
from stanchion.tools.types import Envelope

Answer = Envelope | Mapping[str, Json]
# The first try is at once; then twice as long each time, with jitter, at most CONNECT_MAX_S.
CONNECT_S: Final = 0.02
CONNECT_MAX_S: Final = 1.0
# How long a call waits for a connection, of the time it has: a broker that is started again is there within a second.
PATIENCE_S: Final = 10.0
# For what is asked of the broker itself.
ASK_S: Final = 15.0
# For the connection and the broker's greeting.
_GREETING_S: Final = 5.0
# Calls that the socket has not taken yet; beyond it calls wait in this process.
_UNSENT_BYTES: Final = 4 * 1024 * 1024
# An address of a Unix socket is no longer (unix(7)); a longer path is gone through a descriptor of its folder.
_ADDRESS_BYTES_MAX: Final = 107
# Makes one connection: given the protocol's factory, connects it.
Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]
_UNPROVEN: Final = "what listens there did not show that it is the broker that was started with this process"
# What a broker answers of a call that it did not take because it ends.
_STOPPING = "broker.stopping"


def unix_route(path: Path) -> Dial:
    """To a broker on this machine."""

    async def dial(factory: Callable[[], asyncio.Protocol]) -> object:
        loop = asyncio.get_running_loop()
        if len(os.fsencode(path)) <= _ADDRESS_BYTES_MAX:
            return await loop.create_unix_connection(factory, str(path))
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return await loop.create_unix_connection(factory, f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)

    return dial


def tls_route(host: str, port: int, context: Callable[[], ssl.SSLContext]) -> Dial:
    """To a broker on another machine. `context` is made for each connection, so renewed certificates are found."""

    async def dial(factory: Callable[[], asyncio.Protocol]) -> object:
        loop = asyncio.get_running_loop()
        return await loop.create_connection(factory, host, port, ssl=context(), server_hostname=host)

    return dial


class BrokerClient:
    """Calls of the broker, from one process.

    Args:
        dial: makes connections. `where`: says in messages which broker.
        clock, rng: of this process.
        ticket: what this process is known by to a broker that was told of it; it then calls no other.
    """

    def __init__(
        self, dial: Dial, *, where: str, clock: Clock, rng: random.Random, ticket: Ticket | None = None
    ) -> None:
        self.ticket = ticket
        self._dial = dial
        self._where = where
        self._clock = clock
        self._rng = rng
        self._link: _Link | None = None
        self._links: set[_Link] = set()
        self._joining: asyncio.Task[None] | None = None
        self._joined: asyncio.Future[_Link] | None = None
        self._waiters = 0
        self._failed = ""
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether a broker takes calls of this process now."""
        return self._link is not None

    async def call(self, call: BrokerCall) -> Answer:
        """Have `call` performed; its token is made here. Raises the broker's Problem, or AdapterProblem:

        * `broker.unavailable`: no broker took it; nothing was sent. Also a read whose connection was lost.
        * `broker.lost`: the connection was lost after a write had left.
        * `broker.unanswered`: no answer within the call's time.
        """

        def said(number: int, link: _Link, left_s: float) -> dict[str, object]:
            asked = replace(call, timeout_s=left_s)
            return wire.call_said(number, replace(asked, token=sign(asked, link.key, link.now_s())))

        name = f"{call.connector}.{call.resource}" if call.resource else call.connector
        return await self._exchanged(_Wish(name=name, writes=writes(call), timeout_s=call.timeout_s, said=said))

    async def ask(
        self,
        operation: str,
        said: Mapping[str, Json],
        timeout_s: float = ASK_S,
        *,
        tenant: str = "",
        principal: str = "",
    ) -> Mapping[str, Json]:
        """Ask the broker for something that is no call of a connector, on behalf of that person. Raises as `call`."""

        def message(number: int, link: _Link, left_s: float) -> dict[str, object]:
            asked = BrokerAsk(
                operation=operation, said=said, tenant=tenant, principal=principal, timeout_s=left_s, token=""
            )
            return wire.ask_said(number, replace(asked, token=sign_ask(asked, link.key, link.now_s())))

        answer = await self._exchanged(_Wish(name=operation, writes=False, timeout_s=timeout_s, said=message))
        return cast("Mapping[str, Json]", answer)

    async def _exchanged(self, wish: _Wish) -> Answer:
        until = self._clock.monotonic() + wish.timeout_s
        while True:
            link = await self._linked(wish, until)
            answer = await self._asked(link, wish, until)
            if answer is not None and not isinstance(answer, Problem):
                return answer
            if answer is not None and (answer.code != _STOPPING or self._clock.monotonic() >= until):
                raise answer
            self._retire(link)  # its successor takes the call

    async def close(self) -> None:
        """Hang up. Calls in flight end as if the connection had been lost."""
        self._closed = True
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)
        if self._joined is not None and not self._joined.done():
            self._joined.cancel()
        for link in set(self._links):
            await link.close()

    async def _asked(self, link: _Link, wish: _Wish, until: float) -> Answer | Problem | None:
        """What came of asking there; None if that connection took no more calls."""
        left_s = max(0.01, until - self._clock.monotonic())
        beyond_s = 2 * slack_s(wish.timeout_s)
        sent = False
        number = link.number()
        heard = link.heard
        try:
            async with asyncio.timeout(left_s + beyond_s):
                await link.writable()
                if link.retired or link.gone:
                    return None
                waiting = link.send(number, wire.frame(wish.said(number, link, left_s)))
                sent = True
                return await waiting
        except TimeoutError:
            if link.heard == heard:
                # Given up, and no call more goes there. Those on their way may be answered yet: a broker that stood still for a
                # moment is not gone, and a write whose connection is cut is one whose outcome nobody knows.
                self._retire(link)
                link.give_up()
            return self._unanswered(wish, sent=sent)
        except _Lost:
            return self._lost(wish)
        finally:
            link.forget(number)

    async def _linked(self, wish: _Wish, until: float) -> _Link:
        if self._link is not None:
            return self._link
        self._waiters += 1
        try:
            if self._joining is None or self._joining.done():
                self._joined = asyncio.get_running_loop().create_future()
                self._joining = asyncio.create_task(self._join(self._joined))
            async with asyncio.timeout(min(PATIENCE_S, max(0.0, until - self._clock.monotonic()))):
                return await asyncio.shield(cast("asyncio.Future[_Link]", self._joined))
        except (TimeoutError, asyncio.CancelledError):
            if _is_cancelled():
                raise
            raise self._unavailable(wish) from None
        finally:
            self._waiters -= 1

    async def _join(self, joined: asyncio.Future[_Link]) -> None:
        """Connect, again and again while anyone waits for it."""
        delay_s = CONNECT_S
        while not self._closed:
            link = _Link(self, self._clock)
            self._links.add(link)
            try:
                async with asyncio.timeout(_GREETING_S):
                    await self._dial(lambda link=link: link)
                    await link.greeted
            except (OSError, TimeoutError, Problem) as error:
                self._failed = _reason(error)
                link.abort()
                self._links.discard(link)
            else:
                if not link.retired and not link.gone:
                    self._link = link
                    joined.set_result(link)
                    return
                self._failed = "it stops" if link.retired and not link.gone else link.refusal or "it hung up"
            if self._waiters == 0:
                joined.cancel()
                return
            await self._clock.sleep(delay_s * self._rng.uniform(0.5, 1.0))
            delay_s = min(CONNECT_MAX_S, delay_s * 2)

    def _retire(self, link: _Link) -> None:
        """Send no more calls there; those in flight get their answers."""
        link.retired = True
        if self._link is link:
            self._link = None

    def stopping(self, link: _Link) -> None:
        """The broker at the other end takes no more calls."""
        self._retire(link)

    def lost(self, link: _Link) -> None:
        """A connection is gone."""
        self._retire(link)
        self._links.discard(link)

    def _unavailable(self, wish: _Wish) -> AdapterProblem:
        why = f" ({self._failed})" if self._failed else ""
        return AdapterProblem(
            "broker.unavailable",
            f"The broker at {self._where} cannot be reached{why}; nothing of {wish.name} was called.",
            hint="Is `stanchion up` or `stanchion serve broker` running? `stanchion doctor` looks.",
            retryable=True,
            sent=False,
            resource=wish.name,
            waits_for="broker",
        )

    def _lost(self, wish: _Wish) -> AdapterProblem:
        return AdapterProblem(
            "broker.lost" if wish.writes else "broker.unavailable",
            f"The connection to the broker was lost while it called {wish.name}.",
            hint=_next(wish),
            retryable=True,
            sent=wish.writes,
            resource=wish.name,
        )

    def _unanswered(self, wish: _Wish, *, sent: bool) -> AdapterProblem:
        if not sent:
            return self._unavailable(wish)
        return AdapterProblem(
            "broker.unanswered",
            f"The broker did not answer about {wish.name} within {wish.timeout_s:g} s.",
            hint=_next(wish),
            retryable=True,
            sent=wish.writes,
            resource=wish.name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What is wanted of the broker. `said(id, link, seconds left)` is its message there."""

    name: str
    writes: bool
    timeout_s: float
    said: Callable[[int, _Link, float], dict[str, object]]


def _next(wish: _Wish) -> str:
    return "The next attempt asks the target first." if wish.writes else "The next attempt calls again."


class _Lost(Exception):  # noqa: N818 - what happened, not a fault
    """The connection ended before the answer."""


class _Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, client: BrokerClient, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        self._client = client
        self._clock = clock
        self._frames = wire.Frames()
        self._waiting: dict[int, asyncio.Future[Answer | Problem]] = {}
        self._count = 0
        self._transport: asyncio.Transport | None = None
        self._room: asyncio.Event = asyncio.Event()
        self._room.set()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._offset_s = 0.0
        self.greeted: asyncio.Future[None] = loop.create_future()
        self.key = b""
        self._awaited = b""
        self.retired = False
        self.gone = False
        self._given_up = False
        # Why the broker hung up, if it said so.
        self.refusal = ""
        # Messages that came: what did not grow while a call waited its whole time is a dead connection.
        self.heard = 0

    def now_s(self) -> float:
        """The broker's time, in seconds since 1970."""
        return self._clock.monotonic() + self._offset_s

    def number(self) -> int:
        """An id for a call."""
        self._count += 1
        return self._count

    async def writable(self) -> None:
        """Wait until the socket takes more."""
        await self._room.wait()

    def send(self, number: int, data: bytes) -> asyncio.Future[Answer | Problem]:
        """Send a call; the result is its answer, or raises _Lost."""
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            answer.set_exception(_Lost())
        else:
            self._transport.write(data)
        return answer

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more; tell the broker if it has not come."""
        answer = self._waiting.pop(number, None)
        if answer is not None and answer.done() and not answer.cancelled():
            answer.exception()  # seen, also where the caller gave up in the same moment
        elif answer is not None:
            answer.cancel()
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(wire.frame({"cancel": number}))
        if self._given_up and not self._waiting:
            self.abort()

    def give_up(self) -> None:
        """Nothing came while a call waited its whole time: hang up once no other waits for an answer. Those whose message has not
        gone out go elsewhere."""
        self._given_up = True
        self._room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        keep_watch(transport)

    def data_received(self, data: bytes) -> None:
        """Hand answers to those who wait."""
        try:
            for message, _ in self._frames.feed(data):
                self.heard += 1
                self._take(message)
        except (Problem, ValueError, TypeError, KeyError) as error:
            if isinstance(error, Denied):
                self.refusal = error.message
            self.abort()

    def _take(self, message: dict[str, Json]) -> None:
        if "hello" in message:
            hello = cast("Mapping[str, str]", message["hello"])
            self.key = bytes.fromhex(hello["key"])
            if len(self.key) != KEY_BYTES:
                raise ValueError("a key of another length")
            self._offset_s = float(hello["now"]) - self._clock.monotonic()
            if self._client.ticket is None:
                self._greet()
            else:
                self._prove(self._client.ticket, bytes.fromhex(hello.get("nonce", "")))
        elif "proven" in message:
            self._believe(bytes.fromhex(cast("Mapping[str, str]", message["proven"])["mac"]))
        elif "refused" in message:
            self.refusal = str(cast("Mapping[str, str]", message["refused"])["message"]).rstrip(".")
        elif "stopping" in message:
            self._client.stopping(self)
            if self._transport is not None:
                self._transport.write(wire.frame({"goodbye": True}))
        else:
            waiting = self._waiting.get(cast("int", message.get("id")))
            if waiting is not None and not waiting.done():
                waiting.set_result(wire.answer_of(message))

    def _greet(self) -> None:
        if not self.greeted.done():
            self.greeted.set_result(None)

    def _prove(self, ticket: Ticket, nonce: bytes) -> None:
        """Show what this process is; what the broker shows in turn is awaited before any call."""
        if not nonce or self._transport is None:
            raise Denied("broker.unproven", _UNPROVEN)
        mine = os.urandom(KEY_BYTES)
        shown = proofs.Proof(ticket=ticket.text, nonce=mine, mac=proofs.mac_of_client(ticket.key, nonce, mine))
        self._awaited = proofs.mac_of_broker(ticket.key, nonce, mine)
        self.key = proofs.session_key(ticket.key, nonce, mine)
        self._transport.write(wire.frame(wire.proof_said(shown)))

    def _believe(self, mac: bytes) -> None:
        if not self._awaited or not hmac.compare_digest(self._awaited, mac):
            raise Denied("broker.unproven", _UNPROVEN)
        self._greet()

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self._room.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._room.set()

    def abort(self) -> None:
        """Hang up now."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Hang up, and wait until it is done."""
        if self._transport is not None and not self.gone:
            self._transport.abort()
            await self._ended

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop calls it so
        """Whoever waits hears so."""
        self.gone = True
        self._room.set()
        self._client.lost(self)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_Lost())
        if not self.greeted.done():
            self.greeted.set_result(None)
        self._ended.set_result(None)


def _reason(error: BaseException) -> str:
    if isinstance(error, Problem):
        return error.message
    if isinstance(error, ssl.SSLError):
        return error.reason or "TLS failed"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    return (error.strerror if isinstance(error, OSError) else "") or type(error).__name__


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
