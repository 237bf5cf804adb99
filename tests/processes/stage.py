"""One process of every type on a database of its own, and a target that answers when the test lets it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg

from stanchion.base.settings import Settings
from stanchion.bootstrap.admin import first_admin
from stanchion.cli.client import Api
from stanchion.processes.sockets import ask_unix
from tests.conftest import processes_url
from tests.processes.instance import clean_environment, until

KINDS = ("broker", "web", "worker", "scheduler")
CONNECTOR = """
connector: register
owner: tests
adapter: http
environment: local
base_url: {url}
timeout: {timeout}
egress: {{private: [127.0.0.1]}}
resources:
  postings:
    key: id
    fields: {{id: {{type: string}}}}
    push: {{path: /postings, idempotency: key}}
"""
BLUEPRINT = """
blueprint: posting
owner: tests
input: {type: object, required: [id], properties: {id: {type: string}}}
steps:
  - id: post
    push: {connector: register, resource: postings, record: {id: "${input.id}"}}
    retry: {attempts: 10, backoff: exponential, initial: 100ms}
output: "${steps.post.applied}"
"""


class Target:
    """Somebody else's system: notes what it receives at once, and answers while `open` is set. A repeated key is no new
    write."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.asked = 0
        self.keys: list[str] = []
        self.cases: list[str] = []
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                target.asked += 1
                self.answer()

            def do_POST(self) -> None:
                record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers["Idempotency-Key"]
                if key not in target.keys:
                    target.keys.append(key)
                    target.cases.append(record["id"])
                self.answer()

            def answer(self) -> None:
                target.open.wait(60)
                body = b'{"ok": true}'
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # nobody waits any more

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Stage:
    """The processes, by type; each can be ended and started again."""

    def __init__(self, urls, superuser: str, data: Path, *, timeout: str = "20s", **settings: str) -> None:
        self.data, self.superuser, self.settings = data, superuser, settings
        data.mkdir(parents=True, exist_ok=True)
        self.target = Target()
        self.urls = urls
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.key = asyncio.run(first_admin(replace(Settings(), data=data), urls, known_key=None)).key
        self.processes: dict[str, subprocess.Popen[str]] = {}
        for kind in KINDS:
            self.start(kind)
        self.api = Api(f"http://127.0.0.1:{self.port}", self.key, timeout_s=40)
        documents = [
            {"path": "a.yaml", "source": CONNECTOR.format(url=self.target.url, timeout=timeout)},
            {"path": "b.yaml", "source": BLUEPRINT},
        ]
        self.api.post("/api/artifacts/apply", {"documents": documents})

    def start(self, kind: str, **more: str) -> None:
        environment = clean_environment(
            STANCHION_DATABASE_URL=processes_url(self.urls),
            STANCHION_WEB_PORT=str(self.port),
            STANCHION_TELEMETRY_LOG_FORMAT="json",
            STANCHION_WEB_GRACE_S="15",
            **self.settings,
            **more,
        )
        with (self.data / f"{kind}.said").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "stanchion", "serve", kind, "--data", str(self.data)],
                stdin=subprocess.DEVNULL, stderr=log, text=True, env=environment,
            )  # fmt: skip
        self.processes[kind] = process
        path = self.socket_of(kind)

        def ready() -> bool:
            assert process.poll() is None, self.said(kind)
            return ask_unix(path, "/health/ready")[0] == 200

        until(ready, f"{kind} is ready")

    def socket_of(self, kind: str) -> Path:
        name = f"worker-{self.processes[kind].pid}" if kind == "worker" else kind
        return self.data / "run" / f"{name}.sock"

    def said(self, kind: str) -> str:
        return (self.data / f"{kind}.said").read_text()

    def events(self, kind: str) -> list[str]:
        return [json.loads(line)["event"] for line in self.said(kind).splitlines()]

    def signal(self, kind: str, number: signal.Signals = signal.SIGTERM) -> None:
        self.processes[kind].send_signal(number)

    def metric(self, kind: str, name: str) -> float:
        page = ask_unix(self.socket_of(kind), "/metrics")[1].decode()
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))

    def rows(self, query: str, *params) -> list[tuple]:
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            return connection.execute(query, params).fetchall()

    def post(self, case: str) -> str:
        """Start a run that writes `case`; its id."""
        return self.api.post("/api/blueprints/posting/runs", {"input": {"id": case}})["run_id"]

    def effects(self, *, of_others_than: str | None = None) -> list[tuple]:
        """State, and whether there is a receipt; without those of a run that was started meanwhile."""
        query = "select state, receipt is not null from effects where run_id is distinct from %s order by intent_at"
        return self.rows(query, of_others_than)

    def settled(self, run: str) -> str:
        """How the run ended."""
        query = "select status from runs where id = %s and status in ('SUCCEEDED', 'FAILED', 'CANCELLED')"
        until(lambda: self.rows(query, run), "the run ends")
        return self.rows(query, run)[0][0]

    def close(self) -> None:
        self.target.open.set()
        self.api.close()
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(timeout=60)
        self.target.close()


def environ_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes() if os.geteuid() == 0 else b""
