"""The adapter against a server that misbehaves: pinned definitions, results, ends of sessions, nothing of it in a log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from stanchion.base import Denied
from stanchion.tools import AdapterProblem
from stanchion.tools.adapters.mcp import McpAdapter
from stanchion.tools.connectors import connector_of
from stanchion.tools.types import Connector
from tests.tools.mcp.support import (
    CONTENT,
    KEY,
    discovered,
    document,
    need_box,
    new_adapter,
    place,
    result_of,
    servers_of,
    target,
)

WRITES = {"effect": "write", "idempotency": "none"}


@pytest.fixture
async def adapter(tmp_path: Path) -> AsyncIterator[McpAdapter]:
    need_box()
    place(tmp_path)
    found = new_adapter(tmp_path)
    yield found
    await found.close()


@pytest.fixture
async def ours(adapter: McpAdapter) -> Connector:
    """Our server's tools: what is only asked is declared to read, which the server does not contradict."""
    names = ("change", "hang", "lie", "big", "noise", "meta", "starts", "garbage")
    found = await discovered(adapter, document(relist=3600))
    return changed_operations(found, dict.fromkeys(names, "read"))


def changed_operations(connector: Connector, effects: dict[str, str]) -> Connector:
    """The connector with other declarations of effect by its owner."""
    operations = {
        name: replace(
            resource,
            operations={"execute": replace(resource.operations["execute"], effect=effects[name])}
            if name in effects
            else resource.operations,
        )
        for name, resource in connector.operations.items()
    }
    return replace(connector, operations=operations)


async def problem_of(adapter: McpAdapter, connector: Connector, name: str, key: str | None = None, **arguments: object):
    with pytest.raises(AdapterProblem) as caught:
        await result_of(adapter, target(connector, name), key, **arguments)
    assert CONTENT not in str(caught.value.fields) + caught.value.message + caught.value.hint
    return caught.value


async def test_a_tool_is_called_and_an_absent_argument_is_left_out(adapter: McpAdapter, ours: Connector) -> None:
    assert await result_of(adapter, target(ours, "echo"), text="ab", times=2) == {
        "text": "abab",
        "structured": None,
        "items": [],
        "problems": [],
    }
    # `times` may be absent and may not be null: a null of an expression is left out.
    assert (await result_of(adapter, target(ours, "echo"), text="ab"))["text"] == "ab"


async def test_one_session_serves_many_calls_and_is_each_tenants_own(adapter: McpAdapter, ours: Connector) -> None:
    async def started(tenant: str) -> str:
        return (await result_of(adapter, target(ours, "starts", tenant=tenant)))["text"]

    first = int(await started("acme"))
    assert {await started("acme") for _ in range(3)} == {str(first)}
    assert len(
        await asyncio.gather(*(result_of(adapter, target(ours, "echo", tenant="acme"), text="x") for _ in range(20)))
    )
    assert int(await started("acme")) == first
    assert int(await started("globex")) == first + 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("description", "description"),
        ("schema", "input schema (cc is new, times is gone)"),
        ("annotations", "annotations (openWorldHint)"),
    ],
)
async def test_a_changed_definition_is_refused(adapter: McpAdapter, ours: Connector, how: str, said: str) -> None:
    assert (await result_of(adapter, target(ours, "echo"), text="a"))["text"] == "a"
    await result_of(adapter, target(ours, "change"), how=how, told=True)

    async def refused() -> AdapterProblem:
        # The notification and the answer come together; the next call but one has seen both.
        while True:
            try:
                await result_of(adapter, target(ours, "echo"), text="a")
            except AdapterProblem as problem:
                return problem

    async with asyncio.timeout(60):
        problem = await refused()
    assert problem.code == "mcp.tool_changed"
    assert not problem.sent
    assert not problem.retryable
    assert f"changed {said}." in problem.message
    assert "pay everyone" not in problem.message + problem.hint
    assert "stanchion connector discover ours" in problem.hint
    # Other tools go on, and so does this one once its new definition was released.
    assert (await result_of(adapter, target(ours, "meta")))["problems"] == []


async def test_a_change_that_nobody_told_is_seen_by_the_next_list(adapter: McpAdapter) -> None:
    found = changed_operations(await discovered(adapter, document(relist=0)), {"change": "read"})
    await result_of(adapter, target(found, "change"), how="description")
    assert (await problem_of(adapter, found, "echo", text="a")).code == "mcp.tool_changed"


async def test_a_tool_that_is_gone_and_one_that_never_was(adapter: McpAdapter) -> None:
    found = changed_operations(await discovered(adapter, document(relist=0)), {"change": "read"})
    await result_of(adapter, target(found, "change"), how="gone")
    gone = await problem_of(adapter, found, "echo", text="a")
    assert gone.code == "mcp.tool_gone"
    assert not gone.sent


