"""Two hosts and a router between them, in network namespaces; the router can lose every packet without a word.

A cut that resets connections proves little: most outages say nothing. So the link of either host stays up, and what
it sends vanishes in the router.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults.servers import can

NEAR, FAR = "10.77.1.2", "10.77.2.2"


def can_route() -> bool:
    """Entering another's namespace and keeping one's rights in it takes root."""
    return os.geteuid() == 0 and shutil.which("ip") is not None and can("--net")


@dataclass
class Network:
    """`near` and `far` are the pids that hold the two hosts' namespaces, `router` the one between."""

    near: int
    far: int
    router: int

    def run(self, pid: int, *command: str) -> None:
        done = subprocess.run([*entering(pid), *command], check=False, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)

    def cut(self) -> None:
        """From now on the router drops what either sends to the other."""
        for address in (NEAR, FAR):
            self.run(self.router, "ip", "route", "add", "blackhole", f"{address}/32")

    def heal(self) -> None:
        for address in (NEAR, FAR):
            self.run(self.router, "ip", "route", "del", "blackhole", f"{address}/32")

    def passes(self) -> bool:
        """Whether a packet gets from the near host to the far one: a port that is closed answers, a cut does not."""
        code = f"import socket; s = socket.socket(); s.settimeout(1); print(s.connect_ex(('{FAR}', 9)))"
        said = subprocess.run(
            [*entering(self.near), sys.executable, "-c", code], check=False, capture_output=True, text=True
        )
        return said.stdout.strip() == "111"


def entering(pid: int) -> list[str]:
    """The command that runs another in the network namespace of `pid`."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network for the block: near 10.77.1.2 and far 10.77.2.2, each behind a link of its own to the router."""
    holders: list[subprocess.Popen[bytes]] = []

    def hold(*command: str) -> int:
        holder = subprocess.Popen([*command, "sh", "-c", "echo ready; exec sleep 600"], stdout=subprocess.PIPE)
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        return holder.pid

    try:
        router, near, far = (hold("unshare", "--net") for _ in range(3))
        net = Network(near=near, far=far, router=router)
        for number, host in ((1, near), (2, far)):
            net.run(
                router, "ip", "link", "add", f"r{number}", "type", "veth", "peer", "name", "eth", "netns", str(host)
            )
            net.run(router, "ip", "address", "add", f"10.77.{number}.1/24", "dev", f"r{number}")
            net.run(router, "ip", "link", "set", f"r{number}", "up")
            net.run(host, "ip", "address", "add", f"10.77.{number}.2/24", "dev", "eth")
            net.run(host, "ip", "link", "set", "eth", "up")
            net.run(host, "ip", "link", "set", "lo", "up")
            net.run(host, "ip", "route", "add", "default", "via", f"10.77.{number}.1")
        net.run(router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield net
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            if holder.stdout is not None:
                holder.stdout.close()
