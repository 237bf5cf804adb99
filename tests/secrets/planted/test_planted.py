"""Planted credentials are found in the memory of their holder and nowhere else (I9): not in another process, the database,
a file, a log, a metric, a trace, an answer, an error's page, an export, however they are encoded and whatever a hostile
system does with them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from stanchion.base.config import load_settings
from stanchion.base.errors import Problem
from stanchion.cli.client import Api, path
from stanchion.cli.demo.labour.scene import BLUEPRINT, PERIOD, Ledger, Systems, load_example, running
from stanchion.cli.sealing import keep_secret
from stanchion.processes.sockets import ask_unix
from tests.processes.instance import Up, until
from tests.secrets.planted.collector import TRACED, collecting
from tests.secrets.planted.hostile import echoing
from tests.secrets.planted.search import Search, encodings, tree_of
from tests.secrets.planted.surfaces import error_pages, exports
from tests.support.root import need_root

# A deployment is started, two examples run, and the memory of eight processes is read.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
WAYS = ("body", "headers", "error", "refused", "redirect", "notjson", "chunked", "status")
# Told apart from all else, and different in every encoding.
PLANTED = {
    "field-system": 'pl4nted/field+"system\\=key~0001',
    "erp": "pl4nted/erp+token%=key~0002",
    "hostile": 'pl4nted/hostile+"echo\\=key~0003',
}
DECOY = 'd3coy/in+plain"sight\\=text~0004'
# The same for what can only be a name.
NAMED = "d3coy-in-plain-sight-0005"
DECOYS = {"decoy", "named"}
# What a request brings to a defect of the web process, which has it in memory then, and says it nowhere.
CARRIED = 'c4rried/to+a"defect\\=text~0006'
HOSTILE = """\
connector: {name}
owner: tests
adapter: http
environment: local
base_url: {origin}{below}
egress: {{private: [127.0.0.1]}}
auth:
  header: {{X-Api-Key: secret://local/hostile/key}}
timeout: 5s
resources:
{resources}
"""
LOOKED_UP = """\
  absent:
    key: id
    fields: {id: {type: string}}
    lookup: {path: "/{key}/absent"}
"""
RESOURCE = """\
  {way}:
    key: id
    fields: {{id: {{type: string}}, text: {{type: string}}}}
    fetch: {{path: /{way}, records: /items}}
"""
MISSED = """\
blueprint: d3coy-in-plain-sight-0005
owner: tests
input: {type: object, required: [decoy], properties: {decoy: {type: string}}}
steps:
  - id: asked
    lookup: {connector: hostile, resource: absent, key: "${input.decoy}"}
output: "${steps.asked.record}"
"""
PROVOKED = """\
blueprint: provoked-{way}
owner: tests
description: >-
  Asked for {way}; {decoy}
input: {{type: object, required: [decoy], properties: {{decoy: {{type: string}}}}}}
steps:
  - id: asked
    fetch: {{connector: hostile, resource: {way}}}
output: "${{steps.asked.records}}"
"""


Memory = dict[int, set[tuple[str, str, str]]]


@dataclass(frozen=True, kw_only=True)
class Ran:
    """The deployment after everything has run: what it is searched by, and what its surfaces said."""

    up: Up
    search: Search
    answers: dict[str, bytes]
    pages: dict[str, bytes]
    exports: dict[str, bytes]
    traces: list[bytes]
    seen: list[str]

    def hits(self, said: dict[str, bytes]) -> tuple[set[tuple[str, str, str]], set[str]]:
        """What of the planted is found there, and the places where the text in plain sight is."""
        found = {hit for place, data in said.items() for hit in self.search.within(data, place)}
        return {hit for hit in found if hit[0] not in DECOYS}, {place for name, _, place in found if name in DECOYS}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    need_root("reading other processes' memory needs root")
    folder = tmp_path_factory.mktemp("planted")
    with collecting() as (collector, traces), pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(TRACED), os.environ.get("PYTHONPATH")))))
        patch.setenv("PYTHON_PLANTED_COLLECTOR", collector)
        up = Up(folder / "data")
        try:
            up.ready()
            patch.undo()
            yield from _all_that_runs(up, folder, traces)
        finally:
            up.interrupt()


@pytest.fixture(scope="module")
def memory(ran: Ran) -> Memory:
    """What is found in the memory of each process, looked into once: it takes most of a minute."""
    found: Memory = {}
    for pid in tree_of(ran.up.process.pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # a session of the database that has ended
            found[pid] = ran.search.in_memory(pid)
    return found


def _all_that_runs(up: Up, folder: Path, traces: list[bytes]) -> Iterator[Ran]:
    example = load_example()
    with ExitStack() as stack, running(example) as systems, echoing() as (origin, seen):
        systems.field_system.key, systems.erp.token = PLANTED["field-system"], PLANTED["erp"]
        api = up.api()
        stack.callback(api.close)
        for name, (connector, value) in systems.credentials.items():
            keep_secret(api, name, {"value": value}, connectors=[connector])
        keep_secret(api, "hostile/key", {"value": PLANTED["hostile"]}, connectors=["hostile", "faulty"])
        documents = folder / "documents"
        documents.mkdir()
        runs = [_labour(stack, up, api, systems), *_provoked(api, origin, documents)]
        until(lambda: len(seen) >= len(WAYS) + 1, "every way was asked")
        pages = error_pages(api, up.profile["token"], DECOY, NAMED, CARRIED)
        exported = exports(up.data, folder, documents)
        answers = _answers(up, api, runs)
        until(lambda: any(NAMED.encode() in body for body in traces), "the span of the last start has arrived")
        yield Ran(
            up=up, search=Search({**PLANTED, "decoy": DECOY, "named": NAMED, "carried": CARRIED}), answers=answers, pages=pages, exports=exported,
            traces=traces, seen=seen,
        )  # fmt: skip


def _labour(stack: ExitStack, up: Up, api: Api, systems: Systems) -> str:
    example = load_example()
    Ledger.make(example, up.data, load_settings({}, overrides={"data": str(up.data)}).settings.connectors_root)
    api.post("/api/artifacts/apply", {"documents": example.documents(systems.addresses)})
    api.post(path("principals"), {"name": "supervisor", "kind": "user", "display_name": "S", "roles": ["approver"]})
    key = api.post(path("keys"), {"principal": "supervisor", "label": "t", "expires_at": _tomorrow()})["text"]
    run = str(api.post(path("blueprints", BLUEPRINT, "runs"), {"input": {"period": PERIOD}})["run_id"])
    supervisor = Api(api.url, str(key))
    stack.callback(supervisor.close)

    def ended() -> bool:
        for asked in list(api.items(path("approvals"), status="PENDING", run=run)):
            body = {"reason": "Seen and agreed.", "args_digest": asked["args_digest"]}
            with suppress(Problem):
                supervisor.post(path("approvals", str(asked["id"]), "approve"), body)
        return api.get(path("runs", run))["status"] in ENDED

    until(ended, "the labour costs are posted", 120)
    found = api.get(path("runs", run))
    assert found["status"] == "SUCCEEDED", found
    posted = {str(r["cost_centre"]): Decimal(str(r["amount_eur"])) for r in systems.erp.facts().postings.values()}
    assert posted == example.totals()
    return run


def _tomorrow() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))


def _provoked(api: Api, origin: str, folder: Path) -> list[str]:
    ways = (*WAYS, "defect")
    resources = "".join(RESOURCE.format(way=way) for way in ways) + LOOKED_UP
    sources = {
        "hostile": HOSTILE.format(name="hostile", origin=origin, below="", resources=resources),
        "absent": MISSED,
    }
    sources["faulty"] = HOSTILE.format(name="faulty", origin=origin, below="/defect", resources=resources)
    sources |= {way: PROVOKED.format(way=way, decoy=DECOY) for way in ways}
    for name, source in sources.items():
        (folder / f"{name}.yaml").write_text(source)
    documents = [{"path": f"{name}.yaml", "source": source} for name, source in sources.items()]
    api.post("/api/artifacts/apply", {"documents": documents})
    runs = [
        str(api.post(path("blueprints", name, "runs"), {"input": {"decoy": DECOY}})["run_id"])
        for name in (*(f"provoked-{way}" for way in ways), NAMED)
    ]
    until(lambda: all(api.get(path("runs", run))["status"] in ENDED for run in runs), "all provoked runs end", 120)
    return runs


def _answers(up: Up, api: Api, runs: list[str]) -> dict[str, bytes]:
    """What every surface says that could say it."""
    found: dict[str, bytes] = {}

    def keep(target: str, **query: Any) -> None:
        try:
            said: Any = api.get(target, **query)
        except Problem as problem:
            said = {"code": problem.code, "message": problem.message, "hint": problem.hint, **problem.fields}
        found[target] = json.dumps(said, default=str).encode()

    for run in runs:
        keep(path("runs", run))
        keep(path("runs", run, "steps"))
        keep(path("dlq", run))
    for target in (
        "runs",
        "effects",
        "audit",
        "dlq",
        "approvals",
        "connectors",
        "artifacts",
        "secrets",
        "secrets/check",
    ):
        keep(f"/api/{target}")
    keep("/api/connectors/hostile")
    keep("/openapi.json")
    for socket in (up.data / "run").glob("*.sock"):
        for target in ("/metrics", "/health/ready"):
            found[f"{socket.name}{target}"] = ask_unix(socket, target)[1]
    return found


def test_the_search_would_find_them(ran: Ran, memory: Memory) -> None:
    """The holder has them in memory, so they can be found there; a text in plain sight is found in the others and in the
    database; and each encoding is found where it was put."""
    assert set(ran.seen) == {PLANTED["hostile"]}
    broker = ran.up.pid_of("broker")
    assert {name for name, *_ in memory[broker]} >= {"hostile"}
    assert sum("decoy" in {name for name, *_ in found} for found in memory.values()) >= 2
    assert "decoy" in {name for name, *_ in ran.search.in_files(ran.up.data)}
    for text in PLANTED.values():
        for needle in encodings(text).values():
            assert list(ran.search.within(b"\0.." + needle + b"..\0", "here"))
    assert len({encoding.partition("+")[0] for encoding in encodings(DECOY)}) >= 6


def test_nobody_but_the_holder_has_them(ran: Ran, memory: Memory) -> None:
    broker = ran.up.pid_of("broker")
    assert broker
    names = tree_of(ran.up.process.pid)
    looked_into = {names.get(pid) for pid in memory if pid != broker}
    assert {"stanchion:web", "stanchion:worke", "stanchion:sched"} <= looked_into
    others = {(names.get(pid), *hit) for pid, found in memory.items() if pid != broker for hit in found}
    assert {hit for hit in others if hit[1] in PLANTED} == set()


def test_nothing_that_is_kept_or_said_has_them(ran: Ran) -> None:
    kept = {hit for hit in ran.search.in_files(ran.up.data) if hit[0] not in DECOYS}
    assert kept == set()
    # The key file beside the data folder holds the key of the secrets, and not a secret.
    keys = Path(f"{ran.up.data}.keys")
    assert keys.is_dir()
    assert ran.search.in_files(keys) == set()
    found, seen_plainly = ran.hits(ran.answers)
    assert found == set()
    assert seen_plainly


def test_no_page_of_an_error_has_them(ran: Ran) -> None:
    found, seen_plainly = ran.hits(ran.pages)
    assert found == set()
    assert seen_plainly
    assert {place.split()[0] for place in ran.pages} >= {"400", "401", "404", "405"}


def test_no_page_no_log_and_no_span_of_a_defect_has_what_it_said(ran: Ran) -> None:
    """Web and broker raised exceptions that hold the texts in every encoding; that they did, their class says."""
    pages = {place: data for place, data in ran.pages.items() if place.startswith("500 ")}
    asked = {place.split()[4] for place in pages if place.split()[2] == "True"}
    assert asked == {"/api/planted/defect", "/api/connectors/faulty/discover"}
    codes = {json.loads(data.partition(b"{")[1] + data.partition(b"{")[2])["code"] for data in pages.values()}
    assert codes == {"internal.defect", "broker.failed"}
    logs = {str(file): file.read_bytes() for file in ran.up.data.rglob("*.log")}
    spans = {str(number): body for number, body in enumerate(ran.traces)}
    for said in (pages, logs, spans):
        assert ran.hits(said)[0] == set()
    raised = f"Planted{len(encodings(CARRIED))}TimesDefect".encode()
    for event in (b"broker.failed", b"defect"):
        assert any(event in line and raised in line for data in logs.values() for line in data.splitlines())
    everything = b"".join(ran.traces)
    assert b"http POST /api/planted/defect" in everything
    assert b"failed in the broker (" + raised in everything
    # A test that fails is an answer; it says of a defect no more than that.
    tested = [data for place, data in ran.pages.items() if "/faulty/test" in place and " True " in place]
    assert tested
    assert all(b"failed in the broker (" + raised in data for data in tested)
    # What a problem says is seen where these would have been.
    problems = {
        place: data for place, data in ran.pages.items() if "/api/planted/problem" in place and " True " in place
    }
    assert ran.hits(problems)[1] == set(problems) != set()


def test_no_export_has_them(ran: Ran) -> None:
    """The bundle's payload is looked at as it is and unwrapped; a text in plain sight is found in it and in the plan."""
    found, seen_plainly = ran.hits(ran.exports)
    assert found == set()
    assert seen_plainly >= {"bundle", "bundle, unwrapped"}


def test_no_trace_has_them(ran: Ran) -> None:
    """Every span of every process, with its exceptions, as a collector receives it."""
    traces = {str(number): body for number, body in enumerate(ran.traces)}
    found, seen_plainly = ran.hits(traces)
    assert found == set()
    assert seen_plainly
    everything = b"".join(ran.traces)
    for name in (b"stanchion-web", b"stanchion-worker", b"stanchion-broker", b"exception.stacktrace"):
        assert name in everything


def test_what_was_taken_out_says_so(ran: Ran) -> None:
    """The echo reached the run with the credential taken out of it, not cut off or dropped."""
    answers = [data for place, data in ran.answers.items() if place.startswith("/api/runs/")]
    assert any(b"records" in data or b"[" in data for data in answers)
    assert any(b"adapter." in data for data in answers)
