"""What is wrong with a connector to an MCP server, said at its place; and what a discovery writes is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stanchion.base import Json, SystemClock
from stanchion.tools.adapters.mcp.definitions import Definition
from stanchion.tools.adapters.mcp.found import discovery_of
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of
from tests.tools.documents import parsed
from tests.tools.mcp.support import document

TOOLS = {
    "sendMail": {
        "description": "Sends.",
        "inputSchema": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "key": {"type": "string"}, "cc": {"type": ["string"]}},
            "required": ["to", "key"],
        },
        "annotations": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False},
    },
    "look": {"inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    "mystery": {"inputSchema": {"type": "object", "properties": {"any-thing": {}, "x": {"anyOf": [{}]}}}},
    "2go": {"inputSchema": {"type": "object"}, "annotations": {"destructiveHint": True, "idempotentHint": True}},
    "afar": {"inputSchema": {"$ref": "https://evil.example/schema"}},
}


def listed() -> dict[str, Definition]:
    return {name: Definition(tool=name, parts=parts) for name, parts in TOOLS.items()}  # type: ignore[arg-type]


def complete(**more: Any) -> dict[str, Any]:
    found = discovery_of(connector_of(document()), listed())
    return document(execute={name: dict(body) for name, body in found.operations.items()}, **more)


def issues(body: dict[str, Json]) -> dict[str, str]:
    """Pointer -> code of everything that is wrong with the document."""
    return {issue.pointer: issue.code for issue in parsed(body).issues}


def test_what_a_discovery_writes_is_right_and_strict() -> None:
    found = discovery_of(connector_of(document()), listed())
    assert issues(complete()) == {}
    declared = {
        name: (body.get("tool"), body["effect"], body.get("idempotency")) for name, body in found.operations.items()
    }
    assert declared == {
        "send-mail": ("sendMail", "write", "none"),
        "look": (None, "read", None),
        # No hint is no permission: it is as strict as it can be until somebody declares otherwise.
        "mystery": (None, "destructive", "none"),
        "tool-2go": ("2go", "destructive", "natural"),
    }
    assert "afar" in found.narrative
    assert found.operations["send-mail"]["parameters"]["cc"] == {"type": ["string", "null"]}  # type: ignore[index, call-overload]
    # A tool that is declared under another name keeps it.
    renamed = document(execute={"post": dict(found.operations["send-mail"])})
    assert "post" in discovery_of(connector_of(renamed), listed()).operations


def test_a_connector_may_stand_without_operations_to_be_asked() -> None:
    assert issues(document()) == {}


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"digest": "sha256:" + "0" * 64}, "/digest", "connector.wrong_digest"),
        ({"definition": {"inputSchema": {"type": "object"}}}, "/digest", "connector.wrong_digest"),
        ({"effect": "read"}, "/effect", "connector.effect_too_mild"),
        ({"idempotency": "natural"}, "/idempotency", "connector.effect_too_mild"),
        ({"idempotency": "probe"}, "/idempotency", "connector.not_offered"),
        ({"idempotency": "key"}, "", "connector.missing_field"),
        ({"key_argument": "key"}, "/key_argument", "connector.unknown_field"),
        ({"idempotency": "key", "key_argument": "id"}, "/key_argument", "connector.undeclared_parameter"),
        ({"idempotency": "key", "key_argument": "key"}, "/key_argument", "connector.undeclared_parameter"),
        ({"parameters": {"to": {"type": "string"}}}, "/parameters", "connector.missing_field"),
        (
            {"parameters": {"to": {"type": "string"}, "key": {"type": "string"}, "bcc": {"type": "string"}}},
            "/parameters/bcc",
            "connector.undeclared_parameter",
        ),
        ({"colour": "red"}, "/colour", "document.unknown_field"),
    ],
)
def test_each_fault_of_a_tool_is_said_at_its_place(change: dict[str, Any], pointer: str, code: str) -> None:
    body = complete()
    body["execute"]["send-mail"] |= change
    found = issues(body)
    assert found.get(f"/execute/send-mail{pointer}") == code, found


def test_a_key_takes_the_place_of_its_argument() -> None:
    body = complete()
    body["execute"]["send-mail"] |= {
        "idempotency": "key",
        "key_argument": "key",
        "parameters": {"to": {"type": "string"}},
    }
    assert issues(body) == {}


def test_error_means_goes_with_what_writes() -> None:
    body = complete()
    body["execute"]["look"]["error_means"] = "nothing_written"
    assert issues(body) == {"/execute/look/error_means": "connector.unknown_field"}


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"command": None}, "", "connector.missing_field"),
        ({"url": "https://tools.example/mcp"}, "/url", "connector.unknown_field"),
        ({"auth": {"bearer": {"token": "secret://local/t"}}}, "/auth", "connector.unknown_field"),
        ({"command": "node; rm -rf /"}, "/command", "connector.bad_command"),
        ({"command": "/usr/bin/node"}, "/command", "connector.bad_command"),
        ({"command": "elsewhere/run"}, "/command", "connector.bad_command"),
        ({"args": ["a\x00b"]}, "/args/0", "connector.bad_command"),
        ({"folders": [{"path": "../secrets"}]}, "/folders/0/path", "connector.bad_path"),
        ({"folders": [{"path": "/etc"}]}, "/folders/0/path", "connector.bad_path"),
        ({"folders": [{"path": "."}]}, "/folders/0/path", "connector.bad_path"),
        ({"folders": [{"path": "a"}, {"path": "a/b"}]}, "/folders/1/path", "connector.bad_path"),
        ({"transport": "http"}, "", "connector.missing_field"),
        (
            {"resources": {"a": {"fields": {"x": {"type": "string"}}, "fetch": {}}}},
            "/resources/a/fetch",
            "connector.not_offered",
        ),
    ],
)
def test_each_fault_of_the_transport_is_said_at_its_place(change: dict[str, Any], pointer: str, code: str) -> None:
    body = {name: value for name, value in {**document(), **change}.items() if value is not None}
    if any("\x00" in argument for argument in body.get("args", [])):
        kind = Adapters(Path("nowhere"), SystemClock()).get("mcp")
        assert [(issue.pointer, issue.code) for issue in kind.check(body)] == [(pointer, code)]
        return
    found = issues(body)
    assert found.get(pointer) == code, found


def over_http(**more: Any) -> dict[str, Any]:
    return {
        "connector": "remote",
        "owner": "tests",
        "adapter": "mcp",
        "environment": "local",
        "transport": "http",
        "url": "https://tools.example/mcp",
        **more,
    }


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"url": "https://ada:pw@tools.example/mcp"}, "/url", "connector.credential"),
        ({"url": "https://tools.example/mcp?key=1"}, "/url", "connector.bad_base_url"),
        ({"url": "http://127.0.0.1:1/mcp"}, "/url", "connector.private_host"),
        ({"command": "node"}, "/command", "connector.unknown_field"),
        ({"network": True}, "/network", "connector.unknown_field"),
        ({"auth": {"bearer": {"token": "hunter2"}}}, "/auth/bearer/token", "connector.credential"),
        (
            {"url": "http://tools.example/mcp", "auth": {"bearer": {"token": "secret://local/t"}}},
            "/url",
            "connector.no_tls",
        ),
    ],
)
def test_each_fault_of_a_remote_server_is_said_at_its_place(change: dict[str, Any], pointer: str, code: str) -> None:
    assert issues(over_http()) == {}
    assert issues(over_http(auth={"bearer": {"token": "secret://local/t"}})) == {}
    found = issues(over_http(**change))
    assert found.get(pointer) == code, found
