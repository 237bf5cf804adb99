"""The broker's end: who may speak, what is bounded, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import partial

import pytest

from stanchion.base import Denied, Internal, Invalid, LimitExceeded, NotFound, Unavailable
from stanchion.tools import AdapterProblem
from stanchion.tools.broker import tokens, wire
from stanchion.tools.broker.client import tls_route
from stanchion.tools.broker.intake import Bounds
from stanchion.tools.broker.server import BrokerServer
from stanchion.tools.broker.sessions import certificate_peer, kinds_by_name, unix_peer
from tests.tools.broker.calls import a_call
from tests.tools.broker.worlds import CLOCK, Authority, Service, an_env, client_of, served


def counted(server: BrokerServer, series: str) -> float:
    return next(
        (
            float(line.split()[-1])
            for line in server.env.telemetry.expose().decode().splitlines()
            if line.startswith(series)
        ),
        0.0,
    )


async def test_calls_of_one_connection_are_performed_side_by_side(tmp_path):
    gates = {name: asyncio.Event() for name in "ab"}

    async def then(call):
        await gates[call.key].wait()
        return {"key": call.key}

    async with served(tmp_path / "b", Service(then)) as server, client_of(tmp_path / "b") as client:
        first, second = (asyncio.create_task(client.call(a_call(key=key))) for key in "ab")
        gates["b"].set()
        assert await second == {"key": "b"}
        assert not first.done()
        gates["a"].set()
        assert await first == {"key": "a"}
        assert server.connections == 1


async def test_a_user_that_is_not_named_is_hung_up_on_before_anything_is_said(tmp_path):
    service = Service()
    async with served(
        tmp_path / "b", service, who=lambda t, k: unix_peer(t, {54321: frozenset({"worker"})}, k)
    ) as server:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "b")
        writer.write(wire.frame(wire.call_said(1, a_call())))
        assert await _rest(reader) == b""
        writer.close()
        async with client_of(tmp_path / "b") as client:
            with pytest.raises(AdapterProblem, match="hung up") as caught:
                await client.call(a_call(timeout_s=1.0))
        assert (caught.value.code, caught.value.sent) == ("broker.unavailable", False)
        assert counted(server, "stanchion_broker_strangers_total") >= 2
    assert service.calls == []


async def test_a_token_of_another_connection_performs_nothing(tmp_path):
    service = Service()
    async with served(tmp_path / "b", service), client_of(tmp_path / "b") as first, client_of(tmp_path / "b") as second:
        await first.call(a_call())
        await second.call(a_call())
        mine, theirs = (peer.session_key for peer in service.peers)
        assert mine != theirs
        second._link.key = mine
        with pytest.raises(Denied) as caught:
            await second.call(a_call())
        assert caught.value.code == "broker.bad_token"
    assert len(service.calls) == 2


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", wire.frame({"id": "x"}), b"\0\0\0\x01["], ids=str)
async def test_who_does_not_speak_the_language_is_hung_up_on(tmp_path, data):
    async with served(tmp_path / "b", Service()) as server:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "b")
        writer.write(data)
        await _rest(reader)
        writer.close()
        assert counted(server, "stanchion_broker_strangers_total") == 1


async def test_a_wrong_call_is_an_answer_and_the_connection_goes_on(tmp_path):
    async with served(tmp_path / "b", Service()):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "b")
        writer.write(wire.frame({"id": 4, "op": "fetch"}))
        frames, got = wire.Frames(), []
        while len(got) < 2:
            got += [message for message, _ in frames.feed(await reader.read(65536))]
        assert got[1]["problem"]["code"] == "broker.bad_call"
        writer.close()


async def test_beyond_its_bounds_the_broker_is_busy_and_does_nothing(tmp_path):
    gate = asyncio.Event()

    async def then(call):
        await gate.wait()
        return {}

    service = Service(then)
    async with served(tmp_path / "b", service, Bounds(calls_max=3)) as server, client_of(tmp_path / "b") as client:
        taken = [asyncio.create_task(client.call(a_call())) for _ in range(3)]
        await until(lambda: server.calls == 3)
        with pytest.raises(LimitExceeded) as caught:
            await client.call(a_call())
        assert caught.value.code == "broker.busy"
        assert caught.value.retryable
        assert len(service.calls) == 3
        assert counted(server, "stanchion_broker_busy_total") == 1
        gate.set()
        await asyncio.gather(*taken)
        await client.call(a_call())


async def test_a_defect_of_the_service_ends_its_call_alone_and_says_no_word_of_it(tmp_path):
    def then(call):
        if call.key:
            raise RuntimeError("password=hunter2")
        raise KeyError("hunter2")

    async with served(tmp_path / "b", Service(then)) as server, client_of(tmp_path / "b") as client:
        with pytest.raises(AdapterProblem) as caught:
            await client.call(a_call())
        assert (caught.value.code, caught.value.sent) == ("broker.failed", True)
        assert "hunter2" not in str(caught.value)
        with pytest.raises(Internal) as caught:
            await client.call(a_call(op="fetch", key=""))
        assert "hunter2" not in str(caught.value)
        assert counted(server, "stanchion_broker_failed_total") == 2


async def test_an_answer_that_is_too_large_is_a_problem_of_its_call(tmp_path):
    async with (
        served(tmp_path / "b", Service(lambda call: {"x": "y" * wire.FRAME_BYTES_MAX})),
        client_of(tmp_path / "b") as client,
    ):
        with pytest.raises(LimitExceeded) as caught:
            await client.call(a_call(op="fetch", key=""))
        assert caught.value.code == "broker.frame_too_large"


async def test_a_call_that_takes_longer_than_it_may_is_broken_off(tmp_path):
    async def then(call):
        await asyncio.Event().wait()

    service = Service(then)
    async with served(tmp_path / "b", service), client_of(tmp_path / "b") as client:
        kinds = (("push", "k", True), ("fetch", "", False), ("execute", "k", True), ("execute", "", False))
        calls = (client.call(a_call(op=op, key=key, timeout_s=3.0)) for op, key, _ in kinds)
        for (*_, sent), end in zip(kinds, await asyncio.gather(*calls, return_exceptions=True), strict=True):
            assert isinstance(end, AdapterProblem)
            assert (end.code, end.sent, end.retryable) == ("broker.timeout", sent, True)
    assert service.ended == ["cancelled"] * 4


async def test_when_a_peer_goes_its_reads_end_and_its_writes_are_brought_to_their_end(tmp_path):
    gate = asyncio.Event()

    async def then(call):
        await gate.wait()
        return {}

    service = Service(then)
    async with served(tmp_path / "b", service) as server:
        async with client_of(tmp_path / "b") as client:
            calls = [
                asyncio.create_task(client.call(a_call(op=op, key=key))) for op, key in (("fetch", ""), ("push", "k"))
            ]
            await until(lambda: len(service.calls) == 2)
        assert [type(end) for end in await asyncio.gather(*calls, return_exceptions=True)] == [AdapterProblem] * 2
        await until(lambda: service.ended == ["cancelled"])
        assert server.calls == 1
        gate.set()
        await until(lambda: service.ended == ["cancelled", "done"])
        await until(lambda: (server.connections, server.calls) == (0, 0))


async def test_a_read_that_nobody_waits_for_is_broken_off(tmp_path):
    async def then(call):
        await asyncio.Event().wait()

    service = Service(then)
    async with served(tmp_path / "b", service) as server, client_of(tmp_path / "b") as client:
        call = asyncio.create_task(client.call(a_call(op="fetch", key="")))
        await service.started.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: service.ended == ["cancelled"])
        assert server.connections == 1


async def test_a_drain_takes_nothing_new_and_delivers_what_is_in_flight(tmp_path):
    gate = asyncio.Event()

    async def then(call):
        await gate.wait()
        return {"done": call.key}

    service = Service(then)
    async with served(tmp_path / "b", service) as server, client_of(tmp_path / "b") as client:
        running = asyncio.create_task(client.call(a_call(key="first")))
        await service.started.wait()
        raw_reader, raw_writer = await asyncio.open_unix_connection(tmp_path / "b")
        await until(lambda: server.connections == 2)
        ending = asyncio.create_task(server.drain(5.0))
        await until(lambda: not client.connected)
        raw_writer.write(wire.frame(wire.call_said(1, a_call())))
        frames, got = wire.Frames(), []
        while len(got) < 3:
            got += [message for message, _ in frames.feed(await raw_reader.read(65536))]
        assert [next(iter(message)) for message in got] == ["hello", "stopping", "id"]
        assert got[2]["problem"]["code"] == "broker.stopping"
        with pytest.raises(AdapterProblem) as caught:
            await client.call(a_call(timeout_s=0.2))
        assert (caught.value.code, caught.value.sent) == ("broker.unavailable", False)
        assert not ending.done()
        gate.set()
        assert await running == {"done": "first"}
        await ending
        assert server.connections == 0
        raw_writer.close()
    assert len(service.calls) == 1


async def test_a_drain_breaks_off_what_outlasts_its_grace_and_says_so(tmp_path):
    async def then(call):
        await asyncio.Event().wait()

    service = Service(then)
    async with served(tmp_path / "b", service) as server, client_of(tmp_path / "b") as client:
        calls = [asyncio.create_task(client.call(a_call(op=op, key=key))) for op, key in (("push", "k"), ("fetch", ""))]
        await until(lambda: len(service.calls) == 2)
        await server.drain(0.05)
        push, fetch = await asyncio.gather(*calls, return_exceptions=True)
        assert (push.code, push.sent, push.retryable) == ("broker.stopped", True, True)
        assert (fetch.code, fetch.sent, fetch.retryable) == ("broker.stopped", False, True)


async def test_what_is_asked_of_the_broker_itself_is_answered_or_refused(tmp_path):
    async def answer(ask, peer):
        tokens.verify_ask(ask, peer.session_key, CLOCK.now().timestamp())
        if ask.operation != "secrets.sealing_key":
            raise NotFound("secret.unknown", "There is none.")
        return {"id": ask.said["x"], "tenant": ask.tenant, "principal": ask.principal}

    async with served(tmp_path / "b", Service(), answer_ask=answer), client_of(tmp_path / "b") as client:
        said = await client.ask("secrets.sealing_key", {"x": "y"}, tenant="acme", principal="ada")
        assert said == {"id": "y", "tenant": "acme", "principal": "ada"}
        with pytest.raises(NotFound):
            await client.ask("secrets.check", {})
        with pytest.raises(Invalid, match="wrong ask"):
            await client.ask("", {})
    async with served(tmp_path / "b", Service()), client_of(tmp_path / "b") as client:
        with pytest.raises(Unavailable) as caught:
            await client.ask("secrets.check", {})
        assert caught.value.code == "broker.not_asked"
    async with client_of(tmp_path / "nowhere") as client:
        with pytest.raises(Unavailable, match=r"nothing of secrets\.check was called"):
            await client.ask("secrets.check", {}, timeout_s=0.1)


# --- across machines


async def tls_served(service, authority, names=("worker-1.example", "worker-2.example", "stranger.example")):
    server = BrokerServer(service, an_env())
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    context = authority.certificates("localhost").context("server")
    known = kinds_by_name([f"{name}=worker" for name in names])
    await server.listen(listener, lambda t, k: certificate_peer(t, known, k), context)
    return server, listener.getsockname()[1]


async def test_a_certificate_of_our_authority_is_a_peer_with_its_name(tmp_path):
    service, authority = Service(), Authority(tmp_path)
    server, port = await tls_served(service, authority)
    ours = authority.certificates("worker-1.example")
    async with client_of(dial=tls_route("localhost", port, partial(ours.context, "client"))) as client:
        assert await client.call(a_call()) == {"echo": a_call().arguments}
    assert [(peer.how, peer.name) for peer in service.peers] == [("mtls", "worker-1.example")]
    await server.drain(0)


@pytest.mark.parametrize("what", ["none", "another authority", "another name", "no TLS", "TLS 1.2"])
async def test_whoever_has_no_right_certificate_is_served_nothing(tmp_path, what):
    service, authority = Service(), Authority(tmp_path)
    server, port = await tls_served(
        service, authority, ["worker-1.example"] if what == "another name" else ["stranger.example"]
    )

    def context() -> ssl.SSLContext:
        made = authority.certificates("stranger.example").context("client")
        if what == "another authority":
            made = Authority(tmp_path / "other").certificates("worker-1.example").context("client")
            made.load_verify_locations(authority.path)
        elif what in {"none", "TLS 1.2"}:
            made = ssl.create_default_context(cafile=str(authority.path))
        if what == "TLS 1.2":
            made.maximum_version = ssl.TLSVersion.TLSv1_2
        return made

    async def plain(factory):
        return await asyncio.get_running_loop().create_connection(factory, "localhost", port)

    dial = plain if what == "no TLS" else tls_route("localhost", port, context)
    async with client_of(dial=dial) as client:
        with pytest.raises(AdapterProblem) as caught:
            await client.call(a_call(timeout_s=1.5))
    assert (caught.value.code, caught.value.sent) == ("broker.unavailable", False)
    # What a client sees of TLS 1.3 is no proof: the service itself must not have run.
    assert service.calls == []
    await until(lambda: server.connections == 0)
    await server.drain(0)


async def test_a_client_speaks_with_no_broker_of_another_name_or_authority(tmp_path):
    service, authority = Service(), Authority(tmp_path)
    server, port = await tls_served(service, authority)
    for ours, host in (
        (Authority(tmp_path / "other").certificates("worker-1.example"), "localhost"),
        (authority.certificates("worker-2.example"), "127.0.0.1"),
    ):
        async with client_of(dial=tls_route(host, port, partial(ours.context, "client"))) as client:
            with pytest.raises(AdapterProblem, match=r"(?i)certificate"):
                await client.call(a_call(timeout_s=1.5))
    assert service.calls == []
    await server.drain(0)


async def _rest(reader) -> bytes:
    """What a peer still hears before it is hung up on."""
    async with asyncio.timeout(60):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def until(found) -> None:
    async with asyncio.timeout(60):
        while not found():
            await asyncio.sleep(0.002)


async def test_a_write_whose_answer_cannot_be_sent_may_have_been_applied(tmp_path):
    """The target has answered: a problem of ours after that is no word that nothing was written (I5)."""
    answers = iter(({"x": "y" * wire.FRAME_BYTES_MAX}, {"x": object()}))
    async with served(tmp_path / "b", Service(lambda call: next(answers))), client_of(tmp_path / "b") as client:
        for code in ("broker.frame_too_large", "json.unencodable"):
            with pytest.raises(AdapterProblem) as caught:
                await client.call(a_call())
            assert (caught.value.code, caught.value.sent) == (code, True)
