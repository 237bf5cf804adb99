"""A credential is rotated under load, in two phases, and no call fails: the target takes old and new for a while, then only
the new one; calls in flight keep the value they had."""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stanchion.cli.client import Api, path
from stanchion.cli.sealing import keep_secret, send_sealed
from tests.processes.instance import Up, until

ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
ROTATIONS = 5
CONNECTOR = """\
connector: stock
owner: tests
adapter: http
environment: local
base_url: {origin}
egress: {{private: [127.0.0.1]}}
auth:
  bearer: {{token: secret://local/stock/token}}
resources:
  items:
    key: id
    fields: {{id: {{type: string}}}}
    lookup: {{path: "/items/{{key}}"}}
    push: {{path: /items, method: POST, body: "{{record}}", idempotency: key}}
"""
BLUEPRINT = """\
blueprint: count-stock
owner: tests
input: {type: object, required: [n], properties: {n: {type: integer}}}
steps:
  - id: numbers
    transform: {value: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}
  - id: each
    for_each: {in: steps.numbers.value, as: number, concurrency: 5}
    lookup: {connector: stock, resource: items, key: "${string(number)}"}
  - id: counted
    push: {connector: stock, resource: items, record: {id: "${string(input.n)}"}}
output: "${size(steps.each.succeeded)}"
"""


class Stock:
    """A target that takes the tokens in `accepted`, and notes which it saw and what it refused."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.seen: list[str] = []
        self.refused = 0
        self.written: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    stock: Stock

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing."""

    def do_GET(self) -> None:
        self._answer({"id": self.path.rsplit("/", 1)[-1]})

    def do_POST(self) -> None:
        record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._answer({}):
            self.stock.written.append(record["id"])

    def _answer(self, body: dict[str, Any]) -> bool:
        time.sleep(0.02)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        taken = any(hmac.compare_digest(token, one) for one in tuple(self.stock.accepted))
        if taken:
            self.stock.seen.append(token)
        else:
            self.stock.refused += 1
        data = json.dumps(body).encode()
        self.send_response(200 if taken else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return taken


@contextmanager
def serving(stock: Stock) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Stocked", (_Handler,), {"stock": stock}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_call_fails_while_its_credential_is_rotated(tmp_path) -> None:
    stock, up = Stock(), Up(tmp_path / "data")
    stop = threading.Event()
    runs: list[str] = []
    try:
        with serving(stock) as origin, ExitStack() as stack:
            api = up.ready().api()
            stack.callback(api.close)
            stock.accepted = {"token-0"}
            keep_secret(api, "stock/token", {"value": "token-0"}, connectors=["stock"])
            documents = [("stock.yaml", CONNECTOR.format(origin=origin)), ("count.yaml", BLUEPRINT)]
            api.post("/api/artifacts/apply", {"documents": [{"path": p, "source": s} for p, s in documents]})
            load = threading.Thread(target=_load, args=(Api(api.url, up.profile["token"]), stop, runs), daemon=True)
            load.start()
            until(lambda: len(stock.seen) > 50, "calls flow")
            for n in range(1, ROTATIONS + 1):
                _rotate(api, stock, n)
            stop.set()
            load.join()
            until(lambda: all(api.get(path("runs", run))["status"] in ENDED for run in runs), "every run ends", 120)
            ends = [api.get(path("runs", run)) for run in runs]
            steps = [step for run in runs for step in api.items(path("runs", run, "steps"), limit=200)]
    finally:
        stop.set()
        up.interrupt()
    print(
        f"{len(runs)} runs, {len(stock.seen)} calls over {ROTATIONS} rotations, {stock.refused} refused by the target"
    )
    assert {run["status"] for run in ends} == {"SUCCEEDED"}
    assert {step["attempt"] for step in steps} == {1}
    assert stock.refused == 0
    assert {f"token-{n}" for n in range(ROTATIONS + 1)} == set(stock.seen)
    assert sorted(stock.written) == sorted(str(n) for n in range(len(runs)))


def _rotate(api: Api, stock: Stock, n: int) -> None:
    """The new one is made at the target, then here; the old one ends there once nobody sends it any more."""
    stock.accepted = {f"token-{n - 1}", f"token-{n}"}
    send_sealed(api, path("secrets", "rotate"), {"name": "stock/token", "grace_s": 60}, {"value": f"token-{n}"})
    until(lambda: f"token-{n}" in stock.seen, "the new token is sent")
    before = len(stock.seen)
    # Within seconds every call has it: a second's worth of calls without the old one.
    until(lambda: len(stock.seen) > before + 60, "calls flow on")
    until(lambda: f"token-{n - 1}" not in stock.seen[-60:], "the old token is sent no more")
    stock.accepted = {f"token-{n}"}


def _load(api: Api, stop: threading.Event, runs: list[str]) -> None:
    try:
        while not stop.is_set():
            started = api.post(path("blueprints", "count-stock", "runs"), {"input": {"n": len(runs)}})
            runs.append(str(started["run_id"]))
            stop.wait(0.1)
    finally:
        api.close()
