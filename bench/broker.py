"""Part `broker`: what a call costs more when it goes over the broker, and how many one broker process takes on one core.

The target is an adapter that answers at once, so what is measured is ours alone: frames, tokens, two event loops, the socket
between them and every check of the broker, as `serve broker` builds it. The same adapter, called in this process, is the
other figure. Beside it the transport by itself: a service that verifies the token and calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast
from unittest.mock import patch
from uuid import UUID

from bench.machine import cpu_s
from bench.rows import Row, row
from bench.sitting import Sitting
from stanchion import releases
from stanchion.artifacts import Document
from stanchion.base import SystemClock
from stanchion.base.settings import Settings
from stanchion.bootstrap.broker import built_broker
from stanchion.bootstrap.env import build_env, opened
from stanchion.bootstrap.parts import build_parts
from stanchion.controls import kills, withdrawals
from stanchion.db import DatabaseUrls
from stanchion.processes.lifecycle import calm_collector
from stanchion.telemetry import Telemetry
from stanchion.tools import connector_of
from stanchion.tools.adapter import Adapter, Target
from stanchion.tools.broker.client import BrokerClient, unix_route
from stanchion.tools.broker.remote import RemoteAdapter
from stanchion.tools.broker.server import BrokerServer
from stanchion.tools.broker.sessions import unix_peer
from stanchion.tools.broker.tokens import verify
from stanchion.tools.types import Asker, Connector, Envelope, Operation, Resource

CALLS = 4_000
LOAD_S = 10
IN_FLIGHT = 64
RECORD = {"case_id": "GDPR-D022", "fine_eur": 460_000, "articles": [5, 6, 13], "note": None}
CLOCK = SystemClock()
CONNECTOR = """connector: echo
owner: bench
adapter: echo
environment: local
resources:
  cases:
    key: case_id
    fields:
      case_id: {type: string}
      fine_eur: {type: integer}
      articles: {type: array, items: {type: integer}}
      note: {type: [string, "null"]}
    lookup: {}
"""
BLUEPRINT = """blueprint: echoing
owner: bench
input: {type: object, properties: {}}
steps:
  - id: cases
    lookup: {connector: echo, resource: cases, key: GDPR-D022}
