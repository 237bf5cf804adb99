"""The supervisor's children: real processes, forked by a loader (`zygote`), watched, stopped, replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from stanchion.base import Clock, Json, SystemIds, Unavailable, dumps, loads
from stanchion.base.config import read_environment
from stanchion.base.settings import Settings
from stanchion.db import ProcessType
from stanchion.processes.boot import Private, boot_said, hand_over
from stanchion.processes.sockets import ask_unix
from stanchion.tools.broker.proofs import KEY_BYTES, issue

# The first restart is at once: most crashes are single. Then twice as long each time, at most RESTART_MAX_S.
RESTART_S = 0.25
RESTART_MAX_S = 10.0
# A process that ran so long is well again: its next crash counts as the first.
STEADY_S = 30.0
_LOG_BYTES_MAX = 8 * 1024 * 1024
_TAIL_BYTES = 4096
_MESSAGE_BYTES_MAX = 65_536
_ADMIN_S = 30.0
_INHERITED = frozenset({"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LANGUAGE", "VIRTUAL_ENV"})
_INHERITED_BY_PREFIX = ("STANCHION_", "LC_", "SSL_CERT_", "PYTHON", "LD_", "COVERAGE_")


def restart_delay(failures: int) -> float:
    """Seconds before the restart after the `failures`-th crash in a row, counted from 1."""
    return 0.0 if failures <= 1 else min(RESTART_MAX_S, RESTART_S * 2 ** (failures - 2))


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What the children have of the supervisor's environment: settings, and what programs need to run at all. What else
    a shell holds (other programs' credentials) is nothing to them."""
    return {
        name: value
        for name, value in environment.items()
        if name in _INHERITED or name.startswith(_INHERITED_BY_PREFIX)
    }


@dataclass(slots=True, kw_only=True)
class Child:
    """One place in the catalogue of processes, and the process that fills it now.

    Attributes:
        kind: `broker`, `web`, `worker` or `scheduler`.
        name: unique in the data folder; names its health socket and its log.
        grace_s: how long it may take to stop.
        listen_fd: a listening socket it inherits, so that connections wait while it is replaced.
        pid: of the process, 0 before the first. `exited`: its exit code, once it has one.
        failures: crashes in a row. `started_at`: monotonic seconds of the last start.
    """

    kind: ProcessType
    name: str
    grace_s: float
    listen_fd: int | None = None
    pid: int = 0
    exited: asyncio.Future[int] | None = None
    failures: int = 0
    started_at: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.exited is not None and not self.exited.done()


