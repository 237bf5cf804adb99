"""A secret in a file: read only if nobody but its owner could have read or written it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stanchion.base import Denied, Invalid, NotFound

# A database URL, a key or a token is far smaller; a larger file is not what it was taken for.
SECRET_BYTES_MAX = 16_384


def read_private(path: Path) -> str:
    """The text of the private file `path`, without the white space around it.

    The file is opened once without following a symbolic link, and checked as opened, so that it cannot be exchanged
    between the check and the reading. Nothing of its content is ever in an error.

    Raises:
        NotFound: `secret.missing`, there is no such file.
        Denied: `secret.symlink`, `secret.not_a_file`, `secret.foreign_owner` (neither root nor the user of this
            process), `secret.too_open` (group or others have any right), `secret.unreadable`.
        Invalid: `secret.too_large` (over 16 KiB), `secret.empty`, `secret.not_text` (not UTF-8, or a control character).
    """
    return _decoded(path, _read(path))


def _read(path: Path) -> bytes:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise NotFound(
            "secret.missing", f"There is no secret file {path}.", hint="Write it and `chmod 600` it."
        ) from error
    except OSError as error:
        if path.is_symlink():
            raise Denied(
                "secret.symlink",
                f"The secret file {path} is a symbolic link.",
                hint="Name the file itself: a link can be pointed elsewhere by whoever owns its folder.",
            ) from error
        raise Denied(
            "secret.unreadable",
            f"The secret file {path} cannot be opened: {error.strerror}.",
            hint="It must belong to the user this process runs as.",
        ) from error
    try:
        _check(path, os.fstat(descriptor))
        data = b""
        while len(data) <= SECRET_BYTES_MAX and (part := os.read(descriptor, SECRET_BYTES_MAX + 1 - len(data))):
            data += part
        return data
    finally:
        os.close(descriptor)


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Denied("secret.not_a_file", f"The secret file {path} is not a regular file.")
    if status.st_uid not in {os.geteuid(), 0}:
        raise Denied(
            "secret.foreign_owner",
            f"The secret file {path} belongs to user {status.st_uid}, who is neither root nor this process's user.",
            hint=f"`chown {os.geteuid()} {path}`: its owner could change what this process connects to.",
        )
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o177:
        raise Denied(
            "secret.too_open",
            f"The secret file {path} has mode {mode:04o}; only its owner may read it.",
            hint=f"`chmod 600 {path}`, and change the secret if others may have seen it.",
        )


def _decoded(path: Path, data: bytes) -> str:
    if len(data) > SECRET_BYTES_MAX:
        raise Invalid("secret.too_large", f"The secret file {path} is larger than {SECRET_BYTES_MAX} bytes.")
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        # Without the cause: its text would quote bytes of the secret.
        raise Invalid("secret.not_text", f"The secret file {path} is not UTF-8 text.") from None
    if not text:
        raise Invalid("secret.empty", f"The secret file {path} is empty.")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Invalid("secret.not_text", f"The secret file {path} holds a control character or more than one line.")
    return text
