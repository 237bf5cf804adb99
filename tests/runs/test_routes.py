"""The routes of runs: starts, reads, streams, decisions."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC
from uuid import UUID, uuid4

import pytest

from stanchion.base import Invalid, Unavailable
from stanchion.queue import Notifier
from stanchion.runs import RunStatus, Suspend, WaitingKind, reading, wire
from stanchion.runs.routes import build_router
from stanchion.runs.streams import encode, run_events
from stanchion.runs.watching import Watcher, changes
from tests.runs.test_fan_out import over_block
from tests.runs.test_flow import one_probe
from tests.support.http import app_of, client_of


@pytest.fixture
async def client(world):
    watcher = Watcher(world.env)
    router = build_router(watcher, world.starter, Notifier(world.env, role="app"))
    async with client_of(app_of(world.ctx, router)) as client:
        yield client
    await watcher.close()


async def test_start_wait_and_read(world, client):
    name = world.resolver.add(one_probe("routed"))
    async with world.worker():
        answer = await client.post(
            f"/api/blueprints/{name}/runs",
            json={"input": {"n": 1}},
            headers={"Prefer": "wait=30", "Idempotency-Key": "routed-1"},
        )
        assert answer.status_code == 200, answer.text
        run = answer.json()
        assert (run["status"], run["output"], run["run_id"]) == ("SUCCEEDED", "done", run["id"])
        assert answer.headers["location"] == f"/api/runs/{run['id']}"
        assert answer.headers["preference-applied"] == "wait=30"
        again = await client.post(
            f"/api/blueprints/{name}/runs", json={"input": {"n": 1}}, headers={"Idempotency-Key": "routed-1"}
        )
        assert (again.status_code, again.json()["run_id"]) == (202, run["id"])
        assert (again.json()["repeated"], again.json()["status"]) == (True, "SUCCEEDED")
        clash = await client.post(
            f"/api/blueprints/{name}/runs", json={"input": {"n": 2}}, headers={"Idempotency-Key": "routed-1"}
        )
        assert (clash.status_code, clash.json()["code"]) == (409, "run.idempotency_mismatch")
        workers = (await client.get("/api/workers")).json()["items"]
        assert workers[0]["state"] == "live"
    shown = (await client.get(f"/api/runs/{run['id']}")).json()
    assert shown["pins"][0]["kind"] == "blueprint"
    assert shown["digest"] == shown["pins"][0]["digest"]
    steps = (await client.get(f"/api/runs/{run['id']}/steps")).json()["items"]
    assert [s["path"] for s in steps] == ["first", "last"]
    listed = (await client.get("/api/runs", params={"blueprint": name, "limit": 1})).json()
    assert [r["id"] for r in listed["items"]] == [run["id"]]


async def test_a_repeated_start_tells_of_the_run_as_it_is_now(world, client):
    name = world.resolver.add(one_probe("told-again"))

    async def start():
        answer = await client.post(
            f"/api/blueprints/{name}/runs", json={"input": {}}, headers={"Idempotency-Key": "told-1"}
        )
        assert answer.status_code == 202, answer.text
        return answer.json()

    first = await start()
    assert (first["status"], first["version"], first["repeated"]) == ("PENDING", 1, False)
    world.resolver.add(one_probe("told-again") + "    # changed\n", version=2)
    assert await start() == {**first, "repeated": True}
    world.probe.script["first"] = lambda _: (_ for _ in ()).throw(Suspend(WaitingKind.APPROVAL, ref="told"))
    async with world.worker():
        await world.until(first["run_id"], "SUSPENDED")
        assert await start() == {**first, "status": "SUSPENDED", "repeated": True}
        assert (await client.post(f"/api/runs/{first['run_id']}/cancel", json={"reason": "x"})).status_code == 200
        await world.ended(first["run_id"])
    assert await start() == {**first, "status": "CANCELLED", "repeated": True}


DEFAULTS = """
    blueprint: defaulted
    owner: tests
    input:
      type: object
      required: [limit, zone]
      properties:
        limit: {type: integer, default: 7}
        zone: {type: string, default: Europe/Paris}
        pages: {type: object, default: {}, properties: {size: {type: integer, default: 50}}}
        note: {type: string}
    steps:
      - id: seen
        transform: {value: "${input.zone} ${input.limit} ${input.pages.size}"}
    output: "${steps.seen.value}"
