"""`stanchion up`: the embedded database and all processes on one machine, under one supervisor.

Start: the loader imports all code while the database starts, then forks the children (`zygote`).
Running: a child that ends is started again, at once the first time, then with a growing delay; so is the database.
Stop (SIGTERM, Ctrl-C): web, workers, broker, scheduler, database, in this order, each within its grace; exit code 0.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from stanchion.base import Clock, Conflict, Problem, Unavailable
from stanchion.base.settings import Settings
from stanchion.processes import ownuser
from stanchion.processes.children import RESTART_MAX_S, STEADY_S, Child, Nursery, restart_delay
from stanchion.processes.database import Base
from stanchion.processes.folder import UpLock, clear_state, prepare_data, write_state
from stanchion.telemetry import Telemetry

_PORTS_TRIED = 50
_READY_S = 60.0
_POLL_S = 0.05
_WATCH_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What is running once everything is ready, and how to get in.

    Attributes:
        url: of the web process. `seconds`: how long the start took. `embedded`: whether the database is ours.
        key: the admin's API key. `sign_in_path`: a link that signs a browser in once. `first`: whether they were just made.
    """

    url: str
    seconds: float
    embedded: bool
    key: str
    sign_in_path: str | None
    first: bool

    def __repr__(self) -> str:
        return f"Started(url={self.url!r})"


