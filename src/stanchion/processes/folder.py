"""The data folder as a whole: made with the right modes, one supervisor at a time, and what `up` leaves in it.

run/         health sockets, the broker's socket, the supervisor's lock and state (0700)
log/         logs of the processes (0700)
profile.json address and admin key for the command line on this machine (0600)
pepper       the key that credentials are hashed with (0600)
signing-key  the key that bundles of releases are signed with, made when it is first needed (0600)
connectors/  files that connectors name
postgres/    the embedded database
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from stanchion.base import Conflict, Problem, Unavailable, dumps, loads

STATE_FILE = "up.json"


def prepare_data(data: Path) -> None:
    """Make the folder and its rooms. Raises Unavailable `data.unusable` with what the system said."""
    try:
        # As root the database server runs under another user, who must be able to pass through (DESIGN §4).
        data.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        for room in ("run", "log", "connectors"):
            (data / room).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        a_file = isinstance(error, FileExistsError | NotADirectoryError)
        raise Unavailable(
            "data.unusable",
            f"The data folder {data} cannot be used: {f'{error.filename} is no folder' if a_file else error.strerror}.",
            hint=f"Choose another with --data, or {'move that file away' if a_file else 'give this user the folder'}.",
            retryable=False,
        ) from error


def write_private(path: Path, content: object) -> None:
    """Replace `path` by JSON, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        draft.unlink()
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    draft.replace(path)


def local_file(data: Path, name: str | None = None) -> Path:
    """The profile of this machine, `{url, token}`: the admin's, or a named one beside it."""
    return data / ("profile.json" if name is None else f"profile-{name}.json")


def kept_key(data: Path) -> str | None:
    """The admin's key that an earlier `up` kept; None if there is none or it cannot be read: then another is made."""
    try:
        found = loads(local_file(data).read_bytes())
    except (OSError, Problem):
        return None
    token = found.get("token") if isinstance(found, dict) else None
    return token if isinstance(token, str) else None


class UpLock:
    """Held by the one supervisor of a data folder; the kernel releases it when that dies, however it dies."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._handle = -1

    def acquire(self) -> None:
        """Take it now. Raises Conflict `up.running` with the pid and address of the one that has it."""
        path = self._data / "run" / "lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            state = read_state(self._data) or {}
            pid, url = state.get("pid", "unknown"), state.get("url", "")
            where = f" at {url}" if url else ""
            raise Conflict(
                "up.running",
                f"A Stanchion is running in {self._data} already (process {pid}){where}.",
                hint=f"Use it (stanchion --help), stop it (kill {pid}), or choose another --data.",
                pid=pid,
                url=url,
            ) from error
        self._handle = handle

    def release(self) -> None:
        """Give it back."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def write_state(data: Path, state: dict[str, object]) -> None:
    """Say who supervises the folder: `{pid, url, workers, database}`."""
    draft = data / "run" / f".{STATE_FILE}.new"
    draft.write_bytes(dumps(state) + b"\n")
    draft.replace(data / "run" / STATE_FILE)


def read_state(data: Path) -> dict[str, object] | None:
    """What `write_state` left; None if there is nothing. It may be stale: the lock tells whether anyone lives."""
    try:
        state = loads((data / "run" / STATE_FILE).read_bytes())
    except OSError:
        return None
    return dict(state) if isinstance(state, dict) else None


def is_running(data: Path) -> bool:
    """Whether a supervisor holds the folder now."""
    lock = UpLock(data)
    try:
        lock.acquire()
    except Conflict:
        return True
    except OSError:
        return False
    lock.release()
    return False


def clear_state(data: Path) -> None:
    """Nobody supervises the folder any more."""
    (data / "run" / STATE_FILE).unlink(missing_ok=True)