"""


async def test_defaults_of_the_input_are_applied_by_the_service_and_over_http(world, client):
    """`required` with a default is met by the default; what is given wins over it; it stands in the stored input."""
    name = world.resolver.add(DEFAULTS)
    by_service = await world.start(name, {"limit": 8})
    by_http = (await client.post(f"/api/blueprints/{name}/runs", json={})).json()["run_id"]
    as_task = (await client.post(f"/api/tasks/{name}", json={"input": {"zone": "UTC"}})).json()["task_id"]
    async with world.worker():
        found = [await world.ended(run_id) for run_id in (by_service, by_http, as_task)]
    assert [run["output"] for run in found] == ["Europe/Paris 8 50", "Europe/Paris 7 50", "UTC 7 50"]
    shown = (await client.get(f"/api/runs/{by_http}")).json()
    assert shown["input"] == {"limit": 7, "zone": "Europe/Paris", "pages": {"size": 50}}
    wrong = await client.post(f"/api/blueprints/{name}/runs", json={"input": {"limit": None}})
    assert wrong.json()["code"] == "run.input_invalid"


async def test_what_is_refused(world, client):
    name = world.resolver.add(one_probe("refused"))
    url = f"/api/blueprints/{name}/runs"
    assert (await client.post(url, json={"input": {"n": "x"}})).json()["code"] == "run.input_invalid"
    for body in ({"inputs": {}}, {"queue": "Not a name"}, {"priority": 1000}):
        assert (await client.post(url, json=body)).status_code == 422
    near = (await client.post(url, json={"inputs": {}})).json()
    assert near["hint"].startswith("Did you mean input? ")
    far = (await client.post(url, json={"colour": 1})).json()
    assert far["hint"].startswith("The body takes input, queue, priority. ")
    assert far["errors"][0]["message"] == "There is no such field"
    for headers in ({}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "text/plain"}):
        plain = await client.post(url, content=b'{"input": {}}', headers=headers)
        assert (plain.status_code, plain.json()["code"]) == (415, "request.unsupported_media_type")
        assert plain.json()["hint"] == "Send Content-Type: application/json."
    assert (await client.get(f"/api/runs/{uuid4()}")).status_code == 404
    assert (await client.get(f"/api/runs/{uuid4()}/events")).status_code == 404
    assert (await client.get("/api/runs", params={"after": "nonsense"})).status_code == 400
    assert (await client.post("/api/dlq/requeue", json={"reason": "x"})).status_code == 422


async def test_a_task_is_the_end_users_view(world, client):
    name = world.resolver.add(one_probe("task"))
    task = (await client.post(f"/api/tasks/{name}", json={"input": {}})).json()["task_id"]
    seen = (await client.get(f"/api/tasks/{task}")).json()
    assert seen["status"] == "queued"
    assert "No live worker" in seen["waits_on"]
    async with world.worker():
        await world.ended(task)
    seen = (await client.get(f"/api/tasks/{task}")).json()
    assert (seen["status"], seen["result"], seen["waits_on"]) == ("done", "done", None)


async def test_a_task_has_a_word_for_every_state_and_says_what_was_simulated(world, client):
    name = world.resolver.add(one_probe("task"))
    task = (await client.post(f"/api/tasks/{name}", json={"input": {}})).json()["task_id"]
    assert (await client.get(f"/api/tasks/{task}")).json()["simulated"] == 0
    detail = await reading.show(world.ctx, UUID(task))
    said = {
        status: wire.task_reply(replace(detail, run=replace(detail.run, status=status), simulated=2))
        for status in RunStatus
    }
    assert {status.value: reply.status for status, reply in said.items()} == {
        "PENDING": "queued",
        "RUNNING": "running",
        "SUSPENDED": "waiting",
        "SUCCEEDED": "done",
        "FAILED": "failed",
        "CANCELLED": "cancelled",
    }
    assert {reply.simulated for reply in said.values()} == {2}


def parse(chunks: bytes) -> list[dict]:
    events = []
    for block in chunks.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            events.append({**fields, "data": json.loads(fields["data"])})
    return events


async def test_a_stream_tells_everything_and_resumes_anywhere_without_a_gap(world, client):
    asked = asyncio.Event()

    def first(call):
        if not call.resumed:
            asked.set()
            raise Suspend(WaitingKind.APPROVAL, ref="s1")
        return "decided"

    world.probe.script["first"] = first
    async with world.worker():
        run_id = await world.start(one_probe("streamed"))
        watcher = Watcher(world.env)
        stream = run_events(world.ctx, watcher, run_id, 0)
        chunks: list[bytes] = []

        async def read() -> None:
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401 - they are looked at while they come

        reading = asyncio.create_task(read())
        await world.until(run_id, "SUSPENDED")
        await world.eventually(lambda: b"SUSPENDED" in b"".join(chunks))
        from stanchion.runs import wake

        async with world.env.db.tenant_tx("acme") as tx:
            assert await wake(tx, "acme", run_id, WaitingKind.APPROVAL, "s1")
        await asyncio.wait_for(reading, 60)
        assert not watcher._events
    events = parse(b"".join(chunks))
    assert events[-1]["event"] == "end"
    runs = [e["data"]["status"] for e in events if e["event"] == "run"]
    assert runs[-1] == "SUCCEEDED"
    assert "SUSPENDED" in runs
    final = {e["data"]["path"]: e["data"]["status"] for e in events if e["event"] == "step"}
    assert final == {"first": "SUCCEEDED", "last": "SUCCEEDED"}
    ids = [int(e["id"]) for e in events if "id" in e]
    assert ids == sorted(set(ids))
    # A client that comes back gets exactly what it has not seen, and the end at once.
    whole = parse((await client.get(f"/api/runs/{run_id}/events")).content)
    assert {e["data"]["path"] for e in whole if e["event"] == "step"} == {"first", "last"}
    rest = parse((await client.get(f"/api/runs/{run_id}/events", headers={"Last-Event-ID": str(ids[-1])})).content)
    assert [e["event"] for e in rest] == ["end"]


async def test_a_wait_for_a_retry_says_which_attempt_comes_when_and_after_what(world, client):
    def fail(call):
        raise Unavailable("http.status", "registry.cases answered 503 Service Unavailable.", retry_after_s=600)

    world.probe.script["first"] = fail
    async with world.worker():
        run_id = await world.start(one_probe("tried", "        retry: {attempts: 5, initial: 600s, max: 600s}"))
        row = await world.until(run_id, "SUSPENDED")
    at = f"{row['wake_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    told = f"Step first is tried again at {at}, attempt 2, after http.status (registry.cases answered 503 Service Unavailable)."
    shown = (await client.get(f"/api/runs/{run_id}")).json()["waiting_on"]
    assert (shown["kind"], shown["ref"], shown["text"]) == ("retry", "first", told)
    listed = (await client.get("/api/runs", params={"blueprint": "tried"})).json()["items"]
    assert [run["waiting_on"]["text"] for run in listed] == [told]
    assert (await client.get(f"/api/tasks/{run_id}")).json()["waits_on"] == told
    change = await changes(world.ctx, run_id, 0)
    (event,) = [e for e in parse(encode(change)) if e["event"] == "run"]
    assert event["data"]["waiting_on"]["text"] == told


async def test_items_are_listed_and_counted(world, client):
    async with world.worker():
        run_id = await world.start(over_block("routed-items"))
        await world.ended(run_id)
    first = (await client.get(f"/api/runs/{run_id}/items", params={"limit": 5})).json()
    rest = (await client.get(f"/api/runs/{run_id}/items", params={"after": first["next"]})).json()
    assert [r["item_no"] for r in first["items"] + rest["items"]] == list(range(8))
    assert rest["next"] is None
    assert (await client.get(f"/api/runs/{run_id}")).json()["items"]["succeeded"] == 8
    events = parse((await client.get(f"/api/runs/{run_id}/events")).content)
    assert [e["data"]["total"] for e in events if e["event"] == "items"] == [8]


async def test_dead_letters_and_decisions(world, client):
    def fail(call):
        raise Invalid("tests.down", "Down.")

    world.probe.script["first"] = fail
    async with world.worker():
        ids = [str(await world.start(one_probe("routed-dead"))) for _ in range(2)]
        for run_id in ids:
            await world.ended(run_id)
        world.probe.script.clear()
        listed = (await client.get("/api/dlq", params={"blueprint": "routed-dead"})).json()
        assert {d["id"] for d in listed["items"]} == set(ids)
        shown = (await client.get(f"/api/dlq/{ids[0]}")).json()
        assert (shown["step"], shown["steps"][0]["error"]["code"]) == ("first", "tests.down")
        assert shown["input"] == {}
        assert [(pin["kind"], pin["name"], pin["version"]) for pin in shown["pins"]] == [
            ("blueprint", "routed-dead", 1)
        ]
        assert shown["digest"] == shown["pins"][0]["digest"]
        done = await client.post("/api/dlq/requeue", json={"run_ids": [ids[0]], "reason": "up again"})
        assert done.json() == {"count": 1, "run_ids": [ids[0]]}
        gone = await client.post("/api/dlq/discard", json={"filter": {"blueprint": "routed-dead"}, "reason": "no"})
        assert gone.json()["run_ids"] == [ids[1]]
        assert (await world.ended(ids[0]))["status"] == "SUCCEEDED"
        for verb in ("requeue", "discard"):
            again = await client.post(f"/api/dlq/{verb}", json={"run_ids": ids, "reason": "x"})
            assert (again.status_code, again.json()["code"]) == (409, "dlq.not_dead")
            assert [run["status"] for run in again.json()["runs"]] == ["SUCCEEDED", "FAILED"]
        assert (await client.get(f"/api/dlq/{ids[0]}")).status_code == 404
        assert (await client.post(f"/api/runs/{ids[0]}/cancel", json={"reason": "x"})).status_code == 409
        assert (await client.post(f"/api/runs/{ids[1]}/retry", json={"reason": "x"})).status_code == 200
        assert (await world.ended(ids[1]))["attempt"] == 2


async def test_a_client_that_does_not_read_is_dropped(world, monkeypatch):
    from stanchion.runs import streams

    monkeypatch.setattr(streams, "SEND_S", 0.05)
    run_id = await world.start(one_probe("unread"))
    watcher = Watcher(world.env)
    response = streams.EventStream(world.ctx, run_events(world.ctx, watcher, run_id, 0))
    sent = []

    async def send(message) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive():
        await asyncio.Event().wait()

    await asyncio.wait_for(response({"type": "http"}, receive, send), 60)
    assert sent == ["http.response.start", "http.response.body"]
    assert not watcher._events


async def test_what_was_only_simulated_says_so_wherever_it_is_shown(world, client):
    """The engine knows what the steps returned; the verbs that write are the ones that count."""
    name = world.resolver.add(over_block("pretended", n=3))
    world.probe.script["inner"] = lambda call: {"value": 1, "receipt": {"simulated": call.config["value"] > 0}}
    async with world.worker():
        answer = await client.post(f"/api/blueprints/{name}/runs", json={"input": {}}, headers={"Prefer": "wait=30"})
        run = answer.json()
        assert run["status"] == "SUCCEEDED", run
    assert run["simulated"] == 0  # what is no write is none, whatever it returns
    await world.rows("update step_runs set verb = 'push' where verb = 'probe'")
    assert (await client.get(f"/api/runs/{run['id']}")).json()["simulated"] == 2
    items = (await client.get(f"/api/runs/{run['id']}/items")).json()["items"]
    assert [item["simulated"] for item in items] == [0, 1, 1]
    steps = (await client.get(f"/api/runs/{items[2]['id']}/steps")).json()["items"]
    assert {step["path"].rpartition("/")[2]: step["simulated"] for step in steps} == {"inner": True, "after": False}
