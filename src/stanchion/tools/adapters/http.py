"""The `http` adapter: JSON records by GET from one origin. Writing over HTTP comes with the broker.

Every request goes to an endpoint that the connector names, by way of its egress (adr/0023): a redirect, a `next` link or
a page that leads elsewhere ends the call, and another host than the base URL's is told nothing of the connector. Proxies of
the environment are ignored, cookies are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import aiohttp
from yarl import URL

from stanchion.base import Clock, Invalid, Json, loads
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters import http_paging as paging
from stanchion.tools.adapters.call import Call
from stanchion.tools.adapters.http_document import (
    OPERATION_SCHEMAS,
    SETTINGS_SCHEMA,
    check_http,
    path_parameters,
    placed,
)
from stanchion.tools.credentials import Credentials
from stanchion.tools.egress import Egress, Network, Sessions
from stanchion.tools.records import read_record
from stanchion.tools.types import Connector, Discovery, Envelope, Record

# The pages of one fetch.
PAGES_MAX = 1000
_REDIRECTS_MAX = 3
# What a discovery says of the operations.
CAPABILITIES: Mapping[str, Mapping[str, Json]] = {
    "fetch": {"paging": sorted(paging.PAGE_NEEDS)},
    "lookup": {"needs": "a path with {key}"},
}
_RETRYABLE = {408, 425, 429, 500, 502, 503, 504}


class HttpAdapter:
    """See the module. Sessions are opened by the first call of a connector, in the loop of that call."""

    name = "http"
    settings_schema: Mapping[str, Schema] = SETTINGS_SCHEMA
    settings_required: tuple[str, ...] = ("base_url",)
    resource_schema: Mapping[str, Schema] = {}
    resource_required: tuple[str, ...] = ()
    operation_schemas: Mapping[str, Schema] = OPERATION_SCHEMAS
    refused: Mapping[str, str] = {"push": "Writing over HTTP comes with the broker; the `http` adapter only reads."}

    def __init__(self, clock: Clock, network: Network | None = None) -> None:
        self._clock = clock
        self._network = network or Network()
        self._sessions = Sessions(clock)

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """The base URL, headers without credentials, path parameters, and each paging style's own needs."""
        return check_http(body)

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:
        """Pages, one after the other, until there are `limit` records or no more."""
        call = Call(target=target, clock=self._clock)
        style = cast("Mapping[str, Json]", target.operation.settings.get("page") or {})
        try:
            position: paging.Position | None = paging.position_of(page)
        except ValueError as error:
            raise target.problem("adapter.bad_page", f"{error}.") from None
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
                    return call.fetched(records, paging.Position(at=position.at, skip=number - 1).token())
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

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:  # noqa: ARG002
        """Refused, here as at publish."""
        raise target.problem("adapter.not_offered", f"cannot be written to: {self.refused['push']}")

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:  # noqa: ARG002
        """Refused: there is no push to ask about."""
        raise target.problem("adapter.not_offered", f"cannot be written to: {self.refused['push']}")

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:  # noqa: ARG002
        """Refused: no operations are declared yet."""
        raise target.problem("adapter.not_offered", "declares no operations.")

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """GET the base URL; any answer of the server, also 404, shows that it is reached."""
        resource = next(iter(connector.resources.values()))
        declared = next(iter(resource.operations.values()))
        operation = replace(declared, settings={**declared.settings, "path": "/"})
        target = Target(
            connector=connector, resource=resource, operation=operation, timeout_s=timeout_s, credentials=credentials
        )
        try:
            await self._get(Call(target=target, clock=self._clock), self._base(connector))
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
            narrative="An HTTP API cannot be asked for what it has; an OpenAPI document of it can say so.",
        )

    async def close(self) -> None:
        """Close the sessions and their connections."""
        await self._sessions.close()

    def _egress(self, target: Target) -> Egress:
        return Egress.of(target.connector, self._network)

    def _base(self, connector: Connector) -> URL:
        return URL(str(connector.settings["base_url"]).rstrip("/") + "/")

    def _url(self, target: Target, values: Record) -> URL:
        """The operation's URL: declared path and query parameters, each encoded; a null is not sent."""
        settings = target.operation.settings
        path = str(settings["path"])
        try:
            text = placed(path, values)
        except ValueError as error:
            raise target.problem("adapter.bad_parameter", f"cannot be asked: {error}.") from None
        url = URL(str(self._base(target.connector)).rstrip("/") + text, encoded=True)
        constants = cast("Mapping[str, Json]", settings.get("query", {}))
        query = {name: _query_text(value) for name, value in constants.items()}
        in_path = path_parameters(path)
        query |= {n: _query_text(v) for n, v in values.items() if n not in in_path and v is not None}
        return url.update_query(query) if query else url

    def _page_url(self, target: Target, where: Record, style: Mapping[str, Json], position: paging.Position) -> URL:
        if style and style["style"] == "link" and isinstance(position.at, str):
            return self._egress(target).followed(self._base(target.connector), position.at)
        url = self._url(target, where)
        query = paging.query_of(style, position) if style else {}
        return url.update_query(query) if query else url

    async def _get(self, call: Call, url: URL) -> tuple[Json, str]:
        """The JSON body and the Link header of a GET. Redirects are followed where the egress allows, at most three."""
        target, egress = call.target, self._egress(call.target)
        session = await self._sessions.of(egress)
        for _ in range(_REDIRECTS_MAX + 1):
            call.calls += 1
            try:
                async with session.get(
                    url,
                    headers=self._headers(target, url),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=call.left_s()),
                ) as response:
                    if response.status in {301, 302, 303, 307, 308}:
                        url = egress.followed(url, response.headers.get("Location", ""))
                        continue
                    self._check(target, response)
                    return await self._body(call, response, egress.max_bytes), ", ".join(
                        response.headers.getall("Link", [])
                    )
            except TimeoutError:
                raise target.problem(
                    "adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True
                ) from None
            except aiohttp.ClientPayloadError:
                raise target.problem("adapter.truncated", "ended its answer before its end.", retryable=True) from None
            except aiohttp.ClientError as error:
                raise _unreachable(target, error) from None
        raise target.problem("adapter.elsewhere", f"redirected more than {_REDIRECTS_MAX} times.")

    def _headers(self, target: Target, url: URL) -> dict[str, str]:
        if url.origin() != self._base(target.connector).origin():
            return {"Accept": "application/json"}
        constants = cast("Mapping[str, Json]", target.connector.settings.get("headers", {}))
        headers = {"Accept": "application/json", **{name: str(value) for name, value in constants.items()}}
        if target.traceparent:
            headers["traceparent"] = target.traceparent
        return headers

    def _check(self, target: Target, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status >= 300:
            wait = _retry_after(response.headers.get("Retry-After"), self._clock.now())
            more: dict[str, Any] = {} if wait is None else {"retry_after_s": wait}
            raise target.problem(
                "adapter.status",
                f"answered with status {status}.",
                hint=_status_hint(target, status),
                retryable=status in _RETRYABLE,
                status=status,
                **more,
            )
        if not (response.content_type == "application/json" or response.content_type.endswith("+json")):
            raise target.problem(
                "adapter.wrong_content_type",
                "answered with something other than JSON.",
                hint="Does the path lead to the API, or to a page for people (a sign-in, an error page)?",
                status=status,
            )

    async def _body(self, call: Call, response: aiohttp.ClientResponse, bytes_max: int) -> Json:
        data = bytearray()
        async for part in response.content.iter_chunked(65_536):
            data += part
            if len(data) > bytes_max:
                raise call.target.problem(
                    "adapter.too_large",
                    f"answered with more than {bytes_max} bytes.",
                    hint="Ask for smaller pages: `page` with `size` and `size_parameter`; or say a higher `egress.max_bytes`.",
                )
        call.bytes += len(data)
        try:
            return loads(bytes(data))
        except Invalid:
            raise call.target.problem("adapter.not_json", "answered with a body that is not JSON.") from None

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


def _status_hint(target: Target, status: int) -> str:
    """The declared path that was called, without the values in it, the host or a query; and what to do."""
    path = URL(str(target.connector.settings["base_url"])).path.rstrip("/") + str(target.operation.settings["path"])
    if status in _RETRYABLE:
        return f"GET {path} was called. It may pass: give the step `retry`."
    if status in {401, 403}:
        return f"GET {path} was called, without credentials: the `http` adapter sends none."
    return f"GET {path} was called. Check `base_url` and the operation's `path`."


def _query_text(value: Json) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait (RFC 9110 §10.2.3), from a number or a date; at most a day."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(min(int(header.strip()[:9]), 86_400))
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, TypeError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), 86_400.0)


def _unreachable(target: Target, error: aiohttp.ClientError) -> AdapterProblem:
    # A server whose certificate is not valid does not become so by asking again.
    tls = isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError)
    broken = isinstance(error, aiohttp.ClientResponseError)
    if broken:
        return target.problem("adapter.not_http", "answered with something that is not HTTP.")
    return target.problem(
        "adapter.unreachable",
        "has a certificate that is not valid." if tls else "cannot be reached, or closed the connection.",
        hint="Check `base_url`, and whether the server is up.",
        retryable=not tls,
    )
