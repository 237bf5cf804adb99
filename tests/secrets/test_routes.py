"""/api/secrets over the application: who may, what is answered, and that no answer and no log has a value."""

from __future__ import annotations

import json

import psycopg
import pytest

from stanchion.base import dumps, loads
from stanchion.secrets import forwarding
from stanchion.secrets.forwarding import RemoteHolder, answer
from stanchion.secrets.keeping import Reference
from stanchion.secrets.keeping.routes import build_router
from tests.support.web import client

VALUE = "pl4nted-value"


@pytest.fixture
def remote(safe) -> RemoteHolder:
    """The holder as the web process has it: on the other side of something that carries JSON."""
    wire: list[bytes] = []

    async def ask(operation, said):
        wire.append(dumps({"op": operation, "said": said}))
        got = loads(wire[-1])
        wire.append(dumps(await answer(safe.holder, got["op"], got["said"])))
        return loads(wire[-1])

    made = RemoteHolder(ask)
    made.wire = wire
    return made


@pytest.fixture
async def api(safe, remote):
    app = safe.stage.app(build_router(lambda ctx: remote, safe.references))
    async with client(app, safe.stage.admin_key) as connected:
        yield connected


async def body(safe, name: str, fields="pl4nted-value", **more) -> dict:
    value = await safe.seal(name, fields)
    return {"name": name, "key_id": value.key_id, "sealed": value.text, **more}


async def test_the_whole_life_of_a_secret(safe, api, remote, capsys, cluster, fresh_database_urls):
    said: list[str] = []

    async def ok(response, status=200) -> dict:
        said.append(response.text + str(response.headers))
        assert response.status_code == status, response.text
        return response.json()

    key = await ok(await api.get("/api/secrets/sealing-key"))
    assert (key["tenant"], key["environment"]) == ("default", "local")
    made = await ok(await api.post("/api/secrets", json=await body(safe, "erp/api-key", connectors=["erp"])), 201)
    assert (made["name"], made["version"], made["connectors"]) == ("local/erp/api-key", 1, ["erp"])
    assert (await safe.get("secret://local/erp/api-key")).reveal() == VALUE
    rotated = await ok(
        await api.post("/api/secrets/rotate", json=await body(safe, "erp/api-key", "pl4nted-2", grace_s=60))
    )
    assert (rotated["version"], rotated["previous"]) == (2, [1])
    await ok(await api.post("/api/secrets/grant", json={"name": "vault/erp", "connectors": ["erp"]}))
    await ok(await api.post("/api/secrets/ungrant", json={"name": "erp/api-key", "connectors": ["erp"]}))
    listed = await ok(await api.get("/api/secrets", params={"limit": 1}))
    rest = await ok(await api.get("/api/secrets", params={"after": listed["next"]}))
    assert [row["name"] for row in (*listed["items"], *rest["items"])] == ["local/erp/api-key", "vault/erp"]
    assert rest["items"][0]["version"] is None
    safe.references.rows = [Reference(connector="erp", place="/auth", text="secret://local/erp/api-key@1")]
    checked = await ok(await api.get("/api/secrets/check"))
    assert checked["unresolved"] == 1
    assert (checked["items"][0]["code"], checked["items"][0]["granted"]) == ("secret.not_granted", [])
    refused = await api.post("/api/secrets/remove", json={"name": "erp/api-key"})
    assert (refused.status_code, refused.json()["code"]) == (409, "secret.in_use")
    await ok(await api.post("/api/secrets/remove", json={"name": "erp/api-key@1"}))
    await ok(await api.post("/api/secrets/remove", json={"name": "erp/api-key", "force": True}))
    rekeyed = await ok(await api.post("/api/secrets/rekey", json={"fresh": True}))
    assert (rekeyed["data_keys"], rekeyed["dropped"]) == (1, 1)
    records = await ok(await api.get("/api/audit", params={"limit": 50}))
    assert {"secret.set", "secret.rekeyed"} <= {one["event_type"] for one in records["items"]}
    shown = capsys.readouterr()
    for text in (*said, *(part.decode() for part in remote.wire), shown.out, shown.err):
        assert "pl4nted" not in text


async def test_who_may(safe, api, remote):
    app = safe.stage.app(build_router(lambda ctx: remote, safe.references))
    await api.post("/api/secrets", json=await body(safe, "erp/api-key"))
    grant = {"name": "erp/api-key", "connectors": ["erp"]}
    asked = {
        "list": lambda c: c.get("/api/secrets"),
        "check": lambda c: c.get("/api/secrets/check"),
        "key": lambda c: c.get("/api/secrets/sealing-key"),
        "grant": lambda c: c.post("/api/secrets/grant", json=grant),
        "ungrant": lambda c: c.post("/api/secrets/ungrant", json=grant),
        "remove": lambda c: c.post("/api/secrets/remove", json={"name": "erp/none"}),
        "rekey": lambda c: c.post("/api/secrets/rekey", json={}),
    }
    may = {
        "viewer": set(),
        "analyst": set(),
        "approver": set(),
        "service": set(),
        "author": {"list", "check"},
        "auditor": {"list", "check"},
        "operator": {"list", "check", "key", "grant", "ungrant", "remove"},
    }
    for role, allowed in may.items():
        async with client(app, await safe.stage.key(role)) as connected:
            status = {name: (await call(connected)).status_code for name, call in asked.items()}
        assert {name for name, code in status.items() if code != 403} == allowed, role
    async with client(app) as stranger:
        assert {(await call(stranger)).status_code for call in asked.values()} == {401}


