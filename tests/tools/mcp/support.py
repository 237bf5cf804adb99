"""MCP servers for tests: the official ones from npm, and one of our own that misbehaves, all in the box."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stanchion.base import SystemClock
from stanchion.tools.adapter import Target
from stanchion.tools.adapters.mcp import McpAdapter
from stanchion.tools.connectors import connector_of, resource_of
from stanchion.tools.types import Asker, Connector

SERVERS = Path(__file__).parent / "servers"
KEY = "eff_0123456789abcdef"
CONTENT = "hunter2"


def need(possible: bool, what: str) -> None:
    """Skip where this machine lacks it; in CI that is a failure, since nobody would notice."""
    if not possible:
        if os.environ.get("CI") and not os.environ.get("CI_WITHOUT_NAMESPACES"):
            pytest.fail(f"CI must be able to run this: {what}")
        pytest.skip(what)


@cache
def _can_box() -> bool:
    line = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    return subprocess.run(line, check=False, capture_output=True).returncode == 0


def need_box() -> None:
    need(shutil.which("bwrap") is not None, "bubblewrap (Debian package bubblewrap)")
    need(_can_box(), "user namespaces for bubblewrap")
    need(shutil.which("node") is not None, "node 20 or newer")


def official(name: str) -> str:
    """The script of an official server, below its folder."""
    script = f"node_modules/@modelcontextprotocol/server-{name}/dist/index.js"
    need((SERVERS / script).is_file(), f"`npm ci` in {SERVERS.relative_to(Path.cwd())}")
    return script


def place(root: Path) -> None:
    """A connectors' folder with a server of our own in it, and a folder that it may write to."""
    (root / "server").mkdir(parents=True)
    shutil.copy(SERVERS / "changing.mjs", root / "server")
    (root / "state").mkdir()


def document(**more: Any) -> dict[str, Any]:
    """The connector of our own server, without operations yet."""
    return {
        "connector": "ours",
        "owner": "tests",
        "adapter": "mcp",
        "environment": "local",
        "transport": "stdio",
        "command": "node",
        "args": ["server/changing.mjs", "state"],
        "folders": [{"path": "server"}, {"path": "state", "writable": True}],
        **more,
    }


async def discovered(adapter: McpAdapter, body: Mapping[str, Any], **changes: Mapping[str, Any]) -> Connector:
    """The connector with every tool declared as it was discovered, but for `changes` of some operations."""
    found = await adapter.discover(connector_of(body), 20)
    declared = {name: {**operation, **changes.get(name, {})} for name, operation in found.operations.items()}
    complete = {**body, "execute": declared}
    assert list(adapter.check(complete)) == []
    return connector_of(complete, "sha256:" + "1" * 64)


def target(connector: Connector, name: str, *, timeout_s: float = 20, tenant: str = "") -> Target:
    resource, operation = resource_of(connector, name, "execute")
    asker = None
    if tenant:
        ids = "0199c1e0-0000-7000-8000-000000000001"
        asker = Asker(tenant=tenant, run_id=ids, root_id=ids, path="p", epoch=1, principal="ada")  # type: ignore[arg-type]
    return Target(
        connector=connector,
        resource=resource,
        operation=operation,
        timeout_s=timeout_s,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        asker=asker,
    )


async def result_of(adapter: McpAdapter, at: Target, key: str | None = None, **arguments: Any) -> dict[str, Any]:
    parameters = dict.fromkeys(at.operation.parameters)
    envelope = await adapter.execute(at, {**parameters, **arguments}, key)
    result = envelope.records[0]["result"]
    assert isinstance(result, dict)
    return result


def new_adapter(root: Path, **more: Any) -> McpAdapter:
    return McpAdapter(root, SystemClock(), **more)


def servers_of(parent: int) -> list[int]:
    """The children of a process that are boxes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition(") ")
        except OSError:
            continue
        if rest.split()[1] == str(parent) and name.endswith("(bwrap"):
            found.append(int(path.parent.name))
    return found