class Nursery:
    """Spawns and stops the children of one data folder, by way of one loader."""

    def __init__(self, settings: Settings, *, config: str | None, show_logs: bool, clock: Clock) -> None:
        self._settings = settings
        self._config = config
        self._show_logs = show_logs
        self._clock = clock
        self._logs = settings.data / "log"
        self._loader: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._loaded: asyncio.Future[None] | None = None
        self._spawning: dict[int, asyncio.Future[int]] = {}
        self._living: dict[int, asyncio.Future[int]] = {}
        self._count = 0
        self._starts = 0
        # Of this `up` alone: who was started by another one is a stranger to the broker.
        self._master = SystemIds(clock).secret(KEY_BYTES)
        self._closing = False
        self._environment = read_environment()

    def load(self) -> None:
        """Start the loader; it imports while the caller goes on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        loop = asyncio.get_running_loop()
        log = self._open_log("loader")
        try:
            self._loader = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "stanchion.processes.zygote", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs.fileno(),),
                env=_inherited(self._environment), start_new_session=True,  # Ctrl-C in the terminal is the supervisor's to pass on
            )  # fmt: skip
        except OSError as error:
            ours.close()
            raise Unavailable("process.spawn", f"No process can be started: {error.strerror}.") from error
        finally:
            theirs.close()
            os.close(log)
        ours.setblocking(False)
        self._channel, self._loaded = ours, loop.create_future()
        loop.add_reader(ours, self._hear)

    async def spawn(self, child: Child, overrides: Mapping[str, object]) -> None:
        """Start the process behind `child`. Raises Unavailable `process.loader` if the loader does not start."""
        boot = boot_said(overrides, config=self._config, name=child.name)
        listen = [] if child.listen_fd is None else [child.listen_fd]
        child.started_at = self._clock.monotonic()
        private = hand_over(self._private(child))
        try:
            child.pid = await self._ask(child.kind, child.name, {"boot": boot}, [private, *listen])
        finally:
            os.close(private)
        child.exited = self._living[child.pid]

    def _private(self, child: Child) -> Private:
        """What this start of the child is told alone."""
        if child.kind == "broker":
            return Private(master=self._master, environment=self._secret_variables())
        self._starts += 1
        return Private(ticket=issue(self._master, child.kind, child.name, self._starts))

    def _secret_variables(self) -> dict[str, str]:
        """The variables that `secret://env` reads: the broker's alone."""
        prefix = self._settings.secrets.env_prefix
        return {n: v for n, v in self._environment.items() if prefix is not None and n.startswith(prefix)}

    async def first_admin(self, overrides: Mapping[str, object], known_key: str | None) -> dict[str, Json]:
        """The answer of `bootstrap.admin.first_admin`, made in a process of its own. Raises Unavailable `process.admin`."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            boot = boot_said(overrides, config=self._config, name="admin")
            pid = await self._ask("admin", "admin", {"boot": boot, "known_key": known_key}, [writing])
        finally:
            os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            try:
                async with asyncio.timeout(_ADMIN_S):
                    code = await self._living[pid]
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                code = -signal.SIGKILL
            data = answer.read() if code == 0 else b""
        if not data:
            raise Unavailable(
                "process.admin", f"The first admin could not be made:\n{self.last_words('admin')}", retryable=False
            )
        return cast("dict[str, Json]", loads(data))

    async def is_ready(self, child: Child) -> bool:
        """Whether the child says over its health socket that it is ready."""
        status, _ = await asyncio.to_thread(ask_unix, self._settings.run_folder / f"{child.name}.sock", "/health/ready")
        return status == 200

    async def stop(self, child: Child) -> None:
        """SIGTERM, then SIGKILL when its grace and a little more have passed."""
        if child.exited is None:
            return
        if child.alive:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(child.grace_s + 6):
                await asyncio.shield(child.exited)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            await child.exited

    async def close(self) -> None:
        """End the loader; children that still live end with it."""
        self._closing = True
        self._drop_channel()
        if self._loader is not None:
            await asyncio.to_thread(self._loader.wait)
            self._loader = None

    def log_of(self, name: str) -> Path:
        """The file that a child's log goes to."""
        return self._logs / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The end of a child's log: why it did not start."""
        try:
            data = self.log_of(name).read_bytes()[-_TAIL_BYTES:]
        except OSError:
            return ""
        return "\n".join(data.decode("utf-8", "replace").splitlines()[-12:])

    async def _ask(self, kind: str, name: str, said: Mapping[str, object], fds: list[int]) -> int:
        if self._channel is None:
            self.load()
        if self._loaded is None or self._channel is None:
            raise self._no_loader()
        await asyncio.shield(self._loaded)
        self._count += 1
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._spawning[self._count] = answer
        log = self._open_log(name)
        try:
            data = dumps({"op": "spawn", "id": self._count, "kind": kind, **said})
            socket.send_fds(self._channel, [data], [log, *fds])
        except OSError as error:
            raise self._no_loader() from error
        finally:
            os.close(log)
        return await answer

    def _hear(self) -> None:
        try:
            data = self._channel.recv(_MESSAGE_BYTES_MAX) if self._channel is not None else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loader_went()
            return
        said = cast("dict[str, Any]", loads(data))
        loop = asyncio.get_running_loop()
        if "loaded" in said and self._loaded is not None:
            self._loaded.set_result(None)
        elif "spawned" in said:
            self._living[said["pid"]] = loop.create_future()
            self._spawning.pop(said["spawned"]).set_result(said["pid"])
        elif "exited" in said and (living := self._living.pop(said["exited"], None)) is not None:
            living.set_result(said["code"])

    def _loader_went(self) -> None:
        """It was killed, or never loaded: whoever waits for it hears so, and its children are no more."""
        self._drop_channel()
        if self._loader is not None:  # it may take a moment more to be gone, and would be left as a zombie
            asyncio.get_running_loop().run_in_executor(None, self._loader.wait)
        problem = self._no_loader()
        if self._loaded is not None and not self._loaded.done():
            self._loaded.set_exception(problem)
        for waiting in self._spawning.values():
            waiting.set_exception(problem)
        self._spawning.clear()
        for pid, living in self._living.items():
            if not self._closing:
                # The kernel told them to stop; what replaces them must not meet them.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            living.set_result(-signal.SIGKILL)
        self._living.clear()

    def _drop_channel(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None

    def _no_loader(self) -> Unavailable:
        words = self.last_words("loader")
        return Unavailable(
            "process.loader",
            "The process that starts the others ended." + (f" It said last:\n{words}" if words else ""),
        )

    def _open_log(self, name: str) -> int:
        if self._show_logs:
            return os.dup(2)
        self._logs.mkdir(mode=0o700, exist_ok=True)
        path = self.log_of(name)
        with suppress(FileNotFoundError):
            if path.stat().st_size > _LOG_BYTES_MAX:
                path.replace(path.with_suffix(".log.1"))
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
