"""Unix sockets in the data folder, also where its path is longer than the 107 bytes an address may have (unix(7))."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_ADDRESS_BYTES_MAX = 107


@contextmanager
def _address(path: Path) -> Generator[str]:
    """An address of `path` that is short enough: through a descriptor of its folder where it must be."""
    if len(os.fsencode(path)) <= _ADDRESS_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen_unix(path: Path) -> socket.socket:
    """A listening socket at `path`, mode 0600; one left there by a dead process is replaced. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with _address(path) as address:
            listener.bind(address)
        path.chmod(0o600)
        listener.listen(16)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def ask_unix(path: Path, target: str, timeout_s: float = 2.0) -> tuple[int, bytes]:
    """`GET target` of the process behind the socket: its status and body; 0 where none answers."""
    try:
        with (
            _address(path) as address,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client,
        ):
            client.settimeout(timeout_s)
            client.connect(address)
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := client.recv(65536):
                answer += part
    except OSError:
        return 0, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    parts = head.split(b" ", 2)
    return (int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0), body
