"""The tool gate over real runs: eight points, each of which alone keeps a version disabled, and calls that go round nothing."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pytest

from stanchion.tools.catalogue import store
from tests.tools.catalogue.support import POSTING, Stage, document, stage_on


@pytest.fixture
async def stage(fresh_database_urls, tmp_path):
    async with stage_on(fresh_database_urls, tmp_path) as made:
        yield made


async def test_a_write_is_born_disabled_and_enabled_by_eight_points(stage: Stage) -> None:
    shown = (await stage.ask("GET", "/post-cost")).json()
    assert (shown["enabled"], shown["flag"], shown["state"]) == (False, "tool.post-cost.v1.enabled", None)
    refused = await stage.call()
    assert (refused.status_code, refused.json()["code"]) == (403, "tool.disabled")
    points = await stage.points()
    assert [n for n, one in points.items() if not one["holds"]] == [4, 5, 6, 7]
    assert all(points[n]["way_out"] for n in (4, 5, 6, 7))
    gated = await stage.change("enable")
    assert (gated.status_code, gated.json()["code"]) == (409, "tool.gated")
    assert len(gated.json()["errors"]) == 4

    tried = await stage.ask("POST", "/post-cost/try", json={})
    assert tried.status_code == 200, tried.text
    assert [p["number"] for p in tried.json()["points"] if not p["holds"]] == [7]
    assert stage.postings() == []
    assert (await stage.approve()).status_code == 200
    enabled = await stage.change("enable")
    assert enabled.status_code == 200, enabled.text
    assert enabled.json()["passes"]

    called = await stage.call()
    assert (called.status_code, called.json()["status"]) == (200, "SUCCEEDED"), called.text
    assert [row["number"] for row in stage.postings()] == ["2026-47-1"]
    run_id = called.json()["run_id"]
    effects = await stage.rows("select state, class, key, receipt from effects where run_id = %s", run_id)
    assert [(state, kind) for state, kind, _, _ in effects] == [("DONE", "write")]
    assert "simulated" not in effects[0][3]
    events = [
        r[0] for r in await stage.rows("select event_type from audit_records where run_id = %s order by id", run_id)
    ]
    assert events == ["run.started", "effect.attempted", "effect.completed", "run.ended"]
    [change] = await stage.records("tool.enabled")
    assert [point["holds"] for point in change["extra"]["points"]] == [True] * 8
    assert change["extra"]["flag"] == "tool.post-cost.v1.enabled"


async def test_a_large_posting_waits_for_a_person_who_sees_the_arguments(stage: Stage) -> None:
    await stage.make_ready()
    await stage.change("enable")
    large = {**POSTING, "amount": "5000.00"}
    accepted = await stage.call(arguments=large, headers={"Prefer": "wait=1"})
    assert accepted.status_code == 202
    _, status, shown, _ = await stage.asked(accepted.json()["run_id"])
    assert status == "PENDING"
    assert large in [one.get("value", one) if isinstance(one, dict) else one for one in shown] or large in shown
    assert stage.postings() == []


async def test_a_read_may_be_called_outside_production_before_anybody_enabled_it(stage: Stage) -> None:
    found = await stage.call("find-posting", {"key": "2026-47-1"})
    assert (found.status_code, found.json()["output"]) == (200, {"record": None, "found": False})
    assert await stage.failing("find-posting") == [4, 5, 6, 7]
    await stage.make_ready("find-posting")
    assert await stage.failing("find-posting") == []
    assert (await stage.change("disable", "find-posting")).status_code == 200
    await stage.look()
    assert (await stage.call("find-posting", {"key": "a"})).json()["code"] == "tool.disabled"


async def test_arguments_beyond_the_tools_own_schema_are_refused_before_a_run_begins(stage: Stage) -> None:
    before = await stage.rows("select count(*) from runs")
    for arguments in (
        {"number": "a"},
        {**POSTING, "note": "x" * 21},
        {**POSTING, "account": "9"},
        {**POSTING, "amount": 1},
    ):
        answer = await stage.call(arguments=arguments, dry_run=True)
        assert (answer.status_code, answer.json()["code"]) == (422, "tool.bad_arguments")
    assert await stage.rows("select count(*) from runs") == before


async def test_a_dry_run_leaves_intent_and_outcome_and_sends_nothing(stage: Stage) -> None:
    tried = await stage.call(dry_run=True)
    assert (tried.status_code, tried.json()["status"]) == (200, "SUCCEEDED"), tried.text
    assert tried.json()["output"]["receipt"]["simulated"] is True
    assert tried.json()["simulated"] is True
    assert stage.postings() == []
    [(state, receipt)] = await stage.rows(
        "select state, receipt from effects where run_id = %s", tried.json()["run_id"]
    )
    assert (state, receipt["simulated"]) == ("DONE", True)
    assert await stage.failing() == [5, 6, 7]


async def test_one_idempotency_key_is_one_call(stage: Stage) -> None:
    await stage.make_ready()
    await stage.change("enable")
    headers = {"Idempotency-Key": "posting-1"}
    first, again = [await stage.call(headers=headers) for _ in range(2)]
    assert first.json()["run_id"] == again.json()["run_id"]
    assert len(stage.postings()) == 1
    other = await stage.call(arguments={**POSTING, "number": "other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "run.idempotency_mismatch")


async def test_a_tool_of_a_blueprint_is_asked_where_it_is_used(stage: Stage) -> None:
    source = """\
