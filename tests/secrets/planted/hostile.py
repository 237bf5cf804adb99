"""A system that gives back what it was sent, in every way there is: body, headers, errors, redirects, chunks."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import quote


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    seen: ClassVar[list[str]]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing."""

    def do_GET(self) -> None:
        said = self.headers.get("X-Api-Key", "")
        self.seen.append(said)
        way = self.path.split("?")[0].rsplit("/", 1)[-1]
        getattr(self, f"_{way}", self._body)(said)

    do_POST = do_GET  # noqa: N815 - the base class's way

    def _answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def _body(self, said: str) -> None:
        """In a record, in six encodings, in the middle of other text."""
        raw = said.encode()
        ways = [
            said, f"<<{said}>>", json.dumps(said), quote(said, safe=""), raw.hex(), raw.hex().upper(),
            base64.b64encode(raw).decode(), base64.b64encode(b"x" + raw + b"y").decode(),
            base64.urlsafe_b64encode(b"xy" + raw + b"z").decode(),
        ]  # fmt: skip
        items = [{"id": str(n), "text": text} for n, text in enumerate(ways)]
        self._answer(200, json.dumps({"items": items, said: said}).encode())

    def _headers(self, said: str) -> None:
        self._answer(
            200,
            b'{"items": []}',
            X_Echo=said,
            Set_Cookie=f"key={quote(said)}",
            Link=f'<https://{quote(said)}/>; rel="next"',
        )

    def _error(self, said: str) -> None:
        self._answer(500, json.dumps({"error": f"The key {said} is not known", "key": said}).encode())

    def _refused(self, said: str) -> None:
        self._answer(401, json.dumps({"error": said}).encode(), WWW_Authenticate=f'Basic realm="{quote(said)}"')

    def _redirect(self, said: str) -> None:
        self._answer(302, b"{}", Location=f"https://elsewhere.example/{quote(said)}?key={quote(said)}")

    def _notjson(self, said: str) -> None:
        self._answer(200, f"no JSON: {said}".encode())

    def _chunked(self, said: str) -> None:
        """A byte at a time, so that no chunk holds it whole; and the end never comes."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for byte in json.dumps({"items": [{"id": "1", "text": said}]}).encode():
            self.wfile.write(b"1\r\n" + bytes([byte]) + b"\r\n")
        self.wfile.flush()
        self.close_connection = True

    def _absent(self, said: str) -> None:
        self._answer(404, json.dumps({"error": f"{said} sees nothing here"}).encode())

    def _status(self, said: str) -> None:
        self.send_response(400, said)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def echoing() -> Iterator[tuple[str, list[str]]]:
    """The origin of the server, and the keys that reached it."""
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Echo", (_Echo,), {"seen": seen}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
