"""OFREP 0.3.0 (open-feature/protocol, service/openapi.yaml), its shapes written anew as JSON Schemas."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from stanchion.db import Database
from stanchion.releases.flags import LOST_S, Snapshot
from stanchion.releases.flags.ofrep import build_ofrep_router
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.flags.support import SECOND, Clock, Stage, document
from tests.support.http import app_of, client_of

ALL = "/ofrep/v1/evaluate/flags"
METADATA = {"type": "object", "additionalProperties": {"type": ["boolean", "string", "number"]}}
SUCCESS: dict[str, Any] = {
    "type": "object",
    "required": ["key", "reason"],
    "properties": {
        "key": {"type": "string"},
        "reason": {"enum": ["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"]},
        "variant": {"type": "string"},
        "value": {"type": ["boolean", "string", "number", "object"]},
        "metadata": METADATA,
    },
    "additionalProperties": False,
}


def failure(*codes: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["key", "errorCode"],
        "properties": {
            "key": {"type": "string"},
            "errorCode": {"enum": list(codes)},
            "errorDetails": {"type": "string"},
            "metadata": METADATA,
        },
        "additionalProperties": False,
    }


FAILURE = failure("PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL")
NOT_FOUND = failure("FLAG_NOT_FOUND")
BULK = {
    "type": "object",
    "required": ["flags"],
    "properties": {"flags": {"type": "array", "items": {"oneOf": [SUCCESS, FAILURE]}}, "metadata": METADATA},
    "additionalProperties": False,
}

TEXT = "flag: {0}\nowner: o\ntype: {1}\nvariants: {2}\n"
DOCUMENTS = (
    document(),
    document(
        source=TEXT.format("static", "object", "{all: {a: [1, null]}}") + "default: all\nmetadata: {team: fines}\n"
    ),
    document(source=TEXT.format("none", "string", "{a: x}")),
    document(source=TEXT.format("off", "number", "{a: 0}") + "default: a\nenabled: false\n"),
    document(source=TEXT.format("split", "number", "{a: 0, b: 1.5}") + "rules: [{split: {a: 1, b: 1}}]\n"),
    document(source=TEXT.format("broken", "string", "{a: x}") + "rules: [{when: '${context.age > 3}', serve: a}]\n"),
)


@pytest.fixture
async def stage(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme")
        stage = Stage(env)
        await stage.apply(*DOCUMENTS)
        await stage.flags.refresh()
        yield stage


@pytest.fixture
async def client(stage):
    async with client_of(app_of(stage.ctx, build_ofrep_router(stage.flags))) as client:
        yield client


async def one(client, key: str, status: int, schema: dict[str, Any], **context: Any) -> dict[str, Any]:
    answer = await client.post(f"{ALL}/{key}", json={"context": context})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    Draft202012Validator(schema).validate(answer.json())
    assert answer.json()["key"] == key
    return answer.json()


@pytest.mark.parametrize(
    ("key", "context", "value", "variant", "reason", "ours"),
    [
        ("new-review-flow", {"team": "fines"}, True, "on", "TARGETING_MATCH", "TARGETING_MATCH"),
        ("new-review-flow", {}, False, "off", "UNKNOWN", "DEFAULT"),
        ("static", {}, {"a": [1, None]}, "all", "STATIC", "STATIC"),
        ("split", {"targetingKey": "u1"}, 0, "a", "SPLIT", "SPLIT"),
        ("split", {"targetingKey": "u8"}, 1.5, "b", "SPLIT", "SPLIT"),
        ("none", {}, None, "", "UNKNOWN", "DEFAULT"),
        ("off", {}, None, "", "DISABLED", "DISABLED"),
    ],
)
async def test_one_flag(client, key: str, context, value, variant, reason: str, ours: str) -> None:
    got = await one(client, key, 200, SUCCESS, **context)
    assert ("value" in got) == bool(variant)  # without one the code's own default counts
    assert (got.get("value"), got.get("variant"), got["reason"]) == (value, variant, reason)
    assert (got["metadata"]["stanchion.reason"], got["metadata"]["stanchion.version"]) == (ours, 1)
    if key == "static":
        assert got["metadata"]["team"] == "fines"


async def test_what_cannot_be_evaluated(client) -> None:
    assert (await one(client, "nobody", 404, NOT_FOUND))["errorCode"] == "FLAG_NOT_FOUND"
    missing = await one(client, "split", 400, FAILURE)
    assert missing["errorCode"] == "TARGETING_KEY_MISSING"
    assert (await one(client, "broken", 400, FAILURE))["errorCode"] == "GENERAL"
    for body in (b"", b"[]", b"{}", b'{"context": 3}', b'{"context": null}', b"{"):
        for where, schema in ((f"{ALL}/static", FAILURE), (ALL, {"required": ["errorCode"]})):
            answer = await client.post(where, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400
            Draft202012Validator(schema).validate(answer.json())
            assert answer.json()["errorCode"] == "INVALID_CONTEXT"


async def test_all_flags_and_their_tag(stage, client) -> None:
    context = {"context": {"targetingKey": "u1", "team": "fines"}}
    first = await client.post(ALL, json=context)
    assert first.status_code == 200
    Draft202012Validator(BULK).validate(first.json())
    assert [f["key"] for f in first.json()["flags"]] == ["broken", "new-review-flow", "none", "off", "split", "static"]
    assert first.json()["metadata"] == {"stanchion.revision": 6}
    tag = first.headers["etag"]
    for said in (tag, f"W/{tag}", tag.strip('"'), f'"other", {tag}'):
        again = await client.post(ALL, json=context, headers={"if-none-match": said})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = await client.post(ALL, json={"context": {"targetingKey": "u1"}}, headers={"if-none-match": tag})
    assert other.status_code == 200
    await stage.apply(SECOND)
    await stage.flags.refresh()
    moved = await client.post(ALL, json=context, headers={"if-none-match": tag})
    assert moved.status_code == 200
    assert moved.headers["etag"] != tag
    found = {f["key"]: f for f in moved.json()["flags"]}["new-review-flow"]
    assert (found["value"], found["metadata"]["stanchion.version"]) == (False, 2)


async def test_another_process_gives_the_same_tag(stage, client) -> None:
    other = Snapshot(stage.env)
    await other.refresh()
    async with client_of(app_of(stage.ctx, build_ofrep_router(other))) as second:
        tags = {(await c.post(ALL, json={"context": {"targetingKey": "u"}})).headers["etag"] for c in (client, second)}
    assert len(tags) == 1


async def test_a_rollout_is_named_in_the_metadata(stage, client) -> None:
    rollout = await stage.canary(100, document=SECOND)
    await stage.flags.refresh()
    said = (await one(client, "new-review-flow", 200, SUCCESS, targetingKey="u1"))["metadata"]
    assert (said["stanchion.version"], said["stanchion.arm"], said["stanchion.rollout"]) == (
        2,
        "candidate",
        str(rollout.id),
    )


async def test_stale_and_unread(stage) -> None:
    clock = Clock()
    flags = Snapshot(make_env(stage.env.db, clock=clock))
    async with client_of(app_of(stage.ctx, build_ofrep_router(flags))) as client:
        for where in (ALL, f"{ALL}/static"):
            unread = await client.post(where, json={"context": {}})
            assert (unread.status_code, unread.json()["code"]) == (503, "flag.unread")
        await flags.refresh()
        clock.passed_s = LOST_S + 1
        got = await one(client, "new-review-flow", 200, SUCCESS, team="fines")
        assert (got["value"], got["variant"], got["reason"]) == (False, "off", "UNKNOWN")
        assert got["metadata"]["stanchion.reason"] == "STALE"
