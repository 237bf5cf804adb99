"""What the broker's connections may take up: bytes that come, bytes that wait to be read, time, connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stanchion.tools import AdapterProblem
from stanchion.tools.broker import wire
from stanchion.tools.broker.intake import Bounds, Intake, Room
from tests.tools.broker.calls import a_call
from tests.tools.broker.test_server import counted, until
from tests.tools.broker.worlds import Service, client_of, served


class Raw:
    """A peer that sends the bytes it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._frames = wire.Frames()
        self._got: list[dict[str, Any]] = []

    async def message(self) -> dict[str, Any]:
        """The next message; {} if there are no more."""
        async with asyncio.timeout(60):
            while not self._got:
                data = await self._reader.read(1 << 20)
                if not data:
                    return {}
                self._got += [message for message, _ in self._frames.feed(data)]
        return self._got.pop(0)


@asynccontextmanager
async def raw(path, receive_bytes: int = 0) -> AsyncIterator[Raw]:
    """`receive_bytes`: how little the kernel takes for a peer that does not read."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(sock, str(path))
    reader, writer = await asyncio.open_unix_connection(sock=sock, limit=1024)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def said(number: int, size: int, op: str = "fetch") -> bytes:
    """A call whose frame has a little more than `size` bytes."""
    return wire.frame(
        wire.call_said(number, a_call(op=op, key="k" if op == "push" else "", arguments={"x": "y" * size}))
    )


class Gated:
    """Answers no call before it may. Does not look at tokens."""

    def __init__(self, answer: Any = None) -> None:
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self._answer = answer or {}

    async def perform(self, call, peer):
        self.calls.append(call.op)
        await self.gate.wait()
        return self._answer


async def test_beyond_its_bytes_a_connection_is_not_read_from_and_goes_on_when_there_is_room(tmp_path):
    service = Gated()
    bounds = Bounds(connection_bytes_max=100_000)
    async with served(tmp_path / "b", service, bounds) as server, raw(tmp_path / "b") as peer:
        await peer.message()
        for number in range(3):
            peer.writer.write(said(number, 60_000))
        sent = asyncio.create_task(peer.writer.drain())
        await until(lambda: service.calls)
        async with raw(tmp_path / "b") as other:  # a round trip of another shows that the broker had time to read on
            await other.message()
            other.writer.write(said(7, 60_000))
            await until(lambda: len(service.calls) == 2)
        assert server.calls == 2, "the first of one, the first of the other"
        assert server.room.held < 130_000
        service.gate.set()
        assert {(await peer.message())["id"] for _ in range(3)} == {0, 1, 2}
        await sent
    assert server.room.held == 0


async def test_room_is_shared_and_whoever_waits_gets_it_in_order(tmp_path):
    service = Gated()
    async with (
        served(tmp_path / "b", service, Bounds(bytes_max=100_000)) as server,
        raw(tmp_path / "b") as first,
        raw(tmp_path / "b") as second,
        raw(tmp_path / "b") as third,
    ):
        for peer in (first, second, third):
            await peer.message()
        first.writer.write(said(1, 90_000))
        await until(lambda: len(service.calls) == 1)
        second.writer.write(said(2, 90_000, "push"))
        third.writer.write(said(3, 50))  # small enough, but the second waits longer
        await until(lambda: len(server.room._waiting) == 2)
        assert service.calls == ["fetch"]
        service.gate.set()
        assert [(await peer.message())["id"] for peer in (first, second, third)] == [1, 2, 3]
        assert service.calls == ["fetch", "push", "fetch"]
    assert server.room.held == 0


async def test_a_frame_larger_than_all_the_room_is_taken_alone(tmp_path):
    service = Gated()
    service.gate.set()
    async with (
        served(tmp_path / "b", service, Bounds(bytes_max=10, connection_bytes_max=5)),
        raw(tmp_path / "b") as peer,
    ):
        await peer.message()
        peer.writer.write(said(1, 5_000) + said(2, 5_000))
        assert [(await peer.message())["id"] for _ in range(2)] == [1, 2]


async def test_a_peer_that_goes_gives_back_what_was_coming_and_its_place(tmp_path):
    service = Gated()
    async with served(tmp_path / "b", service, Bounds(bytes_max=100_000)) as server, raw(tmp_path / "b") as other:
        await other.message()
        async with raw(tmp_path / "b") as peer:
            await peer.message()
            peer.writer.write(said(1, 90_000)[:-1])
            await until(lambda: server.room.held > 0)
            other.writer.write(said(2, 90_000))
            await until(lambda: server.room._waiting)
        service.gate.set()
        assert (await other.message())["id"] == 2
    assert server.room.held == 0


async def test_what_is_no_message_gives_its_room_back(tmp_path):
    async with served(tmp_path / "b", Gated()) as server:
        for data in (b"\0\0\0\x02[]", wire.frame({"id": "x"}), b"\0\0\0\x01["):
            async with raw(tmp_path / "b") as peer:
                await peer.message()
                peer.writer.write(data)
                assert "refused" in await peer.message()
                assert await peer.message() == {}
        assert server.room.held == 0


@pytest.mark.parametrize("part", [b"\0", b"\0\0\0\x10{"], ids=["of the head", "of the body"])
async def test_a_frame_that_began_must_end_in_time(tmp_path, part):
    async with served(tmp_path / "b", Gated(), Bounds(frame_s=0.05)) as server, raw(tmp_path / "b") as peer:
        await peer.message()
        peer.writer.write(part)
        refused = (await peer.message())["refused"]
        assert refused["code"] == "broker.slow_frame"
        assert await peer.message() == {}
        await until(lambda: server.connections == 0)
    assert server.room.held == 0


async def test_a_drop_now_and_then_gains_a_frame_no_time(tmp_path):
    async with served(tmp_path / "b", Gated(), Bounds(frame_s=0.5)) as server, raw(tmp_path / "b") as peer:
        await peer.message()
        gone = asyncio.create_task(until(lambda: server.connections == 0))
        data = said(1, 1_000_000)
        sent = 0
        while not gone.done() and sent < 1_000:
            with contextlib.suppress(ConnectionError):
                peer.writer.write(data[sent : sent + 1])
            sent += 1
            await asyncio.wait({gone}, timeout=0.005)
        await gone
        assert 1 < sent < 1_000


async def test_a_frame_that_waits_for_room_is_not_late(tmp_path):
    service = Gated()
    bounds = Bounds(bytes_max=100_000, frame_s=1.0)  # much longer than the first's frame takes to come
    async with (
        served(tmp_path / "b", service, bounds) as server,
        raw(tmp_path / "b") as first,
        raw(tmp_path / "b") as second,
    ):
        for peer in (first, second):
            await peer.message()
        first.writer.write(said(1, 90_000))
        await until(lambda: service.calls)
        second.writer.write(said(2, 90_000))
        await until(lambda: server.room._waiting)
        async with raw(tmp_path / "b") as third:  # its end shows that the time of a frame has passed
            await third.message()
            third.writer.write(b"\0")
            assert (await third.message())["refused"]["code"] == "broker.slow_frame"
        service.gate.set()
        assert (await second.message())["id"] == 2


async def test_answers_that_nobody_reads_are_bounded_and_a_write_s_is_never_thrown_away(tmp_path):
    service = Gated({"x": "y" * 1_000_000})
    bounds = Bounds(connection_bytes_max=3_000_000)
    async with served(tmp_path / "b", service, bounds) as server, raw(tmp_path / "b", 4096) as peer:
        await peer.message()
        for number in range(8):
            peer.writer.write(said(number, 10, "push" if number == 7 else "fetch"))
        await until(lambda: server.calls == 8)
        service.gate.set()
        await until(lambda: server.calls == 0)
        (connection,) = server._connections
        assert connection.unread_bytes < 4_500_000
        assert counted(server, "stanchion_broker_busy_total") > 0
        got = {message["id"]: message for message in [await peer.message() for _ in range(8)]}
        assert "result" in got[0]
        assert "result" in got[7]
        thrown = [message["problem"] for message in got.values() if "problem" in message]
        assert {problem["code"] for problem in thrown} == {"broker.unread"}
        assert all(problem["retryable"] for problem in thrown)
        assert len(thrown) >= 3


async def test_answers_on_all_connections_are_bounded_together(tmp_path):
    service = Gated({"x": "y" * 1_000_000})
    async with (
        served(tmp_path / "b", service, Bounds(bytes_max=2_500_000)) as server,
        contextlib.AsyncExitStack() as stack,
    ):
        peers = [await stack.enter_async_context(raw(tmp_path / "b", 4096)) for _ in range(5)]
        for peer in peers:
            await peer.message()
            peer.writer.write(said(1, 10))
        await until(lambda: server.calls == 5)
        service.gate.set()
        await until(lambda: server.calls == 0)
        assert sum(connection.unread_bytes for connection in server._connections) < 3_000_000
        answers = [await peer.message() for peer in peers]
        thrown = [answer["problem"]["code"] for answer in answers if "problem" in answer]
        assert set(thrown) == {"broker.unread"}
        assert 2 <= len(thrown) <= 3


async def test_a_peer_that_leaves_its_answers_unread_is_hung_up_on(tmp_path):
    service = Gated({"x": "y" * 6_000_000})
    service.gate.set()
    async with served(tmp_path / "b", service, Bounds(unread_s=0.05)) as server, raw(tmp_path / "b", 4096) as peer:
        await peer.message()
        peer.writer.write(said(1, 10))
        await until(lambda: service.calls and server.connections == 0)


async def test_a_peer_has_no_more_connections_than_it_may_and_hears_so(tmp_path):
    async with (
        served(tmp_path / "b", Service(), Bounds(connections_max=2)) as server,
        raw(tmp_path / "b") as first,
        raw(tmp_path / "b"),
    ):
        await until(lambda: server.connections == 2)
        async with raw(tmp_path / "b") as third:
            assert (await third.message())["refused"]["code"] == "broker.too_many_connections"
            assert await third.message() == {}
        async with client_of(tmp_path / "b") as client:
            with pytest.raises(AdapterProblem, match=r"has 2 connections of \d+ \(unix\)") as caught:
                await client.call(a_call(timeout_s=1.0))
            assert (caught.value.code, caught.value.sent) == ("broker.unavailable", False)
            first.writer.close()
            await until(lambda: server.connections == 1)
            await client.call(a_call())


def test_a_frame_that_is_too_large_is_refused_by_its_head():
    room = Room(1 << 30, lambda wake: wake())
    intake = Intake(room, 1 << 30, lambda: None)
    intake.add((wire.FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    with pytest.raises(Exception, match="at most") as caught:
        intake.next()
    assert getattr(caught.value, "code", "") == "broker.bad_frame"
    assert room.held == 0


async def test_calls_beyond_their_number_are_still_busy(tmp_path):
    service = Gated()
    async with served(tmp_path / "b", service, Bounds(calls_max=1)) as server, raw(tmp_path / "b") as peer:
        await peer.message()
        peer.writer.write(said(1, 10) + said(2, 10))
        assert (await peer.message())["problem"]["code"] == "broker.busy"
        service.gate.set()
        assert (await peer.message())["id"] == 1
        await until(lambda: server.room.held == 0)
