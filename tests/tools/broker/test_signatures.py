"""What is made of a credential for one request alone, a signature, is lost where the credential is: in answers, problems, the
log and spans, in every encoding; and a defect's own words are shown nowhere (I9)."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stanchion.base import Problem
from stanchion.context import Env
from stanchion.telemetry import Telemetry
from stanchion.tools.broker.scrubbing import MARK, ScrubbedStream, Scrubbers
from stanchion.tools.broker.service import Broker
from tests.conformance import worlds
from tests.secrets.planted.search import Search
from tests.tools.broker.held import PASSWORD, PEER, Held
from tests.tools.broker.test_scrubbing import ENCODINGS
from tests.tools.credentials.support import Seen, showing

SIGV4 = {
    "access_key_id": "AKIDEXAMPLE",
    "secret_access_key": "secret://local/erp",
    "region": "eu-central-1",
    "service": "execute-api",
}


class Signing:
    """The HTTP adapter, whose answers become what `then` makes of the request that reached the server."""

    def __init__(self, adapters: Any, seen: Seen) -> None:
        self.inner, self.seen = adapters.get("http"), seen
        self.then: Any = None

    def get(self, name: str, *, tenant: str = "", principal: str = "") -> Any:
        return self

    @property
    def header(self) -> str:
        return self.seen.requests[-1].headers["Authorization"]

    @property
    def signature(self) -> str:
        return self.header.rpartition("Signature=")[2]

    async def fetch(self, target: Any, where: Any, limit: int, page: str | None) -> Any:
        envelope = await self.inner.fetch(target, where, limit, page)
        return envelope if self.then is None else self.then(target, envelope)


class World:
    def __init__(self, held: Held, signing: Signing, telemetry: Telemetry, scrubbers: Scrubbers) -> None:
        self.held, self.signing = held, signing
        self.out = io.StringIO()
        self.log = logging.getLogger("a library that logs what it sends")
        self.log.propagate = False
        self.log.handlers = [logging.StreamHandler(ScrubbedStream(self.out, scrubbers))]
        self.spans = InMemorySpanExporter()
        telemetry.provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.broker = Broker(replace(held.env, telemetry=telemetry), signing, held.judges, scrubbers)  # type: ignore[arg-type]

    async def fetch(self) -> Any:
        return await self.broker.perform(self.held.call("fetch"), PEER)

    def found_in(self, *said: object) -> set[str]:
        """In which encodings the signature of the last request, or the credential, stands there."""
        search = Search({"signature": self.signing.signature, "credential": PASSWORD})
        return {
            f"{name} {encoding}" for text in said for name, encoding, _ in search.within(str(text).encode(), "here")
        }

    def traced(self) -> str:
        return "".join(span.to_json() for span in self.spans.get_finished_spans())


@pytest.fixture
async def world(env: Env, cluster: Any, database_urls: Any, tmp_path: Path) -> AsyncIterator[World]:
    adapters = worlds.new_adapters(tmp_path)
    async with showing() as seen:
        resources = {
            "outcomes": {
                "key": "case_id",
                "fields": {"case_id": {"type": "string"}, "outcome": {"type": ["string", "null"]}},
                "fetch": {"path": "/outcomes", "records": "/items"},
                "lookup": {"path": "/outcomes/{key}"},
            }
        }
        held = Held(
            env, cluster.superuser(database_urls), adapter="http", base_url=seen.url, auth={"sigv4": SIGV4},
            egress={"private": ["127.0.0.1"]}, resources=resources,
        )  # fmt: skip
        await held.begin()
        seen.answers += [_empty] * 10
        yield World(held, Signing(adapters, seen), Telemetry(process="test", sample=1.0), Scrubbers())
    await adapters.close()


async def _empty(_: web.Request) -> web.Response:
    return web.json_response({"items": []})


def spelled(text: str) -> list[str]:
    return [encode(text) for encode in ENCODINGS.values()]


async def test_an_answer_that_echoes_the_signature_loses_it(world: World) -> None:
    async def echo(request: web.Request) -> web.Response:
        header = request.headers["Authorization"]
        said = [header, *spelled(header.rpartition("Signature=")[2])]
        return web.json_response({"items": [{"case_id": str(n), "outcome": text} for n, text in enumerate(said)]})

    world.signing.seen.answers.insert(0, echo)
    told = list[Any]()
    world.signing.then = lambda target, envelope: (told.append(envelope), envelope)[1]
    envelope = await world.fetch()
    assert world.found_in(told)  # the adapter had it
    assert world.found_in(envelope, world.traced()) == set()
    assert f"Signature={MARK}" in str(envelope.records[0])
    assert all(MARK in str(record["outcome"]) for record in envelope.records)


async def test_a_problem_that_quotes_the_request_loses_its_signature_there_in_the_log_and_in_the_span(
    world: World,
) -> None:
    def refuse(target: Any, _: Any) -> None:
        world.log.error("sent %s", world.signing.header)
        for text in spelled(world.signing.signature):
            world.log.error("which is %s", text)
        raise target.problem(
            "adapter.status", f"said {world.signing.header}", hint=world.signing.signature, status=400,
            echo=spelled(world.signing.signature),
        )  # fmt: skip

    world.signing.then = refuse
    with pytest.raises(Problem) as caught:
        await world.fetch()
    problem = caught.value
    assert world.found_in(problem, problem.hint, problem.fields, world.out.getvalue(), world.traced()) == set()
    assert f"Signature={MARK}" in problem.message
    assert f"Signature={MARK}" in world.out.getvalue()
    assert f"Signature={MARK}" in world.traced()


async def test_a_defect_whose_words_hold_a_credential_is_told_without_them(world: World) -> None:
    """Neither its caller nor the span sees what it says, or what its cause says; that it was, both do."""

    def break_down(_target: Any, _envelope: Any) -> None:
        try:
            int(world.signing.header)
        except ValueError as error:
            raise RuntimeError(" ".join([PASSWORD, *spelled(world.signing.signature), *spelled(PASSWORD)])) from error

    world.signing.then = break_down
    with pytest.raises(Problem) as caught:
        await world.fetch()
    assert caught.value.code == "broker.failed"
    assert "RuntimeError" in caught.value.message
    assert "exception.stacktrace" in world.traced()
    assert world.found_in(caught.value, caught.value.fields, world.traced()) == set()


async def test_a_late_echo_is_found_in_the_log_and_signatures_drive_no_credential_out(world: World) -> None:
    await world.fetch()
    first = world.signing.header
    for _ in range(3):
        await world.fetch()
    world.log.error("an echo of %s by %s", first, PASSWORD)
    assert world.out.getvalue().count(MARK) == 2
    scrubbers = Scrubbers(kept_max=1)
    scrubbers.of(frozenset({PASSWORD}))
    for n in range(200):
        scrubbers.passing(frozenset({f"{n:064x}"}))
    assert scrubbers.text(PASSWORD) == MARK
    assert scrubbers.text(f"{199:064x}") == MARK
    assert scrubbers.text(f"{0:064x}") == f"{0:064x}"  # no more are kept than a bounded number
