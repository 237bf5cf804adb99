"""The embedded server's folder `<data>/postgres`: what lies in it, whose it is, and whether it is ours.

    lock               held with flock while an owner lives; says who it is
    server.lock        held with flock while any process of the server lives
    credentials.json   0600: the cluster's id and the roles' passwords
    cluster/           PostgreSQL's data directory (owned by the server's user)
    setup/             a cluster in the making; becomes `cluster` by one rename, else is thrown away
    etc/               postgresql.conf and pg_hba.conf, written anew at each start
    log/               the server's log (owned by the server's user)
    run/               the socket, 0700 (owned by the server's user)

Nothing outside of it is created, changed or removed, but for `<data>` itself, which is created if it is missing.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stanchion.base import Conflict, Invalid, Problem, Unavailable
from stanchion.db.embedded.unprivileged import Account

# PostgreSQL keeps paths in buffers of MAXPGPATH = 1024 bytes (src/include/pg_config_manual.h) and appends
# names of its own; 100 bytes are plenty for those.
_PATH_BYTES_MAX = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The paths below `<data>/postgres`. `home` is absolute and free of symbolic links."""

    home: Path

    @property
    def data(self) -> Path:
        """The folder the user named."""
        return self.home.parent

    @property
    def lock(self) -> Path:
        """The file that is locked; its presence also marks the folder as ours."""
        return self.home / "lock"

    @property
    def server_lock(self) -> Path:
        """The file the server's processes keep locked."""
        return self.home / "server.lock"

    @property
    def credentials(self) -> Path:
        """The passwords."""
        return self.home / "credentials.json"

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.home / "cluster"

    @property
    def setup(self) -> Path:
        """Where a new cluster is made."""
        return self.home / "setup"

    @property
    def etc(self) -> Path:
        """The server's configuration."""
        return self.home / "etc"

    @property
    def log(self) -> Path:
        """The server's log files."""
        return self.home / "log"

    @property
    def run(self) -> Path:
        """The socket's folder, where its path is short enough."""
        return self.home / "run"


def layout_of(data: Path) -> Layout:
    """The layout below `data`. Raises Invalid `db.data_path` for a path PostgreSQL could not use."""
    home = data.expanduser().resolve() / "postgres"
    encoded = os.fsencode(home)
    if len(encoded) > _PATH_BYTES_MAX:
        raise Invalid(
            "db.data_path",
            f"The data folder's path has {len(encoded)} bytes, and PostgreSQL takes at most {_PATH_BYTES_MAX}: {data}.",
            hint="Choose a shorter --data.",
        )
    if b"\n" in encoded or b"\r" in encoded:
        raise Invalid(
            "db.data_path",
            f"The data folder's path contains a line break: {str(data)!r}.",
            hint="Choose another --data.",
        )
    return Layout(home=home)


def claim_home(layout: Layout, account: Account | None) -> None:
    """Make sure that `<data>/postgres` exists and is ours, before the lock is taken.

    Raises:
        Conflict: `db.data_foreign` if something else lies there, `db.data_owner` if it is another user's.
        Unavailable: `db.data_unwritable`, `db.disk_full`.
    """
    try:
        _refuse_foreign(layout)
        if account:  # an ordinary user may use another's folder that lets it in; what root leaves there is root's
            _refuse_other_owner(layout.data, {0, account.uid})
        _refuse_other_owner(layout.home, {0} if account else {os.geteuid()})
        for folder in (layout.data, layout.home):
            if _make_folder(folder, 0o700) and account:
                _let_through(folder, account)
        if account:
            _let_through(layout.home, account)
    except OSError as error:
        raise folder_problem(error, layout) from error


def prepare_home(layout: Layout, account: Account | None) -> None:
    """With the lock held: make the folders the server needs."""
    try:
        _make_folder(layout.etc, 0o711 if account else 0o700)
        for folder in (layout.log, layout.run):
            _make_folder(folder, 0o700)
            hand_over(folder, account)
    except OSError as error:
        raise folder_problem(error, layout) from error


def hand_over(path: Path, account: Account | None) -> None:
    """Give `path` itself, never what a link in its place names, to the server's user."""
    if account:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def write_whole(path: Path, content: bytes, *, mode: int, owner: Account | None = None) -> None:
    """Replace `path` in one step (a reader sees the old content or the new), synced to disk."""
    draft = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        draft.unlink()
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        os.fchmod(handle, mode)
        if owner:
            os.fchown(handle, owner.uid, owner.gid)
        file.flush()
        os.fsync(handle)
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames within `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder_problem(error: OSError, layout: Layout) -> Problem:
    """What the operating system refused, as a problem that names the folder and the way out."""
    where = error.filename or layout.home
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Unavailable(
            "db.disk_full",
            f"There is no space left for the database in {layout.home}.",
            hint="Free some space, or choose a --data folder on another disk; then start again.",
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return Unavailable(
            "db.data_unwritable",
            f"The data folder cannot be used: {where}: {error.strerror} (as user {user_name(os.geteuid())}).",
            hint="Give this user the folder, or choose another --data.",
            retryable=False,
        )
    return Unavailable(
        "db.data_unusable", f"The data folder cannot be used: {where}: {error.strerror}.", hint="Choose another --data."
    )


def user_name(uid: int) -> str:
    """The name of a user for messages, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _refuse_foreign(layout: Layout) -> None:
    for folder in (layout.data, layout.home):
        if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
            raise _foreign(folder, "it is not a folder")
    if (layout.data / "PG_VERSION").exists():
        raise _foreign(layout.data, "it is itself a PostgreSQL data directory, which Stanchion did not make")
    if layout.home.is_symlink():
        raise _foreign(layout.home, "it is a symbolic link")
    if layout.home.is_dir() and not (layout.lock.exists() or layout.credentials.exists()):
        content = sorted(entry.name for entry in layout.home.iterdir())
        if content:
            raise _foreign(layout.home, f"it holds {', '.join(content[:3])}, which Stanchion did not make")


def _foreign(folder: Path, why: str) -> Conflict:
    return Conflict(
        "db.data_foreign",
        f"The embedded database cannot live in {folder}: {why}.",
        hint="Choose another --data, or move what is there away. Nothing was changed.",
    )


def _refuse_other_owner(folder: Path, allowed: set[int]) -> None:
    try:
        found = folder.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    if found.st_uid not in allowed:
        owner = user_name(found.st_uid)
        raise Conflict(
            "db.data_owner",
            f"The folder {folder} belongs to user {owner}, and this is user {user_name(os.geteuid())}.",
            hint=f"Run Stanchion as user {owner}, or choose another --data.",
        )


def _let_through(folder: Path, account: Account) -> None:
    """The server's user must be able to pass through, and only to pass."""
    os.chown(folder, 0, account.gid, follow_symlinks=False)
    folder.chmod(0o710)


def _make_folder(folder: Path, mode: int) -> bool:
    """Make one folder; False if it was there."""
    if not folder.is_symlink() and folder.is_dir():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=mode, exist_ok=True)
    folder.chmod(mode)  # whatever the umask says
    return True


def is_plain_folder(path: Path) -> bool:
    """Whether `path` is a folder and no link to one."""
    try:
        return stat.S_ISDIR(path.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
