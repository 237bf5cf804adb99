"""The broker as a real process: who may call it, what it keeps of its environment, certificates that change under load."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from stanchion.base import Denied, SystemClock, Unavailable
from stanchion.processes.isolation import landlock_version
from stanchion.processes.sockets import ask_unix
from stanchion.tools import AdapterProblem
from stanchion.tools.broker.client import BrokerClient, tls_route, unix_route
from tests.conftest import processes_url
from tests.processes.instance import Up, clean_environment, gone, until
from tests.support.root import needs_root
from tests.tools.broker.calls import a_call
from tests.tools.broker.worlds import Authority

CLOCK = SystemClock()
# What an authenticated peer hears of a connector that is nowhere published.
ASKED = {"op": "lookup", "arguments": {"key": "C1"}, "operation": "lookup", "key": ""}


class Alone:
    """One `serve broker`."""

    def __init__(self, urls, data: Path, **environment: str) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stanchion", "serve", "broker", "--data", str(data)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=clean_environment(
                STANCHION_DATABASE_URL=processes_url(urls), **environment
            ),
        )  # fmt: skip

    def __enter__(self) -> Self:
        def ready() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1]
            return ask_unix(self.health, "/health/ready")[0] == 200

        until(ready, "the broker is ready")
        return self

    def __exit__(self, *_) -> None:
        self.process.send_signal(signal.SIGTERM)
        _, self.said = self.process.communicate(timeout=40)
        assert self.process.returncode == 0, self.said

    @property
    def health(self) -> Path:
        return self.data / "run" / "broker.sock"

    def metric(self, name: str) -> float:
        page = ask_unix(self.health, "/metrics")[1].decode()
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))


def client_of(dial) -> BrokerClient:
    return BrokerClient(dial, where="the test", clock=CLOCK, rng=random.Random(7))


async def served(client: BrokerClient, **other) -> bool:
    """Whether the broker takes a call: it answers that there is no such connector."""
    try:
        await client.call(a_call(**{**ASKED, "timeout_s": 3.0, **other}))
    except AdapterProblem as problem:
        if problem.code != "broker.unavailable" or problem.sent:
            raise
        return False
    except Denied as problem:
        if problem.code != "broker.unknown_connector":
            raise
        return True
    return False


async def test_ready_measured_and_asked_over_its_socket(database_urls, tmp_path):
    with Alone(database_urls, tmp_path / "data") as broker:
        calls = tmp_path / "data" / "run" / "broker.calls"
        assert oct(calls.stat().st_mode & 0o777) == "0o600"
        assert json.loads(ask_unix(broker.health, "/health/ready")[1])["wrong"] == {}
        client = client_of(unix_route(calls))
        assert await served(client)
        with pytest.raises(Denied) as nobody:
            await client.ask("secrets.sealing_key", {})
        assert nobody.value.code == "broker.no_principal"
        assert broker.metric("stanchion_broker_asks_refused_total") == 1
        assert broker.metric("stanchion_broker_connections") == 1
        await client.close()
    assert not calls.exists()
    assert not broker.health.exists()


@needs_root("only root becomes another user")
def test_another_user_is_served_where_it_is_named_alone(database_urls, tmp_path):
    tmp_path.chmod(0o711)
    for folder in tmp_path.parents:
        if folder.owner() == "root" and str(folder).startswith(("/tmp/pytest", str(tmp_path.parent))):
            folder.chmod(folder.stat().st_mode | 0o011)
    code = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
here = socket.socket(socket.AF_UNIX)
here.connect(sys.argv[1])
here.settimeout(10)
try:
    print(len(here.recv(100)) > 0)
except ConnectionError:
    print(False)
"""
    for named in (False, True):
        calls = tmp_path / f"calls-{named}"
        more = {"STANCHION_BROKER_UIDS": "65534=worker"} if named else {}
        with Alone(database_urls, tmp_path / f"data-{named}", STANCHION_BROKER_SOCKET=str(calls), **more) as broker:
            calls.chmod(0o666)  # that the modes let it through shows who it is that refuses
            done = subprocess.run(
                [sys.executable, "-c", code, str(calls)], capture_output=True, text=True, timeout=60, check=True
            )
            assert done.stdout.strip() == str(named)
            assert broker.metric("stanchion_broker_strangers_total") == (0 if named else 1)


@needs_root("a non-dumpable process shows its environment to root alone")
def test_it_keeps_nothing_of_its_environment_that_it_does_not_need(database_urls, tmp_path):
    planted = {"AWS_SECRET_ACCESS_KEY": "canary-1", "STANCHION_SECRETS_ENV_PREFIX": "CONN_", "CONN_TOKEN": "canary-2"}
    with Alone(database_urls, tmp_path / "data", **planted) as broker:
        seen = Path(f"/proc/{broker.process.pid}/environ").read_bytes()
        assert b"canary" not in seen
        assert b"pw-stanchion_broker" not in seen
        assert Path(f"/proc/{broker.process.pid}/environ").stat().st_uid == 0


