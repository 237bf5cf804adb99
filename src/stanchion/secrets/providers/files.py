"""Provider `file`: files that a container has mounted, in the folder of the settings; read again when they change.

Mounted secrets are symbolic links that whoever mounts them exchanges at once (`..data` of Kubernetes), and often readable by
all of the container: so links are followed within the folder, and what is refused is a file that others may write.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from stanchion.base import Denied, Unavailable
from stanchion.secrets.providers.plain import refuse_version, unknown, values_of
from stanchion.secrets.providers.types import Values
from stanchion.secrets.sealing import TOTAL_BYTES_MAX

_KEPT_MAX: Final = 1024
# inode, size, nanosecond of the last change: what tells that a file is another one.
_Stamp = tuple[int, int, int]


class FileProvider:
    """Reads `<folder>/<tenant>/<path>`, without one line end after it."""

    name = "file"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[Path, tuple[_Stamp, Values]] = {}

    async def read(self, tenant: str, path: str, version: int | None) -> Values:
        """The text of the file."""
        refuse_version(self.name, path, version)
        return self._read(tenant, path)

    async def previous(self, tenant: str, path: str) -> None:
        """Files have no versions."""
        del tenant, path

    async def close(self) -> None:
        """There is nothing to give back."""

    def _read(self, tenant: str, path: str) -> Values:
        file = self._folder / tenant / path
        try:
            inside = file.resolve(strict=True).is_relative_to((self._folder / tenant).resolve(strict=True))
            if not inside:
                raise _refused(path, f"{file} leads out of {self._folder / tenant}", "Mount it there.")
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise unknown(f"file/{path}", f"there is no file {file}", "Mount it there.") from None
        except OSError as error:
            raise _refused(
                path, f"{file} cannot be opened: {error.strerror}", "Give it to the broker's user."
            ) from error
        try:
            status = os.fstat(descriptor)
            _check(path, file, status)
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            kept = self._kept.get(file)
            if kept is None or kept[0] != stamp:
                kept = (stamp, values_of(_text(path, file, descriptor)))
                if len(self._kept) >= _KEPT_MAX:
                    self._kept.clear()
                self._kept[file] = kept
            return kept[1]
        finally:
            os.close(descriptor)


def _check(path: str, file: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, f"{file} is not a regular file", "Mount a file.")
    if status.st_mode & 0o022:
        raise _refused(path, f"others may write {file} (mode {stat.S_IMODE(status.st_mode):04o})", "`chmod go-w` it.")
    if status.st_uid not in {os.geteuid(), 0}:
        raise _refused(path, f"{file} belongs to user {status.st_uid}, neither root nor the broker's", "`chown` it.")


def _text(path: str, file: Path, descriptor: int) -> str:
    data = b""
    while len(data) <= TOTAL_BYTES_MAX and (part := os.read(descriptor, TOTAL_BYTES_MAX + 1 - len(data))):
        data += part
    if len(data) > TOTAL_BYTES_MAX:
        raise _refused(path, f"{file} is larger than {TOTAL_BYTES_MAX} bytes", "Name the right file.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        # Without the cause: its text would quote bytes of the secret.
        raise _refused(path, f"{file} is not UTF-8 text", "Write it as text.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\0" in text:
        raise Unavailable(
            "secret.provider_away",
            f"The file {file} of secret file/{path} is empty or holds a NUL character.",
            hint="Perhaps it is being written; what was there before is not used.",
        )
    return text


def _refused(path: str, why: str, hint: str) -> Denied:
    return Denied("secret.provider_denied", f"The secret file/{path} is not read: {why}.", hint=hint)
