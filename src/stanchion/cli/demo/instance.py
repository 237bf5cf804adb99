"""The instance the demo runs on: one that is running in the data folder, or one it starts and stops itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from stanchion.base.errors import Conflict, Unavailable
from stanchion.cli.client import Api
from stanchion.cli.profiles import local_profile
from stanchion.processes.folder import is_running, prepare_data, read_state

_START_S = 110.0
_STOP_S = 60.0
_POLL_S = 0.05
_LOG = "up.log"


class Instance:
    """Starts `stanchion up` for the block, unless it runs already; stops what it started unless `keep`."""

    def __init__(self, data: Path, *, keep: bool, say: Callable[[str], None]) -> None:
        self.data = data
        self.keep = keep
        self.started = False
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        prepare_data(self.data)
        if not is_running(self.data):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.started and not (self.keep and kind is None):
            self.stop()

    @property
    def api(self) -> Api:
        """A client with the admin's key."""
        profile = local_profile(self.data)
        if profile is None:
            raise Conflict("demo.no_profile", f"There is no profile in {self.data}.", hint="Restart `stanchion up`.")
        return Api(profile.url, profile.token)

    def _start(self) -> None:
        log = self.data / "log" / _LOG
        with log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "stanchion", "up", "--data", str(self.data)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        self.started = True
        try:
            with log.open("rb") as said:
                self._await(said, log)
        except BaseException:
            self.stop()
            raise

    def _await(self, said: IO[bytes], log: Path) -> None:
        """Wait until it is ready, passing on each stage it reports."""
        process = self._process
        give_up = time.monotonic() + _START_S  # noqa: TID251 - the client's own wait for a process
        while process is not None:
            for line in said.read().decode("utf-8", "replace").splitlines():
                if line.startswith("● "):
                    self._say(line)
            state = read_state(self.data)
            if state is not None and state.get("pid") == process.pid:
                return
            if process.poll() is not None:
                words = log.read_text(encoding="utf-8", errors="replace").strip()
                raise Unavailable(
                    "demo.up_failed",
                    f"Stanchion did not start:\n{words}",
                    hint="`stanchion doctor` checks this machine.",
                )
            if time.monotonic() > give_up:  # noqa: TID251 - as above
                raise Unavailable(
                    "demo.up_slow", f"Stanchion was not ready after {_START_S:g} s.", hint=f"Its words: {log}"
                )
            time.sleep(_POLL_S)  # noqa: TID251 - as above

    def stop(self) -> None:
        """Stop what was started, in order; nothing happens if nothing was."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def stop_running(data: Path) -> int | None:
    """Stop the `up` of a data folder and wait for its end; its pid, or None if none runs."""
    if not is_running(data):
        return None
    pid = (read_state(data) or {}).get("pid")
    if not isinstance(pid, int):
        raise Conflict("demo.no_pid", f"A Stanchion that is starting holds {data}.", hint="Try again in a moment.")
    os.kill(pid, signal.SIGTERM)
    give_up = time.monotonic() + _STOP_S  # noqa: TID251 - the client's own wait for a process
    while is_running(data):
        if time.monotonic() > give_up:  # noqa: TID251 - as above
            raise Unavailable(
                "demo.still_running", f"Process {pid} did not end within {_STOP_S:g} s.", hint=f"kill -9 {pid}"
            )
        time.sleep(_POLL_S)  # noqa: TID251 - as above
    return pid
