"""What an http write may have done, said exactly: every status, every broken end, every repeated key."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of, resource_of
from stanchion.tools.egress import Egress
from tests.conformance import http_writes as http
from tests.conformance import worlds

KEY = "eff_" + "a" * 64
OUTCOME = {"case_id": "C1", "tier": "minor", "articles": [5, 6], "comment": None}
EVERY = ["key", "natural", "probe", "none"]


@pytest.fixture
async def server() -> AsyncIterator[http.Server]:
    async with http.http_write_server() as running:
        yield running


@pytest.fixture
async def adapters(tmp_path: Path) -> AsyncIterator[Adapters]:
    made = worlds.new_adapters(tmp_path)
    yield made
    await made.close()


def world_of(adapters: Adapters, server: http.Server, idempotency: str = "key", **push: Any) -> http.HttpWriteWorld:
    natural: dict[str, Any] = {"method": "PUT", "path": "/outcomes/{case_id}"} if idempotency == "natural" else {}
    probe = http.PROBE if idempotency == "probe" else None
    said = {"idempotency": idempotency, "probe": probe, "answers": None, **natural, **push}
    return http.make_http_writes(adapters, server, "json", **said)


def operation(world: worlds.World, name: str, timeout_s: float = 5.0, **changes: Any) -> Target:
    body = json.loads(json.dumps(world.body))
    body["execute"][name].update(changes)
    connector = connector_of(body, "sha256:test")
    resource, found = resource_of(connector, name, "execute")
    return Target(connector=connector, resource=resource, operation=found, timeout_s=timeout_s)


# status -> whether it may have been applied: with a key that the target knows, and without (`none`)
STATUSES = [
    (307, False, False),
    (308, False, False),
    (301, True, True),
    (303, True, True),
    (400, False, False),
    (401, False, False),
    (403, False, False),
    (404, False, False),
    (408, True, True),
    (409, True, True),
    (422, False, False),
    (425, False, True),
    (429, False, True),
    (500, True, True),
    (502, True, True),
    (503, True, True),
    (504, True, True),
]


@pytest.mark.parametrize(("status", "keyed", "bare"), STATUSES, ids=[str(s[0]) for s in STATUSES])
async def test_a_status_says_what_may_have_happened(
    adapters: Adapters, server: http.Server, status: int, keyed: bool, bare: bool
) -> None:
    for idempotency, sent in (("key", keyed), ("none", bare)):
        world = world_of(adapters, server, idempotency)
        server.instead.append(http.says(status, Location="/api/elsewhere"))
        asked = len(server.asked)
        with pytest.raises(AdapterProblem) as caught:
            await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
        assert caught.value.code == "adapter.status"
        assert caught.value.fields["status"] == status
        assert caught.value.sent is sent
        assert len(server.asked) == asked + 1, "a write is never redirected and never repeated by the adapter"
    assert server.log == []


@pytest.mark.parametrize("meaning", ["applied", "already", "refused", "unsure"])
async def test_a_connector_may_say_what_a_status_means(adapters: Adapters, server: http.Server, meaning: str) -> None:
    world = world_of(adapters, server, answers={meaning: [409, 503]})
    for status in (409, 503):
        server.instead.append(http.says(status))
        push = world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
        if meaning in {"applied", "already"}:
            assert (await push).metadata["applied"] is (meaning == "applied")
        else:
            with pytest.raises(AdapterProblem) as caught:
                await push
            assert caught.value.sent is (meaning == "unsure")


@pytest.mark.parametrize("idempotency", EVERY)
@pytest.mark.parametrize("fault", ["drop", "hang", "torn"])
async def test_what_left_and_was_not_answered_may_have_been_applied(
    adapters: Adapters, server: http.Server, idempotency: str, fault: str
) -> None:
    """The server has taken the write; its answer does not arrive whole."""
    world = world_of(adapters, server, idempotency)
    if idempotency == "probe":
        server.after.append(_whole)
    server.after.append(getattr(http, fault))
    target = world.target("outcomes", "push", timeout_s=1.2 if fault == "hang" else 5.0)
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.push(target, OUTCOME, KEY)
    assert caught.value.sent
    assert caught.value.code in {"adapter.timeout", "adapter.unreachable", "adapter.truncated"}
    if idempotency == "probe":
        assert await world.adapter.probe(world.target("outcomes", "push"), OUTCOME, KEY) is True
        again = await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
        assert again.metadata["applied"] is False
    assert len(server.log) == 1, "the adapter never sends twice by itself, not even a PUT"


async def _whole(request, response):
    return response


async def test_a_connection_that_was_never_made_sent_nothing(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server, "none")
    world.body["base_url"] = "http://127.0.0.1:9/api"
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert caught.value.code == "adapter.unreachable"
    assert caught.value.retryable
    assert not caught.value.sent


async def test_a_write_that_nothing_recognises_goes_on_a_connection_of_its_own(
    adapters: Adapters, server: http.Server
) -> None:
    """One kept open may have been closed by the server at this moment, and the write would be lost in it."""
    ports: list[Any] = []
    for idempotency in ("key", "key", "none", "none"):
        world = world_of(adapters, server, idempotency)
        await world.adapter.push(
            world.target("outcomes", "push"), {**OUTCOME, "case_id": idempotency}, f"k{len(ports)}"
        )
        ports.append(server.asked[-1]._transport_peername)
    assert ports[0] == ports[1]
    assert len(set(ports[1:])) == 3


async def test_the_certificate_authorities_are_not_read_anew_for_each_such_connection(
    adapters: Adapters, server: http.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading them takes the event loop tens of milliseconds, in which nobody else's call moves."""
    made = 0
    real = Egress.tls_context

    def counted(egress: Egress) -> ssl.SSLContext:
        nonlocal made
        made += 1
        return real(egress)

    monkeypatch.setattr(Egress, "tls_context", counted)
    world = world_of(adapters, server, "none")
    for number in range(3):
        record = {**OUTCOME, "case_id": f"C{number}"}
        await world.adapter.push(world.target("outcomes", "push"), record, f"{KEY}{number}")
    assert len(server.log) == 3
    assert made == 1


