from __future__ import annotations

import asyncio

import pytest

from stanchion.context import Ctx
from stanchion.db import Database
from stanchion.identity import CedarAuthorizer
from stanchion.releases import routes as releases_routes
from stanchion.releases.flags.routes import build_router
from tests.artifacts.support import add_tenants, ctx_of
from tests.conftest import make_env
from tests.releases.flags.support import KINDS, SECOND, Stage, document
from tests.support.http import app_of, client_of


class Caller:
    """Who the next request is of."""

    def __init__(self, ctx: Ctx) -> None:
        self.ctx = ctx

    def __call__(self) -> Ctx:
        return self.ctx


@pytest.fixture
async def stage(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        env = make_env(db, authorizer=CedarAuthorizer())
        await add_tenants(env, "acme")
        yield Stage(env)


@pytest.fixture
async def client(stage):
    caller = Caller(stage.ctx)
    async with client_of(
        app_of(caller, build_router(KINDS, stage.flags), releases_routes.build_router(KINDS))
    ) as client:
        client.caller = caller
        yield client


async def test_flags_are_listed_and_shown(stage, client) -> None:
    await stage.apply(*(document(name=f"flag-{n}") for n in range(3)))
    rollout = await stage.canary(10, 100, document=document(('"fines"', '"appeals"'), name="flag-1"))
    page = (await client.get("/api/flags", params={"limit": 2})).json()
    rest = (await client.get("/api/flags", params={"after": page["next"]})).json()
    assert [f["name"] for f in (*page["items"], *rest["items"])] == ["flag-0", "flag-1", "flag-2"]
    assert rest["next"] is None
    moved = page["items"][1]
    assert (moved["version"], moved["candidate"], moved["rollout"]) == (1, 2, str(rollout.id))
    assert (moved["default"], moved["enabled"], moved["targeted"]) == ("off", True, True)
    shown = (await client.get("/api/flags/flag-1")).json()
    assert shown["document"]["rules"][0]["serve"] == "on"
    assert shown["here"] == {"process": "test", "revision": 0, "age_s": None, "version": None, "candidate": None}
    await stage.flags.refresh()
    here = (await client.get("/api/flags/flag-1")).json()["here"]
    assert (here["version"], here["candidate"], here["revision"]) == (1, 2, 4)
    unknown = await client.get("/api/flags/flag-9")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "flag.unknown")


async def test_a_flag_is_evaluated_with_its_version(stage, client) -> None:
    where = "/api/flags/new-review-flow/evaluate"
    unread = await client.post(where, json={"context": {}})
    assert (unread.status_code, unread.json()["code"]) == (503, "flag.unread")
    await stage.apply(document())
    await stage.flags.refresh()
    got = (await client.post(where, json={"context": {"team": "fines"}, "fallback": False})).json()
    assert (got["value"], got["variant"], got["reason"]) == (True, "on", "TARGETING_MATCH")
    assert (got["version"], got["rollout"], got["arm"], got["error_code"]) == (1, None, None, None)
    assert got["digest"].startswith("sha256:")
    assert got["age_s"] < 5
    assert (await client.post(where, json={})).json()["value"] is False
    wrong = (await client.post(where, json={"type": "string", "fallback": "mine"})).json()
    assert (wrong["value"], wrong["error_code"], wrong["reason"]) == ("mine", "TYPE_MISMATCH", "ERROR")
    near = await client.post("/api/flags/new-review-flw/evaluate", json={})
    assert (near.status_code, near.json()["code"]) == (404, "flag.unknown")
    assert "Did you mean new-review-flow?" in near.json()["hint"]
    for body in ({"contxt": {}}, {"context": []}, {"type": "list"}):
        assert (await client.post(where, json=body)).status_code == 422


