"""Running a connector's command in a box: bubblewrap's namespaces and our seccomp filter around it.

What a boxed program has: `/usr` and its loader's cache to read, a small `/tmp` of its own, the folders that the
connector declares, its standard streams. What it has not: a network (unless declared), other processes, an environment,
capabilities, the file system otherwise. It dies with the process that started it.

Where the machine cannot make a box, the command is refused and never run without one, but for the one case that an
operator allowed by a setting (adr/0026). Such a command has the broker's user; Landlock takes from it what the broker alone
may read, and the right to trace the broker (adr/0031). A box with a network has the broker's, which no egress guards: that
is an operator's to allow too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stanchion.base import Denied, Unavailable, landlock
from stanchion.tools.sandbox.seccomp import program

# Where the connectors' folder stands in the box; the command's working folder.
INSIDE: Final = "/connectors"
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - the box's own
# `nobody`, in a user namespace: no user of this machine.
_NOBODY: Final = "65534"
_TMP_BYTES: Final = 64 * 1_048_576
# Of the command, by prlimit (util-linux): no core files, 1,024 open files, 4 GiB of data, and 512 threads and processes,
# which the kernel counts in the box's own user namespace and does not hold root to.
_LIMITS: Final = ("--core=0", "--nofile=1024", f"--data={4 * 1_073_741_824}", "--nproc=512")
_TRIAL_S: Final = 10.0
_LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")
_READ: Final = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
_READ_FOR_NETWORK: Final = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/pki",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that a boxed command sees, at `/connectors/{name}`. `path` is where it is outside."""

    name: str
    path: Path
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One command and what it is given. `command` is found in the box: a name on its PATH, or a path below a folder."""

    command: tuple[str, ...]
    folders: tuple[Folder, ...] = ()
    network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What to start: the whole command line, the file descriptors it inherits, its folder, its environment."""

    command: tuple[str, ...]
    pass_fds: tuple[int, ...]
    cwd: str
    environment: Mapping[str, str]


class Sandbox:
    """Whether and how this process can box commands. Built once; asks the machine once, and again after a refusal.

    Args:
        unboxed: the operator's setting `broker.unboxed_commands`: what is bound to the environment `local` may run
            without a box where none can be made.
        networked: `broker.networked_commands`: commands that declare `network: true` may have the broker's network.
        keep: what the broker alone may read, and no command without a box (`base.kept.held_by_broker`).
        needed: what such a command may use in any case: the connectors' folder.
        bubblewrap: the program; found on the PATH if not given.
    """

    def __init__(
        self,
        *,
        unboxed: bool = False,
        networked: bool = False,
        keep: Sequence[Path] = (),
        needed: Sequence[Path] = (),
        bubblewrap: str | None = None,
    ) -> None:
        self._unboxed = unboxed
        self._networked = networked
        self._keep = tuple(keep)
        self._needed = tuple(needed)
        self._bubblewrap = bubblewrap
        self._proven = False

    async def admit(self, environment: str, *, network: bool = False) -> bool:
        """Whether a command of a connector of that environment runs boxed; False where it may run without.

        Raises Denied `sandbox.network` where it wants one (`network`) that nobody allowed; `sandbox.unavailable`, with what is
        missing, where it may not run at all.
        """
        if network and not self._networked:
            raise Denied(
                "sandbox.network",
                "The connector's command wants a network (`network: true`), and this deployment allows that to none: it would"
                " be the broker's own, with the database, the metadata service and every private host in it.",
                hint="Run the server elsewhere and use `transport: http`, whose egress is guarded; or set"
                " `broker.networked_commands = true`, where the broker's network reaches nothing that such a command may not.",
            )
        reason = await self._missing()
        if reason is None:
            return True
        if self._unboxed and environment == "local":
            if landlock.version():
                return False
            reason += " Nor can it run without one: this kernel has no Landlock to keep the broker's keys from it."
        raise Denied(
            "sandbox.unavailable",
            f"Commands of connectors run only in a box, and this machine cannot make one: {reason}",
            hint="Install bubblewrap and permit user namespaces, or run the server elsewhere and use `transport: http`. "
            "For connectors of the environment local, `broker.unboxed_commands = true` runs them without a box.",
        )

    async def _missing(self) -> str | None:
        """Why no box can be made here, or None."""
        if self._proven:
            return None
        found = self._bubblewrap or shutil.which("bwrap")
        if found is None:
            return "bubblewrap (`bwrap`) is not installed."
        if program(os.uname().machine) is None:
            return f"there is no seccomp filter for the machine type {os.uname().machine}."
        self._bubblewrap = found
        with self.opened(Box(command=("true",))) as started:
            reason = await _tried(started)
        self._proven = reason is None
        return reason

    @contextlib.contextmanager
    def opened(self, box: Box) -> Generator[Started]:
        """The command line of a box, and the filter it reads, for as long as starting it takes."""
        filter_bytes = program(os.uname().machine) or b""
        fd = os.memfd_create("filter")
        try:
            os.write(fd, filter_bytes)
            os.lseek(fd, 0, os.SEEK_SET)
            line = (self._bubblewrap or "bwrap", *_arguments(box, fd), "--", "prlimit", *_LIMITS, "--", *box.command)
            yield Started(command=line, pass_fds=(fd,), cwd="/", environment={})
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def unboxed(self, box: Box, root: Path) -> Generator[Started]:
        """The same command without a box: the same environment, the connectors' folder as its own, and nothing of what the
        broker keeps. For a command that `admit` lets run so."""
        line = landlock.command_without(self._keep, (*self._needed, root), box.command)
        yield Started(command=line, pass_fds=(), cwd=str(root), environment=ENVIRONMENT)


