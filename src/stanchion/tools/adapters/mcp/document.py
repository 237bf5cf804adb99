"""What a connector's document says to the `mcp` adapter, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, cast

from yarl import URL

from stanchion.base import Json, did_you_mean
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapters.mcp.definitions import (
    Definition,
    definition_of,
    hinted,
    milder,
    not_repeatable,
    schema_complaint,
)
from stanchion.tools.adapters.paths import path_complaint
from stanchion.tools.credentials import AUTH_SCHEMA, check_auth

# A name on the box's PATH, such as `node`; what has a slash is a path below a declared folder.
_COMMAND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# The sites of `auth` that are headers: the SDK makes the requests, and asks for headers with each.
_SITES = ("header", "basic", "bearer", "oauth2")
_AUTH: Mapping[str, Json] = cast("Mapping[str, Json]", AUTH_SCHEMA["properties"])
SETTINGS_SCHEMA: Mapping[str, Schema] = {
    "transport": {"enum": ["stdio", "http"]},
    "command": {"type": "string", "minLength": 1, "maxLength": 500},
    "args": {"type": "array", "maxItems": 50, "items": {"type": "string", "maxLength": 1000}},
    "folders": {
        "type": "array",
        "maxItems": 20,
        "items": {
            "type": "object",
            "required": ["path"],
            "additionalProperties": False,
            "properties": {
                "path": {"type": "string", "minLength": 1, "maxLength": 500},
                "writable": {"type": "boolean"},
            },
        },
    },
    "network": {"type": "boolean"},
    "url": {"type": "string", "pattern": "^https?://", "maxLength": 1000},
    "auth": {**AUTH_SCHEMA, "properties": {site: _AUTH[site] for site in _SITES}},
    "relist": {"type": "integer", "minimum": 0, "maximum": 3600},
}
OPERATION_SCHEMAS: Mapping[str, Schema] = {
    "execute": {
        "type": "object",
        "required": ["digest", "definition"],
        "properties": {
            "tool": {"type": "string", "minLength": 1, "maxLength": 200},
            "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
            "definition": {
                "type": "object",
                "required": ["inputSchema"],
                "additionalProperties": False,
                "properties": {
                    "title": {"type": "string", "maxLength": 1000},
                    "description": {"type": "string", "maxLength": 50_000},
                    "inputSchema": {"type": "object"},
                    "outputSchema": {"type": "object"},
                    "annotations": {"type": "object"},
                },
            },
            "key_argument": {"type": "string", "minLength": 1, "maxLength": 200},
            "error_means": {"enum": ["unknown", "nothing_written"]},
        },
    }
}
# The fields of one transport alone.
_OF_STDIO = ("command", "args", "folders", "network")
_OF_HTTP = ("url", "auth", "egress")


def tool_of(name: str, operation: Mapping[str, Json]) -> str:
    """The tool's name at the server: that of the operation, unless it says another."""
    return str(operation.get("tool", name))