blueprint: costs
owner: finance
input: {type: object, required: [amount], properties: {amount: {type: string, format: decimal}}}
steps:
  - id: posted
    push:
      connector: erp
      resource: postings
      tool: post-cost
      record: {number: b-1, amount: "${input.amount}", note: null}
"""
    await stage.apply(document("find-posting"), type(document("erp"))(path="costs.yaml", source=source))
    stage.who = "cleo"
    path, wait = "/api/blueprints/costs/runs", {"Prefer": "wait=30"}
    refused = await stage.client.post(path, json={"input": {"amount": "1.00"}}, headers=wait)
    assert (refused.json()["status"], refused.json()["error"]["code"]) == ("FAILED", "tool.disabled")
    await stage.make_ready()
    await stage.change("enable")
    stage.who = "cleo"
    done = await stage.client.post(path, json={"input": {"amount": "1.00"}}, headers=wait)
    assert done.json()["status"] == "SUCCEEDED", done.text
    assert [row["number"] for row in stage.postings()] == ["b-1"]


async def test_a_killed_tool_takes_no_call_and_holds_runs_back(stage: Stage) -> None:
    await stage.make_ready()
    await stage.change("enable")
    stage.who = "otto"
    body = {"kind": "tool", "name": "post-cost", "reason": "it posts twice"}
    assert (await stage.client.post("/api/kills", json=body)).status_code == 201
    await stage.look()
    assert (await stage.call()).json()["code"] == "kill.active"
    assert (await stage.call(dry_run=True)).json()["code"] == "kill.active"
    [listed] = [tool for tool in (await stage.client.get("/api/tools")).json()["items"] if tool["name"] == "post-cost"]
    assert (listed["enabled"], listed["killed"]) == (True, True)
    assert (await stage.client.get("/api/tools/post-cost")).json()["versions"][0]["killed"] is True


async def test_a_list_of_tools_costs_the_same_statements_however_many_there_are(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = 0
    ours = ContextVar("ours", default=False)  # and not of the looks at states that go on beside
    real = store.many

    async def counted(*args: Any) -> Any:
        nonlocal statements
        statements += ours.get()
        return await real(*args)

    monkeypatch.setattr(store, "many", counted)
    monkeypatch.setattr(store, "maybe", None)  # one row at a time is what a list must not read

    async def cost(path: str) -> tuple[int, Any]:
        nonlocal statements
        statements = 0
        ours.set(True)
        answer = await stage.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return statements, answer.json()

    before, two = await cost("")
    more = [
        document("find-posting", ("tool: find-posting", f"tool: find-{n}"), ("name: find_posting", f"name: find_{n}"))
        for n in range(5)
    ]
    await stage.apply(*more, document("post-cost", ("Cost postings", "Costs")))
    after, seven = await cost("")
    assert (len(two["items"]), len(seven["items"])) == (2, 7)
    assert 0 < after == before <= 4
    versions, shown = await cost("/post-cost")
    assert (len(shown["versions"]), versions) == (2, before)
