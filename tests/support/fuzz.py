"""schemathesis over a running application: every operation, valid and invalid input, four checks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import requests
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisDeprecationWarning
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stanchion.controls import RateLimit
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import CedarAuthorizer
from stanchion.web import WebSettings, uvicorn_options
from tests.conftest import make_env
from tests.support.web import Stage, set_stage

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# The fuzzer is one client with one key; the limits are tested elsewhere.
SETTINGS = WebSettings(
    per_principal=RateLimit(per_s=1e6, burst=1_000_000), per_address=RateLimit(per_s=1e6, burst=1_000_000)
)

# Makes the application to be fuzzed from the stage it runs on.
MakeApp = Callable[[Stage], contextlib.AbstractAsyncContextManager[FastAPI]]


@dataclass(kw_only=True)
class Served:
    """An application that answers at `url`, the key of its admin, and its OpenAPI document."""

    url: str
    key: str
    document: dict

    def operations(self) -> list:
        schema = schemathesis.openapi.from_dict(self.document)
        return [found.ok() for found in schema.get_all_operations()]


@contextlib.contextmanager
def served(make_app: MakeApp, urls: DatabaseUrls) -> Iterator[Served]:
    """Run the application in a thread of its own, as the fuzzer is not asynchronous."""
    ready: threading.Event = threading.Event()
    found: list[Served] = []
    running: list[uvicorn.Server] = []
    failed: list[BaseException] = []

    async def serve() -> None:
        async with Database(urls) as database:
            stage = await set_stage(make_env(database, authorizer=CedarAuthorizer()))
            async with make_app(stage) as app:
                document = app.openapi()
                options = uvicorn_options(SETTINGS) | {"loop": "none"}
                server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **options))
                running.append(server)
                task = asyncio.create_task(server.serve())
                while not server.started:
                    await asyncio.sleep(0.01)
                port = server.servers[0].sockets[0].getsockname()[1]
                found.append(Served(url=f"http://127.0.0.1:{port}", key=stage.admin_key, document=document))
                ready.set()
                await task

    def main() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    ready.wait(60)
    if failed:
        raise failed[0]
    try:
        yield found[0]
    finally:
        running[0].should_exit = True
        thread.join(30)


def fuzz(target: Served, operation, *, examples: int, session: requests.Session) -> int:
    """Send `examples` requests to one operation, half of them invalid; return how many. Raises what a check finds."""
    sent = 0
    headers = {"authorization": f"Bearer {target.key}"}
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @seed(20261118)
        @settings(
            max_examples=max(1, examples // 2),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Case) -> None:
            nonlocal sent
            sent += 1
            response = case.call(base_url=target.url, headers=headers, session=session, allow_redirects=False)
            case.validate_response(response, checks=CHECKS)

        try:
            with warnings.catch_warnings():
                # The server's thread draws from the global generator too (its connection pools' jitter), also while a
                # strategy draws. The cases come from hypothesis's own.
                warnings.filterwarnings("ignore", "Do not use the `random` module", HypothesisDeprecationWarning)
                run()
        except Exception as error:
            # An operation without parameters and body has nothing that could be invalid.
            if mode is GenerationMode.NEGATIVE and type(error).__name__ in {"Unsatisfiable", "InvalidArgument"}:
                continue
            raise
    return sent