def check_mcp(body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    """All complaints beyond the schema."""
    if body["transport"] == "stdio":
        yield from _needs(body, "command", "stdio", _OF_HTTP)
        yield from _check_stdio(body)
    else:
        yield from _needs(body, "url", "http", _OF_STDIO)
        yield from _check_url(body.get("url"))
        for issue in check_auth({**body, "base_url": body.get("url")}):
            yield replace(issue, pointer="/url") if issue.pointer == "/base_url" else issue
    if cast("Mapping[str, Json]", body.get("resources") or {}):
        yield ConfigIssue(
            pointer="/resources",
            code="connector.not_offered",
            message="An MCP server has tools and no records.",
            hint="Declare its tools under `execute`; `stanchion connector discover` writes them.",
        )
    for name, operation in cast("Mapping[str, Mapping[str, Json]]", body.get("execute") or {}).items():
        if {"definition", "digest"} <= operation.keys():
            yield from _check_tool(f"/execute/{name}", name, operation)


def _needs(body: Mapping[str, Json], needed: str, transport: str, others: Iterable[str]) -> Iterator[ConfigIssue]:
    if needed not in body:
        yield ConfigIssue(
            pointer="",
            code="connector.missing_field",
            message=f"`transport: {transport}` needs `{needed}`.",
            hint="command: node, args: [server/index.js]" if transport == "stdio" else "url: https://host/mcp",
        )
    for name in others:
        if name in body:
            yield ConfigIssue(
                pointer=f"/{name}",
                code="connector.unknown_field",
                message=f"`transport: {transport}` has no `{name}`.",
            )


def _check_stdio(body: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    folders = cast("list[Mapping[str, Json]]", body.get("folders") or [])
    names: list[str] = []
    for number, folder in enumerate(folders):
        path = str(folder.get("path", ""))
        reason = path_complaint(path)
        if reason is None and not PurePosixPath(path).parts:
            reason = "is the whole connectors' folder, in which other connectors have private files"
        if reason is None and any(_within(path, other) or _within(other, path) for other in names):
            reason = "is the same as, or within, another declared folder"
        if reason is not None:
            yield ConfigIssue(
                pointer=f"/folders/{number}/path", code="connector.bad_path", message=f"The path {reason}."
            )
        names.append(path)
    command = str(body.get("command", "node"))
    if "/" not in command:
        complaint = None if _COMMAND.fullmatch(command) else "is neither a program's name nor a path"
    else:
        complaint = path_complaint(command)
        if complaint is None and not any(_within(command, name) for name in names):
            complaint = "is in no declared folder"
    if complaint is not None:
        yield ConfigIssue(
            pointer="/command",
            code="connector.bad_command",
            message=f"The command {complaint}.",
            hint="A program in /usr/bin by its name, or a path below one of `folders`. No shell reads it.",
        )
    for number, argument in enumerate(cast("list[str]", body.get("args") or [])):
        if "\x00" in argument:
            yield ConfigIssue(
                pointer=f"/args/{number}", code="connector.bad_command", message="The argument holds a zero byte."
            )


def _within(path: str, folder: str) -> bool:
    return (path.rstrip("/") + "/").startswith(folder.rstrip("/") + "/")


def _check_url(text: Json) -> Iterator[ConfigIssue]:
    if not isinstance(text, str):
        return
    try:
        url = URL(text)
        complaint = None if url.host else "names no host"
    except ValueError:
        url, complaint = URL(), "is none"
    if url.user is not None or url.password is not None:
        complaint = "holds a user or password: a connector never holds a credential"
    elif url.raw_query_string or url.raw_fragment:
        complaint = "has a query or fragment"
    if complaint is not None:
        yield ConfigIssue(pointer="/url", code="connector.bad_base_url", message=f"The URL {complaint}.")


def _check_tool(pointer: str, name: str, operation: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    pinned = definition_of(tool_of(name, operation), cast("Mapping[str, Json]", operation["definition"]))
    if pinned.digest != operation["digest"]:
        yield ConfigIssue(
            pointer=f"{pointer}/digest",
            code="connector.wrong_digest",
            message="This is not the digest of the definition beside it.",
            hint="Take both as `stanchion connector discover` writes them; after a review, a changed definition is"
            f" {pinned.digest}.",
        )
    for part in ("inputSchema", "outputSchema"):
        schema = pinned.parts.get(part)
        if isinstance(schema, dict) and (complaint := schema_complaint(schema)):
            yield ConfigIssue(
                pointer=f"{pointer}/definition/{part}",
                code="connector.bad_field",
                message=f"The schema {complaint}.",
                hint="A server must offer a schema that stands by itself; this tool cannot be declared.",
            )
            return
    yield from _check_effect(pointer, operation, pinned)
    yield from _check_arguments(pointer, operation, pinned)


def _check_effect(pointer: str, operation: Mapping[str, Json], pinned: Definition) -> Iterator[ConfigIssue]:
    declared, idempotency = operation.get("effect"), operation.get("idempotency")
    least = hinted(pinned)
    if isinstance(declared, str) and milder(declared, least):
        yield ConfigIssue(
            pointer=f"{pointer}/effect",
            code="connector.effect_too_mild",
            message=f"The server itself says that this tool is `{least}`.",
            hint=f"Declare `effect: {least}`. A server's hints make a declaration stricter, never milder.",
        )
    if idempotency == "natural" and not_repeatable(pinned):
        yield ConfigIssue(
            pointer=f"{pointer}/idempotency",
            code="connector.effect_too_mild",
            message="The server itself says that a repeated call of this tool has an effect of its own.",
            hint="Declare `idempotency: none`, or `key` with `key_argument`.",
        )
    if idempotency == "probe":
        yield ConfigIssue(
            pointer=f"{pointer}/idempotency",
            code="connector.not_offered",
            message="An MCP server cannot be asked whether a call has happened.",
            hint="`key` with `key_argument` where the tool takes a key, `natural` where a repetition changes nothing,"
            " else `none`.",
        )
    for name, wanted in (("key_argument", idempotency == "key"), ("error_means", declared != "read")):
        if name in operation and not wanted:
            yield ConfigIssue(
                pointer=f"{pointer}/{name}",
                code="connector.unknown_field",
                message=f"`{name}` has no meaning here.",
                hint="It goes with `idempotency: key`." if name == "key_argument" else "It goes with what writes.",
            )
    if idempotency == "key" and "key_argument" not in operation:
        yield ConfigIssue(
            pointer=pointer,
            code="connector.missing_field",
            message="`idempotency: key` needs `key_argument`: the argument by which the tool takes the key.",
        )


def _check_arguments(pointer: str, operation: Mapping[str, Json], pinned: Definition) -> Iterator[ConfigIssue]:
    properties = cast("Mapping[str, Any]", pinned.input_schema.get("properties") or {})
    declared = cast("Mapping[str, Json]", operation.get("parameters") or {})
    key = operation.get("key_argument") if operation.get("idempotency") == "key" else None
    for name in declared:
        if name not in properties:
            yield ConfigIssue(
                pointer=f"{pointer}/parameters/{name}",
                code="connector.undeclared_parameter",
                message=f"The tool takes no argument {name!r}.",
                hint=did_you_mean(name, properties),
            )
    if isinstance(key, str) and (key not in properties or key in declared):
        yield ConfigIssue(
            pointer=f"{pointer}/key_argument",
            code="connector.undeclared_parameter",
            message=f"The tool takes no argument {key!r}."
            if key not in properties
            else f"{key!r} is a parameter too; the key is filled in by Stanchion alone.",
        )
    for name in cast("list[str]", pinned.input_schema.get("required") or []):
        if name not in declared and name != key:
            yield ConfigIssue(
                pointer=f"{pointer}/parameters" if declared else pointer,
                code="connector.missing_field",
                message=f"The tool needs the argument {name!r}, which is no parameter.",
                hint="Add it to `parameters`.",
            )
