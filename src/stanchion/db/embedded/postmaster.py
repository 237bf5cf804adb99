"""A server process: whether the one a `postmaster.pid` names is alive and serves our data directory.

A pid alone proves nothing: after a crash the kernel gives it to someone else. A process is believed to be our
server if it is a `postgres` whose working directory is our data directory (PostgreSQL stays in it), and it is used
only after it has proved over its socket that it knows the superuser's password and the cluster's id.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stanchion.base import Unavailable
from stanchion.db.embedded.layout import Layout, write_whole
from stanchion.db.embedded.unprivileged import Account

# Linux gives out pids up to 2^22 (PID_MAX_LIMIT), so no process ever has this one.
_NOBODYS_PID = 2**31 - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """`postmaster.pid` (src/include/utils/pidfile.h): line 1 the pid, 5 the socket's folder, 8 the state."""

    pid: int
    socket_dir: str
    status: str


class Process:
    """A process held by a pidfd, so that a signal can never reach another one that got its pid."""

    def __init__(self, pid: int, *, is_child: bool) -> None:
        """Raises ProcessLookupError if there is none; Unavailable `db.pidfd` on a kernel before 5.3."""
        self.pid = pid
        self.is_child = is_child
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError as error:
            if isinstance(error, ProcessLookupError):
                raise
            raise Unavailable(
                "db.pidfd",
                f"The server process {pid} cannot be watched: {error.strerror}.",
                hint="The embedded PostgreSQL needs Linux 5.3 or newer with pidfd_open.",
                retryable=False,
            ) from error

    def wait(self, seconds: float) -> bool:
        """Whether the process has ended, waiting at most `seconds` for it."""
        if self._pidfd < 0:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    @property
    def alive(self) -> bool:
        """Whether it still runs; one that has ended and waits for its parent does not."""
        return not self.wait(0)

    def send(self, number: signal.Signals) -> None:
        """Signal it; nothing happens if it has ended."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        """Let go of it, and if it is a child that has ended, of its entry in the process table."""
        if self._pidfd >= 0:
            ended = self.wait(0)
            os.close(self._pidfd)
            self._pidfd = -1
            if self.is_child and ended:
                with suppress(ChildProcessError):
                    os.waitpid(self.pid, os.WNOHANG)


def read_pid_file(layout: Layout) -> PidFile | None:
    """The content of `postmaster.pid`; None if there is none or it names no process."""
    try:
        lines = (layout.cluster / "postmaster.pid").read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    lines += [b""] * 8
    try:
        pid = int(lines[0])
    except ValueError:
        return None
    if pid <= 0 or pid == _NOBODYS_PID:
        return None
    return PidFile(
        pid=pid, socket_dir=os.fsdecode(lines[4].strip()), status=lines[7].strip().decode("ascii", "replace")
    )


def find_server(layout: Layout) -> Process | None:
    """The process that serves our data directory by `postmaster.pid`, if that is so."""
    written = read_pid_file(layout)
    if written is None:
        return None
    try:
        process = Process(written.pid, is_child=False)
    except ProcessLookupError:
        return None
    if process.alive and _serves(process.pid, layout):
        return process
    process.close()
    return None


def retire_pid_file(layout: Layout, account: Account | None) -> None:
    """Make a stale `postmaster.pid` harmless: its pid is replaced by one no process can have.

    It is not removed, because its seventh line is the shared memory of the dead server: by it PostgreSQL itself
    refuses to start while a process of that server still writes (CreateLockFile in miscinit.c).
    """
    path = layout.cluster / "postmaster.pid"
    with suppress(FileNotFoundError):
        lines = path.read_bytes().split(b"\n")
        if len(lines) < 8:  # too short to name shared memory: cut off by a full disk or a power failure
            path.unlink()
            return
        lines[0] = str(_NOBODYS_PID).encode()
        write_whole(path, b"\n".join(lines), mode=0o600, owner=account)


def orphans(layout: Layout) -> list[Process]:
    """Processes of a server that was killed: `postgres` processes in our data directory. Call when no server lives."""
    found: list[Process] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _serves(int(entry.name), layout):
            with suppress(ProcessLookupError):
                found.append(Process(int(entry.name), is_child=False))
    return found


def listener(path: str) -> int | None:
    """The pid of the process listening on the Unix socket `path` (`@`: abstract); None if none does.

    Raises PermissionError if the socket is not for us.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(2)
        try:
            client.connect("\0" + path[1:] if path.startswith("@") else path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return peer_pid(client)


def peer_pid(client: socket.socket) -> int:
    """The pid of the process that called listen() at the other end (SO_PEERCRED, unix(7))."""
    pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return pid


def process_name(pid: int) -> str:
    """The name of a process for messages."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "unknown"


def _serves(pid: int, layout: Layout) -> bool:
    """Whether `pid` is a `postgres` in our data directory.

    Reading a process's working directory may be refused (root without CAP_SYS_PTRACE in a container); then its
    arguments decide, which anyone may read and which name the data directory we started it with.
    """
    if process_name(pid) != "postgres":
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(layout.cluster)
    except PermissionError:
        pass
    except OSError:
        return False
    try:
        return os.fsencode(layout.cluster) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