def _arguments(box: Box, filter_fd: int) -> list[str]:
    """Bubblewrap's own arguments (bwrap(1)). What is mounted later lies over what is mounted before."""
    line = ["--unshare-all", *(["--share-net"] if box.network else []), "--unshare-user"]
    line += ["--uid", _NOBODY, "--gid", _NOBODY, "--cap-drop", "ALL", "--hostname", "box"]
    line += ["--die-with-parent", "--new-session", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        line += ["--setenv", name, value]
    line += ["--ro-bind", "/usr", "/usr"]
    for path in _LINKS:
        line += _as_there(path)
    for path in (*_READ, *(_READ_FOR_NETWORK if box.network else ())):
        line += ["--ro-bind-try", path, path]
    line += ["--proc", "/proc", "--dev", "/dev"]
    for path in ("/tmp", "/dev/shm"):  # noqa: S108 - the box's own
        line += ["--size", str(_TMP_BYTES), "--tmpfs", path]
    # /proc/sys is the kernel's own and asks for root's user id alone, which a box that root makes has outside of itself:
    # writable, its core_pattern would be a way out.
    line += ["--remount-ro", "/proc", "--remount-ro", "/dev", "--dir", INSIDE]
    for folder in sorted(box.folders, key=lambda folder: folder.name):
        line += ["--bind" if folder.writable else "--ro-bind", str(folder.path), f"{INSIDE}/{folder.name}"]
    return [*line, "--remount-ro", "/", "--chdir", INSIDE, "--seccomp", str(filter_fd)]


def _as_there(path: str) -> Sequence[str]:
    """`/bin` and its like are links into /usr on most systems, and folders on some."""
    if os.path.islink(path):  # noqa: PTH114 - a text goes in and a text comes out
        return ("--symlink", os.readlink(path), path)  # noqa: PTH115
    return ("--ro-bind-try", path, path)


async def _tried(started: Started) -> str | None:
    """Run a box that does nothing. What bubblewrap says is its own word, since `true` says nothing."""
    try:
        process = await asyncio.create_subprocess_exec(
            *started.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(started.environment),
            cwd=started.cwd,
            pass_fds=started.pass_fds,
        )
    except OSError as error:
        return f"bubblewrap cannot be started ({error.strerror})."
    try:
        async with asyncio.timeout(_TRIAL_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Unavailable("sandbox.slow", f"Making a box took more than {_TRIAL_S:g} s.", retryable=True) from None
    if process.returncode == 0:
        return None
    return f"{said.decode(errors='replace').strip()[:300] or 'bubblewrap failed'}."
