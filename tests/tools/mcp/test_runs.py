"""MCP tools in Blueprints, through all of `stanchion up`: command line, web, worker, broker, box, server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes.instance import Up, clean_environment
from tests.tools.mcp.support import SERVERS, document, need_box, official, place, servers_of


class Instance:
    """One running instance, and its command line in a folder of documents."""

    def __init__(self, up: Up, folder: Path) -> None:
        self.up = up
        self.folder = folder

    def stanchion(self, *arguments: str, code: int = 0) -> Any:
        line = [sys.executable, "-m", "stanchion", *arguments, "--data", str(self.up.data), "-o", "json"]
        done = subprocess.run(
            line, capture_output=True, text=True, cwd=self.folder, env=clean_environment(), check=False, timeout=300
        )
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def apply(self, name: str, body: Mapping[str, Any]) -> None:
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(dict(body), sort_keys=False))
        self.stanchion("apply", "-f", f"{name}.yaml")

    def released(self, body: dict[str, Any], **changes: Mapping[str, Any]) -> dict[str, Any]:
        """The connector released with every tool as it was discovered, but for `changes` of some."""
        name = str(body["connector"])
        self.apply(name, body)
        found = self.stanchion("connector", "discover", name)["operations"]
        complete = {**body, "execute": {tool: {**said, **changes.get(tool, {})} for tool, said in found.items()}}
        self.apply(name, complete)
        return complete

    def run(self, blueprint: str, code: int = 0) -> Any:
        return self.stanchion("run", "start", blueprint, "--wait", code=code)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    need_box()
    official("everything")
    data = tmp_path_factory.mktemp("mcp") / "data"
    root = data / "connectors"
    place(root)
    shutil.copytree(SERVERS, root / "servers", symlinks=True)
    (root / "documents").mkdir()
    (root / "documents" / "note.txt").write_text("Pay on the 3rd.")
    up = Up(data)
    try:
        yield Instance(up.ready(), tmp_path_factory.mktemp("documents"))
    finally:
        if up.process.poll() is None:
            up.interrupt()


def connector(name: str, script: str, *args: str, folders: list[Any] | None = None) -> dict[str, Any]:
    return {
        "connector": name,
        "owner": "tests",
        "adapter": "mcp",
        "environment": "local",
        "transport": "stdio",
        "command": "node",
        "args": [f"servers/{script}", *args],
        "folders": [{"path": "servers"}, *(folders or [])],
    }


def test_the_official_servers_are_tools_of_a_blueprint(instance: Instance) -> None:
    instance.released(connector("everything", official("everything")))
    documents = [{"path": "documents", "writable": True}]
    files = connector("files", official("filesystem"), "/connectors/documents", folders=documents)
    instance.released(files)
    note, report = "/connectors/documents/note.txt", "/connectors/documents/report.txt"
    instance.apply(
        "report",
        {
            "blueprint": "report",
            "owner": "tests",
            "steps": [
                {
                    "id": "sum",
                    "execute": {"connector": "everything", "operation": "get-sum", "arguments": {"a": 2, "b": 3}},
                },
                {
                    "id": "note",
                    "execute": {"connector": "files", "operation": "read_text_file", "arguments": {"path": note}},
                },
                {
                    "id": "report",
                    "execute": {
                        "connector": "files",
                        "operation": "write_file",
                        "arguments": {
                            "path": report,
                            "content": "${steps.note.result.structured.content} ${steps.sum.result.text}",
                        },
                    },
                },
            ],
            "output": "${steps.report.result.text}",
        },
    )
    ended = instance.run("report")
    assert ended["status"] == "SUCCEEDED"
    assert "report.txt" in ended["output"]
    written = (instance.up.data / "connectors" / "documents" / "report.txt").read_text()
    assert written == "Pay on the 3rd. The sum of 2 and 3 is 5."
    # The broker alone starts servers.
    assert servers_of(instance.up.pid_of("broker"))
    assert not [pid for name in ("web", "worker-1", "scheduler") for pid in servers_of(instance.up.pid_of(name))]
    effects = instance.stanchion("effect", "list")
    assert [(e["connector"], e["operation"], e["state"]) for e in effects] == [("files", "write_file.execute", "DONE")]


def test_a_changed_tool_is_refused_until_it_is_released_again(instance: Instance) -> None:
    body = document(relist=0)
    reads = {"effect": "read"}
    declared = instance.released(body, change={"effect": "write", "idempotency": "natural"}, echo=reads)
    for name, operation, arguments in (
        ("say", "echo", {"text": "hello"}),
        ("change", "change", {"how": "description"}),
    ):
        step = {"id": "step", "execute": {"connector": "ours", "operation": operation, "arguments": arguments}}
        output = "${steps.step.result.text}"
        instance.apply(name, {"blueprint": name, "owner": "tests", "steps": [step], "output": output})
    assert instance.run("say")["output"] == "hello"
    assert instance.run("change")["status"] == "SUCCEEDED"
    refused = instance.run("say", code=1)
    assert refused["status"] == "FAILED"
    assert refused["error"]["code"] == "mcp.tool_changed"
    assert "the server changed description." in refused["error"]["message"]
    # Reviewed and released again: the new version is served by a server of its own, whose text is the first one again,
    # so that the text which was reviewed is refused in turn.
    echo = declared["execute"]["echo"]
    assert "pay everyone" not in echo["definition"]["description"]
    instance.apply("ours", {**declared, "description": "Once more."})
    assert instance.run("say")["output"] == "hello"
