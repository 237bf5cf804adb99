"""From a record, or the arguments of an operation, to the request that its connector declares. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from yarl import URL

from stanchion.base import Json
from stanchion.tools.adapter import Target
from stanchion.tools.adapters.http_client import base_of, headers_of
from stanchion.tools.adapters.http_operations import KEY, KEY_HEADER_DEFAULT
from stanchion.tools.adapters.http_parts import filled, path_parameters, placed, placeholders
from stanchion.tools.credentials import Outgoing, text_of
from stanchion.tools.types import Record


def push_request(target: Target, record: Record, key: str, rpc_id: str) -> Outgoing:
    """The request that writes `record` under `key`. Raises AdapterProblem `adapter.bad_parameter`."""
    settings = target.operation.settings
    whole: dict[str, Json] = dict(record)
    if settings.get("nulls") == "omit":
        whole = {name: value for name, value in whole.items() if value is not None}
    values: dict[str, Json] = {**record, "record": whole, KEY: key}
    url = _url(target, str(settings["path"]), values, _query(settings, values))
    headers = {**headers_of(target), **_key_header(target, settings, key)}
    return _with_body(target, str(settings.get("method", "POST")), url, headers, settings, values, whole, rpc_id)


def execute_request(target: Target, arguments: Record, key: str | None, rpc_id: str) -> Outgoing:
    """The request that performs the operation. Raises AdapterProblem `adapter.bad_parameter`."""
    settings = target.operation.settings
    places = cast("Mapping[str, Mapping[str, Json]]", settings.get("places") or {})
    method = "POST" if "rpc" in settings else str(settings.get("method", "POST"))
    in_path = set(path_parameters(str(settings["path"])))
    used = _used(settings)
    query, headers, body = dict[str, Json](), dict[str, str](), dict[str, Json]()
    for name, value in arguments.items():
        place = places.get(name, {})
        where = str(place.get("in", "query" if method in {"GET", "DELETE"} and "rpc" not in settings else "body"))
        named = str(place.get("name", name))
        if name in in_path or (name in used and name not in places):
            continue
        if where == "body":
            if value is not None or settings.get("nulls") != "omit":
                body[named] = value
        elif value is not None:
            if where == "header":
                headers[named] = _header(target, name, value)
            else:
                query[named] = value
    values: dict[str, Json] = {**arguments, "arguments": body, **({KEY: key} if key is not None else {})}
    url = _url(target, str(settings["path"]), values, {**_query(settings, values), **query})
    said = {**headers_of(target), **headers, **(_key_header(target, settings, key) if key else {})}
    return _with_body(target, method, url, said, settings, values, body, rpc_id)


def probe_request(target: Target, record: Record, key: str, rpc_id: str) -> Outgoing:
    """The request that asks whether the write under `key` is there."""
    probe = cast("Mapping[str, Json]", target.operation.settings["probe"])
    values: dict[str, Json] = {**record, KEY: key}
    url = _url(target, str(probe["path"]), values, _query(probe, values))
    if "rpc" in probe:
        return _with_body(target, "POST", url, headers_of(target), probe, values, dict(record), rpc_id)
    return Outgoing(method="GET", url=url, headers=headers_of(target))


def _used(settings: Mapping[str, Json]) -> set[str]:
    """The names that the operation's templates place themselves."""
    rpc = cast("Mapping[str, Json]", settings.get("rpc") or {})
    return {
        name for part in (settings.get("query"), settings.get("body"), rpc.get("params")) for name in placeholders(part)
    }


def _with_body(
    target: Target,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    settings: Mapping[str, Json],
    values: Record,
    whole: Mapping[str, Json],
    rpc_id: str,
) -> Outgoing:
    if "rpc" in settings:
        rpc = cast("Mapping[str, Json]", settings["rpc"])
        params = filled(rpc["params"], values) if "params" in rpc else dict(whole)
        payload: Json = {"jsonrpc": "2.0", "id": rpc_id, "method": rpc["method"], "params": params}
        return Outgoing(method="POST", url=url, headers=headers, payload=payload, has_body=True)
    if method == "GET" or (method == "DELETE" and "body" not in settings and not whole):
        return Outgoing(method=method, url=url, headers=headers)
    payload = filled(settings["body"], values) if "body" in settings else dict(whole)
    form = settings.get("encoding") == "form"
    if form and not isinstance(payload, dict):
        raise target.problem("adapter.bad_parameter", "cannot be asked: a form is an object of names and values.")
    return Outgoing(
        method=method, url=url, headers=headers, payload=payload, has_body=True, encoding="form" if form else "json"
    )


def _query(settings: Mapping[str, Json], values: Record) -> dict[str, Json]:
    return cast("dict[str, Json]", filled(settings.get("query") or {}, values))


def _url(target: Target, path: str, values: Record, query: Mapping[str, Json]) -> URL:
    try:
        text = placed(path, values)
        pairs = [(name, _scalar(name, item)) for name, value in query.items() for item in _items(value)]
    except ValueError as error:
        raise target.problem("adapter.bad_parameter", f"cannot be asked: {error}.") from None
    url = URL(str(base_of(target)).rstrip("/") + text, encoded=True)
    return url.with_query(pairs) if pairs else url


def _items(value: Json) -> list[Json]:
    """A list repeats its name; a null is not sent."""
    return [item for item in (value if isinstance(value, list) else [value]) if item is not None]


def _scalar(name: str, value: Json) -> str:
    if isinstance(value, dict | list):
        raise ValueError(f"its query needs a {name!r} that is a text, a number or a list of them")  # noqa: TRY004 - a value of JSON
    return text_of(value)


def _header(target: Target, name: str, value: Json) -> str:
    text = "" if isinstance(value, dict | list) else text_of(value)
    if not text or not text.isascii() or not text.isprintable() or text != text.strip():
        raise target.problem("adapter.bad_parameter", f"cannot be asked: its {name!r} cannot stand in a header.")
    return text


def _key_header(target: Target, settings: Mapping[str, Json], key: str) -> dict[str, str]:
    """The key goes along in its header, unless a template places it or the target knows of no key."""
    if "key_header" in settings:
        return {str(settings["key_header"]): key}
    placed_already = KEY in _used(settings) or KEY in path_parameters(str(settings["path"]))
    if target.operation.idempotency in {"key", "probe"} and not placed_already:
        return {KEY_HEADER_DEFAULT: key}
    return {}
