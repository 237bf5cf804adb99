"""Signed webhooks to a real receiver that verifies them, logs, and misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from stanchion.base import SystemClock
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.egress import EgressProblem
from stanchion.tools.webhooks import verify
from tests.support.certificates import Authority
from tests.tools.adapters.support import KEY, complaints, document, target, told

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
RESOURCES: dict[str, Any] = {
    "closures": {
        "type": "case.closed",
        "path": "/cases",
        "fields": {"case_id": {"type": "string"}, "note": {"type": ["string", "null"]}},
        "push": {"idempotency": "key"},
    }
}
RECORD = {"case_id": "C1", "note": "Grüße"}


class Receiver:
    """`received`: (id, body) of each message that verified with the old secret and was not seen before."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Any]] = []
        self.requests: list[web.Request] = []
        self.answers: list[Any] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        body = await request.read()
        if request.method == "POST":
            found = verify([OLD], dict(request.headers), body, now_s=SystemClock().now().timestamp())
            if found.id not in [known for known, _ in self.received]:
                self.received.append((found.id, json.loads(body)))
        answer = self.answers.pop(0) if self.answers else web.Response(status=204)
        return await answer(request) if callable(answer) else answer


class Line:
    """A receiver, and a connector to it."""

    def __init__(self, receiver: Receiver, adapters: Adapters, body: dict[str, Any]) -> None:
        self.receiver, self.adapters, self.body = receiver, adapters, body
        self.adapter = adapters.get("webhook")

    def target(self, timeout_s: float = 5.0, **secrets: str) -> Any:
        secrets = secrets or {"signing__secrets__0": NEW, "signing__secrets__1": OLD}
        return target(self.body, "closures", "push", timeout_s, **secrets)

    async def push(self, timeout_s: float = 5.0, **secrets: str) -> Any:
        return await self.adapter.push(self.target(timeout_s, **secrets), RECORD, KEY)

    async def failed(self, timeout_s: float = 5.0, **secrets: str) -> AdapterProblem:
        with pytest.raises(AdapterProblem) as caught:
            await self.push(timeout_s, **secrets)
        for secret in (OLD, NEW, *secrets.values()):
            assert secret not in str(caught.value) + repr(caught.value.fields)
        return caught.value


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=Authority(tmp_path).context("127.0.0.1")).start()
    adapters = Adapters(tmp_path, SystemClock())
    body = document(
        "webhook",
        RESOURCES,
        base_url=f"https://127.0.0.1:{runner.addresses[0][1]}/hooks",
        signing={"secrets": ["secret://local/hooks#new", "secret://local/hooks#old"]},
        egress={"private": ["127.0.0.1"], "ca_file": "ca.pem"},
    )
    assert complaints(adapters, body) == []
    try:
        yield Line(receiver, adapters, body)
    finally:
        await adapters.close()
        await runner.cleanup()


async def test_a_receiver_that_knows_one_of_two_secrets_verifies(line: Line) -> None:
    envelope = await line.push()
    assert envelope.metadata["applied"] is True
    assert line.receiver.received == [(KEY, {"type": "case.closed", "data": RECORD})]
    (request,) = line.receiver.requests
    assert request.path == "/hooks/cases"
    assert request.content_type == "application/json"
    assert len(request.headers["webhook-signature"].split(" ")) == 2


async def test_its_signatures_are_taken_out_of_what_is_said(line: Line) -> None:
    target = line.target()
    await line.adapter.push(target, RECORD, KEY)
    said = line.receiver.requests[0].headers["webhook-signature"].split(" ")
    assert {f"v1,{signature}" for signature in target.credentials.passing_values()} == set(said)


async def test_each_attempt_of_one_write_has_one_id(line: Line) -> None:
    line.receiver.answers = [web.Response(status=503)]
    problem = await line.failed()
    assert (problem.sent, problem.retryable) == (True, True)
    await line.push()
    assert [request.headers["webhook-id"] for request in line.receiver.requests] == [KEY, KEY]
    assert len(line.receiver.received) == 1


