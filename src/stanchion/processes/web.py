"""`stanchion serve web`: the HTTP API, its streams and pages."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn

from stanchion import approvals, runs, tools
from stanchion.base.settings import Settings
from stanchion.bootstrap.env import build_env, opened
from stanchion.bootstrap.web import built_routers
from stanchion.context import Ctx, Env
from stanchion.controls import RateLimit, kills, withdrawals
from stanchion.identity import Authenticator, Pepper
from stanchion.processes.boot import Boot
from stanchion.processes.calling import calling
from stanchion.processes.database import required_urls
from stanchion.processes.health import HealthServer
from stanchion.processes.isolation import confine
from stanchion.processes.lifecycle import keep_secrets, run_process
from stanchion.processes.logs import configure_logs
from stanchion.processes.metrics import Siblings
from stanchion.processes.needs import database_and
from stanchion.releases import flags, policies
from stanchion.tools import catalogue
from stanchion.web import Dependency, Waiting, WebSettings, create_app, uvicorn_options


def main(boot: Boot) -> int:
    """Serve until asked to stop; the exit code."""
    confine(boot.settings)
    configure_logs(boot.settings.telemetry)

    async def serve(stop: asyncio.Event) -> int:
        return await _serve(boot, stop)

    return run_process(serve, grace_s=boot.settings.web.grace_s)


async def _serve(boot: Boot, stop: asyncio.Event) -> int:
    settings = boot.settings
    async with opened(build_env(settings, required_urls(settings, "web"), process=boot.name)) as env:
        authenticator = Authenticator(env, Pepper.from_file(settings.pepper_file, env.ids))
        async with (
            kills.kept(env, role="app") as switches,
            withdrawals.kept(env, role="app") as withdrawn,
            flags.kept(env, switches=switches, withdrawn=withdrawn) as live_flags,
            policies.kept(env, role="app", withdrawn=withdrawn) as live_policies,
            catalogue.kept(env, role="app") as tool_states,
            calling(env, settings, boot.private.ticket) as broker,
            built_routers(
                env, settings, authenticator, switches, live_flags, withdrawn, broker, live_policies, tool_states
            ) as routers,
        ):
            bounds = web_settings(settings)
            app = create_app(
                env,
                routers,
                authenticator=authenticator,
                settings=bounds,
                dependencies=(_kill_switches(switches), _flags(live_flags), _withdrawn(withdrawn)),
                counters=(_approvals, _effects, _dead_letters),
                exposition=Siblings(settings.run_folder, env.telemetry).expose,
            )
            config = uvicorn.Config(app, lifespan="off", **uvicorn_options(bounds))
            config.load()
            server = _Server(config)
            listener = _listener(boot)
            needs = database_and(env, "app", lambda: {"listening": "" if server.started else "not yet"})
            async with HealthServer(boot.socket_path, env.telemetry, needs):
                keep_secrets()
                serving = asyncio.create_task(server.serve(sockets=[listener]))
                env.telemetry.emit("process.started")
                asked = asyncio.create_task(stop.wait())
                await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
                env.telemetry.emit("process.stopping")
                server.should_exit = True
                asked.cancel()
                await serving
    return 0


async def _approvals(ctx: Ctx) -> Waiting:
    count = await approvals.count_pending(ctx)
    return Waiting(what="approvals", count=count, path="/api/approvals?status=PENDING")


async def _effects(ctx: Ctx) -> Waiting:
    count = await tools.count_unknown(ctx)
    return Waiting(what="effects of unknown outcome", count=count, path="/api/effects?state=UNKNOWN")


async def _dead_letters(ctx: Ctx) -> Waiting:
    return Waiting(what="dead letters", count=await runs.count_dead(ctx), path="/api/dlq", shape="fail")


def _kill_switches(switches: kills.Snapshot) -> Dependency:
    async def check(_: Env) -> None:
        age_s = switches.age_s
        if age_s is None or age_s > kills.AGE_S_MAX:
            raise kills.unread(age_s)

    return Dependency(name="kill switches", check=check, age_s=lambda: switches.age_s or 0.0)


def _flags(known: flags.Snapshot) -> Dependency:
    async def check(_: Env) -> None:
        age_s = known.age_s
        if age_s is None or age_s > flags.AGE_S_MAX:
            raise flags.unread_problem(age_s)

    return Dependency(name="flags", check=check, age_s=lambda: known.age_s or 0.0)


def _withdrawn(known: withdrawals.Snapshot) -> Dependency:
    async def check(_: Env) -> None:
        age_s = known.age_s
        if age_s is None or age_s > withdrawals.AGE_S_MAX:
            raise withdrawals.unread(age_s)

    return Dependency(name="withdrawn versions", check=check, age_s=lambda: known.age_s or 0.0)


class _Server(uvicorn.Server):
    """Signals are ours: `lifecycle` hears them for every kind of process alike."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signal handlers as they are."""
        yield


def _listener(boot: Boot) -> socket.socket:
    if boot.listen_fd is not None:
        return socket.socket(fileno=boot.listen_fd)
    host, port = boot.settings.web.host, boot.settings.web.port
    listener = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC
    )
    with contextlib.ExitStack() as undo:
        undo.callback(listener.close)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        undo.pop_all()
    return listener


def web_settings(settings: Settings) -> WebSettings:
    """The bounds of the web process."""
    said = settings.web
    return WebSettings(
        public_url=said.public_url or "",
        body_bytes_max=said.body_bytes_max,
        header_timeout_s=said.header_timeout_s,
        body_timeout_s=said.body_timeout_s,
        send_timeout_s=said.send_timeout_s,
        per_principal=RateLimit(per_s=said.principal_requests_per_s, burst=said.principal_burst),
        per_address=RateLimit(per_s=said.address_requests_per_s, burst=said.address_burst),
        connections_max=said.connections_max,
        drain_s=said.grace_s,
        trusted_proxies=said.trusted_proxies,
    )
