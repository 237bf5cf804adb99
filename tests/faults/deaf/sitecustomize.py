"""Loaded into a worker by PYTHONPATH: it LISTENs, and hears nothing. What reached it is noted and thrown away."""

import sys
from pathlib import Path


def _deafen() -> None:
    from stanchion.base.config import read_environment
    from stanchion.queue import listener

    note = Path(read_environment()["SWALLOWED"])
    hears = listener.Listener.messages

    async def messages(self, timeout_s=None):
        async for _ in hears(self, timeout_s):
            with note.open("a") as file:
                file.write("x")
        return
        yield

    listener.Listener.messages = messages


if "stanchion" in " ".join(sys.orig_argv):
    _deafen()
