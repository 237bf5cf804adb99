"""Verbs of kill switches on a real database, with a kind that registered itself."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import psycopg
import pytest

from stanchion.audit import list_records
from stanchion.base import Conflict, Denied, Invalid, NotFound
from stanchion.controls import kills
from stanchion.controls.kills import Snapshot
from stanchion.controls.kills import routes as kills_routes
from stanchion.http import PageParams
from stanchion.identity import CedarAuthorizer
from tests.conftest import make_env
from tests.controls.kills.support import KINDS, make_tenants, person
from tests.support.http import app_of, client_of

PAGE = PageParams(limit=10)


@pytest.fixture(autouse=True)
def tenants(database_urls) -> None:
    make_tenants(database_urls.owner)


async def test_a_registered_kind_is_killed_by_version_and_lifted(env) -> None:
    olga, ada = person(env), person(env, "ada")
    made = await kills.set_kill(olga, KINDS, "widget", "left", version=2, reason=" It leaks. ")
    assert (made.digest, made.reason, made.set_by, made.target) == (
        "sha256:widget-2",
        "It leaks.",
        "olga",
        "widget/left v2",
    )
    shown, in_flight = await kills.show_kill(ada, KINDS, made.id)
    assert shown.id == made.id
    assert (in_flight.running, in_flight.waiting, in_flight.queued) == (1, 2, 3)
    snapshot = Snapshot(env, role="app")
    await snapshot.refresh()
    assert snapshot.blocked("acme", "widget", "left", "sha256:widget-1") is None
    blocked = snapshot.blocked("acme", "widget", "left", "sha256:widget-2")
    assert blocked is not None
    assert blocked.ref == str(made.id)
    lifted = await kills.lift_kill(ada, made.id, reason="Mended.")
    assert (lifted.lifted_by, lifted.lift_reason) == ("ada", "Mended.")
    await snapshot.refresh()
    assert snapshot.blocked("acme", "widget", "left", "sha256:widget-2") is None
    assert snapshot.any is False
    assert (await kills.list_kills(ada, PAGE)).items == []
    assert [k.id for k in (await kills.list_kills(ada, PAGE, lifted=True)).items] == [made.id]


async def test_every_change_has_its_record(env) -> None:
    made = await kills.set_kill(person(env), KINDS, "widget", "left", reason="It leaks.")
    await kills.lift_kill(person(env, "ada"), made.id, reason="Mended.")
    found = await list_records(person(env), PAGE, target_kind="kill", target_id=str(made.id))
    records = [json.loads(row.record) for row in found.items]
    assert [(r["event_type"], r["actor"]["id"]) for r in records] == [("kill.lifted", "ada"), ("kill.set", "olga")]
    assert all(r["reason"].startswith("sha256:") for r in records)
    assert records[1]["before"] is None
    assert records[0]["before"] == records[1]["after"] != records[0]["after"]
    assert records[0]["extra"] == {"kind": "widget", "name": "left", "version": None, "digest": None}


async def test_what_is_refused_changes_nothing(env) -> None:
    olga = person(env)
    for kind, name, reason, error, code in (
        ("widgt", "left", "why", Invalid, "kill.unknown_kind"),
        ("widget", "right", "why", NotFound, "kill.unknown_target"),
        ("widget", "left", " ", Invalid, "kill.no_reason"),
    ):
        with pytest.raises(error) as caught:
            await kills.set_kill(olga, KINDS, kind, name, reason=reason)
        assert caught.value.code == code
    with pytest.raises(NotFound) as unknown:
        await kills.lift_kill(olga, uuid4(), reason="why")
    assert unknown.value.code == "kill.unknown"
    assert (await kills.list_kills(olga, PAGE, lifted=True)).items == []
    assert (await list_records(olga, PAGE, target_kind="kill")).items == []


async def test_of_many_who_kill_or_lift_at_once_one_does_and_the_others_are_told(env) -> None:
    people = [person(env, f"p{n}") for n in range(8)]
    for _ in range(3):
        done = await asyncio.gather(
            *(kills.set_kill(who, KINDS, "widget", "left", reason="It leaks.") for who in people),
            return_exceptions=True,
        )
        made = [d for d in done if isinstance(d, kills.Kill)]
        told = [d for d in done if isinstance(d, Conflict)]
        assert (len(made), len(told)) == (1, 7)
        assert {t.code for t in told} == {"kill.already"}
        assert all(f"by {made[0].set_by}" in t.message for t in told)
        lifts = await asyncio.gather(
            *(kills.lift_kill(who, made[0].id, reason="Mended.") for who in people), return_exceptions=True
        )
        lifted = [d for d in lifts if isinstance(d, kills.Kill)]
        late = [d for d in lifts if isinstance(d, Conflict)]
        assert (len(lifted), len(late)) == (1, 7)
        assert all(d.code == "kill.lifted" and f"by {lifted[0].lifted_by}" in d.message for d in late)
    assert len((await list_records(people[0], PAGE, target_kind="kill")).items) == 6


async def test_a_tenant_sees_and_stops_nothing_of_another(env, database_urls) -> None:
    made = await kills.set_kill(person(env), KINDS, "widget", "left", reason="It leaks.")
    other = person(env, "mallory", "beta")
    assert (await kills.list_kills(other, PAGE, lifted=True)).items == []
    for attempt in (kills.show_kill(other, KINDS, made.id), kills.lift_kill(other, made.id, reason="Mine.")):
        with pytest.raises(NotFound):
            await attempt
    snapshot = Snapshot(env, role="app")
    await snapshot.refresh()
    assert snapshot.blocked("beta", "widget", "left", None) is None
    assert snapshot.blocked("acme", "widget", "left", None) is not None
    # Row-level security is the second lock: a query that forgot its tenant would still find nothing, and write nothing.
    with psycopg.connect(database_urls.app, autocommit=True) as connection:
        connection.execute("select set_config('stanchion.tenant', 'beta', false)")
        assert connection.execute("select * from kills").fetchall() == []
        assert connection.execute("update kills set lifted_by = 'x'").rowcount == 0
        assert connection.execute("update kill_revisions set rev = 99").rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into kill_revisions (tenant, rev) values ('acme', 1)")


async def test_an_operator_kills_and_only_an_admin_lifts(db) -> None:
    strict = make_env(db, authorizer=CedarAuthorizer())
    operator, admin = person(strict, "olga", "acme", "operator"), person(strict, "ada", "acme", "admin")
    made = await kills.set_kill(operator, KINDS, "widget", "left", reason="It leaks.")
    with pytest.raises(Denied):
        await kills.lift_kill(operator, made.id, reason="Mended.")
    with pytest.raises(Denied):
        await kills.set_kill(person(strict, "vi", "acme", "viewer"), KINDS, "widget", "left", version=1, reason="Why.")
    assert (await kills.list_kills(person(strict, "vi", "acme", "viewer"), PAGE)).items[0].id == made.id
    assert (await kills.lift_kill(admin, made.id, reason="Mended.")).lifted_by == "ada"


async def test_over_http(env) -> None:
    async with client_of(app_of(person(env), kills_routes.build_router(KINDS))) as client:
        before = (await client.get("/api/kills/widget/left/impact", params={"version": 1})).json()
        assert before == {"running": 1, "waiting": 2, "queued": 3, "newest": []}
        said = {"kind": "widget", "name": "left", "reason": "It leaks."}
        made = await client.post("/api/kills", json=said)
        assert made.status_code == 201
        again = await client.post("/api/kills", json=said)
        assert (again.status_code, again.json()["code"]) == (409, "kill.already")
        kill_id = made.json()["id"]
        listed = (await client.get("/api/kills")).json()
        assert [k["id"] for k in listed["items"]] == [kill_id]
        assert (await client.get(f"/api/kills/{kill_id}")).json()["in_flight"]["running"] == 1
        lifted = await client.post(f"/api/kills/{kill_id}/lift", json={"reason": "Mended."})
        assert lifted.json()["lifted_by"] == "olga"
        assert (await client.get("/api/kills")).json()["items"] == []
        assert len((await client.get("/api/kills", params={"lifted": "true"})).json()["items"]) == 1
        for wrong in ({"name": "left", "reason": "x"}, {**said, "more": 1}, {**said, "name": "Left!"}):
            assert (await client.post("/api/kills", json=wrong)).status_code == 422
        unknown = await client.get("/api/kills/gadget/left/impact")
        assert (unknown.status_code, unknown.json()["code"]) == (422, "kill.unknown_kind")
