"""A server that answers as scripted, on a real socket: what the client says and reads is under test, not the routes."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any, dict[str, str]]


class Stub:
    """`routes` maps `GET /api/x` to an answer, or to a function of (query, body, headers) that makes one. A body that is
    an iterator of bytes is a stream."""

    def __init__(self) -> None:
        self.routes: dict[str, Answer | Callable[[str, Any, dict[str, str]], Answer]] = {}
        self.closing = threading.Event()
        self.seen: list[tuple[str, str, Any, dict[str, str]]] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _serve(self):
                path, _, query = self.path.partition("?")
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                headers = {name.lower(): value for name, value in self.headers.items()}
                stub.seen.append((f"{self.command} {path}", query, body, headers))
                found = stub.routes.get(f"{self.command} {path}", (404, problem("http.unknown", "No such route."), {}))
                status, said, extra = found(query, body, headers) if callable(found) else found
                if isinstance(said, Iterator):
                    self._stream(said)
                    return
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                defaults = {
                    "Content-Type": "application/json",
                    "Content-Length": str(len(data)),
                    "X-Request-Id": "req-1",
                }
                for name, value in {**defaults, **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def _stream(self, parts: Iterator[bytes]):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                with contextlib.suppress(OSError):  # the client left
                    for part in parts:
                        self.wfile.write(part)
                        self.wfile.flush()
                self.close_connection = True

            do_GET = _serve  # noqa: N815 - the name http.server calls
            do_POST = _serve  # noqa: N815 - as above

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def silence(self, seconds: float, sign: bytes = b"", every_s: float = 0.05) -> Iterator[bytes]:
        """A part of a stream in which nothing happens, for so long or until the stub is closed."""
        for _ in range(int(seconds / every_s)):
            if self.closing.wait(every_s):
                return
            if sign:
                yield sign

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def problem(code: str, detail: str, **fields: object) -> dict[str, object]:
    return {
        "type": f"urn:stanchion:problem:{code}",
        "title": "t",
        "status": 0,
        "code": code,
        "detail": detail,
        "hint": "h",
        **fields,
    }


def sse(*events: tuple[str, str, object]) -> bytes:
    return "".join(f"id: {i}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for i, name, data in events).encode()
