"""The customer's systems of the example, as small HTTP servers: a field system with time sheets, an ERP that is posted to.

They behave as such systems do on a bad day: pages come one after the other, some answers are errors, and the ERP sometimes
takes a posting and loses the connection before it answers. Each keeps a log of what it received, so that "exactly once"
is said by the target. They want credentials, and serve this machine alone.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
_PAGE = 50
_BODY_BYTES_MAX = 1_048_576
# The code of the ERP's error for a key that it has seen.
SEEN = 1


class _Handler(BaseHTTPRequestHandler):
    """What both servers share: JSON answers, quiet logs, connections that are kept."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    system: ClassVar[Any]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: the systems' own logs are in `received`."""

    def answer(self, status: int, body: Mapping[str, Any], **headers: str) -> None:
        """Answer with JSON."""
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def drop(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True


class _System:
    """A server on a port of this machine, for a `with` block. Takes the port asked for, or any where that is in use."""

    def __init__(self, handler: type[_Handler], port: int) -> None:
        bound = type(handler.__name__, (handler,), {"system": self})
        try:
            self._server = ThreadingHTTPServer((HOST, port), bound)
        except OSError:
            self._server = ThreadingHTTPServer((HOST, 0), bound)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self.lock = threading.Lock()

    @property
    def origin(self) -> str:
        """Such as `http://127.0.0.1:8731`."""
        return f"http://{HOST}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class FieldSystem(_System):
    """Time sheets and rates under `/api`, fifty a page; every seventh request is answered with 503.

    Args:
        sheets: the time sheets, in order. `rates`: what an hour of each grade costs.
        key: what the header `X-Api-Key` has to be.
        port: where it is served if that is free.
    """

    def __init__(
        self, sheets: Sequence[Mapping[str, Any]], rates: Sequence[Mapping[str, Any]], *, key: str, port: int
    ) -> None:
        super().__init__(_FieldHandler, port)
        self.sheets = list(sheets)
        self.rates = list(rates)
        self.key = key
        self.requests = 0
        self.unavailable = 0


class _FieldHandler(_Handler):
    system: ClassVar[FieldSystem]

    def do_GET(self) -> None:
        """A page of time sheets, or the rates."""
        system = self.system
        if not hmac.compare_digest(self.headers.get("X-Api-Key", "").encode(), system.key.encode()):
            self.answer(401, {"error": "X-Api-Key is missing or wrong."})
            return
        with system.lock:
            system.requests += 1
            busy = system.requests % 7 == 3
            system.unavailable += busy
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if busy:
            self.answer(503, {"error": "Busy."}, Retry_After="0")
        elif url.path == "/api/rates":
            self.answer(200, {"items": system.rates})
        elif url.path == "/api/time-sheets":
            self.answer(200, _page(system.sheets, query.get("period", ""), query.get("after", "")))
        else:
            self.answer(404, {"error": "There is no such path."})


def _page(sheets: Sequence[Mapping[str, Any]], period: str, after: str) -> dict[str, Any]:
    found = [sheet for sheet in sheets if str(sheet["day"]).startswith(period) and str(sheet["sheet_id"]) > after]
    page = found[:_PAGE]
    return {"items": page, "next": page[-1]["sheet_id"] if len(found) > _PAGE else None}


@dataclass(slots=True)
class Received:
    """One posting that reached the ERP: under which key, what, and whether it was new."""

    key: str
    record: Mapping[str, Any]
    new: bool


class Erp(_System):
    """`account.posting.create` over JSON-RPC under `/jsonrpc`. A key that it has seen makes no second posting.

    Of the postings that are new, every second one is taken and its answer lost with the connection; every fourth request is
    answered with 503 before anything is looked at.

    Args:
        token: what the header `Authorization: Bearer` has to carry.
        port: where it is served if that is free.
    """

    def __init__(self, *, token: str, port: int) -> None:
        super().__init__(_ErpHandler, port)
        self.token = token
        self.postings: dict[str, Mapping[str, Any]] = {}
        self.received: list[Received] = []
        self.faults: Counter[str] = Counter()
        self.requests = 0

    def facts(self) -> Facts:
        """What the ERP itself counts."""
        with self.lock:
            per_posting = Counter(str(r.record["posting_id"]) for r in self.received if r.new)
            return Facts(
                postings=dict(self.postings),
                received=len(self.received),
                twice=sum(n > 1 for n in per_posting.values()),
                faults=Counter(self.faults),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The ERP's own count: postings by their key, requests that asked for one, cost centres posted twice, its faults."""

    postings: Mapping[str, Mapping[str, Any]]
    received: int
    twice: int
    faults: Mapping[str, int] = field(default_factory=dict[str, int])


class _ErpHandler(_Handler):
    system: ClassVar[Erp]

    def do_POST(self) -> None:
        """One call of JSON-RPC."""
        length = int(self.headers.get("Content-Length", "0") or 0)
        if not 0 < length <= _BODY_BYTES_MAX or self.path != "/jsonrpc":
            self.answer(404, {"error": "There is no such path."})
            return
        call = json.loads(self.rfile.read(length))
        system = self.system
        said = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(said, f"Bearer {system.token}".encode()):
            self.answer(401, {"error": "The token is missing or wrong."})
            return
        with system.lock:
            system.requests += 1
            busy = system.requests % 4 == 0
            if busy:
                system.faults["answered 503"] += 1
        if busy:
            self.answer(503, {"error": "Busy."}, Retry_After="0")
        elif call.get("method") != "account.posting.create":
            self._fails(call, -32601, "There is no such method.")
        else:
            self._create(call)

    def _create(self, call: Mapping[str, Any]) -> None:
        system = self.system
        record, key = call["params"]
        with system.lock:
            new = key not in system.postings
            if new:
                system.postings[key] = record
            system.received.append(Received(key, record, new))
            lost = new and len(system.postings) % 2 == 0
            if lost:
                system.faults["took it, and lost the connection"] += 1
        if lost:
            self.drop()
        elif new:
            number = f"POST-{len(system.postings):05d}"
            self.answer(200, {"jsonrpc": "2.0", "id": call["id"], "result": {"number": number}})
        else:
            self._fails(call, SEEN, "This key has been posted.")

    def _fails(self, call: Mapping[str, Any], code: int, message: str) -> None:
        self.answer(200, {"jsonrpc": "2.0", "id": call.get("id"), "error": {"code": code, "message": message}})
