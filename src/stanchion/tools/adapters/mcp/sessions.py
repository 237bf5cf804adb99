"""Sessions with MCP servers: one per connector version and credentials, opened by its first call, kept, ended with it.

A session is held by a task of its own, since the SDK's contexts must be left by the task that entered them. The task
ends when it is told to, or when the server is gone; a call that finds its session ended opens the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, cast

import mcp_types
from mcp import Client, MCPError
from mcp.client import ClientSession
from pydantic import TypeAdapter, ValidationError

from stanchion.base import Clock, Json, Problem
from stanchion.tools.adapters.mcp.definitions import PARTS, Definition
from stanchion.tools.adapters.mcp.stdio import Process, Streams
from stanchion.tools.credentials import NO_CREDENTIALS, Credentials

# Tools of one server, and pages of its list.
TOOLS_MAX = 1_000
PAGES_MAX = 50
# Sessions at once; the one that was used least recently ends first. One that nobody used this long ends when another begins.
SESSIONS_MAX = 32
UNUSED_S = 900.0
_END_S = 8.0
# The SDK writes what servers sent into its logs. Here it is theirs, and may be a customer's: nothing of it is logged.
_LOGGERS = ("mcp", "client", "httpx2", "httpcore2")
_RESULT: TypeAdapter[Any] = TypeAdapter(mcp_types.CallToolResult | mcp_types.InputRequiredResult)
# What listing and calling raise beside SessionEnded: an error of the protocol, an answer that is none.
REFUSED = (MCPError, ValidationError)
Transport = Callable[[], AbstractAsyncContextManager[Streams]]


class SessionEnded(Exception):  # noqa: N818 - that a session ends is no error of its own
    """There is no session: it could not be opened, or it ended. `words` say why, without anything a server said."""

    def __init__(self, words: str, *, hint: str = "", retryable: bool = True) -> None:
        super().__init__(words)
        self.words = words
        self.hint = hint
        self.retryable = retryable


@dataclass(slots=True, eq=False)
class Session:
    """One session. `in_hand`: calls that have not ended. `token`: OAuth 2's, of the last call. `listed` is the server's tools by name as it listed them at `listed_at` (monotonic seconds)."""

    client: Client | None = None
    process: Process | None = None
    listed: Mapping[str, Definition] = field(default_factory=dict[str, Definition])
    listed_at: float | None = None
    used_at: float = 0.0
    in_hand: int = 0
    credentials: Credentials = NO_CREDENTIALS
    token: str | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _failure: BaseException | None = None
    _listing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def ended(self) -> bool:
        """Whether nothing can be asked any more."""
        gone = self.process is not None and self.process.status is not None
        return gone or self._over.is_set() or (self._task is not None and self._task.done())

    def started(self, process: Process) -> None:
        """The transport says which process its server is."""
        self.process = process

    async def open(self, transport: Transport, timeout_s: float) -> None:
        """Connect and agree on a version of the protocol. Raises SessionEnded, Problem of the transport."""
        self._task = asyncio.create_task(self._held(transport))
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            self._over.set()
            self._task.cancel()
            raise SessionEnded(f"did not answer the first message within {timeout_s:.3g} s.") from None
        if self._failure is not None:
            raise self._said(self._failure)

    async def _held(self, transport: Transport) -> None:
        """The task of the session: everything is entered and left here."""
        client = Client(
            cast("Any", transport()),
            cache=None,
            message_handler=self._told,
            client_info=mcp_types.Implementation(name="stanchion", version="1"),
        )
        try:
            async with client:
                self.client = client
                self._ready.set()
                await self._over.wait()
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - whatever ends it ends this session alone
            self._failure = failure
        finally:
            self._over.set()
            self._ready.set()

    def _said(self, failure: BaseException) -> SessionEnded | Problem:
        """Why the session could not be opened."""
        cause = _cause(failure)
        if isinstance(cause, SessionEnded | Problem):
            return cause
        if self.process is not None and self.process.status is not None:
            return self.died()
        if isinstance(cause, OSError) and self.process is None and cause.strerror:
            return SessionEnded(f"cannot be started or reached ({cause.strerror}).")
        if isinstance(cause, MCPError | ValidationError):
            return SessionEnded("did not agree on a version of the protocol.", retryable=False)
        return SessionEnded(f"cannot be reached ({type(cause).__name__}).")

    def died(self) -> SessionEnded:
        """The words for a server whose process is gone."""
        process = self.process
        if process is None or process.status is None:
            return SessionEnded("ended the session.")
        return SessionEnded(
            f"ended with status {process.status}.",
            hint=f"It wrote {process.stderr_bytes} bytes to its stderr, which are not kept. Run its command by hand: "
            "is it in a declared folder, and does it need a network, an environment or another folder?",
        )

    async def _told(self, message: object) -> None:
        """A notification: a changed list is asked for anew before the next call."""
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self.listed_at = None

    async def tools(self, clock: Clock, fresh_s: float, timeout_s: float) -> Mapping[str, Definition]:
        """The server's tools, listed at most `fresh_s` seconds ago. Raises MCPError, ValidationError, SessionEnded."""
        try:
            async with asyncio.timeout(timeout_s), self._listing:
                if self.listed_at is None or clock.monotonic() - self.listed_at >= fresh_s:
                    # Set before the answer is read: a change that is told meanwhile is not forgotten.
                    self.listed_at = clock.monotonic()
                    try:
                        self.listed = await _listed(self._session())
                    except BaseException:
                        self.listed_at = None
                        raise
                return self.listed
        except TimeoutError:
            raise SessionEnded(f"did not list its tools within {timeout_s:.3g} s.") from None

    async def call(self, tool: str, arguments: Mapping[str, Json], meta: Mapping[str, str], timeout_s: float) -> Any:
        """`tools/call`: the SDK's CallToolResult or InputRequiredResult. Raises MCPError, ValidationError, SessionEnded."""
        request = mcp_types.CallToolRequest(
            params=mcp_types.CallToolRequestParams(
                name=tool,
                arguments=dict(arguments),
                _meta=cast("Any", dict(meta)) if meta else None,
            )
        )
        session = self._session()
        self.in_hand += 1
        try:
            return await session.send_request(request, _RESULT, request_read_timeout_seconds=timeout_s)
        finally:
            self.in_hand -= 1

    def _session(self) -> ClientSession:
        if self.client is None or self.ended:
            raise self.died()
        return self.client.session

    async def end(self) -> None:
        """End the session and its server's process. Returns when both are gone."""
        self._over.set()
        if self._task is None:
            return
        _, pending = await asyncio.wait({self._task}, timeout=_END_S)
        if pending:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_END_S)


