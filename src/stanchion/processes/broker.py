"""`stanchion serve broker`: holds credentials, performs adapter calls and effects; the one process that touches the outside.

It takes calls on a Unix socket from processes of this machine whose user it knows, and over mTLS from other machines. It is
non-dumpable from its first instruction on, keeps of its environment what it needs, and reads the keys that the others have
given up (`isolation`). SIGTERM: no new calls, those in hand finish and are answered, then connections close.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TextIO, cast
from urllib.parse import urlsplit

from stanchion.base import Invalid, Problem, Unavailable
from stanchion.base.config import read_environment, replace_environment
from stanchion.base.settings import Settings
from stanchion.bootstrap.broker import built_broker
from stanchion.bootstrap.env import build_env, opened
from stanchion.context import Env
from stanchion.controls import kills, withdrawals
from stanchion.processes.boot import Boot
from stanchion.processes.calling import certificates
from stanchion.processes.database import required_urls
from stanchion.processes.health import HealthServer
from stanchion.processes.isolation import wipe_environment
from stanchion.processes.lifecycle import calm_collector, keep_secrets, run_process
from stanchion.processes.logs import configure_logs
from stanchion.processes.needs import database_and
from stanchion.processes.ownuser import account_of
from stanchion.processes.sockets import listen_unix
from stanchion.tools.broker.intake import Bounds
from stanchion.tools.broker.scrubbing import ScrubbedStream, Scrubbers
from stanchion.tools.broker.server import BrokerServer
from stanchion.tools.broker.sessions import certificate_peer, kinds_by_name, kinds_by_uid, unix_peer
from stanchion.tools.broker.types import PeerKind

# How often the files of mTLS are looked at.
_LOOK_S = 1.0
# What a process needs of its environment to run at all: where programs, certificates, words and times are.
_NEEDED = frozenset({"PATH", "HOME", "TMPDIR", "TZ", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR"})


def main(boot: Boot) -> int:
    """Serve until asked to stop; the exit code."""
    keep_secrets()
    environment = _given_up(boot.settings)
    scrubbers = Scrubbers()
    sys.stderr = cast("TextIO", ScrubbedStream(sys.stderr, scrubbers))
    configure_logs(boot.settings.telemetry)

    async def serve(stop: asyncio.Event) -> int:
        return await _serve(boot, environment, scrubbers, stop)

    return run_process(serve, grace_s=boot.settings.broker.grace_s)


def _given_up(settings: Settings) -> Mapping[str, str]:
    """Keep of the environment what is needed; return the variables in which secrets are."""
    found, prefix = read_environment(), settings.secrets.env_prefix
    replace_environment({name: value for name, value in found.items() if name in _NEEDED or name.startswith("LC_")})
    wipe_environment()
    return {name: value for name, value in found.items() if prefix is not None and name.startswith(prefix)}


async def _serve(boot: Boot, environment: Mapping[str, str], scrubbers: Scrubbers, stop: asyncio.Event) -> int:
    settings = boot.settings
    async with (
        opened(build_env(settings, required_urls(settings, "broker"), process=boot.name)) as env,
        kills.kept(env, role="engine") as switches,
        withdrawals.kept(env, role="engine") as withdrawn,
        built_broker(env, settings, environment, switches=switches, withdrawn=withdrawn, scrubbers=scrubbers) as (
            service,
            answer_ask,
        ),
    ):
        bounds = Bounds(calls_max=settings.broker.calls_max, connections_max=settings.broker.connections_max)
        server = BrokerServer(service, env, bounds, answer_ask, boot.private.master)
        async with (
            _listening(env, settings, server) as wrong,
            HealthServer(boot.socket_path, env.telemetry, database_and(env, "engine", lambda: wrong)),
        ):
            calm_collector()
            env.telemetry.emit("process.started")
            await stop.wait()
            env.telemetry.emit("process.stopping")
            await server.drain(settings.broker.grace_s)
    return 0


@asynccontextmanager
async def _listening(env: Env, settings: Settings, server: BrokerServer) -> AsyncGenerator[Mapping[str, str]]:
    """Take calls on the socket and, where one is set, on the address; yields what is wrong with either, by name."""
    supervised = server.master is not None
    # With a user of its own it is called by those of root, who started it, and not by what it starts itself.
    own = 0 if supervised and account_of(settings) is not None else os.geteuid()
    uids = kinds_by_uid(settings.broker.uids, own=own, supervised=supervised)
    path = settings.broker_socket
    listener = listen_unix(path)
    inode = path.stat().st_ino
    if settings.broker.uids:
        path.chmod(0o666)  # the peer's user is what is checked, and its folder's modes hold
    wrong = {"socket": ""}
    watching: asyncio.Task[None] | None = None
    try:
        await server.listen(listener, lambda transport, key: unix_peer(transport, uids, key))
        if settings.broker.listen is not None:
            watching = await _listen_tls(env, settings, server, settings.broker.listen, wrong)
        yield wrong
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if path.exists() and path.stat().st_ino == inode:  # a successor may have put its own there
            path.unlink()


async def _listen_tls(
    env: Env, settings: Settings, server: BrokerServer, address: str, wrong: dict[str, str]
) -> asyncio.Task[None]:
    files, names = certificates(settings), _named(settings)
    take = partial(server.listen, authenticate=lambda transport, key: certificate_peer(transport, names, key))
    listener = _tcp_listener(address)
    now = await take(listener.dup(), tls=files.context("server"))
    wrong["certificate"] = ""

    async def watch(now: asyncio.Server) -> None:
        """Serve new connections with new certificates; those that are open go on with theirs."""
        seen = files.state()
        with listener:
            while True:
                await env.clock.sleep(_LOOK_S)
                if files.state() == seen:
                    continue
                seen = files.state()
                try:
                    renewed = await take(listener.dup(), tls=files.context("server"))
                except Problem as problem:  # half written, perhaps: the old ones are served on
                    wrong["certificate"] = problem.message
                    env.telemetry.emit("broker.certificate", 1.0, "refused", reason=problem.message)
                    continue
                now.close()
                now, wrong["certificate"] = renewed, ""
                env.telemetry.emit("broker.certificate", 1.0, "read")

    return asyncio.create_task(watch(now))


def _named(settings: Settings) -> Mapping[str, frozenset[PeerKind]]:
    """Whose certificates may call, and as what. Raises Invalid `config.invalid`: an authority vouches for who somebody is,
    not for what they may ask."""
    if not settings.broker.names:
        raise Invalid(
            "config.invalid",
            "broker.listen is set and broker.names is not: everybody with a certificate of the authority could call.",
            hint='Name the certificates that may, and as what: broker.names = ["worker-1.example=worker"].',
        )
    return kinds_by_name(settings.broker.names)


def _tcp_listener(address: str) -> socket.socket:
    parts = urlsplit(f"//{address}")
    host, port = parts.hostname or "", parts.port or 0
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
    except OSError as error:
        raise Unavailable(
            "broker.listen",
            f"The broker cannot listen on {address}: {error.strerror}.",
            hint="Choose another with broker.listen.",
            retryable=False,
        ) from error
    listener.setblocking(False)
    return listener