"""


class Echo:
    """An adapter that has the record already."""

    name = "echo"
    settings_schema: ClassVar[dict[str, Any]] = {}
    settings_required: tuple[str, ...] = ()
    resource_schema: ClassVar[dict[str, Any]] = {}
    resource_required: tuple[str, ...] = ()
    operation_schemas: ClassVar[dict[str, Any]] = {"lookup": {"type": "object", "properties": {}}}
    refused: ClassVar[dict[str, str]] = {}

    def check(self, _: object) -> list[Any]:
        return []

    async def lookup(self, target: Target, key: object) -> Envelope:
        return Envelope(
            records=(RECORD,),
            metrics={"duration_ms": 0, "calls": 0, "bytes": 0},
            trace={},
            narrative="Looked up one record.",
            metadata={"adapter": "echo", "connector": target.connector.name, "key": str(key)},
        )

    async def close(self) -> None:
        return None


def _parts_with_echo(build: Callable[..., Any]) -> Callable[..., Any]:
    def made(*said: Any, **named: Any) -> Any:
        parts = build(*said, **named)
        parts.adapters.by_name = {**parts.adapters.by_name, "echo": Echo()}
        return parts

    return made


def with_echo() -> Any:
    """What this process builds knows the adapter, too."""
    return patch("stanchion.bootstrap.broker.build_parts", _parts_with_echo(build_parts))


def _target(connector: Connector, run: UUID) -> Target:
    resource = connector.resources["cases"]
    return Target(
        connector=connector,
        resource=resource,
        operation=resource.operations["lookup"],
        timeout_s=10.0,
        asker=Asker(tenant="default", run_id=run, root_id=run, path="cases", epoch=1, principal="admin"),
    )


class _TokenAlone:
    """Token, then the adapter: what the transport costs by itself."""

    def __init__(self) -> None:
        resource = Resource(name="cases", description="", key="case_id", fields={}, operations={}, settings={})
        connector = Connector(
            name="echo", description="", owner="bench", adapter="echo", environment="local", timeout_s=10.0, digest="",
            resources={"cases": resource}, settings={},
        )  # fmt: skip
        self._echo = Echo()
        self._target = Target(
            connector=connector, resource=resource, operation=Operation(verb="lookup", settings={}), timeout_s=10.0
        )

    async def perform(self, call: Any, peer: Any) -> Envelope:
        verify(call, peer.session_key, CLOCK.now().timestamp())
        return await self._echo.lookup(self._target, call.arguments["key"])


async def serve(said: dict[str, Any]) -> None:
    """The broker's side, in a process of its own, until its standard input ends."""
    settings = Settings(data=Path(said["data"]))
    urls = DatabaseUrls(app=said["app"], engine=said["engine"])
    with with_echo():
        async with (
            opened(build_env(settings, urls, process="bench")) as env,
            kills.kept(env, role="engine") as switches,
            withdrawals.kept(env, role="engine") as withdrawn,
            built_broker(env, settings, {}, switches=switches, withdrawn=withdrawn) as (service, _),
        ):
            whole = BrokerServer(service, env)
            bare = BrokerServer(
                _TokenAlone(),
                cast("Any", SimpleNamespace(clock=CLOCK, ids=env.ids, telemetry=Telemetry(process="bare", sample=0.0))),
            )
            for server, path in ((whole, said["whole"]), (bare, said["bare"])):
                await server.listen(
                    _listener(path), lambda t, key: unix_peer(t, {os.geteuid(): frozenset({"worker"})}, key)
                )
            calm_collector()
            print("up", flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            await whole.drain(1.0)
            await bare.drain(1.0)


def _listener(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(16)
    listener.setblocking(False)
    return listener


@asynccontextmanager
async def _broker(urls: DatabaseUrls, folder: Path) -> AsyncIterator[tuple[RemoteAdapter, RemoteAdapter, int]]:
    """The whole broker, its transport alone, and the pid of their process."""
    paths = [folder / "whole", folder / "bare"]
    said = {
        "app": urls.app,
        "engine": urls.engine,
        "data": str(folder / "data"),
        "whole": str(paths[0]),
        "bare": str(paths[1]),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.broker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    clients = [BrokerClient(unix_route(path), where=str(path), clock=CLOCK, rng=random.Random(7)) for path in paths]
    try:
        process.stdin.write(json.dumps(said) + "\n")
        process.stdin.flush()
        if await asyncio.to_thread(process.stdout.readline) != "up\n":
            raise RuntimeError("the broker did not start")
        whole, bare = (RemoteAdapter(cast("Adapter", Echo()), client, "default") for client in clients)
        yield whole, bare, process.pid
    finally:
        for client in clients:
            await client.close()
        process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()


async def _published(sitting: Sitting) -> tuple[Connector, UUID]:
    """The connector, and a run in the middle of the step that calls it: the broker looks at both."""
    ours = sitting.stanchion
    parts = _parts_with_echo(build_parts)(ours.env, Settings(data=ours.folder))
    documents = [Document(path="echo.yaml", source=CONNECTOR), Document(path="echoing.yaml", source=BLUEPRINT)]
    await releases.apply(ours.ctx, documents, kinds=parts.kinds)
    await parts.adapters.close()
    started = await ours.starter.start(ours.ctx, "echoing", {})
    async with ours.env.db.connection("engine") as tx:
        cursor = await tx.execute("select digest, body from artifacts where kind = 'connector' and name = 'echo'")
        [found] = await cursor.fetchall()
        await tx.execute("update runs set status = 'RUNNING', epoch = 1 where id = %s", (started.run_id,))
    return connector_of(cast("Any", found)[1], cast("Any", found)[0]), started.run_id


async def _timed_us(adapter: Any, target: Target, count: int) -> list[float]:
    took: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await adapter.lookup(target, "GDPR-D022")
        took.append((time.perf_counter() - began) * 1e6)
    return took


async def _load(call: Callable[[], Awaitable[object]], seconds: float) -> int:
    """Calls that ended within `seconds`, `IN_FLIGHT` at a time."""
    until, done = time.perf_counter() + seconds, 0

    async def lane() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await call()
            done += 1

    await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
    return done


async def measure(sitting: Sitting) -> list[Row]:
    """Medians over rounds in which the ways take turns."""
    target, echo = _target(*await _published(sitting)), Echo()
    here: list[float] = []
    over: list[float] = []
    bare: list[float] = []
    rates: list[float] = []
    per_core: list[float] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with _broker(sitting.server.urls, Path(folder)) as (remote, transport, pid):
            await _timed_us(remote, target, 200)
            await _timed_us(transport, target, 200)
            for _ in range(sitting.sizes.rounds):
                here += await _timed_us(echo, target, sitting.sizes.of(CALLS))
                over += await _timed_us(remote, target, sitting.sizes.of(CALLS))
                bare += await _timed_us(transport, target, sitting.sizes.of(CALLS))
                cpu, began = cpu_s(pid), time.perf_counter()
                done = await _load(lambda: remote.lookup(target, "GDPR-D022"), sitting.sizes.seconds(LOAD_S))
                rates.append(done / (time.perf_counter() - began))
                per_core.append(done / (cpu_s(pid) - cpu))
    base, base_p99 = statistics.median(here), _p99(here)
    return [
        row("broker", "added_p50", (statistics.median(over) - base) / 1000, f"the promise; {sitting.place}", 1.0, "ms"),
        row("broker", "added_p99", (_p99(over) - base_p99) / 1000, "-", None, "ms"),
        row("broker", "added_p50_transport", (statistics.median(bare) - base) / 1000, "without the checks", None, "ms"),
        row("broker", "calls_per_s", statistics.median(rates), f"the promise; {IN_FLIGHT} in flight", 500.0, "1/s"),
        row(
            "broker", "calls_per_core_s", statistics.median(per_core), "the promise; of the broker's CPU", 500.0, "1/s"
        ),
    ]


def _p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(json.loads(sys.stdin.readline())))
