"""The client's end: what it says of a call whose answer never came, and that its adapters are the broker's."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import asdict
from typing import Any, ClassVar

import pytest

from stanchion.base import NotFound
from stanchion.tools import AdapterProblem, Envelope
from stanchion.tools.adapter import Target
from stanchion.tools.broker import wire
from stanchion.tools.broker.remote import RemoteAdapters
from stanchion.tools.broker.tokens import KEY_BYTES
from stanchion.tools.types import Connector, Discovery, Operation, Resource
from tests.tools.broker.calls import DIGEST, a_call, asker
from tests.tools.broker.worlds import CLOCK, Service, a_listener, client_of, served

HELLO = {"hello": {"v": 1, "key": "00" * KEY_BYTES, "now": 1763800000.0}}
READ = {"op": "fetch", "key": ""}


class Broken:
    """A broker that does what `script` says with each connection it takes."""

    def __init__(self, path, script) -> None:
        self._path, self._script = path, script
        self.taken = 0

    async def __aenter__(self):
        async def serve(reader, writer):
            self.taken += 1
            try:
                await self._script(self.taken, reader, writer)
            finally:
                writer.close()

        self._server = await asyncio.start_unix_server(serve, sock=a_listener(self._path))
        return self

    async def __aexit__(self, *_):
        self._server.close()


async def heard(reader) -> dict:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    frames = wire.Frames()
    return next(frames.feed(struct.pack(">I", length) + await reader.readexactly(length)))[0]


async def problem_of(client, **call: Any) -> AdapterProblem:
    with pytest.raises(AdapterProblem) as caught:
        await client.call(a_call(**call))
    return caught.value


@pytest.mark.parametrize("kind", [{}, READ], ids=["push", "fetch"])
async def test_without_a_broker_nothing_was_sent(tmp_path, kind):
    async with client_of(tmp_path / "b") as client:
        problem = await problem_of(client, timeout_s=0.2, **kind)
    assert (problem.code, problem.sent, problem.retryable) == ("broker.unavailable", False, True)
    assert "No such file" in str(problem)


async def test_a_broker_that_takes_a_moment_to_start_is_waited_for(tmp_path):
    async with client_of(tmp_path / "b") as client:
        calls = [asyncio.create_task(client.call(a_call(key=str(n)))) for n in range(20)]
        await asyncio.sleep(0.1)
        async with served(tmp_path / "b", Service()) as server:
            assert len(await asyncio.gather(*calls)) == 20
            assert server.connections == 1


async def test_a_broker_that_was_started_again_is_found_again(tmp_path):
    async with client_of(tmp_path / "b") as client:
        for _ in range(3):
            async with served(tmp_path / "b", Service()):
                await client.call(a_call())


async def test_calls_cross_a_brokers_end_without_a_failure(tmp_path):
    ended = 0
    async with client_of(tmp_path / "b") as client:
        done = asyncio.Event()

        async def load() -> int:
            count = 0
            while not done.is_set():
                await client.call(a_call())
                count += 1
            return count

        loads = [asyncio.create_task(load()) for _ in range(4)]
        for _ in range(5):
            async with served(tmp_path / "b", service := Service()) as server, asyncio.timeout(60):
                await service.started.wait()
                await asyncio.sleep(0.02)
                await server.drain(5.0)
                ended += len(service.calls)
        async with served(tmp_path / "b", service := Service()), asyncio.timeout(60):
            await service.started.wait()
            done.set()
            counts = await asyncio.gather(*loads)
    assert sum(counts) == ended + len(service.calls)


@pytest.mark.parametrize(
    ("kind", "code", "sent"),
    [({}, "broker.lost", True), (READ, "broker.unavailable", False), ({"op": "probe"}, "broker.unavailable", False)],
    ids=["push", "fetch", "probe"],
)
async def test_a_connection_lost_before_the_answer(tmp_path, kind, code, sent):
    async def script(_, reader, writer):
        writer.write(wire.frame(HELLO))
        await heard(reader)

    async with Broken(tmp_path / "b", script), client_of(tmp_path / "b") as client:
        problem = await problem_of(client, **kind)
    assert (problem.code, problem.sent, problem.retryable) == (code, sent, True)


@pytest.mark.parametrize(("kind", "sent"), [({}, True), (READ, False)], ids=["push", "fetch"])
async def test_a_broker_that_falls_silent_is_given_up_and_another_connection_made(tmp_path, kind, sent):
    async def script(turn, reader, writer):
        writer.write(wire.frame(HELLO))
        while True:  # reads all, and says nothing more on the first connection: a partition, not a reset
            asked = await heard(reader)
            if turn > 1 or asked["key"] == "first":
                writer.write(wire.frame({"id": asked["id"], "result": {}}))

    async with Broken(tmp_path / "b", script) as broker, client_of(tmp_path / "b") as client:
        await client.call(a_call(key="first"))
        problem = await problem_of(client, timeout_s=0.3, **kind)
        assert (problem.code, problem.sent, problem.retryable) == ("broker.unanswered", sent, True)
        assert await client.call(a_call(**kind)) == {}
        assert broker.taken == 2


async def test_a_broker_that_stood_still_for_a_moment_costs_no_other_call_its_answer(tmp_path):
    """A short call whose time is over meanwhile takes its next one elsewhere; a write on its way is not given up for it."""
    go_on, ended = asyncio.Event(), asyncio.Event()

    async def script(turn, reader, writer):
        writer.write(wire.frame(HELLO))
        asked = await heard(reader)
        if turn == 1:
            while asked.get("key") != "long":
                asked = await heard(reader)
            await go_on.wait()
        writer.write(wire.frame({"id": asked["id"], "result": {}}))
        await reader.read()
        if turn == 1:
            ended.set()

    async with Broken(tmp_path / "b", script) as broker, client_of(tmp_path / "b") as client:
        long = asyncio.create_task(client.call(a_call(key="long")))
        assert (await problem_of(client, timeout_s=0.3, key="short")).code == "broker.unanswered"
        assert await client.call(a_call(key="next")) == {}
        go_on.set()
        assert await long == {}
        await ended.wait()  # of no more use, it is hung up
        assert broker.taken == 2


async def test_a_slow_call_does_not_cost_the_others_their_connection(tmp_path):
    async def script(_, reader, writer):
        writer.write(wire.frame(HELLO))
        while asked := await heard(reader):
            if asked.get("key") == "quick":
                writer.write(wire.frame({"id": asked["id"], "result": {}}))

    async with Broken(tmp_path / "b", script) as broker, client_of(tmp_path / "b") as client:
        await client.call(a_call(key="quick"))
        slow = asyncio.create_task(problem_of(client, timeout_s=0.3))
        while not slow.done():
            await client.call(a_call(key="quick"))
        assert (await slow).code == "broker.unanswered"
        await client.call(a_call(key="quick"))
        assert broker.taken == 1


async def test_a_broker_that_never_greets_is_no_broker(tmp_path):
    async def script(_, reader, writer):
        await reader.read()

    async with Broken(tmp_path / "b", script), client_of(tmp_path / "b") as client:
        problem = await problem_of(client, timeout_s=0.2)
    assert (problem.code, problem.sent) == ("broker.unavailable", False)


@pytest.mark.parametrize(
    "greeting",
    [{"hello": {"v": 1, "key": "00", "now": 0}}, {"hello": {}}, {"hello": 1}, {"id": 7, "problem": 1}],
    ids=str,
)
async def test_a_peer_that_greets_otherwise_is_no_broker(tmp_path, greeting):
    async def script(_, reader, writer):
        writer.write(wire.frame(greeting))
        await reader.read()

    async with Broken(tmp_path / "b", script), client_of(tmp_path / "b") as client:
        assert (await problem_of(client, timeout_s=0.2)).code == "broker.unavailable"


async def test_a_call_that_the_broker_did_not_take_because_it_ends_goes_to_its_successor(tmp_path):
    async def script(turn, reader, writer):
        writer.write(wire.frame(HELLO))
        asked = await heard(reader)
        problem = {
            "kind": "unavailable", "code": "broker.stopping", "message": "stops", "hint": "", "retryable": True, "fields": {},
        }  # fmt: skip
        writer.write(
            wire.frame({"id": asked["id"], **({"problem": problem} if turn == 1 else {"result": {"by": turn}})})
        )
        await reader.read()

    async with Broken(tmp_path / "b", script), client_of(tmp_path / "b") as client:
        assert await client.call(a_call()) == {"by": 2}


async def test_closing_ends_every_call(tmp_path):
    asked = asyncio.Event()

    async def script(_, reader, writer):
        writer.write(wire.frame(HELLO))
        await heard(reader)
        asked.set()
        await reader.read()

    async with Broken(tmp_path / "b", script):
        async with client_of(tmp_path / "b") as client:
            call = asyncio.create_task(problem_of(client, timeout_s=30))
            await asked.wait()
        assert (await call).code == "broker.lost"
    async with client_of(tmp_path / "nowhere") as client:
        call = asyncio.create_task(problem_of(client, timeout_s=30))
        await asyncio.sleep(0.05)
    assert (await call).code == "broker.unavailable"


async def test_a_cancelled_call_is_cancelled_and_no_problem(tmp_path):
    async with client_of(tmp_path / "nowhere") as client:
        call = asyncio.create_task(client.call(a_call()))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_socket_whose_path_is_too_long_for_an_address_is_reached(tmp_path):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    assert len(str(deep / "b")) > 107
    (tmp_path / "short").symlink_to(deep)
    async with served(tmp_path / "short" / "b", Service()), client_of(deep / "b") as client:
        await client.call(a_call())


# --- adapters


class Known:
    """An adapter that notes what it is asked, and answers what it is told."""

    name = "echo"
    settings_schema: ClassVar[dict] = {"x": {"type": "string"}}
    settings_required = ("x",)
    resource_schema: ClassVar[dict] = {}
    resource_required = ()
    operation_schemas: ClassVar[dict] = {"fetch": {}}
    refused: ClassVar[dict] = {"push": "no"}

    def check(self, body):
        return [body["x"]]

    def get(self, name, *, tenant="", principal=""):
        if name != "echo":
            raise NotFound("connector.unknown_adapter", "There is none.")
        return self

    async def close(self):
        return None


RESOURCE = Resource(name="cases", description="", key="id", fields={}, operations={}, settings={})
CONNECTOR = Connector(
    name="casebook", description="", owner="o", adapter="echo", environment="local", timeout_s=5.0, digest=DIGEST,
    resources={"cases": RESOURCE}, settings={},
)  # fmt: skip
ENVELOPE = Envelope(
    records=({"id": "C1", "n": 1.5, "z": None},),
    metrics={"duration_ms": 2, "calls": 1, "bytes": 10},
    trace={"traceparent": "00-aa-bb-01"},
    narrative="Fetched.",
    metadata={"adapter": "echo", "truncated": False, "page": None},
)


def a_target(verb: str, **other: Any) -> Target:
    return Target(
        connector=CONNECTOR, resource=RESOURCE, operation=Operation(verb=verb, settings={}), timeout_s=5.0,  # type: ignore[arg-type]
        traceparent="00-aa-bb-01", asker=asker(), **other,
    )  # fmt: skip


async def asked(tmp_path, answer, ask) -> tuple[Any, Any]:
    """What the broker was asked, and what came back."""

    def then(call):
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with served(tmp_path / "b", service := Service(then)), client_of(tmp_path / "b") as client:
        adapter = RemoteAdapters(Known(), client).get("echo", tenant="acme")  # type: ignore[arg-type]
        try:
            back = await ask(adapter)
        except AdapterProblem as problem:
            back = problem
    return service.calls[0], back


RECORD = {"id": "C1", "note": None}
ASKED: list[tuple[str, Any, dict, str]] = [
    ("fetch", lambda a: a.fetch(a_target("fetch"), {"n": 1}, 10, "p2"), {"where": {"n": 1}, "limit": 10, "page": "p2"}, ""),
    ("lookup", lambda a: a.lookup(a_target("lookup"), "C1"), {"key": "C1"}, ""),
    ("push", lambda a: a.push(a_target("push"), RECORD, "k"), {"record": RECORD}, "k"),
    ("push", lambda a: a.push(a_target("push", raw={"id": "C1"}), RECORD, "k"), {"record": RECORD, "raw": {"id": "C1"}}, "k"),
    ("execute", lambda a: a.execute(a_target("execute", raw=RECORD), RECORD, "k"), {"record": RECORD}, "k"),
    ("execute", lambda a: a.execute(a_target("execute"), {}, None), {"record": {}}, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op", "ask", "arguments", "key"), ASKED, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_an_adapters_call_and_its_envelope_cross_exactly(tmp_path, op, ask, arguments, key):
    call, back = await asked(tmp_path, ENVELOPE, ask)
    assert back == ENVELOPE
    assert (call.op, call.arguments, call.key) == (op, arguments, key)
    assert (call.tenant, call.connector, call.digest) == ("acme", "casebook", DIGEST)
    assert (call.resource, call.operation, call.asker, call.traceparent) == ("cases", op, asker(), "00-aa-bb-01")
    assert 4.0 < call.timeout_s <= 5.0


@pytest.mark.parametrize(("op", "ask", "arguments", "key"), ASKED[:5])
async def test_an_adapters_problem_crosses_exactly(tmp_path, op, ask, arguments, key):
    problem = a_target(op).problem("adapter.timeout", "timed out.", hint="Wait.", retryable=True, sent=True, status=504)
    _, back = await asked(tmp_path, problem, ask)
    assert (back.code, back.message, back.hint, back.retryable, back.sent) == (
        "adapter.timeout", "casebook.cases timed out.", "Wait.", True, True,
    )  # fmt: skip
    assert dict(back.fields) == dict(problem.fields)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_probe_crosses(tmp_path, applied):
    call, back = await asked(tmp_path, {"applied": applied}, lambda a: a.probe(a_target("push"), RECORD, "k"))
    assert back is applied
    assert (call.op, call.operation, call.arguments, call.key) == ("probe", "push", {"record": RECORD}, "k")


async def test_a_test_and_a_discovery_cross(tmp_path):
    call, back = await asked(tmp_path, {"detail": "SQLite 3."}, lambda a: a.test(CONNECTOR, 3.0))
    assert back == "SQLite 3."
    assert (call.op, call.tenant, call.asker, call.resource) == ("test", "acme", None, "")
    found = Discovery(
        resources={"cases": {"key": "id"}},
        operations={"close": {"effect": "write"}},
        capabilities={"fetch": {"paging": "offset"}},
        narrative="N.",
        truncated=True,
    )
    said = asdict(found)
    call, back = await asked(tmp_path, said, lambda a: a.discover(CONNECTOR, 3.0))
    assert back == found
    assert call.op == "discover"


async def test_the_form_of_a_connector_is_known_here(tmp_path):
    async with client_of(tmp_path / "nowhere") as client:
        registry = RemoteAdapters(Known(), client)  # type: ignore[arg-type]
        adapter = registry.get("echo")
        assert (adapter.name, adapter.settings_schema, adapter.refused) == (
            "echo",
            Known.settings_schema,
            {"push": "no"},
        )
        assert list(adapter.check({"x": "y"})) == ["y"]  # type: ignore[comparison-overlap]
        await adapter.close()
        with pytest.raises(NotFound):
            registry.get("gopher")
        await registry.close()
        assert CLOCK.monotonic() > 0