async def closes(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def speaks_no_http(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"hello?\r\n\r\n")
    request.transport.close()
    return web.Response()


async def hangs(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


# (answer, code, sent, retryable)
FAULTS = [
    (lambda: web.Response(status=400), "adapter.status", False, False),
    (lambda: web.Response(status=401), "adapter.status", False, False),
    (lambda: web.Response(status=408), "adapter.status", True, True),
    (lambda: web.Response(status=409), "adapter.status", True, False),
    (lambda: web.Response(status=410), "adapter.status", False, False),
    (lambda: web.Response(status=429, headers={"Retry-After": "7"}), "adapter.status", False, True),
    (lambda: web.Response(status=500), "adapter.status", True, True),
    (lambda: web.Response(status=501), "adapter.status", True, False),
    (lambda: web.Response(status=302, headers={"Location": "https://127.0.0.1:1/"}), "adapter.elsewhere", False, False),
    (lambda: closes, "adapter.unreachable", True, True),
    (lambda: speaks_no_http, "adapter.not_http", True, False),
]


@pytest.mark.parametrize(("answer", "code", "sent", "retryable"), FAULTS)
async def test_faults(line: Line, answer: Any, code: str, sent: bool, retryable: bool) -> None:
    line.receiver.answers = [answer()]
    problem = await line.failed()
    assert (problem.code, problem.sent, problem.retryable) == (code, sent, retryable)
    assert len(line.receiver.requests) == 1
    if problem.fields.get("status") == 429:
        assert problem.fields["retry_after_s"] == 7.0


async def truncates(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"taken")
    assert request.transport is not None
    request.transport.close()
    return response


async def hangs_within(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await asyncio.sleep(30)
    return response


@pytest.mark.parametrize("answer", [truncates, hangs_within])
async def test_what_was_taken_is_taken_however_the_answer_ends(line: Line, answer: Any) -> None:
    """The status is the receiver's word; what it says besides is of no use here."""
    line.receiver.answers = [answer]
    assert (await line.push(timeout_s=1.5)).metadata["applied"] is True


async def test_time_is_up(line: Line) -> None:
    line.receiver.answers = [hangs]
    problem = await line.failed(timeout_s=1.5)
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.timeout", True, True)


async def test_nobody_listens(line: Line) -> None:
    line.body["base_url"] = "https://127.0.0.1:1/hooks"
    problem = await line.failed()
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.unreachable", False, True)


async def test_an_authority_that_nobody_listed(line: Line) -> None:
    del line.body["egress"]["ca_file"]
    problem = await line.failed()
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.unreachable", False, False)
    assert line.receiver.requests == []


async def test_a_private_host_that_is_not_listed(line: Line) -> None:
    del line.body["egress"]["private"]
    assert "connector.private_host" in dict(complaints(line.adapters, line.body))
    with pytest.raises(EgressProblem):
        await line.push()
    assert line.receiver.requests == []


async def test_a_value_that_is_no_secret_of_webhooks(line: Line) -> None:
    problem = await line.failed(signing__secrets__0="not-a-secret", signing__secrets__1=OLD)
    assert problem.code == "adapter.bad_credential"
    assert not problem.sent
    assert line.receiver.requests == []


async def test_without_credentials(line: Line) -> None:
    from dataclasses import replace

    with pytest.raises(AdapterProblem) as caught:
        await line.adapter.push(replace(line.target(), credentials=None), RECORD, KEY)
    assert caught.value.code == "adapter.no_credentials"


async def test_reaches_the_receiver_and_sends_nothing(line: Line) -> None:
    found = line.target()
    said = await line.adapter.test(found.connector, 5.0, found.credentials)
    assert said == "The receiver answered with status 204."
    assert line.receiver.received == []
    bad = told(signing__secrets__0="x", signing__secrets__1=OLD)
    with pytest.raises(AdapterProblem) as caught:
        await line.adapter.test(found.connector, 5.0, bad)
    assert caught.value.code == "adapter.bad_credential"
    capabilities = (await line.adapter.discover(found.connector, 5.0)).capabilities
    assert capabilities["push"]["idempotency"] == ["key", "none"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"base_url": "http://receiver.example/", "egress": {}}, "connector.bad_base_url"),
        ({"base_url": "https://receiver.example/?a=b"}, "connector.bad_base_url"),
        ({"base_url": "https://user:pass@receiver.example/"}, None),
        ({"base_url": "https://0x7f.1/"}, "connector.bad_base_url"),
        ({"signing": {"secrets": []}}, None),
        ({"signing": {"secrets": [OLD]}}, None),
        ({"resources": {"x": {**RESOURCES["closures"], "type": "a b"}}}, None),
        ({"resources": {"x": {**RESOURCES["closures"], "push": {"idempotency": "probe"}}}}, None),
        ({"resources": {"x": {**RESOURCES["closures"], "fetch": {}}}}, "connector.not_offered"),
    ],
)
async def test_documents_that_are_refused(line: Line, change: dict[str, Any], code: str | None) -> None:
    found = [found for found, _ in complaints(line.adapters, {**line.body, **change})]
    assert found
    assert code is None or code in found