async def test_a_repeated_key_is_told_by_the_target(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server, "key", answers={"already": [409]}, receipt={"number": "/id"})
    first = await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert (first.metadata["applied"], first.metadata["fields"]) == (True, {"number": 1})
    second = await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert (second.metadata["applied"], second.metadata["rows"]) == (False, 0)
    assert server.log == [("C1", KEY)]


async def test_a_natural_write_is_the_same_twice(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server, "natural")
    for _ in range(2):
        await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert list(server.by_case) == ["C1"]
    assert server.by_case["C1"]["record"] == OUTCOME


async def test_the_key_stands_where_it_is_declared(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server, "key", key_header="X-Request-Key")
    await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert server.asked[-1].headers["X-Request-Key"] == KEY
    assert http.KEY_HEADER not in server.asked[-1].headers
    world = world_of(
        adapters, server, "key", body={"outcome": "{record}", "case_id": "{case_id}", "ref": "{idempotency_key}"}
    )
    await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert json.loads(server.bodies[-1]) == {"outcome": OUTCOME, "case_id": "C1", "ref": KEY}
    assert http.KEY_HEADER not in server.asked[-1].headers


@pytest.mark.parametrize(
    ("body", "content_type"), [(b"", "application/json"), (b"OK", "text/plain"), (b"{", "application/json")]
)
async def test_a_write_that_was_accepted_needs_no_words(
    adapters: Adapters, server: http.Server, body: bytes, content_type: str
) -> None:
    world = world_of(adapters, server, "key", receipt={"number": "/id"})
    server.instead.append(http.says(201, body, content_type))
    envelope = await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert (envelope.metadata["applied"], envelope.metadata["fields"]) == (True, {"number": None})


async def test_a_target_that_says_no_with_200(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server, "key", applied_if={"at": "/ok", "equals": True})
    target = world.target("outcomes", "push")
    for body, code, sent in ((b'{"ok": false}', "adapter.refused", False), (b"<p>", "adapter.not_json", True)):
        server.instead.append(http.says(200, body))
        with pytest.raises(AdapterProblem) as caught:
            await world.adapter.push(target, OUTCOME, KEY)
        assert (caught.value.code, caught.value.sent) == (code, sent)
    server.instead.append(http.says(200, b'{"ok": true}'))
    assert (await world.adapter.push(target, OUTCOME, KEY)).metadata["applied"] is True


async def test_how_long_to_wait_is_passed_on(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server, "key")
    server.instead.append(http.says(429, **{"Retry-After": "17"}))
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert (caught.value.retryable, caught.value.fields["retry_after_s"]) == (True, 17.0)


async def test_an_operation_places_its_arguments(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server)
    arguments = {"case_id": "C/1", "note": "late", "notify": True, "reason": "paid"}
    envelope = await world.adapter.execute(operation(world, "close"), arguments, KEY)
    assert envelope.records[0] == {"result": {"case": "C/1", "at": "2026-03-31"}}
    assert envelope.metadata["applied"] is True
    asked = server.asked[-1]
    assert (asked.query_string, asked.headers["X-Reason"]) == ("notify=true", "paid")
    assert json.loads(server.bodies[-1]) == {"note": "late"}
    assert asked.headers[http.KEY_HEADER] == KEY
    await world.adapter.execute(
        operation(world, "close", nulls="omit"), {**arguments, "note": None, "reason": None}, KEY
    )
    assert json.loads(server.bodies[-1]) == {}
    assert "X-Reason" not in server.asked[-1].headers


