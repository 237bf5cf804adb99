"""Planted credentials are found in the memory of their holder and nowhere else (I9): not in another process, the database,
a file, a log, a metric, an answer, an export, however they are encoded and whatever a hostile system does with them."""

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
from tests.faults.servers import need
from tests.processes.instance import Up, until
from tests.secrets.planted.hostile import echoing
from tests.secrets.planted.search import Search, encodings, tree_of

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
HOSTILE = """\
connector: hostile
owner: tests
adapter: http
environment: local
base_url: {origin}
egress: {{private: [127.0.0.1]}}
auth:
  header: {{X-Api-Key: secret://local/hostile/key}}
timeout: 5s
resources:
{resources}
"""
RESOURCE = """\
  {way}:
    key: id
    fields: {{id: {{type: string}}, text: {{type: string}}}}
    fetch: {{path: /{way}, records: /items}}
"""
PROVOKED = """\
blueprint: provoked-{way}
owner: tests
input: {{type: object, required: [decoy], properties: {{decoy: {{type: string}}}}}}
steps:
  - id: asked
    fetch: {{connector: hostile, resource: {way}}}
output: "${{steps.asked.records}}"
"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """The deployment after everything has run: what it is searched by, and what its surfaces said."""

    up: Up
    search: Search
    answers: dict[str, bytes]
    seen: list[str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    need(os.getuid() == 0, "reading other processes' memory needs root")
    folder = tmp_path_factory.mktemp("planted")
    up = Up(folder / "data")
    example = load_example()
    try:
        up.ready()
        with ExitStack() as stack, running(example) as systems, echoing() as (origin, seen):
            systems.field_system.key, systems.erp.token = PLANTED["field-system"], PLANTED["erp"]
            api = up.api()
            stack.callback(api.close)
            for name, (connector, value) in systems.credentials.items():
                keep_secret(api, name, {"value": value}, connectors=[connector])
            keep_secret(api, "hostile/key", {"value": PLANTED["hostile"]}, connectors=["hostile"])
            runs = [_labour(stack, up, api, systems), *_provoked(api, origin)]
            until(lambda: len(seen) >= len(WAYS), "every way was asked")
            yield Ran(up=up, search=Search({**PLANTED, "decoy": DECOY}), answers=_answers(up, api, runs), seen=seen)
    finally:
        up.interrupt()


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


def _provoked(api: Api, origin: str) -> list[str]:
    resources = "".join(RESOURCE.format(way=way) for way in WAYS)
    documents = [{"path": "hostile.yaml", "source": HOSTILE.format(origin=origin, resources=resources)}]
    documents += [{"path": f"{way}.yaml", "source": PROVOKED.format(way=way)} for way in WAYS]
    api.post("/api/artifacts/apply", {"documents": documents})
    runs = [
        str(api.post(path("blueprints", f"provoked-{way}", "runs"), {"input": {"decoy": DECOY}})["run_id"])
        for way in WAYS
    ]
    until(lambda: all(api.get(path("runs", run))["status"] in ENDED for run in runs), "all provoked runs end", 120)
    with suppress(Problem):
        api.post(path("connectors", "hostile", "test"), {})
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


def test_the_search_would_find_them(ran: Ran) -> None:
    """The holder has them in memory, so they can be found there; a text in plain sight is found in the others and in the
    database; and each encoding is found where it was put."""
    assert set(ran.seen) == {PLANTED["hostile"]}
    broker = ran.up.pid_of("broker")
    assert {name for name, *_ in ran.search.in_memory(broker)} >= {"hostile"}
    inside = {pid: {name for name, *_ in ran.search.in_memory(pid)} for pid in tree_of(ran.up.process.pid)}
    assert sum("decoy" in found for found in inside.values()) >= 2
    assert "decoy" in {name for name, *_ in ran.search.in_files(ran.up.data)}
    for text in PLANTED.values():
        for needle in encodings(text).values():
            assert list(ran.search.within(b"\0.." + needle + b"..\0", "here"))
    assert len({encoding.partition("+")[0] for encoding in encodings(DECOY)}) >= 6


def test_nobody_but_the_holder_has_them(ran: Ran) -> None:
    broker = ran.up.pid_of("broker")
    assert broker
    found: set[tuple[str, str, str]] = set()
    looked_into = {}
    for pid, name in tree_of(ran.up.process.pid).items():
        if pid != broker:
            with suppress(FileNotFoundError, ProcessLookupError):  # a session of the database that has ended
                found |= {(*hit, name) for hit in ran.search.in_memory(pid) if hit[0] != "decoy"}
                looked_into[name] = pid
    assert {"stanchion:web", "stanchion:worke", "stanchion:sched"} <= set(looked_into)
    assert found == set()


def test_nothing_that_is_kept_or_said_has_them(ran: Ran) -> None:
    kept = {hit for hit in ran.search.in_files(ran.up.data) if hit[0] != "decoy"}
    assert kept == set()
    # The key file beside the data folder holds the key of the secrets, and not a secret.
    keys = Path(f"{ran.up.data}.keys")
    assert keys.is_dir()
    assert ran.search.in_files(keys) == set()
    said = {hit for place, data in ran.answers.items() for hit in ran.search.within(data, place) if hit[0] != "decoy"}
    assert said == set()
    assert any(hit[0] == "decoy" for place, data in ran.answers.items() for hit in ran.search.within(data, place))


def test_what_was_taken_out_says_so(ran: Ran) -> None:
    """The echo reached the run with the credential taken out of it, not cut off or dropped."""
    answers = [data for place, data in ran.answers.items() if place.startswith("/api/runs/")]
    assert any(b"records" in data or b"[" in data for data in answers)
    assert any(b"adapter." in data for data in answers)
