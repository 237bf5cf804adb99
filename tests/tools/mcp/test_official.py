"""The official MCP servers as tools: declared as they are discovered, called through the box and over HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from stanchion.tools import AdapterProblem
from stanchion.tools.adapters.mcp import McpAdapter
from stanchion.tools.connectors import connector_of
from stanchion.tools.sandbox import Sandbox
from tests.tools.mcp.support import KEY, SERVERS, discovered, need_box, new_adapter, official, result_of, target


def document(script: str, *args: str, **more: Any) -> dict[str, Any]:
    return {
        "connector": "official",
        "owner": "tests",
        "adapter": "mcp",
        "environment": "local",
        "transport": "stdio",
        "command": "node",
        "args": [f"servers/{script}", *args],
        "folders": [{"path": "servers"}, *more.pop("folders", [])],
        **more,
    }


@pytest.fixture
async def adapter(tmp_path: Path) -> AsyncIterator[McpAdapter]:
    need_box()
    # A link within the connectors' folder may not lead out of it: the servers are bound from where they are.
    (tmp_path / "servers").mkdir()
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "note.txt").write_text("Pay on the 3rd.")
    (tmp_path / "secret.txt").write_text("hunter2")
    subprocess.run(["cp", "-al", f"{SERVERS}/.", str(tmp_path / "servers")], check=False, capture_output=True)
    if not (tmp_path / "servers" / "package.json").exists():
        subprocess.run(["cp", "-a", f"{SERVERS}/.", str(tmp_path / "servers")], check=True)
    found = new_adapter(tmp_path)
    yield found
    await found.close()


async def test_everything(adapter: McpAdapter) -> None:
    found = await discovered(adapter, document(official("everything")))
    assert {"echo", "get-sum", "get-structured-content", "get-tiny-image", "get-env"} <= found.operations.keys()
    assert (await result_of(adapter, target(found, "echo"), message="hello"))["text"] == "Echo: hello"
    assert "is 5" in (await result_of(adapter, target(found, "get-sum"), a=2, b=3))["text"]
    weather = await result_of(adapter, target(found, "get-structured-content"), location="Chicago")
    assert weather["structured"].keys() == {"temperature", "conditions", "humidity"}
    image = (await result_of(adapter, target(found, "get-tiny-image")))["items"][0]
    assert (image["type"], image["mime_type"]) == ("image", "image/png")
    assert image["bytes"] > 1000
    links = (await result_of(adapter, target(found, "get-resource-links"), count=3))["items"]
    assert [link["type"] for link in links] == ["resource_link"] * 3
    held = (await result_of(adapter, target(found, "get-resource-reference"), resourceType="Text", resourceId=1))[
        "items"
    ]
    assert [item["type"] for item in held] == ["resource"]
    # The server prints its environment: it has none of ours.
    printed = (await result_of(adapter, target(found, "get-env")))["text"]
    assert {line.split('"')[1] for line in printed.splitlines() if '"' in line} == {"PATH", "HOME", "LANG", "PWD"}


async def test_filesystem(adapter: McpAdapter, tmp_path: Path) -> None:
    folders = [{"path": "documents", "writable": True}]
    found = await discovered(adapter, document(official("filesystem"), "/connectors/documents", folders=folders))
    read = target(found, "read_text_file")
    assert (await result_of(adapter, read, path="/connectors/documents/note.txt"))["structured"] == {
        "content": "Pay on the 3rd."
    }
    writes = target(found, "write_file")
    assert (writes.operation.effect, writes.operation.idempotency) == ("destructive", "natural")
    await result_of(adapter, writes, KEY, path="/connectors/documents/new.txt", content="written")
    assert (tmp_path / "documents" / "new.txt").read_text() == "written"
    # The server refuses what is outside of the folders it was given, and the box has nothing there.
    with pytest.raises(AdapterProblem) as caught:
        await result_of(adapter, read, path="/etc/passwd")
    assert caught.value.code == "mcp.tool_failed"


async def test_the_folder_of_a_server_is_all_that_it_sees(adapter: McpAdapter, tmp_path: Path) -> None:
    """Positive control outside: the same server without the box, over the whole file system, reads the same file."""
    found = await discovered(adapter, document(official("filesystem"), "/"))
    read = target(found, "read_text_file")
    outside = str(tmp_path / "secret.txt")
    with pytest.raises(AdapterProblem):
        await result_of(adapter, read, path=outside)
    with pytest.raises(AdapterProblem):
        await result_of(adapter, target(found, "write_file"), KEY, path="/connectors/servers/x", content="x")
    assert not (tmp_path / "servers" / "x").exists()
    freely = new_adapter(tmp_path, sandbox=Sandbox(unboxed=True, bubblewrap="/nonexistent/bwrap"))
    assert (await result_of(freely, read, path=outside))["structured"] == {"content": "hunter2"}
    await freely.close()


@pytest.fixture
def everything_over_http() -> Iterator[int]:
    need_box()
    script = official("everything")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "PORT": str(port)}
    command = ["node", str(SERVERS / script), "streamableHttp"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        yield port
        server.kill()


async def answering(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.to_thread(lambda: None)
                continue
            writer.close()
            await writer.wait_closed()
            return


async def test_everything_over_streamable_http(adapter: McpAdapter, everything_over_http: int) -> None:
    port = everything_over_http
    await answering(port)
    body = {
        "connector": "official",
        "owner": "tests",
        "adapter": "mcp",
        "environment": "local",
        "transport": "http",
        "url": f"http://127.0.0.1:{port}/mcp",
    }
    with pytest.raises(Exception, match=r"loopback") as denied:
        await adapter.test(connector_of(body), 10)
    assert denied.value.code == "egress.address_denied"  # type: ignore[attr-defined]
    found = await discovered(adapter, {**body, "egress": {"private": ["127.0.0.1"]}})
    assert (await result_of(adapter, target(found, "echo"), message="hello"))["text"] == "Echo: hello"
    assert "is 5" in (await result_of(adapter, target(found, "get-sum"), a=2, b=3))["text"]
