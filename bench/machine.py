"""What the machine does meanwhile: CPU of processes and their children, idle cores, memory. Linux's /proc."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
CORES = len(os.sched_getaffinity(0))


def cpu_s(pid: int, *, reaped: bool = False) -> float:
    """CPU seconds that a process has used; with `reaped`, of its children that ended, too. 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(field) for field in fields[11 : 15 if reaped else 13]) / _TICKS


def tree_cpu_s(pid: int) -> float:
    """CPU seconds of a process, its living descendants and those of them that ended: it never goes back."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    total, todo = 0.0, [pid]
    while todo:
        one = todo.pop()
        total += cpu_s(one, reaped=True)
        todo += parents.get(one, [])
    return total


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has ended")


def _idle_s() -> float:
    """Seconds that the machine's cores had nothing to do (waiting for the disk counts: nothing else wanted the core)."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(fields[4]) + int(fields[5])) / _TICKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Cores in use on average: by the workers, by PostgreSQL, by nobody, by others (the bench's own look is small)."""

    seconds: float
    workers: float
    postgres: float
    idle: float

    @property
    def others(self) -> float:
        return max(0.0, CORES - self.workers - self.postgres - self.idle)


@dataclass(slots=True)
class Meter:
    """CPU between `start` and `stop`.

    Attributes:
        workers: process ids. `postgres`: of the postmaster.
    """

    workers: Iterable[int]
    postgres: int
    _at: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0))

    def _read(self) -> tuple[float, float, float, float]:
        used = sum(cpu_s(pid) for pid in self.workers)
        return time.monotonic(), used, tree_cpu_s(self.postgres), _idle_s()

    def start(self) -> None:
        self._at = self._read()

    def stop(self) -> Load:
        now = self._read()
        seconds, workers, postgres, idle = (b - a for a, b in zip(self._at, now, strict=True))
        return Load(seconds=seconds, workers=workers / seconds, postgres=postgres / seconds, idle=idle / seconds)


class Sampler:
    """Calls `look` every `every_s` seconds in a thread of its own, and keeps what it returned."""

    def __init__(self, look: Callable[[], float], every_s: float) -> None:
        self._look = look
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.seen: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mean(self) -> float:
        return sum(self.seen) / len(self.seen) if self.seen else 0.0

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.seen.append(self._look())
