"""The `mcp` adapter: tools of an MCP server as operations of EXECUTE, each pinned by the digest of its definition.

A tool is what its owner released: name, description, schemas and annotations as they were when the connector was
published. Before a call the server's list is looked at, and a tool whose definition is another is refused until its new
definition was reviewed and released (adr/0026). What the server says is never more than data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from yarl import URL

from stanchion.base import Clock, Denied, Json, Problem
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.call import Call
from stanchion.tools.adapters.http_client import HttpClient
from stanchion.tools.adapters.mcp.answers import check_same, envelope_of, failed, refusals, unreachable
from stanchion.tools.adapters.mcp.definitions import Definition, definition_of, value_complaints
from stanchion.tools.adapters.mcp.document import OPERATION_SCHEMAS, SETTINGS_SCHEMA, check_mcp, tool_of
from stanchion.tools.adapters.mcp.found import counted, discovery_of
from stanchion.tools.adapters.paths import inside
from stanchion.tools.credentials import NO_CREDENTIALS, Credentials, Outgoing, authorised
from stanchion.tools.egress import Egress, Network
from stanchion.tools.sandbox import Box, Folder, Sandbox
from stanchion.tools.types import Connector, Discovery, Envelope, Operation, Record, Resource

if TYPE_CHECKING:
    from stanchion.tools.adapters.mcp.sessions import Session, Sessions
    from stanchion.tools.adapters.mcp.stdio import Streams

# How old a server's list may be, seconds, unless the connector says otherwise.
RELIST_S = 10.0
# Of a new session, within the call's own time.
_OPEN_S = 20.0
_UNAUTHORIZED = 401
_TOKENS_MAX = 1_000


class _Again(Exception):  # noqa: N818 - what to do, and no error of its own
    """Nothing was called, and one more try is worth it; `problem` is what to say if it is not."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class McpAdapter:
    """See the module. Sessions are kept per tenant and connector version, and ended by `close`.

    Args:
        root: the connectors' folder.
        clock: of the process.
        sandbox: in which servers of `transport: stdio` run.
        network: what the deployment says about the way out, for `transport: http`.
    """

    name = "mcp"
    settings_schema: Mapping[str, Schema] = SETTINGS_SCHEMA
    settings_required: tuple[str, ...] = ("transport",)
    resource_schema: Mapping[str, Schema] = {}
    resource_required: tuple[str, ...] = ()
    operation_schemas: Mapping[str, Schema] = OPERATION_SCHEMAS
    refused: Mapping[str, str] = dict.fromkeys(
        ("fetch", "lookup", "push"), "An MCP server has tools and no records: declare them under `execute`."
    )

    def __init__(
        self, root: Path, clock: Clock, *, sandbox: Sandbox | None = None, network: Network | None = None
    ) -> None:
        self._root = root
        self._clock = clock
        self._sandbox = sandbox or Sandbox()
        self._network = network or Network(root=root)
        self._client = HttpClient(clock, self._network)
        self._pool: Sessions | None = None
        # By key: OAuth 2's token of the last call, and whose was refused.
        self._tokens: dict[str, str] = {}
        self._stale: set[str] = set()

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """The transport's own fields, each tool's digest, schemas, effect and arguments."""
        return check_mcp(body)

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:  # noqa: ARG002
        """Refused, here as at publish."""
        raise target.problem("adapter.not_offered", f"has no records. {self.refused['fetch']}")

    async def lookup(self, target: Target, key: Json) -> Envelope:  # noqa: ARG002
        """Refused, here as at publish."""
        raise target.problem("adapter.not_offered", f"has no records. {self.refused['lookup']}")

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:  # noqa: ARG002
        """Refused, here as at publish."""
        raise target.problem("adapter.not_offered", f"has no records. {self.refused['push']}")

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:  # noqa: ARG002
        """Refused, here as at publish: no MCP server can be asked whether a call has happened."""
        raise target.problem("adapter.not_offered", "cannot be asked whether a call has happened.")

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:
        """Call a pinned tool. `result` is `{text, structured, items, problems}`.

        Raises AdapterProblem: `mcp.bad_arguments`, `mcp.tool_changed`, `mcp.tool_gone`, `adapter.unreachable`, `adapter.status`
        before anything was sent; `mcp.tool_failed`, `mcp.session_lost`, `mcp.bad_result`, `mcp.input_required`, `adapter.timeout` after.
        Denied `sandbox.unavailable`, EgressProblem.
        """
        call = Call(target=target, clock=self._clock)
        pinned = _pinned(target)
        given = _given(target, pinned, arguments, idempotency_key)
        for last in (False, True):
            try:
                answer = await self._asked(call, pinned, given)
            except _Again as again:
                if last:
                    raise again.problem from None
            else:
                return envelope_of(call, pinned, answer, idempotency_key)
        raise target.problem("adapter.unreachable", "cannot be reached.", retryable=True)

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """Open a session of its own and list the tools; say how many of the declared ones are as they were released."""
        target = _of_all(connector, timeout_s, credentials)
        tools = await self._listed(target)
        stale = [
            name
            for name, resource in connector.operations.items()
            if (found := tools.get(_tool(resource))) is None or found.digest != _digest(resource)
        ]
        said = f"The server answered and has {counted(len(tools))}."
        if stale:
            return f"{said} Not as they were released: {', '.join(sorted(stale)[:20])}."
        return f"{said} Every declared one is as it was released."

    async def discover(
        self, connector: Connector, timeout_s: float, credentials: Credentials | None = None
    ) -> Discovery:
        """The server's tools as operations for `execute`, with their digests."""
        tools = await self._listed(_of_all(connector, timeout_s, credentials))
        return discovery_of(connector, tools)

    async def close(self) -> None:
        """End all sessions and the processes of their servers."""
        await self._client.close()
        if self._pool is not None:
            await self._pool.close()

    async def _listed(self, target: Target) -> Mapping[str, Definition]:
        """The server's tools, over a session of its own: nobody's calls wait for a person who looks."""
        sessions = _sessions(target)
        refusals.set([])
        session = sessions.Session()
        call = Call(target=target, clock=self._clock)
        try:
            reach = await self._transport(call, _key(target), session)
            await session.open(reach, min(call.left_s(), _OPEN_S))
            return await session.tools(self._clock, 0.0, call.left_s())
        except (sessions.SessionEnded, *sessions.REFUSED) as ended:
            problem = unreachable(target, ended)
            self._has_old_token(_key(target), problem)
            raise problem from None
        finally:
            await session.end()

    async def _asked(self, call: Call, pinned: Definition, given: Record) -> Any:
        """Look at the server's list and then call. Raises _Again where nothing was called and another session or another
        token may do."""
        target, sessions = call.target, _sessions(call.target)
        refusals.set([])
        pool: Sessions = self._pool or sessions.Sessions(self._clock)
        self._pool = pool
        key = _key(target)
        fresh_s = float(cast("int", target.connector.settings.get("relist", RELIST_S)))
        session: Session | None = None
        try:
            session = await pool.use(key, lambda made: self._transport(call, key, made), min(call.left_s(), _OPEN_S))
            await self._authorise(call, key, session)
            tools = await session.tools(self._clock, fresh_s, call.left_s())
        except (sessions.SessionEnded, *sessions.REFUSED) as ended:
            problem = unreachable(target, ended)
            if session is not None:
                await pool.drop(key, session)
            if session is not None or self._has_old_token(key, problem):
                raise _Again(problem) from None
            raise problem from None
        check_same(target, pinned, tools)
        try:
            return await self._called(call, session, pinned, given)
        except AdapterProblem as problem:
            if self._has_old_token(key, problem):
                raise _Again(problem) from None
            raise
        finally:
            await pool.called(key, session)

    def _has_old_token(self, key: str, problem: Problem) -> bool:
        """Whether a token was refused that can be replaced, so that one more try is worth it. The next call replaces it."""
        if problem.fields.get("status") != _UNAUTHORIZED or not self._tokens.get(key):
            return False
        self._stale.add(key)
        return True

    async def _called(self, call: Call, session: Session, pinned: Definition, given: Record) -> Any:
        target, sessions = call.target, _sessions(call.target)
        writes = target.operation.effect != "read"
        meta = {"traceparent": target.traceparent} if target.traceparent else {}
        call.calls += 1
        try:
            return await session.call(pinned.tool, given, meta, call.left_s())
        except sessions.MCPError as error:
            raise failed(target, error.code, session, writes=writes) from None
        except sessions.SessionEnded as ended:
            raise unreachable(target, ended) from None
        except (*sessions.REFUSED, TimeoutError):
            session.listed_at = None
            raise target.problem(
                "mcp.bad_result", "answered with something that is no result of a tool.", sent=writes
            ) from None

    async def _transport(
        self, call: Call, key: str, session: Session
    ) -> Callable[[], AbstractAsyncContextManager[Streams]]:
        """How the session reaches its server. Raises Denied `sandbox.unavailable`, `sandbox.network`, `connector.path_escapes`,
        EgressProblem."""
        target, settings = call.target, call.target.connector.settings
        if settings["transport"] == "http":
            from stanchion.tools.adapters.mcp.http import http  # noqa: PLC0415 - an extra

            url = str(settings["url"])
            egress = Egress.of(target.connector, self._network, url)
            egress.admit_url(url)
            await self._authorise(call, key, session)
            headers = self._headers(target, session, url)
            headers()  # a credential that no header can hold is said here, and not by a session that breaks
            return lambda: http(url, egress, headers)
        from stanchion.tools.adapters.mcp.stdio import stdio  # noqa: PLC0415 - an extra

        box = _box(target.connector, self._root)
        boxed = await self._sandbox.admit(target.connector.environment, network=box.network)

        def started() -> AbstractAsyncContextManager[Streams]:
            opening = self._sandbox.opened(box) if boxed else self._sandbox.unboxed(box, self._root)
            return stdio(opening, session.started)

        return started

    async def _authorise(self, call: Call, key: str, session: Session) -> None:
        """Give the session the credentials of the call in hand, and a token that was not refused."""
        target = call.target
        auth = _object(target.connector.settings.get("auth"))
        if auth and target.credentials is None:
            raise target.problem(
                "adapter.no_credentials",
                "needs credentials, and this process holds none.",
                hint="Calls with credentials go through the broker: `stanchion serve broker`.",
            )
        session.credentials = target.credentials or NO_CREDENTIALS
        if "oauth2" in auth:
            refused = self._tokens.get(key, "") if key in self._stale else ""
            session.token = await self._client.token(call, not_this=refused)
            self._stale.discard(key)
            if len(self._tokens) >= _TOKENS_MAX:
                self._tokens.clear()
            self._tokens[key] = session.token or ""

    def _headers(self, target: Target, session: Session, url: str) -> Callable[[], Mapping[str, str]]:
        """The headers of the next request, with the credentials that the session has by then."""
        auth = _object(target.connector.settings.get("auth"))
        empty = Outgoing(method="POST", url=URL(url))

        def headers() -> Mapping[str, str]:
            return authorised(empty, auth, session.credentials, token=session.token, at=self._clock.now()).headers

        return headers