async def test_an_operation_that_reads_and_one_that_takes_away(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server, "key")
    await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    found = await world.adapter.execute(operation(world, "find"), {"reference": KEY}, None)
    assert found.records[0]["result"] == [{"id": 1, "record": OUTCOME}]
    removed = await world.adapter.execute(operation(world, "remove"), {"case_id": "C1"}, KEY)
    assert removed.metadata["applied"] is True
    assert server.asked[-1].method == "DELETE"
    assert server.bodies[-1] == b""
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.execute(operation(world, "close"), {"case_id": "C1", "note": None, "notify": False}, None)
    assert caught.value.code == "adapter.no_key"


@pytest.mark.parametrize("fault", ["drop", "hang", "torn"])
async def test_an_operation_that_writes_keeps_the_rules_of_a_push(
    adapters: Adapters, server: http.Server, fault: str
) -> None:
    world = world_of(adapters, server)
    for sent, name, arguments in (
        (True, "close", {"case_id": "C1", "note": None, "notify": False, "reason": None}),
        (False, "find", {"reference": "x"}),
    ):
        # A client may ask a read again when the connection broke: it breaks every time.
        server.after += [getattr(http, fault)] * 2
        with pytest.raises(AdapterProblem) as caught:
            await world.adapter.execute(operation(world, name, 0.6 if fault == "hang" else 5.0), arguments, KEY)
        assert caught.value.sent is sent
        server.after.clear()


async def test_json_rpc_by_position(adapters: Adapters, server: http.Server) -> None:
    world = world_of(adapters, server)
    envelope = await world.adapter.execute(operation(world, "add"), {"a": 2, "b": 40}, None)
    assert envelope.records[0] == {"result": 42}
    asked = json.loads(server.bodies[-1])
    assert (asked["jsonrpc"], asked["method"], asked["params"]) == ("2.0", "add", [2, 40])
    by_name = operation(world, "add", rpc={"method": "add"})
    server.instead.append(http.says(200, b'{"jsonrpc": "2.0", "id": "other", "result": 1}'))
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.execute(by_name, {"a": 2, "b": 40}, None)
    assert json.loads(server.bodies[-1])["params"] == {"a": 2, "b": 40}
    assert (caught.value.code, caught.value.sent) == ("adapter.bad_answer", False)


# JSON-RPC's answer to a write -> code, and whether it may have been applied
RPC_ANSWERS: list[tuple[str, str, bool]] = [
    ('{"jsonrpc": "2.0", "id": ID, "error": {"code": -32601, "message": "x"}}', "adapter.rpc_error", False),
    ('{"jsonrpc": "2.0", "id": ID, "error": {"code": -32602, "message": "x"}}', "adapter.rpc_error", False),
    ('{"jsonrpc": "2.0", "id": ID, "error": {"code": -32603, "message": "x"}}', "adapter.rpc_error", True),
    ('{"jsonrpc": "2.0", "id": ID, "error": {"code": -32050, "message": "x"}}', "adapter.rpc_error", True),
    ('{"jsonrpc": "2.0", "id": ID, "error": {"code": 17, "message": "secret"}}', "adapter.rpc_error", False),
    ('{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "x"}}', "adapter.rpc_error", False),
    ('{"jsonrpc": "2.0", "id": ID, "error": "odd"}', "adapter.rpc_error", True),
    ('{"jsonrpc": "2.0", "id": "another", "result": 1}', "adapter.bad_answer", True),
    ('{"jsonrpc": "1.0", "id": ID, "result": 1}', "adapter.bad_answer", True),
    ('{"jsonrpc": "2.0", "id": ID}', "adapter.bad_answer", True),
    ("[]", "adapter.bad_answer", True),
    ("<html>", "adapter.bad_answer", True),
]


@pytest.mark.parametrize(("body", "code", "sent"), RPC_ANSWERS)
async def test_json_rpc_says_what_may_have_happened(
    adapters: Adapters, server: http.Server, body: str, code: str, sent: bool
) -> None:
    world = http.make_http_writes(adapters, server, "rpc", idempotency="key", probe=None)

    async def answer(request):
        asked = json.loads(await request.read())
        return await http.says(200, body.replace("ID", json.dumps(asked["id"])).encode())(request)

    server.instead.append(answer)
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.push(world.target("outcomes", "push"), OUTCOME, KEY)
    assert (caught.value.code, caught.value.sent) == (code, sent)
    assert "secret" not in str(caught.value)


async def test_a_code_of_json_rpc_may_mean_that_it_is_there(adapters: Adapters, server: http.Server) -> None:
    world = http.make_http_writes(adapters, server, "rpc", idempotency="key", probe=None)
    target = world.target("outcomes", "push")
    assert [(await world.adapter.push(target, OUTCOME, KEY)).metadata["applied"] for _ in range(2)] == [True, False]
    assert server.log == [("C1", KEY)]
