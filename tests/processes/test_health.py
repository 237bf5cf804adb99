from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

from stanchion.processes.health import HealthServer
from stanchion.processes.sockets import ask_unix, listen_unix
from stanchion.telemetry import Telemetry


async def asked(path: Path, target: str) -> tuple[int, bytes]:
    return await asyncio.to_thread(ask_unix, path, target)


async def test_live_ready_and_metrics(tmp_path):
    wrong = {"database": ""}

    async def needs():
        return wrong

    path = tmp_path / "run" / "worker-1.sock"
    telemetry = Telemetry(process="worker-1", sample=0.0)
    async with HealthServer(path, telemetry, needs):
        assert path.stat().st_mode & 0o777 == 0o600
        assert (await asked(path, "/health/live"))[0] == 200
        assert (await asked(path, "/health/ready"))[0] == 200
        wrong["database"] = "it is away"
        status, body = await asked(path, "/health/ready")
        assert (status, json.loads(body)["wrong"]) == (503, {"database": "it is away"})
        assert (await asked(path, "/health/live"))[0] == 200  # whatever else is away (I15)
        telemetry.emit("worker.capacity", 7)
        status, body = await asked(path, "/metrics")
        assert status == 200
        assert b"stanchion_runs_capacity 7.0" in body
        assert (await asked(path, "/else"))[0] == 404
    assert not path.exists()
    assert await asked(path, "/health/live") == (0, b"")


async def test_a_client_that_says_nothing_sensible_is_let_go(tmp_path):
    async def needs():
        return {}

    path = tmp_path / "x.sock"
    async with HealthServer(path, Telemetry(process="x", sample=0.0), needs):
        for said in (b"", b"\r\n\r\n", b"x" * 20_000):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(said)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert (await asked(path, "/health/live"))[0] == 200


async def test_a_path_longer_than_an_address_may_be(tmp_path):
    async def needs():
        return {}

    path = tmp_path / ("long" * 20) / ("folder" * 10) / "web.sock"
    assert len(str(path)) > 107
    async with HealthServer(path, Telemetry(process="x", sample=0.0), needs):
        assert (await asked(path, "/health/live"))[0] == 200


def test_a_socket_left_by_a_dead_process_is_replaced(tmp_path):
    path = tmp_path / "run" / "a.sock"
    listen_unix(path).close()
    assert path.exists()
    with listen_unix(path) as listener:
        assert listener.family is socket.AF_UNIX


async def test_a_successor_keeps_its_socket_when_the_one_before_it_ends(tmp_path):
    async def needs():
        return {}

    path = tmp_path / "a.sock"
    before = HealthServer(path, Telemetry(process="before", sample=0.0), needs)
    await before.__aenter__()
    async with HealthServer(path, Telemetry(process="after", sample=0.0), needs):
        await before.__aexit__()
        assert json.loads((await asked(path, "/health/live"))[1])["process"] == "after"
