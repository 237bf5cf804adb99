"""Peers in processes of their own, under a time limit."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

from bench.rows import NotMeasured

PEER_S_MAX = 240


def peer(module: str, *said: object) -> dict[str, float]:
    """What `python -m bench.peers.<module> *said` prints last, a JSON object. Raises NotMeasured with the reason."""
    command = [sys.executable, "-m", f"bench.peers.{module}", *map(str, said)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PEER_S_MAX)
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"not done after {PEER_S_MAX} s") from None
    if done.returncode:
        # The last line of a traceback that is not indented: an error's message may go on over several lines.
        lines = [line for line in done.stderr.splitlines() if line[:1].strip()] or [f"exit code {done.returncode}"]
        raise NotMeasured(lines[-1][:200])
    return json.loads(done.stdout.strip().splitlines()[-1])


def named(package: str) -> str:
    """A package with its version, as rows name peers; without one where it is not installed."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package
