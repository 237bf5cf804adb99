"""One owner per data folder, one server per cluster: locks the kernel releases when their holders die, however.

flock belongs to the open file, not to the process: who inherits the descriptor holds the lock too. The owner's is
closed on exec. The server's is handed to every program we start on the cluster, and PostgreSQL's own children inherit
it, so it is free exactly when nobody writes there any more, also when their pids cannot be seen (another container).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stanchion.base import Conflict, dumps, loads


class FolderLock:
    """An exclusive lock on a file, held until `release` or the end of the process.

    The file stays when the lock is released: removing it would let two processes lock two files of one name.
    It holds `{"pid": …}` of the last holder, for messages only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def acquire(self) -> None:
        """Take the lock now; nothing happens if this object has it.

        Raises:
            Conflict: `db.data_in_use`, naming the holder's pid, if someone else has it.
            OSError: the file cannot be opened.
        """
        if self._handle is not None:
            return
        handle = _open(self._path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, dumps({"pid": os.getpid()}) + b"\n", 0)
        except BlockingIOError as error:
            holder = _holder(handle)
            os.close(handle)
            raise self._in_use(holder) from error
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _in_use(self, pid: int | None) -> Conflict:
        data = self._path.parent.parent
        if pid == os.getpid():
            who, todo = f"this process (pid {pid})", "Stop that one first"
        elif pid is not None:
            who, todo = f"process {pid}", f"Stop it (Ctrl-C in its terminal, or kill {pid})"
        else:
            who, todo = "another process", f"Find it with `fuser {self._path}` and stop it"
        return Conflict(
            "db.data_in_use",
            f"The data folder {data} is in use by {who}.",
            hint=f"{todo}, or choose another --data.",
            pid=pid,
        )


def try_lock(path: Path) -> int | None:
    """A descriptor of `path` that holds its lock, to be handed on and closed; None if someone has it."""
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _holder(handle: int) -> int | None:
    """The pid the holder wrote; None if it has not written it yet."""
    try:
        said = loads(os.pread(handle, 4096, 0))
    except Exception:  # noqa: BLE001 - whatever stands there only words a message
        return None
    pid = said.get("pid") if isinstance(said, dict) else None
    return pid if isinstance(pid, int) else None