def _sessions(target: Target) -> Any:
    """The module that speaks the protocol. Raises AdapterProblem `mcp.not_installed`."""
    try:
        from stanchion.tools.adapters.mcp import sessions  # noqa: PLC0415 - an extra, and half a second to import
    except ModuleNotFoundError:
        raise target.problem(
            "mcp.not_installed",
            "needs the extra `mcp`, which is not installed.",
            hint="Install stanchion[mcp] where the broker runs.",
        ) from None
    return sessions


def _key(target: Target) -> str:
    """Whose sessions and tokens a call may use: those of its tenant and connector version."""
    tenant = target.asker.tenant if target.asker else ""
    return f"{tenant}\x00{target.connector.digest}\x00{target.connector.name}"


def _tool(resource: Resource) -> str:
    return tool_of(resource.name, resource.operations["execute"].settings)


def _digest(resource: Resource) -> str:
    return str(resource.operations["execute"].settings["digest"])


def _pinned(target: Target) -> Definition:
    settings = target.operation.settings
    return definition_of(_tool(target.resource), cast("Mapping[str, Json]", settings["definition"]))


def _of_all(connector: Connector, timeout_s: float, credentials: Credentials | None) -> Target:
    """A target for what concerns the server as a whole."""
    operation = Operation(verb="execute", settings={})
    resource = Resource(
        name="server", description="", key="", fields={}, operations={"execute": operation}, settings={}
    )
    return Target(
        connector=connector, resource=resource, operation=operation, timeout_s=timeout_s, credentials=credentials
    )


