"""`stanchion up` as a real process, for tests: started once, looked at over its surfaces, ended by a signal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stanchion.base.config import read_environment
from stanchion.cli.client import Api
from stanchion.processes.sockets import ask_unix

WAIT_S = 60.0


def clean_environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in read_environment().items() if not name.startswith("STANCHION_")} | more


def until(found: Callable[[], object], what: str, wait_s: float = WAIT_S) -> object:
    """Poll a real process from outside; the result as soon as it is true."""
    give_up = time.monotonic() + wait_s
    while not (result := found()):
        assert time.monotonic() < give_up, f"{what} did not happen within {wait_s} s"
        time.sleep(0.02)
    return result


class Up:
    """One `stanchion up`."""

    def __init__(self, data: Path, *options: str, cwd: Path | None = None) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stanchion", "up", "--data", str(data), "--port", "0", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=clean_environment(),
        )  # fmt: skip
        self.said: list[str] = []

    def ready(self) -> Up:
        state = self.data / "run" / "up.json"

        def is_up() -> bool:
            assert self.process.poll() is None, self.process.communicate()[1]
            return state.exists() and json.loads(state.read_text())["pid"] == self.process.pid

        until(is_up, "ready")
        return self

    @property
    def profile(self) -> dict[str, str]:
        return json.loads((self.data / "profile.json").read_text())

    @property
    def url(self) -> str:
        return self.profile["url"]

    def api(self) -> Api:
        return Api(self.url, self.profile["token"])

    def pid_of(self, name: str) -> int:
        """The pid of a child: the peer of its health socket says it by its /proc entry's name."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue
                comm, parent = stat.partition("(")[2].rpartition(")")[0], int(stat.rpartition(")")[2].split()[1])
                if (
                    comm == f"stanchion:{name}"[:15]
                    and parent in {self.loader, self.process.pid}
                    and " Z " not in stat[-200:][:20]
                ):
                    return int(entry.name)
        return 0

    @property
    def loader(self) -> int:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text()
                except OSError:
                    continue
                if "(stanchion:load)" in stat and int(stat.rpartition(")")[2].split()[1]) == self.process.pid:
                    return int(entry.name)
        return 0

    def ready_of(self, name: str) -> bool:
        return ask_unix(self.data / "run" / f"{name}.sock", "/health/ready")[0] == 200

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, err


def gone(pid: int, wait_s: float = WAIT_S) -> bool:
    """Whether the process ends within `wait_s`."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watched], [], [], wait_s)[0])
    finally:
        os.close(watched)