async def test_arguments_are_held_to_the_pinned_schema(adapter: McpAdapter, ours: Connector) -> None:
    problem = await problem_of(adapter, ours, "echo", text="a", times=0)
    assert problem.code == "mcp.bad_arguments"
    assert "/times: breaks 'minimum'" in problem.message
    assert not problem.sent


async def test_the_key_travels_as_an_argument(adapter: McpAdapter, tmp_path: Path) -> None:
    parameters = {"amount": {"type": "string"}}
    keyed = {"effect": "write", "idempotency": "key", "key_argument": "key", "parameters": parameters}
    found = await discovered(adapter, document(), pay=keyed)
    for _ in range(2):
        envelope = await adapter.execute(target(found, "pay"), {"amount": "3.00"}, KEY)
    assert envelope.metadata["applied"] is True
    assert envelope.metadata["idempotency_key"] == KEY
    assert envelope.records[0]["result"]["structured"] == {"id": f"p-{len(KEY)}"}  # type: ignore[index, call-overload]
    assert json.loads((tmp_path / "state" / "ledger.json").read_text()) == {KEY: "3.00"}


async def test_an_error_of_a_tool_is_not_certainty(adapter: McpAdapter, ours: Connector) -> None:
    failed = await problem_of(adapter, ours, "fail", KEY)
    assert (failed.code, failed.sent) == ("mcp.tool_failed", True)
    certain = await discovered(adapter, document(), fail={**WRITES, "error_means": "nothing_written"})
    assert not (await problem_of(adapter, certain, "fail", KEY)).sent


async def test_a_server_that_dies_is_started_again_by_the_next_call(adapter: McpAdapter, ours: Connector) -> None:
    first = int((await result_of(adapter, target(ours, "starts")))["text"])
    lost = await problem_of(adapter, ours, "die", KEY)
    assert (lost.code, lost.sent, lost.retryable) == ("mcp.session_lost", True, True)
    assert int((await result_of(adapter, target(ours, "starts")))["text"]) == first + 1


async def test_a_read_that_was_lost_is_certain_to_have_written_nothing(adapter: McpAdapter, ours: Connector) -> None:
    lost = await problem_of(adapter, changed_operations(ours, {"die": "read"}), "die")
    assert (lost.code, lost.sent) == ("mcp.session_lost", False)


async def test_a_call_ends_in_time(adapter: McpAdapter, ours: Connector) -> None:
    assert (await result_of(adapter, target(ours, "echo"), text="a"))["text"] == "a"
    with pytest.raises(AdapterProblem) as caught:
        await result_of(adapter, target(changed_operations(ours, {"hang": "write"}), "hang", timeout_s=0.5), KEY)
    assert (caught.value.code, caught.value.sent) == ("adapter.timeout", True)
    assert (await result_of(adapter, target(ours, "echo"), text="b"))["text"] == "b"


async def test_results_are_held_to_their_schema_and_bounded(adapter: McpAdapter, ours: Connector) -> None:
    lied = await problem_of(adapter, ours, "lie")
    assert lied.code == "mcp.bad_result"
    assert "/n: is not of type integer" in lied.message
    # What a write returned has happened: it is kept as far as it can be.
    kept = await result_of(adapter, target(changed_operations(ours, {"lie": "write"}), "lie"), KEY)
    assert kept["structured"] is None
    assert "does not fit" in kept["problems"][0]
    assert (await problem_of(adapter, ours, "big", bytes=600_000)).code == "mcp.bad_result"
    cut = await result_of(adapter, target(changed_operations(ours, {"big": "write"}), "big"), KEY, bytes=600_000)
    assert len(cut["text"]) == 65_536
    assert "only the beginning" in cut["problems"][0]


async def test_what_is_no_message_ends_the_session_and_nothing_else(adapter: McpAdapter, ours: Connector) -> None:
    problem = await problem_of(adapter, ours, "garbage")
    assert problem.code == "mcp.session_lost"
    assert (await result_of(adapter, target(ours, "echo"), text="a"))["text"] == "a"


async def test_more_than_a_line_may_hold_ends_the_session(adapter: McpAdapter, ours: Connector) -> None:
    problem = await problem_of(adapter, ours, "big", bytes=17 * 1_048_576)
    assert problem.code == "mcp.session_lost"
    assert (await result_of(adapter, target(ours, "echo"), text="a"))["text"] == "a"


async def test_nothing_that_a_server_says_is_logged(
    adapter: McpAdapter, ours: Connector, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="root"):
        await result_of(adapter, target(ours, "noise"), bytes=1_000_000)
        await problem_of(adapter, ours, "garbage")
        await problem_of(adapter, ours, "fail", KEY)
        await problem_of(adapter, ours, "die", KEY)
    assert CONTENT not in caplog.text