class Supervisor:
    """One `up`. `say(stage, text)` takes progress for people."""

    def __init__(
        self,
        settings: Settings,
        *,
        config: str | None,
        durable: bool,
        port_is_said: bool,
        show_logs: bool,
        known_key: str | None,
        clock: Clock,
        say: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._durable = durable
        self._port_is_said = port_is_said
        self._known_key = known_key
        self._clock = clock
        self._say = say
        self._telemetry = Telemetry(process="supervisor", sample=0.0)
        self._nursery = Nursery(settings, config=config, show_logs=show_logs, clock=clock)
        self._base: Base | None = None
        self._children: list[Child] = []

    async def run(self, stop: asyncio.Event, on_ready: Callable[[Started], object]) -> int:
        """Start, keep, stop. Raises the Problem that kept it from starting; nothing is left running then."""
        prepare_data(self._settings.data)
        if self._settings.broker.address is None:
            ownuser.prepare(self._settings)
        lock = UpLock(self._settings.data)
        lock.acquire()
        keepers: list[asyncio.Task[None]] = []
        try:
            with self._listen() as listener:
                started = await self._start(listener, stop)
                if started is not None:
                    on_ready(started)
                    self._telemetry.emit("process.started", 1.0, url=started.url, seconds=round(started.seconds, 2))
                    keepers = [asyncio.create_task(self._keep(child)) for child in self._children]
                    keepers.append(asyncio.create_task(self._keep_database()))
                    await stop.wait()
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await self._stop_all()
            clear_state(self._settings.data)
            lock.release()
        return 0

    def _listen(self) -> socket.socket:
        """The web process's listening socket, held here so that connections wait while that process restarts."""
        host, wanted = self._settings.web.host, self._settings.web.port
        tried = 1 if self._port_is_said or wanted == 0 else _PORTS_TRIED
        last: OSError | None = None
        for port in range(wanted, min(wanted + tried, 65536)):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, port))
                listener.listen(2048)
            except OSError as error:
                listener.close()
                last = error
                continue
            if wanted not in {port, 0}:
                self._say("web", f"port {wanted} is taken, using {port}")
            return listener
        reason = last.strerror if last else "no port is free"
        raise Conflict(
            "up.port",
            f"Stanchion cannot listen on {host}:{wanted}: {reason}.",
            hint="Choose another with --port, or --port 0 for any free one.",
        )

    async def _start(self, listener: socket.socket, stop: asyncio.Event) -> Started | None:
        began = self._clock.monotonic()
        web, worker, broker = self._settings.web, self._settings.worker, self._settings.broker
        self._children = [
            # First: what the others do outside goes through it.
            *([Child(kind="broker", name="broker", grace_s=broker.grace_s)] if broker.address is None else []),
            Child(kind="web", name="web", grace_s=web.grace_s, listen_fd=listener.fileno()),
            *(Child(kind="worker", name=f"worker-{n}", grace_s=worker.grace_s) for n in range(1, worker.count + 1)),
            Child(kind="scheduler", name="scheduler", grace_s=5.0),
        ]
        self._nursery.load()
        self._base = Base(self._settings, durable=self._durable)
        await asyncio.to_thread(self._base.start)
        which = "embedded PostgreSQL" if self._base.embedded else "external PostgreSQL"
        self._say("database", f"{which}, migrated, {self._clock.monotonic() - began:.1f} s")
        for child in self._children:
            await self._nursery.spawn(child, self._base.overrides(child.kind))
        admin = await self._nursery.first_admin(self._base.overrides("web"), self._known_key)
        if not await self._all_ready(stop):
            return None
        host, port = listener.getsockname()[:2]
        shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - a comparison, not a bind
        url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
        seconds = self._clock.monotonic() - began
        self._say(
            "processes",
            f"web, {worker.count} worker{'s' if worker.count > 1 else ''}, scheduler, broker, {seconds:.1f} s",
        )
        return Started(
            url=url,
            seconds=seconds,
            embedded=self._base.embedded,
            key=str(admin["key"]),
            sign_in_path=cast("str | None", admin["sign_in_path"]),
            first=bool(admin["created"]),
        )

    async def _all_ready(self, stop: asyncio.Event) -> bool:
        """Wait for all children; False if asked to stop meanwhile. Raises Unavailable `process.not_ready`."""
        give_up = self._clock.monotonic() + _READY_S
        waiting = list(self._children)
        while waiting and not stop.is_set():
            for child in list(waiting):
                if child.exited is not None and child.exited.done():
                    raise self._not_ready(child, f"ended ({_how(child.exited.result())})")
                if await self._nursery.is_ready(child):
                    waiting.remove(child)
            if waiting and self._clock.monotonic() > give_up:
                raise self._not_ready(waiting[0], f"is not ready after {_READY_S:g} s")
            if waiting:
                await self._clock.sleep(_POLL_S)
        return not stop.is_set()

    def _not_ready(self, child: Child, what: str) -> Unavailable:
        said = self._nursery.last_words(child.name)
        return Unavailable(
            "process.not_ready",
            f"The process {child.name} {what}." + (f" It said last:\n{said}" if said else ""),
            hint=f"Its log: {self._nursery.log_of(child.name)}",
            retryable=False,
        )

    async def _keep(self, child: Child) -> None:
        """Start the child again whenever it ends."""
        while child.exited is not None and self._base is not None:
            code = await asyncio.shield(child.exited)
            lasted = self._clock.monotonic() - child.started_at
            child.failures = 1 if lasted > STEADY_S else child.failures + 1
            delay = restart_delay(child.failures)
            self._telemetry.emit("child.exited", 1.0, child=child.name, code=code, restart_in_s=delay)
            again = "at once" if delay == 0 else f"in {delay:g} s"
            self._say(child.name, f"ended ({_how(code)}); starting it again {again}")
            await self._clock.sleep(delay)
            try:
                await self._nursery.spawn(child, self._base.overrides(child.kind))
            except Unavailable as problem:
                self._say(child.name, str(problem))
                await self._clock.sleep(RESTART_MAX_S)

    async def _keep_database(self) -> None:
        """Start the embedded server again if it dies; children reconnect by themselves."""
        while self._base is not None:
            await self._clock.sleep(_WATCH_S)
            try:
                if await asyncio.to_thread(self._base.revive):
                    self._say("database", "the server had ended; started it again")
            except Problem as problem:
                self._say("database", str(problem))

    async def _stop_all(self) -> None:
        for kind in ("web", "worker", "broker", "scheduler"):
            await asyncio.gather(*(self._nursery.stop(child) for child in self._children if child.kind == kind))
        await self._nursery.close()
        if self._base is not None:
            await asyncio.to_thread(self._base.stop)


def record_started(settings: Settings, started: Started, pid: int) -> None:
    """Leave in the data folder who runs it and where."""
    state: dict[str, object] = {
        "pid": pid,
        "url": started.url,
        "workers": settings.worker.count,
        "embedded": started.embedded,
    }
    write_state(settings.data, state)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"
