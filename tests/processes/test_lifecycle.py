"""Signals, grace and a parent's death, on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PRELUDE = """
import asyncio, os, signal, sys, threading
from stanchion.processes.lifecycle import die_with, keep_secrets, run_process
"""


def start(body: str, **options) -> subprocess.Popen[str]:
    code = PRELUDE + textwrap.dedent(body)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = process.communicate(timeout=30)
    return process.returncode, out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_and_main_ends_in_order(number):
    process = start("""
        async def main(stop):
            print("up", flush=True)
            await stop.wait()
            print("flushed", flush=True)
            return 3
        sys.exit(run_process(main, grace_s=30))
    """)
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert ended(process) == (3, "flushed\n")


def test_the_second_signal_ends_at_once():
    process = start("""
        async def main(stop):
            print("up", flush=True)
            await stop.wait()
            print("asked", flush=True)
            await asyncio.Event().wait()
            return 0
        sys.exit(run_process(main, grace_s=30))
    """)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (128 + signal.SIGTERM, "")


def test_a_loop_that_is_stuck_is_ended_when_its_grace_has_passed():
    process = start("""
        from stanchion.processes import lifecycle
        lifecycle._LAST_SECONDS = 0.05
        async def main(stop):
            print("up", flush=True)
            await stop.wait()
            print("stuck", flush=True)
            threading.Event().wait()
            return 0
        sys.exit(run_process(main, grace_s=0.05))
    """)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (-signal.SIGALRM, "stuck\n")


def test_a_child_does_not_outlive_its_parent():
    process = start("""
        import subprocess
        code = "import os,sys,signal; sys.path.insert(0, os.getcwd()); from stanchion.processes.lifecycle import die_with; die_with(os.getppid()); print(os.getpid(), flush=True); signal.pause()"
        child = subprocess.Popen([sys.executable, "-c", code])
        signal.pause()
    """)
    pid = int(process.stdout.readline())
    watched = os.pidfd_open(pid)
    process.kill()
    process.communicate()
    import select

    assert select.select([watched], [], [], 10)[0], "the child lives on"
    os.close(watched)


def test_a_process_with_secrets_cannot_be_read_by_others_of_its_user():
    process = start("""
        keep_secrets()
        print("kept", flush=True)
        sys.stdin.read()
    """, stdin=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == "kept\n"
    # A non-dumpable process belongs to root in /proc, whoever runs it (prctl(2)); `mem` of root's own is told by this.
    assert Path(f"/proc/{process.pid}/environ").stat().st_uid == 0
    limit = Path(f"/proc/{process.pid}/coredump_filter")
    assert limit.exists()
    process.communicate("", timeout=30)