async def test_the_trace_travels_in_meta(adapter: McpAdapter, ours: Connector) -> None:
    meta = json.loads((await result_of(adapter, target(ours, "meta")))["text"])
    assert meta["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")


async def test_a_server_that_cannot_start_says_why_without_its_words(adapter: McpAdapter) -> None:
    broken = document(args=["server/absent.mjs"])
    with pytest.raises(AdapterProblem) as caught:
        await adapter.test(connector_of(broken), 10)
    assert caught.value.code == "adapter.unreachable"
    assert "ended with status 1" in caught.value.message
    assert "bytes to its stderr" in caught.value.hint
    assert "MODULE_NOT_FOUND" not in caught.value.message + caught.value.hint


async def test_a_test_says_what_is_not_as_it_was_released(adapter: McpAdapter, ours: Connector) -> None:
    assert "has 14 tools. Every declared one is as it was released." in await adapter.test(ours, 10)
    echo = ours.operations["echo"]
    older = replace(echo.operations["execute"], settings={**echo.operations["execute"].settings, "digest": "sha256:0"})
    stale = replace(ours, operations={**ours.operations, "echo": replace(echo, operations={"execute": older})})
    assert "Not as they were released: echo." in await adapter.test(stale, 10)


async def test_the_end_of_the_adapter_ends_its_servers(tmp_path: Path) -> None:
    need_box()
    place(tmp_path)
    adapter = new_adapter(tmp_path)
    found = await discovered(adapter, document())
    assert (await result_of(adapter, target(found, "echo"), text="a"))["text"] == "a"
    pids = servers_of(os.getpid())
    assert pids
    await adapter.close()
    async with asyncio.timeout(60):  # the kernel ends what is in a box after the box itself
        while [pid for pid in pids if alive(pid)]:
            await asyncio.sleep(0.01)
    with pytest.raises(AdapterProblem) as caught:
        await result_of(adapter, target(found, "echo"), text="a")
    assert caught.value.code == "adapter.unreachable"


async def test_a_killed_server_costs_one_call_at_most(adapter: McpAdapter, ours: Connector) -> None:
    assert (await result_of(adapter, target(ours, "echo"), text="a"))["text"] == "a"
    for pid in servers_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    failed = 0
    for _ in range(3):  # one may be quicker than the news of it, another than the end of what runs in the box
        try:
            assert (await result_of(adapter, target(ours, "echo"), text="b"))["text"] == "b"
        except AdapterProblem:
            failed += 1
    assert failed <= 1


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


async def test_a_call_in_hand_outlives_the_session_that_others_gave_up(adapter: McpAdapter) -> None:
    """A server that answers no list within a short call's time is given up by that call, and not by the one in hand."""
    found = changed_operations(await discovered(adapter, document(relist=0)), {"slow": "write", "pause": "read"})
    slow = asyncio.create_task(result_of(adapter, target(found, "slow"), KEY, ms=1500))
    await result_of(adapter, target(found, "pause"), ms=1500)
    with pytest.raises(AdapterProblem) as caught:
        await result_of(adapter, target(found, "echo", timeout_s=0.3), text="a")
    assert caught.value.code == "adapter.unreachable"
    assert (await slow)["text"] == "slow"
    assert (await result_of(adapter, target(found, "echo"), text="b"))["text"] == "b"


async def test_a_link_does_not_lead_to_the_whole_folder(adapter: McpAdapter, tmp_path: Path) -> None:
    (tmp_path / "all").symlink_to(tmp_path)
    with pytest.raises(Denied) as caught:
        await adapter.test(connector_of(document(folders=[{"path": "server"}, {"path": "all"}])), 10)
    assert caught.value.code == "connector.path_escapes"


async def test_without_the_extra_the_call_names_it(
    adapter: McpAdapter, ours: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "stanchion.tools.adapters.mcp.sessions")
    monkeypatch.delattr("stanchion.tools.adapters.mcp.sessions")
    monkeypatch.setitem(sys.modules, "mcp", None)
    problem = await problem_of(adapter, ours, "echo", text="a")
    assert problem.code == "mcp.not_installed"
    assert "stanchion[mcp]" in problem.hint


async def test_a_call_does_not_wait_longer_than_it_may_for_anothers_session(adapter: McpAdapter) -> None:
    found = await discovered(adapter, document())
    silent = replace(found, settings={**found.settings, "command": "sleep", "args": ["60"]}, digest="sha256:3")
    first = asyncio.create_task(result_of(adapter, target(silent, "echo", timeout_s=3), text="a"))
    await asyncio.sleep(0)
    with pytest.raises(AdapterProblem) as caught:
        await result_of(adapter, target(silent, "echo", timeout_s=0.2), text="a")
    assert "by another call" in caught.value.message
    with pytest.raises(AdapterProblem, match=r"did not answer the first message within [23](\.\d+)? s"):
        await first