def _box(connector: Connector, root: Path) -> Box:
    """The command of a connector and its folders. Raises Denied `connector.path_escapes`, also for the connectors' folder
    itself: other connectors have private files there."""
    settings = connector.settings
    folders = [
        Folder(
            name=str(folder["path"]).strip("/"),
            path=_folder(root, str(folder["path"])),
            writable=bool(folder.get("writable", False)),
        )
        for folder in cast("list[Mapping[str, Json]]", settings.get("folders") or [])
    ]
    arguments = cast("list[str]", settings.get("args") or [])
    return Box(
        command=(str(settings["command"]), *arguments),
        folders=tuple(folders),
        network=bool(settings.get("network", False)),
    )


def _folder(root: Path, path: str) -> Path:
    found = inside(root, path)
    if found == root.resolve():
        raise Denied(
            "connector.path_escapes",
            f"The connector's path {path!r} is the whole connectors' folder.",
            hint="Put the server into a folder of its own below it.",
        )
    return found


def _given(target: Target, pinned: Definition, arguments: Record, idempotency_key: str | None) -> dict[str, Json]:
    """The arguments as they are sent: an optional one that is null is left out, the key is put in its place.

    Raises AdapterProblem `mcp.bad_arguments`.
    """
    schema = pinned.input_schema
    required = cast("list[str]", schema.get("required") or [])
    properties = cast("Mapping[str, Json]", schema.get("properties") or {})
    given = {
        name: value
        for name, value in arguments.items()
        if value is not None or name in required or not value_complaints(_object(properties.get(name)), None)
    }
    key = target.operation.settings.get("key_argument")
    if isinstance(key, str) and idempotency_key is not None:
        given[key] = idempotency_key
    if complaints := value_complaints(schema, given):
        raise target.problem(
            "mcp.bad_arguments",
            f"was given arguments that do not fit the tool's input schema: {'; '.join(complaints)}.",
            hint="Nothing was sent. The schema is in the connector, under `definition`.",
        )
    return given


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