def _cause(failure: BaseException) -> BaseException:
    """The first failure of a group of them."""
    while isinstance(failure, BaseExceptionGroup):
        failure = cast("BaseExceptionGroup[BaseException]", failure).exceptions[0]
    return failure


async def _listed(session: ClientSession) -> Mapping[str, Definition]:
    found: dict[str, Definition] = {}
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        params = mcp_types.PaginatedRequestParams(cursor=cursor) if cursor else None
        page = await session.list_tools(params=params)
        for tool in page.tools:
            raw = tool.model_dump(by_alias=True, mode="json", exclude_unset=True)
            parts = {name: raw[name] for name in PARTS if raw.get(name) is not None}
            found[tool.name] = Definition(tool=tool.name, parts=parts)
        cursor = page.next_cursor
        if not cursor or len(found) > TOOLS_MAX:
            break
    return found


@dataclass(slots=True)
class _Door:
    """Lets one call at a time open the session of a key. It is there while `wanted` calls want it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: int = 0


class Sessions:
    """The sessions of a process, by a key: the tenant and the connector's version."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, Session] = {}
        # Out of use, with calls that have not ended yet.
        self._retired: set[Session] = set()
        self._opening: dict[str, _Door] = {}
        self._closed = False
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    async def use(self, key: str, reach: Callable[[Session], Awaitable[Transport]], timeout_s: float) -> Session:
        """The open session of that key, or a new one. Raises SessionEnded, and what `reach` raises."""
        door = self._opening.setdefault(key, _Door())
        door.wanted += 1
        try:
            session = await self._through(door.lock, key, reach, timeout_s)
        finally:
            door.wanted -= 1
            if door.wanted == 0:
                del self._opening[key]
        session.used_at = self._clock.monotonic()
        return session

    async def _through(
        self, lock: asyncio.Lock, key: str, reach: Callable[[Session], Awaitable[Transport]], timeout_s: float
    ) -> Session:
        try:
            async with asyncio.timeout(timeout_s):
                await lock.acquire()
        except TimeoutError:
            raise SessionEnded(f"is being connected to by another call, for over {timeout_s:.3g} s.") from None
        try:
            session = self._held.get(key)
            if session is None or session.ended:
                if session is not None:
                    await self.drop(key, session)
                session = await self._opened(key, reach, timeout_s)
        finally:
            lock.release()
        return session

    async def _opened(self, key: str, reach: Callable[[Session], Awaitable[Transport]], timeout_s: float) -> Session:
        await self._make_room()
        if self._closed:
            raise SessionEnded("is not asked any more: the process is ending.")
        session = self._held[key] = Session(used_at=self._clock.monotonic())
        try:
            await session.open(await reach(session), timeout_s)
        except BaseException:
            self._held.pop(key, None)
            await session.end()
            raise
        return session

    async def drop(self, key: str, session: Session) -> None:
        """Give no more calls to a session; it ends with those it has, at once if it has none."""
        if self._held.get(key) is session:
            del self._held[key]
        if session.in_hand and not session.ended:
            self._retired.add(session)
        else:
            await session.end()

    async def called(self, key: str, session: Session) -> None:
        """A call on the session is over: end it, if that was what it waited for, or if it is of no more use."""
        if session.ended:
            await self.drop(key, session)
        if session in self._retired and not session.in_hand:
            self._retired.discard(session)
            await session.end()

    async def _make_room(self) -> None:
        now = self._clock.monotonic()
        for key, session in sorted(self._held.items(), key=lambda held: held[1].used_at):
            unused = now - session.used_at > UNUSED_S and not session.in_hand
            if unused or len(self._held) >= SESSIONS_MAX:
                await self.drop(key, session)

    async def close(self) -> None:
        """End all sessions, together."""
        self._closed = True
        held, self._held = {*self._held.values(), *self._retired}, {}
        self._retired.clear()
        await asyncio.gather(*(session.end() for session in held), return_exceptions=True)
