"""The HTTP API, from the OpenAPI document that the web process serves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from docs.generator.parts import env
from docs.generator.tables import code, table

from stanchion.base.settings import Settings
from stanchion.bootstrap.web import built_routers
from stanchion.identity import Authenticator, Pepper
from stanchion.web import create_app
from stanchion.web.openapi import operations, without_example


@cache
def document() -> Mapping[str, Any]:
    """The OpenAPI document of all routes, as `GET /openapi.json` answers."""

    async def build() -> Mapping[str, Any]:
        authenticator = Authenticator(env(), Pepper(bytes(32)))
        async with built_routers(env(), Settings(), authenticator) as routers:
            return create_app(env(), routers, authenticator=authenticator).openapi()

    made = asyncio.run(build())
    if missing := without_example(dict(made)):
        raise SystemExit(f"http: without an example: {', '.join(missing)}")
    return made


def document_text() -> str:
    """The document as a file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _routes() -> str:
    by_tag: dict[str, list[str]] = {}
    for path, method, operation in operations(dict(document())):
        tag = (operation.get("tags") or ["other"])[0]
        by_tag.setdefault(tag, []).append("\n".join(_route(path, method, operation)))
    return "\n".join(f"## {tag}\n\n" + "\n".join(routes) for tag, routes in sorted(by_tag.items()))


def _route(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n"
    yield f"{operation.get('description') or operation['summary']}\n"
    rows = [
        (
            code(parameter["name"]),
            parameter["in"],
            _type(parameter.get("schema", {})),
            "**needed**" if parameter.get("required") else _plain(parameter.get("schema", {}).get("default")),
            parameter.get("description", ""),
        )
        for parameter in operation.get("parameters", [])
    ]
    if rows:
        yield table(("parameter", "in", "type", "default", "meaning"), rows)
    body = operation.get("requestBody", {}).get("content", {})
    for kind, media in body.items():
        yield f"Body ({code(kind)}):\n\n{_example(media)}"
        if fields := list(_fields(media.get("schema", {}), "")):
            yield table(("field", "type", "default", "meaning"), fields)
    for status, response in operation["responses"].items():
        if status.startswith(("2", "3")):
            yield from _answer(status, response)


def _fields(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """The fields of a body, those of objects and lists of objects in it by their dotted path."""
    schema = _resolved(schema)
    for name, inner in schema.get("properties", {}).items():
        needed = "**needed**" if name in schema.get("required", ()) else _plain(inner.get("default"))
        yield code(f"{prefix}{name}"), _type(inner), needed, inner.get("description", "")
        options = [_resolved(option) for option in inner.get("anyOf", [inner])]
        for option in options:
            many = option.get("type") == "array"
            yield from _fields(option.get("items", {}) if many else option, f"{prefix}{name}{'[]' if many else ''}.")


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, or what its `$ref` names."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return document()["components"]["schemas"][name] if name else schema


def _answer(status: str, response: Mapping[str, Any]) -> Iterator[str]:
    content = response.get("content", {})
    if not content:
        yield f"{status}: {response.get('description', '')}\n"
    for kind, media in content.items():
        yield f"{status} ({code(kind)}):\n\n{_example(media)}"


def _example(media: Mapping[str, Any]) -> str:
    example = media.get("example")
    if isinstance(example, str):
        return f"```text\n{example.rstrip()}\n```\n"
    return f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n"


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema:
        return " or ".join(code(str(value)) for value in schema["enum"])
    if "$ref" in schema:
        return _type(_resolved(schema))
    low, high = schema.get("minimum"), schema.get("maximum")
    bounds = f", {low:g} to {high:g}" if low is not None and high is not None else ""
    form = f", {schema['format']}" if "format" in schema else ""
    of = f" of {_type(schema['items'])}" if "items" in schema else ""
    return f"{schema.get('type', 'any')}{of}{form}{bounds}{_lengths(schema)}"


def _lengths(schema: Mapping[str, Any]) -> str:
    said = [
        f", {schema.get(least, 'up')} to {schema[most]} {unit}"
        for least, most, unit in (("minLength", "maxLength", "characters"), ("minItems", "maxItems", "elements"))
        if most in schema
    ]
    return "".join(said)


def _plain(value: object) -> str:
    return "–" if value is None else code(json.dumps(value))


PARTS: Mapping[str, Callable[[], str]] = {"http.routes": _routes}
