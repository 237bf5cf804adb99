"""The supervisor's children: real processes, told over a pipe how to run, restarted when they end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from stanchion.base import Unavailable
from stanchion.base.settings import Settings
from stanchion.processes.boot import write_boot
from stanchion.processes.sockets import ask_unix

# The first restart is at once: most crashes are single. Then twice as long each time, at most RESTART_MAX_S.
RESTART_S = 0.25
RESTART_MAX_S = 10.0
# A process that ran so long is well again: its next crash counts as the first.
STEADY_S = 30.0
_LOG_BYTES_MAX = 8 * 1024 * 1024
_TAIL_BYTES = 4096


def restart_delay(failures: int) -> float:
    """Seconds before the restart after the `failures`-th crash in a row, counted from 1."""
    return 0.0 if failures <= 1 else min(RESTART_MAX_S, RESTART_S * 2 ** (failures - 2))


@dataclass(slots=True, kw_only=True)
class Child:
    """One place in the catalogue of processes, and the process that fills it now.

    Attributes:
        kind: `web`, `worker` or `scheduler`: what follows `stanchion serve`.
        name: unique in the data folder; names its health socket and its log.
        grace_s: how long it may take to stop.
        listen_fd: a listening socket it inherits, so that connections wait while it restarts.
    """

    kind: str
    name: str
    grace_s: float
    listen_fd: int | None = None
    process: asyncio.subprocess.Process | None = None
    failures: int = 0
    started_at: float = 0.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class Nursery:
    """Spawns, boots and stops children of one data folder."""

    def __init__(self, settings: Settings, *, config: str | None, show_logs: bool) -> None:
        self._settings = settings
        self._config = config
        self._show_logs = show_logs
        self._logs = settings.data / "log"
        self._spares: dict[str, asyncio.subprocess.Process] = {}

    def log_of(self, name: str) -> Path:
        """The file that a child's log goes to."""
        return self._logs / f"{name}.log"

    async def spawn(self, child: Child) -> None:
        """Start the process behind `child`; it loads its code and waits for `boot`. A spare is taken if there is one."""
        spare = self._spares.pop(child.kind, None)
        if spare is not None and spare.returncode is None:
            child.process = spare
            return
        child.process = await self._start(child.kind, child.name, child.listen_fd)

    async def keep_spare(self, kind: str) -> None:
        """Keep one process of `kind` loaded and waiting, so that a replacement needs no start of Python."""
        kept = self._spares.get(kind)
        if kept is None or kept.returncode is not None:
            self._spares[kind] = await self._start(kind, f"{kind}-spare", None)

    def boot(self, child: Child, overrides: Mapping[str, object]) -> None:
        """Tell the child how to run. A child that died meanwhile is found by its exit."""
        if child.process is not None and child.process.stdin is not None:
            line = write_boot(overrides, config=self._config, name=child.name, listen_fd=child.listen_fd)
            with suppress(OSError):
                child.process.stdin.write(line)

    async def _start(self, kind: str, name: str, listen_fd: int | None) -> asyncio.subprocess.Process:
        log = self._open_log(name)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", "stanchion", "serve", kind, "--supervised",
                stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
                pass_fds=() if listen_fd is None else (listen_fd,),
                start_new_session=True,  # Ctrl-C in the terminal is the supervisor's to pass on
            )  # fmt: skip
        except OSError as error:
            raise Unavailable("process.spawn", f"The process {name} cannot be started: {error.strerror}.") from error
        finally:
            if log is not None:
                log.close()

    def _open_log(self, name: str) -> IO[bytes] | None:
        if self._show_logs:
            return None
        self._logs.mkdir(mode=0o700, exist_ok=True)
        path = self.log_of(name)
        with suppress(FileNotFoundError):
            if path.stat().st_size > _LOG_BYTES_MAX:
                path.replace(path.with_suffix(".log.1"))
        return os.fdopen(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "ab"
        )

    def last_words(self, name: str) -> str:
        """The end of a child's log: why it did not start."""
        try:
            data = self.log_of(name).read_bytes()[-_TAIL_BYTES:]
        except OSError:
            return ""
        return "\n".join(data.decode("utf-8", "replace").splitlines()[-12:])

    async def is_ready(self, child: Child) -> bool:
        """Whether the child says over its health socket that it is ready."""
        status, _ = await asyncio.to_thread(ask_unix, self._settings.run_folder / f"{child.name}.sock", "/health/ready")
        return status == 200

    async def stop(self, child: Child) -> None:
        """SIGTERM, then SIGKILL when its grace and a little more have passed."""
        await _end(child.process, child.grace_s + 6)

    async def stop_spares(self) -> None:
        """End the processes that only wait."""
        for process in self._spares.values():
            _signal(process, signal.SIGKILL)
            await process.wait()
        self._spares.clear()


async def _end(process: asyncio.subprocess.Process | None, grace_s: float) -> None:
    if process is None or process.returncode is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)


Say = Callable[[str, str], None]
