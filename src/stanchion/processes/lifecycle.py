"""How a process begins and ends: signals, grace, its parent's death, its own secrets."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import uvloop

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
# Beyond its grace a process gets so long to close what it holds, then the kernel ends it.
_LAST_SECONDS = 5.0


def run_process(main: Callable[[asyncio.Event], Awaitable[int]], *, grace_s: float) -> int:
    """Run `main` until it returns an exit code.

    `main` receives an event that is set by the first SIGTERM or SIGINT; it then has `grace_s` seconds. The second
    signal ends the process at once with 128 + its number. If the loop itself is stuck, an alarm ends the process.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_guarded(main, grace_s))


async def _guarded(main: Callable[[asyncio.Event], Awaitable[int]], grace_s: float) -> int:
    stop = asyncio.Event()

    def asked(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        signal.setitimer(signal.ITIMER_REAL, grace_s + _LAST_SECONDS)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    try:
        return await main(stop)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def die_with(parent: int) -> None:
    """Have the kernel send SIGTERM when the parent dies, however it dies, so that no process outlives its supervisor."""
    if sys.platform != "linux":
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(128 + signal.SIGTERM)


def name_process(name: str) -> None:
    """What `ps -o comm` and `top` show of this process; 15 bytes at most."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def keep_secrets() -> None:
    """Make the process non-dumpable: no core file, and no other process of this user reads its memory (I9)."""
    if sys.platform == "linux":
        _prctl(_PR_SET_DUMPABLE, 0)


def calm_collector() -> None:
    """Have the garbage collector look less often, and never again at what start-up made.

    A worker makes a few thousand short-lived objects per batch of checkpoints, nearly all of them freed by their
    reference counts; by default a collection runs after every 700 (measured: 10 to 20 % of the CPU of a step).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
