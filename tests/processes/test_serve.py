"""One process alone, on an external database; and the scheduler's leadership."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from uuid import uuid4

import pytest

from stanchion.bootstrap.duties import Duty
from stanchion.cli.client import Api
from stanchion.processes.boot import boot_said
from stanchion.processes.children import RESTART_MAX_S, restart_delay
from stanchion.processes.database import overrides_for
from stanchion.processes.scheduler import lead
from stanchion.processes.sockets import ask_unix
from tests.conftest import processes_url
from tests.processes.instance import clean_environment, until


def test_restarts_are_at_once_first_and_rarer_then():
    delays = [restart_delay(n) for n in range(1, 12)]
    assert delays[0] == 0
    assert delays == sorted(delays)
    assert delays[-1] == RESTART_MAX_S


@pytest.fixture(scope="module")
def urls(database_urls):
    return {"STANCHION_DATABASE_URL": processes_url(database_urls)}


def serve(kind: str, data, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stanchion", "serve", kind, "--data", str(data)],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean_environment(**environment),
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    return err


@pytest.mark.parametrize("kind", ["worker", "scheduler"])
def test_a_process_alone_says_it_is_ready_and_ends_in_order(kind, urls, tmp_path):
    process = serve(kind, tmp_path, **urls)
    name = f"worker-{process.pid}" if kind == "worker" else kind
    path = tmp_path / "run" / f"{name}.sock"
    until(lambda: ask_unix(path, "/health/ready")[0] == 200, "ready")
    assert ask_unix(path, "/health/live")[0] == 200
    assert b"stanchion_" in ask_unix(path, "/metrics")[1]
    events = [json.loads(line)["event"] for line in ended(process).splitlines()]
    assert events == ["process.started", "process.stopping"]
    assert not path.exists()


def test_the_web_process_alone(urls, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = serve("web", tmp_path, STANCHION_WEB_PORT=str(port), **urls)
    until(lambda: ask_unix(tmp_path / "run" / "web.sock", "/health/ready")[0] == 200, "ready")
    api = Api(f"http://127.0.0.1:{port}", None)
    assert api.get("/health/ready") == {"status": "ready"}
    api.close()
    assert "process.stopping" in ended(process)


def test_a_worker_on_probation_ends_when_nothing_is_left(database_urls, tmp_path):
    said = boot_said(
        overrides_for(database_urls, str(tmp_path)), config=None, name="worker-1-probation", probation_of=uuid4()
    )
    line = json.dumps({"parent": os.getpid(), "boot": said}) + "\n"
    done = subprocess.run(
        [sys.executable, "-m", "stanchion", "serve", "worker", "--supervised"], input=line, capture_output=True, text=True, env=clean_environment(), timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_supervised_process_that_is_told_nothing_ends(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "stanchion", "serve", "worker", "--supervised"], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=clean_environment(), timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 1
    assert "--supervised" in done.stderr


async def test_one_scheduler_leads_and_another_takes_over(env):
    told: list[str] = []

    def duty(who: str) -> Duty:
        async def run(_env) -> None:
            told.append(who)

        return Duty(name=who, every_s=0.01, run=run)

    async def fails(_env) -> None:
        raise RuntimeError("planted")

    first = asyncio.create_task(lead(env, [Duty(name="failing", every_s=0.01, run=fails), duty("first")]))
    async with asyncio.timeout(20):
        while told.count("first") < 3:  # also beside a duty that fails each time
            await env.clock.sleep(0.01)
        second = asyncio.create_task(lead(env, [duty("second")]))
        await env.clock.sleep(0.1)
        assert "second" not in told
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        while "second" not in told:
            await env.clock.sleep(0.01)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