async def test_certificates_change_under_load_and_no_call_fails(database_urls, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    old, new = Authority(tmp_path / "pki", "old"), Authority(tmp_path / "pki", "new")
    mine = old.certificates("localhost", into="server")
    authority = tmp_path / "pki" / "both.pem"
    authority.write_bytes(old.path.read_bytes() + new.path.read_bytes())
    environment = {
        "STANCHION_BROKER_LISTEN": f"127.0.0.1:{port}", "STANCHION_BROKER_CERTIFICATE": str(mine.certificate),
        "STANCHION_BROKER_KEY": str(mine.key), "STANCHION_BROKER_AUTHORITY": str(authority),
        "STANCHION_BROKER_NAMES": "worker-1.example=worker+web",
    }  # fmt: skip
    with Alone(database_urls, tmp_path / "data", **environment) as broker:

        async def held(by: Authority, name: str, believes: Path) -> BrokerClient:
            files = by.certificates(name, into=f"{name}-{by.path.stem}-{believes.stem}")
            return client_of(tls_route("localhost", port, partial(_context, files, believes)))

        before = await held(old, "worker-1.example", old.path)
        assert await served(before)
        assert not await served(await held(old, "stranger.example", old.path), timeout_s=0.5)
        stop, counts = asyncio.Event(), [0, 0]

        async def load() -> None:
            while not stop.is_set():
                counts[0 if await served(before) else 1] += 1

        loads = [asyncio.create_task(load()) for _ in range(4)]
        new.certificates("localhost", into="server")
        new_server = (new.folder / "server.pem").read_bytes(), (new.folder / "server.key").read_bytes()
        mine.certificate.write_bytes(new_server[0])
        mine.key.write_bytes(new_server[1])
        after = await held(new, "worker-1.example", new.path)
        async with asyncio.timeout(20):
            while not await served(after, timeout_s=0.5):
                pass
        # Half a certificate is no certificate: the one that is served stays.
        mine.certificate.write_text("-----BEGIN")
        async with asyncio.timeout(20):
            while not broker.metric('stanchion_broker_certificates_total{result="refused"}'):
                await asyncio.sleep(0.05)
        assert ask_unix(broker.health, "/health/ready")[0] == 503
        assert await served(await held(new, "worker-1.example", new.path))
        mine.certificate.write_bytes(new_server[0])
        async with asyncio.timeout(20):
            while ask_unix(broker.health, "/health/ready")[0] != 200:
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.gather(*loads)
        assert counts[0] > 0
        assert counts[1] == 0
        for client in (before, after):
            await client.close()


def _context(files, believes: Path):
    context = files.context("client")
    context.load_verify_locations(believes)
    return context


def test_a_certificate_that_cannot_be_used_is_said_at_the_start(database_urls, tmp_path):
    files = Authority(tmp_path).certificates("localhost")
    files.key.write_text("none")
    process = Alone(
        database_urls, tmp_path / "data",
        STANCHION_BROKER_LISTEN="127.0.0.1:0", STANCHION_BROKER_CERTIFICATE=str(files.certificate),
        STANCHION_BROKER_KEY=str(files.key), STANCHION_BROKER_AUTHORITY=str(files.authority),
        STANCHION_BROKER_NAMES="worker-1.example=worker",
    ).process  # fmt: skip
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert str(files.certificate) in said


def test_an_authority_alone_admits_nobody(database_urls, tmp_path):
    files = Authority(tmp_path).certificates("localhost")
    process = Alone(
        database_urls, tmp_path / "data",
        STANCHION_BROKER_LISTEN="127.0.0.1:0", STANCHION_BROKER_CERTIFICATE=str(files.certificate),
        STANCHION_BROKER_KEY=str(files.key), STANCHION_BROKER_AUTHORITY=str(files.authority),
    ).process  # fmt: skip
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2  # as for every wrong setting
    assert "broker.names" in said


def test_up_starts_the_broker_first_starts_it_again_and_confines_the_others(tmp_path):
    up = Up(tmp_path / "data").ready()
    try:
        pids = {name: up.pid_of(name) for name in ("broker", "web", "worker-1", "scheduler")}
        assert pids["broker"] < min(pids["web"], pids["worker-1"], pids["scheduler"])
        confined = {name: _no_new_privileges(pid) for name, pid in pids.items()}
        assert confined == {"broker": False, "web": True, "worker-1": True, "scheduler": True}
        os.kill(pids["broker"], signal.SIGKILL)
        assert gone(pids["broker"])
        until(lambda: up.pid_of("broker") not in {0, pids["broker"]} and up.ready_of("broker"), "the broker is back")
        done = subprocess.run(
            [sys.executable, "-m", "stanchion", "doctor", "--data", str(up.data), "-o", "json"], capture_output=True, text=True, env=clean_environment(), timeout=60, check=False
        )  # fmt: skip
        found = [(row["result"], row["detail"]) for row in json.loads(done.stdout) if row["check"] == "broker"]
        assert found[0] == ("ok", f"ready, takes calls at {up.data / 'run' / 'broker.calls'}")
        assert landlock_version() == 0 or found[1][0] == "ok"
        assert f"{up.data}.keys" in found[1][1]
        api = up.api()
        assert api.get("/api/connectors")["items"] == []
        api.close()
        environ = Path(f"/proc/{up.loader}/environ").read_bytes()
        assert b"PATH=" in environ
        assert b"PYTEST_CURRENT_TEST" not in environ
    finally:
        code, _ = up.interrupt(signal.SIGTERM)
    assert code == 0


def _no_new_privileges(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return "NoNewPrivs:\t1" in status


async def test_without_a_broker_a_process_says_so_and_nothing_was_sent(tmp_path):
    client = client_of(unix_route(tmp_path / "nowhere"))
    with pytest.raises(Unavailable, match=r"stanchion serve broker"):
        await client.call(a_call(timeout_s=0.2))
    await client.close()