async def test_another_tenants_admin_sees_nothing_and_changes_no_keys(safe, api, remote):
    from stanchion.identity import create_tenant

    await api.post("/api/secrets", json=await body(safe, "erp/api-key"))
    made = await create_tenant(
        safe.stage.system(), safe.stage.authenticator.pepper, name="acme", display_name="", admin="ann"
    )
    app = safe.stage.app(build_router(lambda ctx: remote, safe.references))
    async with client(app, made.key.text) as other:
        assert (await other.get("/api/secrets")).json()["items"] == []
        answered = await other.post("/api/secrets/ungrant", json={"name": "erp/api-key", "connectors": ["erp"]})
        assert answered.json()["code"] == "secret.unknown"
        assert (await other.post("/api/secrets/rekey", json={"fresh": True})).status_code == 403
        # Sealed for our tenant, sent by theirs: it does not open.
        answered = await other.post("/api/secrets", json=await body(safe, "erp/own"))
        assert (answered.status_code, answered.json()["code"]) == (422, "secret.not_opened")


@pytest.mark.parametrize(
    "sent",
    [
        {"name": "erp/x", "value": VALUE},
        {"name": "erp/x", "key_id": "k", "sealed": "pl4nted value"},
        {"name": "erp/x", "key_id": "k", "sealed": ["pl4nted"]},
        {"name": "erp/x", "key_id": "k", "sealed": {"value": "pl4nted"}},
        {"name": "pl4nted value", "key_id": "k", "sealed": "AQ"},
        {"name": "erp/x", "key_id": "k", "sealed": "AQ", "environment": "pl4nted value"},
        {"name": "secret://pl4nted:x@host", "key_id": "k", "sealed": "AQ"},
        "pl4nted",
    ],
)
async def test_a_value_that_somebody_sends_in_plain_text_is_refused_and_not_repeated(api, capsys, sent):
    answered = await api.post("/api/secrets", json=sent)
    assert answered.status_code == 422
    shown = capsys.readouterr()
    named = {"name": "", "environment": ""} if isinstance(sent, dict) else {}
    hidden = json.dumps({**sent, **named} if isinstance(sent, dict) else sent)
    if "pl4nted" in hidden or "secret://" in str(sent):
        assert "pl4nted" not in answered.text
    assert "pl4nted" not in shown.out + shown.err


async def test_without_a_broker_what_needs_none_works(safe, api):
    await api.post("/api/secrets", json=await body(safe, "erp/api-key"))
    app = safe.stage.app(build_router(lambda ctx: forwarding.AWAY, safe.references))
    async with client(app, safe.stage.admin_key) as alone:
        assert len((await alone.get("/api/secrets")).json()["items"]) == 1
        assert (await alone.get("/api/secrets/check")).json() == {"items": [], "unresolved": 0}
        for answered in (
            await alone.get("/api/secrets/sealing-key"),
            await alone.post("/api/secrets", json=await body(safe, "erp/other")),
            await alone.post("/api/secrets/rekey", json={}),
        ):
            assert (answered.status_code, answered.json()["code"]) == (503, "secret.holder_away")


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("secrets.reveal", {}),
        ("secrets.encrypt", {}),
        ("secrets.encrypt", {"tenant": 1, "path": "x", "environment": "e", "version": 1, "key_id": "k", "sealed": "s"}),
        (
            "secrets.encrypt",
            {"tenant": "t", "path": "x", "environment": "e", "version": True, "key_id": "k", "sealed": "s"},
        ),
        ("secrets.check", {"tenant": "t", "environment": "e", "wanted": [1]}),
        ("secrets.check", {"tenant": "t", "environment": "e"}),
    ],
)
async def test_what_no_remote_holder_sends_is_refused(safe, operation, said):
    from stanchion.base import Invalid

    with pytest.raises(Invalid) as caught:
        await answer(safe.holder, operation, said)
    assert caught.value.code == "secret.bad_call"


async def test_a_holder_that_answers_something_else_is_told():
    from stanchion.base import Invalid
    from stanchion.secrets import EncryptRequest, SecretRef, Wanted

    async def ask(operation, said):
        del operation, said
        return {"ciphertext": "!", "data_key": "d", "fields": [1], "findings": [], "key_id": "k"}

    remote = RemoteHolder(ask)
    asked = EncryptRequest(tenant="t", path="p", environment="e", version=1, key_id="k", sealed="s")
    wanted = [Wanted(connector="c", place="", ref=SecretRef.parse("secret://local/x"))]
    for call in (
        remote.sealing_key(),
        remote.encrypt(asked),
        remote.check("t", "e", wanted),
        remote.rekey(fresh=False),
    ):
        with pytest.raises(Invalid) as caught:
            await call
        assert caught.value.code == "secret.bad_call"


async def test_what_is_stored_is_not_the_value(safe, api, cluster, fresh_database_urls):
    await api.post("/api/secrets", json=await body(safe, "erp/api-key"))
    with psycopg.connect(cluster.superuser(fresh_database_urls)) as connection:
        tables = [
            name
            for (name,) in connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        ]
        assert "secret_versions" in tables
        everything = "".join(
            str(connection.execute(f"select string_agg(t::text, '') from {name} t").fetchone()) for name in tables
        )
    kek = safe.file.read()[0].key.hex()
    data_key = next(iter(safe.holder.keyring._open.values())).hex()
    assert "erp/api-key" in everything
    for hidden in (VALUE, VALUE.encode().hex(), kek, data_key):
        assert hidden not in everything
