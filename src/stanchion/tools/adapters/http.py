"""The `http` adapter: JSON, forms and JSON-RPC with one origin: records read and written, declared operations performed.

Every request goes to an endpoint that the connector names, by way of its egress (adr/0023): a redirect, a `next` link or
a page that leads elsewhere ends the call, and another host than the base URL's is told nothing of the connector. Proxies of
the environment are ignored, cookies are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import cast

from yarl import URL

from stanchion.base import Clock, Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters import http_paging as paging
from stanchion.tools.adapters.call import Call
from stanchion.tools.adapters.http_answers import body_of, checked_json, rpc_result, written
from stanchion.tools.adapters.http_client import HttpClient, Manner, base_of, headers_of
from stanchion.tools.adapters.http_document import OPERATION_SCHEMAS, SETTINGS_SCHEMA, check_http
from stanchion.tools.adapters.http_parts import path_parameters, placed
from stanchion.tools.adapters.http_requests import execute_request, probe_request, push_request
from stanchion.tools.adapters.pages import Pages, bad_page
from stanchion.tools.credentials import Credentials, Outgoing, text_of
from stanchion.tools.egress import Network
from stanchion.tools.records import read_record
from stanchion.tools.types import Connector, Discovery, Envelope, Operation, Record, Resource

# The pages of one fetch.
PAGES_MAX = 1000
_IDEMPOTENCY: tuple[Json, ...] = ("key", "natural", "probe", "none")
# What a discovery says of the operations.
CAPABILITIES: Mapping[str, Mapping[str, Json]] = {
    "fetch": {"paging": [*sorted(paging.PAGE_NEEDS)]},
    "lookup": {"needs": "a path with {key}"},
    "push": {"idempotency": [*_IDEMPOTENCY], "effects": ["write", "destructive"]},
    "execute": {"idempotency": [*_IDEMPOTENCY], "effects": ["read", "write", "destructive"]},
}


class HttpAdapter:
    """See the module. Sessions are opened by the first call of a connector, in the loop of that call."""

    name = "http"
    settings_schema: Mapping[str, Schema] = SETTINGS_SCHEMA
    settings_required: tuple[str, ...] = ("base_url",)
    resource_schema: Mapping[str, Schema] = {}
    resource_required: tuple[str, ...] = ()
    operation_schemas: Mapping[str, Schema] = OPERATION_SCHEMAS
    refused: Mapping[str, str] = {}

    def __init__(self, clock: Clock, network: Network | None = None, pages: Pages | None = None) -> None:
        self._clock = clock
        self._pages = pages or Pages.of_this_process(clock)
        self._client = HttpClient(clock, network or Network())
        self._numbers = count(1)

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """The base URL, headers without credentials, path parameters, and each paging style's own needs."""
        return check_http(body)

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:
        """Pages, one after the other, until there are `limit` records or no more."""
        call = Call(target=target, clock=self._clock)
        style = cast("Mapping[str, Json]", target.operation.settings.get("page") or {})
        position: paging.Position | None = await self._position(target, page)
        records: list[Record] = []
        seen: set[paging.Position] = set()
        while position is not None:
            if position in seen or len(seen) == PAGES_MAX:
                raise target.problem(
                    "adapter.page_loop", f"did not come to an end: {len(seen)} pages, or the same page twice."
                )
            seen.add(position)
            body, link = await self._get(call, self._page_url(target, where, style, position))
            rows = self._rows(target, body)
            following = paging.next_position(style, position, body, link, len(rows)) if style else None
            for number, row in enumerate(rows[position.skip :], start=position.skip + 1):
                if len(records) == limit:
                    rest = paging.Position(at=position.at, skip=number - 1)
                    return call.fetched(records, await self._pages.sealed(target, rest.token()))
                records.append(read_record(target, len(records) + 1, row))
            position = following
        return call.fetched(records, None)

    async def lookup(self, target: Target, key: Json) -> Envelope:
        """The record at the path of `{key}`; 404 means that there is none."""
        call = Call(target=target, clock=self._clock)
        url = self._url(target, {"key": key})
        try:
            body, _ = await self._get(call, url)
        except AdapterProblem as problem:
            if problem.fields.get("status") == 404:
                return call.looked_up(None)
            raise
        found = paging.pointed(body, str(target.operation.settings.get("records", "")))
        if not isinstance(found, dict):
            raise self._no_records(target, "object")
        return call.looked_up(read_record(target, 1, found))

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """Write the record by the declared request. Under `probe` the target is asked first."""
        call = Call(target=target, clock=self._clock)
        if target.operation.idempotency == "probe" and await self._there(call, record, idempotency_key):
            return call.pushed(applied=False, rows=0, idempotency_key=idempotency_key, **self._said(target, None))
        rpc_id = self._rpc_id()
        request = push_request(target, record, idempotency_key, rpc_id)
        body, applied = await self._write(call, request, rpc_id)
        return call.pushed(
            applied=applied, rows=int(applied), idempotency_key=idempotency_key, **self._said(target, body)
        )

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:
        """Whether the declared GET finds the write."""
        return await self._there(Call(target=target, clock=self._clock), record, idempotency_key)

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:
        """Perform the declared operation; the result is what `result_at` names in the answer."""
        call = Call(target=target, clock=self._clock)
        settings, reads = target.operation.settings, target.operation.effect == "read"
        if not reads and idempotency_key is None:
            raise target.problem("adapter.no_key", "writes, and was called without an idempotency key.")
        probing = target.operation.idempotency == "probe" and not reads
        if probing and await self._there(call, arguments, str(idempotency_key)):
            return call.executed(None, applied=False, idempotency_key=idempotency_key)
        rpc_id = self._rpc_id()
        request = execute_request(target, arguments, idempotency_key, rpc_id)
        if reads:
            body, applied = await self._read(call, request, rpc_id), False
        else:
            body, applied = await self._write(call, request, rpc_id)
        result = paging.pointed(body, str(settings.get("result_at", "")))
        return call.executed(result, applied=applied, idempotency_key=idempotency_key)

    async def _read(self, call: Call, request: Outgoing, rpc_id: str) -> Json:
        target, settings = call.target, call.target.operation.settings
        if "rpc" in settings:
            answer = await self._client.send(call, request, Manner(errors=True))
            rpc = cast("Mapping[str, Json]", settings["rpc"])
            return rpc_result(target, answer, rpc, rpc_id, writes=False)[0]
        answer = await self._client.send(call, request)
        if answer.status < 300 and not answer.body:
            return None
        return checked_json(target, request.method, str(settings["path"]), answer)

    async def _write(self, call: Call, request: Outgoing, rpc_id: str) -> tuple[Json, bool]:
        """Send a write once; what it answered, and whether it was applied now."""
        target, settings = call.target, call.target.operation.settings
        rpc = cast("Mapping[str, Json] | None", settings.get("rpc"))
        fresh = target.operation.idempotency == "none"
        answer = await self._client.send(call, request, Manner(writes=True, fresh=fresh, errors=rpc is not None))
        if rpc is not None:
            return rpc_result(target, answer, rpc, rpc_id, writes=True)
        applied = written(target, request.method, answer)
        return body_of(answer), applied

    async def _there(self, call: Call, record: Record, key: str) -> bool:
        """Ask the declared probe. 404 means no; else `found` names what is there only with the write."""
        target = call.target
        probe = cast("Mapping[str, Json]", target.operation.settings["probe"])
        rpc_id = self._rpc_id()
        request = probe_request(target, record, key, rpc_id)
        if "rpc" in probe:
            answer = await self._client.send(call, request, Manner(errors=True))
            body = rpc_result(target, answer, cast("Mapping[str, Json]", probe["rpc"]), rpc_id, writes=False)[0]
        else:
            answer = await self._client.send(call, request)
            if answer.status == 404:
                return False
            body = checked_json(target, "GET", str(probe["path"]), answer)
        found = paging.pointed(body, str(probe.get("found", "")))
        return found not in (None, False, "", [], {}) if "found" in probe or "rpc" in probe else True

    def _rpc_id(self) -> str:
        return f"stanchion-{next(self._numbers)}"

    def _said(self, target: Target, body: Json) -> dict[str, Json]:
        """What the answer says of the fields that the receipt declares."""
        declared = cast("Mapping[str, Json]", target.operation.settings.get("receipt") or {})
        if not declared:
            return {}
        return {"fields": {name: paging.pointed(body, str(at)) for name, at in declared.items()}}

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """GET the base URL; any answer of the server, also 404, shows that it is reached."""
        operation = Operation(verb="fetch", settings={"path": "/"})
        resource = Resource(name="/", description="", key="", fields={}, operations={}, settings={})
        target = Target(
            connector=connector, resource=resource, operation=operation, timeout_s=timeout_s, credentials=credentials
        )
        try:
            await self._get(Call(target=target, clock=self._clock), base_of(target))
        except AdapterProblem as problem:
            status = problem.fields.get("status")
            if isinstance(status, int) and status < 500 and status not in {401, 403, 407}:
                return f"The server answered with status {status}."
            if problem.code not in {"adapter.not_json", "adapter.wrong_content_type"}:
                raise
        return "The server answered."

    async def discover(
        self,
        connector: Connector,  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
        credentials: Credentials | None = None,  # noqa: ARG002
    ) -> Discovery:
        """What the adapter can do there. HTTP itself has no way to ask a server for its resources."""
        return Discovery(
            capabilities=CAPABILITIES,
            narrative="An HTTP API cannot be asked for what it has. Where it has an OpenAPI document,"
            " `stanchion connector import-openapi FILE` makes a connector of that.",
        )

    async def close(self) -> None:
        """Close the sessions and their connections."""
        await self._client.close()

    def _url(self, target: Target, values: Record) -> URL:
        """The operation's URL: declared path and query parameters, each encoded; a null is not sent."""
        settings = target.operation.settings
        path = str(settings["path"])
        try:
            text = placed(path, values)
        except ValueError as error:
            raise target.problem("adapter.bad_parameter", f"cannot be asked: {error}.") from None
        url = URL(str(base_of(target)).rstrip("/") + text, encoded=True)
        constants = cast("Mapping[str, Json]", settings.get("query", {}))
        query = {name: text_of(value) for name, value in constants.items()}
        in_path = path_parameters(path)
        query |= {n: text_of(v) for n, v in values.items() if n not in in_path and v is not None}
        return url.update_query(query) if query else url

    async def _position(self, target: Target, page: str | None) -> paging.Position:
        """Where a fetch goes on. Raises AdapterProblem `adapter.bad_page` for what this adapter never gave out."""
        if page is None:
            return paging.Position()
        try:
            return paging.position_of(await self._pages.opened(target, page))
        except ValueError:  # sealed by a version of ours that wrote it in another form
            raise bad_page(target) from None

    def _page_url(self, target: Target, where: Record, style: Mapping[str, Json], position: paging.Position) -> URL:
        if style and style["style"] == "link" and isinstance(position.at, str):
            return self._client.egress(target).followed(base_of(target), position.at)
        url = self._url(target, where)
        query = paging.query_of(style, position) if style else {}
        return url.update_query(query) if query else url

    async def _get(self, call: Call, url: URL) -> tuple[Json, str]:
        """The JSON body and the Link header of a GET. Another host than the base URL's is told nothing of the connector."""
        target = call.target
        own = url.origin() == base_of(target).origin()
        headers = headers_of(target) if own else {"Accept": "application/json"}
        answer = await self._client.send(call, Outgoing(method="GET", url=url, headers=headers))
        return checked_json(target, "GET", str(target.operation.settings["path"]), answer), answer.link

    def _rows(self, target: Target, body: Json) -> list[dict[str, Json]]:
        found = paging.pointed(body, str(target.operation.settings.get("records", "")))
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise self._no_records(target, "array of objects")
        return cast("list[dict[str, Json]]", found)

    def _no_records(self, target: Target, wanted: str) -> AdapterProblem:
        pointer = target.operation.settings.get("records", "")
        return target.problem(
            "adapter.no_records",
            f"answered without an {wanted} at {str(pointer) or 'the root'!r}.",
            hint="`records` of the operation is the JSON pointer to them.",
        )
