"""Reading live configs and setting their values: verbs, HTTP, and the text that stays as its author wrote it."""

from __future__ import annotations

import pytest

from stanchion import artifacts
from stanchion.artifacts import Document
from stanchion.base import Conflict, Denied, Invalid, NotFound
from stanchion.db import Database
from stanchion.http import PageParams
from stanchion.identity import CedarAuthorizer
from stanchion.releases.configs import list_configs, rules, set_values, show_config
from stanchion.releases.configs.routes import build_router
from tests.artifacts.support import add_tenants, ctx_of
from tests.conftest import make_env
from tests.releases.configs.support import LIMITS, SOURCES, Stage, canary, changed
from tests.support.http import app_of, client_of


@pytest.fixture
async def stage(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        env = make_env(db, authorizer=CedarAuthorizer())
        await add_tenants(env, "acme", "umbra")
        stage = Stage(env)
        await stage.apply(*(changed(kind) for kind in SOURCES))
        yield stage


async def test_a_config_is_shown_as_it_is_here_and_elsewhere(stage: Stage) -> None:
    await stage.start()
    here = await show_config(stage.ctx, "risk-limits")
    assert (here.version, here.environment, here.values["fine_eur"], here.set_here) == (1, "local", 100, ())
    assert [(held.version, held.runs) for held in here.held] == [(1, 1)]
    assert here.schema["properties"]["fine_eur"] == {"type": "integer"}
    there = await show_config(stage.ctx, "risk-limits", environment="staging")
    assert (there.values["fine_eur"], there.set_here) == (5, ("/fine_eur",))
    await stage.begin(canary(10), documents=[changed("config", ("high: first", "high: second"))])
    tried = await show_config(stage.ctx, "risk-limits", version=2)
    assert (tried.version, tried.row.version, tried.row.candidate) == (2, 1, 2)
    assert tried.values["words"] == {"high": "second"}
    assert tried.digest != here.digest
    listed = await list_configs(stage.ctx, PageParams())
    assert [(row.name, row.version, row.candidate) for row in listed.items] == [("risk-limits", 1, 2)]


async def test_configs_of_others_and_unknown_ones_are_not_there(stage: Stage) -> None:
    other = ctx_of(stage.env, "umbra", roles=("admin",))
    assert (await list_configs(other, PageParams())).items == []
    for ctx, name in ((other, "risk-limits"), (stage.ctx, "limits")):
        with pytest.raises(NotFound) as caught:
            await show_config(ctx, name)
        assert caught.value.code == "config.unknown"
    with pytest.raises(NotFound):
        await show_config(stage.ctx, "risk-limits", version=9)


async def test_values_are_set_by_one_action_with_its_record(stage: Stage) -> None:
    change, document, not_here = await set_values(
        stage.ctx,
        "risk-limits",
        {"/fine_eur": 80, "/words/high": "look: at it", "/countries": ["NO"], "/factors/FR": 3},
        environment=None,
        kinds=stage.kinds,
        reason="The board agreed.",
    )
    assert (change.version, change.change.value, not_here) == (2, "updated", ())
    assert "  fine_eur: 80      # in January\n" in document.source
    assert document.source.startswith("# Agreed with the board.\n")
    shown = await show_config(stage.ctx, "risk-limits")
    assert shown.version == 2
    assert shown.values == {
        "fine_eur": 80,
        "words": {"high": "look: at it"},
        "countries": ["NO"],
        "factors": {"DE": 1.5, "FR": 3},
    }
    record = (await stage.records("release.applied"))[-1]
    assert (record["target"]["id"], record["extra"]["version_before"], record["reason"] is not None) == (
        "config/risk-limits",
        1,
        True,
    )
    assert (await artifacts.show(stage.ctx, "config", "risk-limits")).changelog == "The board agreed."


async def test_a_dry_run_and_the_same_value_change_nothing(stage: Stage) -> None:
    how = {"environment": None, "kinds": stage.kinds, "reason": "try"}
    change, _, _ = await set_values(stage.ctx, "risk-limits", {"/fine_eur": 80}, dry_run=True, **how)
    assert (change.version, change.change.value) == (2, "updated")
    change, _, _ = await set_values(stage.ctx, "risk-limits", {"/fine_eur": 100}, **how)
    assert (change.version, change.change.value) == (1, "unchanged")
    assert (await show_config(stage.ctx, "risk-limits")).version == 1


async def test_what_does_not_fit_or_is_not_there_is_refused(stage: Stage) -> None:
    how = {"kinds": stage.kinds, "reason": "try"}
    with pytest.raises(Invalid) as caught:
        await set_values(stage.ctx, "risk-limits", {"/fine_eur": "lots"}, environment=None, **how)
    assert caught.value.code == "apply.invalid"
    with pytest.raises(Invalid) as caught:
        await set_values(stage.ctx, "risk-limits", {"/fine_er": 1}, environment=None, **how)
    assert (caught.value.code, caught.value.hint.split("?")[0]) == ("config.no_value", "Did you mean /fine_eur")
    with pytest.raises(Invalid) as caught:
        await set_values(stage.ctx, "risk-limits", {"/words/high": "x"}, environment="staging", **how)
    assert caught.value.code == "config.no_value"
    with pytest.raises(NotFound):
        await set_values(stage.ctx, "limits", {"/a": 1}, environment=None, **how)
    viewer = ctx_of(stage.env, "acme", roles=("viewer",))
    with pytest.raises(Denied):
        await set_values(viewer, "risk-limits", {"/fine_eur": 1}, environment=None, **how)


async def test_while_a_rollout_moves_it_nothing_else_does(stage: Stage) -> None:
    await stage.begin(canary(10), documents=[changed("config", ("high: first", "high: second"))])
    with pytest.raises(Conflict) as caught:
        await set_values(stage.ctx, "risk-limits", {"/fine_eur": 1}, environment=None, kinds=stage.kinds, reason="now")
    assert caught.value.code == "rollout.open"


@pytest.mark.parametrize(
    ("source", "pointer", "value", "expected"),
    [
        ("config: c\nvalues:\n  a: 1  # one\n  b: x\n", "/a", 2, "config: c\nvalues:\n  a: 2  # one\n  b: x\n"),
        ("config: c\nvalues:\n  a: 'x'\n", "/a", "y's", 'config: c\nvalues:\n  a: "y\'s"\n'),
        ("config: c\nvalues: {a: {b: 1}, c: 2}\n", "/a/b", [1], "config: c\nvalues: {a: {b: [1]}, c: 2}\n"),
        (
            "config: c\nvalues:\n  a:\n  - 1\n  - 2\n  b: 3\n",
            "/a/1",
            5,
            "config: c\nvalues:\n  a:\n  - 1\n  - 5\n  b: 3\n",
        ),
        (
            "config: c\nvalues:\n  a:\n    b: 1\n  c: 2\n",
            "/a",
            {"d": 1},
            'config: c\nvalues:\n  a:\n    {"d": 1}\n  c: 2\n',
        ),
        ("config: c\nvalues:\n  a: |\n    one\n    two\n  b: 1\n", "/a", "x", 'config: c\nvalues:\n  a: "x"\n  b: 1\n'),
        ('{"config": "c", "values": {"a/b": 1}}', "/a~1b", True, '{"config": "c", "values": {"a/b": true}}'),
        ("config: c\nvalues: {a: ü, b: 1}\n", "/b", "ö", 'config: c\nvalues: {a: ü, b: "ö"}\n'),
    ],
)
def test_only_the_value_is_written_anew(source: str, pointer: str, value, expected: str) -> None:
    assert rules.edited(Document(path="c.yaml", source=source), {pointer: value}, None).source == expected


def test_an_environment_has_its_own_place() -> None:
    made = rules.edited(Document(path="c.yaml", source=LIMITS), {"/fine_eur": 6}, "staging").source
    assert made == LIMITS.replace("fine_eur: 5}", "fine_eur: 6}")


@pytest.fixture
async def client(stage: Stage):
    async with client_of(app_of(stage.ctx, build_router(stage.kinds, stage.resolver))) as client:
        yield client


async def test_configs_over_http(client, stage: Stage) -> None:
    (row,) = (await client.get("/api/configs")).json()["items"]
    assert (row["name"], row["values"]["fine_eur"], row["environment"]) == ("risk-limits", 100, "local")
    shown = (await client.get("/api/configs/risk-limits", params={"environment": "staging"})).json()
    assert (shown["values"]["fine_eur"], shown["set_here"], shown["live_version"]) == (5, ["/fine_eur"], 1)
    assert shown["schema"]["type"] == "object"
    assert (shown["here"]["process"], shown["here"]["version"]) == ("test", None), "no run was started here yet"
    await stage.start()
    here = (await client.get("/api/configs/risk-limits")).json()["here"]
    assert (here["version"], here["age_s"] < 30) == (1, True)
    body = {"changes": {"/fine_eur": 7}, "reason": "less"}
    planned = (await client.post("/api/configs/risk-limits/set", json=body | {"dry_run": True})).json()
    assert (planned["version"], planned["change"]) == (2, "updated")
    done = (await client.post("/api/configs/risk-limits/set", json=body)).json()
    assert (done["version"], done["not_here"]) == (2, [])
    assert "fine_eur: 7 " in done["source"]
    assert (await client.get("/api/configs/risk-limits")).json()["values"]["fine_eur"] == 7
    for wrong in ({"changes": {}, "reason": "x"}, {"changes": {"fine": 1}, "reason": "x"}, {"changes": {"/a": 1}}):
        assert (await client.post("/api/configs/risk-limits/set", json=wrong)).status_code == 422
    assert (await client.get("/api/configs/nothing")).json()["code"] == "config.unknown"
