"""The pepper: the key under which credentials are stored. It lives outside the database (I9)."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from stanchion.base import Ids, Invalid

_BYTES_MIN: Final = 32


class Pepper:
    """32 or more secret bytes. Says nothing of itself when printed."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _BYTES_MIN:
            raise Invalid(
                "pepper.too_short", "The pepper has fewer than 32 bytes.", hint="Make one: openssl rand -hex 32."
            )
        self._secret = secret

    @classmethod
    def from_hex(cls, text: str) -> Pepper:
        """Read it from settings. Raises Invalid `pepper.not_hex` or `pepper.too_short`; the text is not repeated."""
        try:
            secret = bytes.fromhex(text.strip())
        except ValueError:
            # The cause would carry a part of the secret.
            raise Invalid(
                "pepper.not_hex", "The pepper is not hexadecimal.", hint="Make one: openssl rand -hex 32."
            ) from None
        return cls(secret)

    @classmethod
    def from_file(cls, path: Path, ids: Ids) -> Pepper:
        """Read it from `path`, or make the file (0600, 32 random bytes in hex) if there is none.

        Raises Invalid `pepper.open_file` if others may read the file, and as `from_hex`.
        """
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return cls._make(path, ids)
        with os.fdopen(handle, encoding="ascii", errors="replace") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise Invalid(
                    "pepper.open_file", f"Others may read {path}, which holds the pepper.", hint=f"chmod 600 {path}"
                )
            return cls.from_hex(file.read())

    @classmethod
    def _make(cls, path: Path, ids: Ids) -> Pepper:
        """Write a complete file beside it and link it into place: of two processes that start at once one wins."""
        draft = path.with_name(f".{path.name}.{ids.new().hex}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(ids.secret(_BYTES_MIN).hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
        return cls.from_file(path, ids)

    def bytes(self) -> bytes:
        """The secret bytes, for HMACs only."""
        return self._secret

    def __repr__(self) -> str:
        return "Pepper(<hidden>)"