async def test_it_says_which_side_of_a_rollout_answered(stage, client) -> None:
    await stage.apply(document())
    rollout = await stage.canary(100, document=SECOND)
    await stage.flags.refresh()
    got = (
        await client.post(
            "/api/flags/new-review-flow/evaluate", json={"context": {"targetingKey": "u1"}, "fallback": True}
        )
    ).json()
    assert (got["version"], got["arm"], got["rollout"]) == (2, "candidate", str(rollout.id))


async def test_it_is_switched_by_a_new_version_with_a_reason(stage, client) -> None:
    await stage.apply(document())
    off = await client.post("/api/flags/new-review-flow/disable", json={"reason": "It loses citations."})
    assert (off.status_code, off.json()["version"], off.json()["change"]) == (200, 2, "updated")
    again = await client.post("/api/flags/new-review-flow/disable", json={"reason": "Really."})
    assert (again.json()["version"], again.json()["change"]) == (2, "unchanged")
    shown = (await client.get("/api/flags/new-review-flow")).json()
    assert (shown["enabled"], shown["version"]) == (False, 2)
    on = await client.post("/api/flags/new-review-flow/enable", json={"reason": "Mended."})
    assert on.json()["version"] == 3
    assert (await client.post("/api/flags/new-review-flow/enable", json={"reason": "x"})).json()[
        "change"
    ] == "unchanged"
    default = await client.post("/api/flags/new-review-flow/default", json={"variant": "on", "reason": "All."})
    assert default.json()["version"] == 4
    assert (await client.get("/api/flags/new-review-flow")).json()["default"] == "on"
    none = await client.post("/api/flags/new-review-flow/default", json={"variant": "onn", "reason": "All."})
    assert (none.status_code, none.json()["code"]) == (422, "apply.invalid")
    assert [error["code"] for error in none.json()["errors"]] == ["flag.unknown_variant"]
    async with stage.ctx.tx() as tx:
        rows = await (await tx.execute("select version, changelog, source from artifacts order by version")).fetchall()
    assert [row[:2] for row in rows[1:]] == [(2, "It loses citations."), (3, "Mended."), (4, "All.")]
    assert "# they asked for it" in rows[-1][2]
    unknown = await client.post("/api/flags/nobody/enable", json={"reason": "x"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "flag.unknown")


async def test_of_many_who_switch_at_once_one_does_and_the_others_are_told(stage, client) -> None:
    await stage.apply(document())
    done = await asyncio.gather(
        *(client.post("/api/flags/new-review-flow/default", json={"variant": "on", "reason": f"{n}"}) for n in range(8))
    )
    said = [(answer.status_code, answer.json().get("change") or answer.json()["code"]) for answer in done]
    assert said.count((200, "updated")) == 1
    assert set(said) <= {(200, "updated"), (200, "unchanged"), (409, "release.superseded")}
    assert (await client.get("/api/flags/new-review-flow")).json()["version"] == 2


async def test_a_flag_that_a_rollout_moves_is_not_switched_beside_it(stage, client) -> None:
    await stage.apply(document())
    await stage.canary(10, 100, document=SECOND)
    told = await client.post("/api/flags/new-review-flow/disable", json={"reason": "Stop."})
    assert (told.status_code, told.json()["code"]) == (409, "rollout.open")


@pytest.mark.parametrize(
    ("role", "read", "asks", "switches"),
    [
        ("viewer", 200, 403, 403),
        ("analyst", 200, 200, 403),
        ("operator", 200, 200, 403),
        ("service", 403, 200, 403),
        ("author", 200, 200, 200),
    ],
)
async def test_roles(stage, client, role: str, read: int, asks: int, switches: int) -> None:
    await stage.apply(document())
    await stage.flags.refresh()
    client.caller.ctx = ctx_of(stage.env, "acme", roles=(role,))
    assert (await client.get("/api/flags")).status_code == read
    assert (await client.get("/api/flags/new-review-flow")).status_code == read
    assert (await client.post("/api/flags/new-review-flow/evaluate", json={})).status_code == asks
    done = await client.post("/api/flags/new-review-flow/disable", json={"reason": "x"})
    assert done.status_code == switches
