"""The file with the key-encryption keys: one line of 64 hexadecimal digits per key, joined by spaces, the newest first.

It lies outside the data folder, so that a copy of that folder or of the database opens nothing, and is read by the broker
process alone. `openssl rand -hex 32` makes a key by hand; several hosts have the same file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stanchion.base import Denied, Ids, Invalid, NotFound, Unavailable
from stanchion.secrets.files import read_private
from stanchion.secrets.holding.envelope import KEY_BYTES
from stanchion.secrets.sealing import fingerprint, sealing_key_of

KEYS_MAX: Final = 64
_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")


class Kek:
    """A key-encryption key. `id` is told of it; the sealing key pair is derived, so that every broker with the file has it."""

    __slots__ = ("id", "key", "sealing_id", "sealing_public", "sealing_secret")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.id = hashlib.sha256(b"stanchion key-encryption key\0" + key).hexdigest()[:32]
        self.sealing_secret = HKDF(
            algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"stanchion sealing key v1"
        ).derive(key)
        self.sealing_public = sealing_key_of(self.sealing_secret)
        self.sealing_id = fingerprint(self.sealing_public)

    def derived(self, purpose: bytes) -> bytes:
        """A key for another purpose (HKDF, RFC 5869), the same for every broker with the file."""
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(self.key)

    def __repr__(self) -> str:
        return f"Kek(id={self.id}, key=<hidden>)"


class KeyFile:
    """The keys of a file, read again when it changes.

    Args:
        path: of the file.
        data: the data folder, in which it must not be.
    """

    def __init__(self, path: Path, *, data: Path) -> None:
        self.path = path
        self._data = data
        self._seen: tuple[int, ...] | None = None
        self._keys: tuple[Kek, ...] = ()

    def read(self) -> tuple[Kek, ...]:
        """The keys, newest first.

        Raises:
            NotFound: `secret.missing`, there is no such file.
            Denied: `secret.key_inside_data`, `secret.open_folder` (others may exchange the file), and as `read_private`.
            Invalid: `secret.bad_key_file`, and as `read_private`.
        """
        now = self._stamp()
        if now is None or now != self._seen:
            self._keys = self._parsed()
            self._seen = now
        return self._keys

    def make(self, ids: Ids) -> None:
        """Write the file with a new key, its folder too; what somebody else wrote meanwhile stays.

        Raises Denied as `read`, Unavailable `secret.key_file_unwritable`.
        """
        self.check_place(os.geteuid())
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write([ids.secret(KEY_BYTES)], ids, new=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, keys: tuple[Kek, ...], ids: Ids) -> None:
        """Exchange the keys of the file at once. Raises Denied as `read`, Unavailable `secret.key_file_unwritable`."""
        self.check_place(os.geteuid())
        try:
            self._write([kek.key for kek in keys], ids, new=False)
        except OSError as error:
            raise self._unwritable(error) from error
        self._seen = None

    def _parsed(self) -> tuple[Kek, ...]:
        self.check_place(os.geteuid())
        words = read_private(self.path).split()
        if not 1 <= len(words) <= KEYS_MAX or not all(_KEY.fullmatch(word) for word in words):
            raise Invalid(
                "secret.bad_key_file",
                f"The key file {self.path} does not hold 1 to {KEYS_MAX} keys of 64 hexadecimal digits, joined by spaces.",
                hint="Restore it; without its keys what is stored cannot be opened. `openssl rand -hex 32` makes a first one.",
            )
        return tuple(Kek(bytes.fromhex(word)) for word in dict.fromkeys(words))

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode, found.st_uid)

    def check_place(self, owner: int) -> None:
        """That it lies where nobody but `owner` and root can exchange it, and not in the data folder. Raises Denied
        `secret.key_inside_data`, `secret.open_folder`."""
        if self.path.parent.resolve().joinpath(self.path.name).is_relative_to(self._data.resolve()):
            raise Denied(
                "secret.key_inside_data",
                f"The key file {self.path} lies in the data folder {self._data}.",
                hint="Move it out and name it by secrets.key_file: who copies the folder would have the keys too.",
            )
        with contextlib.suppress(
            OSError
        ):  # a folder that is not there, or cannot be looked into, tells so when it is used
            folder = self.path.parent.stat()
            open_to_others = folder.st_mode & 0o022 and not folder.st_mode & stat.S_ISVTX
            if open_to_others or folder.st_uid not in {owner, 0}:
                raise Denied(
                    "secret.open_folder",
                    f"Others than this process's user may exchange files in {self.path.parent}, where the key file is.",
                    hint=f"`chmod 700 {self.path.parent}`, and let it belong to the broker's user.",
                )

    def _write(self, keys: list[bytes], ids: Ids, *, new: bool) -> None:
        """A whole file beside it, then linked (a new one) or moved into place: a reader sees the old keys or the new."""
        draft = self.path.with_name(f".{self.path.name}.{ids.new().hex}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(" ".join(key.hex() for key in keys) + "\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                with contextlib.suppress(FileExistsError):
                    os.link(draft, self.path)
            else:
                draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _unwritable(self, error: OSError) -> Unavailable:
        return Unavailable(
            "secret.key_file_unwritable",
            f"The key file {self.path} cannot be written: {error.strerror}.",
            hint="Give its folder to the broker's user, or write the file yourself: `openssl rand -hex 32`, mode 0600.",
            retryable=False,
        )


def key_missing(path: Path, error: NotFound) -> Unavailable:
    """The problem of keys that are gone while the database holds what was encrypted under them."""
    made = Unavailable(
        "secret.key_missing",
        f"There is no key file {path}, and the database holds data keys that are encrypted under its keys.",
        hint="Restore the file, or name where it is by secrets.key_file. A new one would open nothing.",
        retryable=False,
    )
    made.__cause__ = error
    return made
