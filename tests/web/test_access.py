"""Nothing is open but health and the sign-in page; cookies work for our own pages only; limits hold."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stanchion import identity
from stanchion.controls import RateLimit
from stanchion.web import WebSettings
from stanchion.web.access import OPEN_PATHS
from stanchion.web.openapi import operations
from tests.support.web import PEPPER, client


async def test_every_operation_but_the_open_ones_needs_a_credential(stage):
    app = stage.app()
    async with client(app) as http:
        for path, method, operation in operations(app.openapi()):
            answer = await http.request(method, path.replace("{id}", "0" * 8), headers={"accept": "application/json"})
            where = f"{method} {path}"
            if path in OPEN_PATHS:
                assert operation["security"] == [], where
            else:
                assert answer.status_code == 401, where
                assert answer.json()["code"] == "auth.required", where
                assert operation["security"], where
        for path in ("/nope", "/openapi.json", "/metrics", "/health", "/health/", "/docs", "/redoc", "//health/live"):
            assert (await http.get(path)).status_code == 401, path


async def test_an_unknown_path_is_told_to_those_who_are_known(stage):
    async with client(stage.app(), stage.admin_key) as http:
        assert (await http.get("/nope")).status_code == 404
        assert (await http.put("/api/keys", json={})).status_code == 405
        slashed = await http.get("/api/keys/")
        assert slashed.status_code == 404
        assert slashed.json()["hint"].startswith("No path ends with a slash. ")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Basic YTpi", "auth.unsupported_scheme"),
        ("Bearer", "auth.malformed_key"),
        ("Bearer stn_local_x", "auth.malformed_key"),
        ("Bearer Bearer", "auth.malformed_key"),
    ],
)
async def test_bad_authorization_headers(stage, header, code):
    async with client(stage.app()) as http:
        answer = await http.get("/api/whoami", headers={"authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_whoami_says_what_this_credential_may_do(stage):
    key = await stage.key("viewer", "approver", name="ada", scopes=["identity.whoami", "approvals.decide", "keys.read"])
    async with client(stage.app(), key) as http:
        body = (await http.get("/api/whoami")).json()
        assert body["principal"]["name"] == "ada"
        assert body["principal"]["roles"] == ["approver", "viewer"]
        assert body["actions"] == ["approvals.decide", "identity.whoami"]
        denied = await http.get("/api/keys")
        assert denied.status_code == 403
        assert denied.json()["action"] == "keys.read"


async def test_keys_over_http_from_making_to_revoking(stage):
    expires = (stage.env.clock.now() + timedelta(days=1)).isoformat()
    async with client(stage.app(), stage.admin_key) as http:
        assert (await http.post("/api/principals", json={"name": "ci", "kind": "service"})).status_code == 201
        body = {"principal": "ci", "label": "build", "scopes": ["identity.whoami"], "expires_at": expires}
        made = await http.post("/api/keys", json=body)
        assert made.status_code == 201
        key = made.json()
        listed = (await http.get("/api/keys", params={"principal": "ci"})).json()["items"]
        assert [k["id"] for k in listed] == [key["key"]["id"]]
        assert key["text"] not in (await http.get("/api/keys")).text
        granted = await http.post("/api/principals/ci/grant", json={"role": "service"})
        assert granted.json()["roles"] == ["service"]
        mine = {"authorization": f"Bearer {key['text']}"}
        assert (await http.get("/api/whoami", headers=mine)).status_code == 200
        revoked = await http.post(f"/api/keys/{key['key']['id']}/revoke")
        assert revoked.json()["revoked_at"]
        gone = await http.get("/api/whoami", headers=mine)
        assert (gone.status_code, gone.json()["code"]) == (401, "auth.revoked")
        assert (await http.post("/api/keys", json=body | {"expires_at": 5})).status_code == 422
        assert (await http.post("/api/keys", json=body | {"extra": 5})).status_code == 422
        assert (await http.post("/api/principals/admin/disable")).json()["code"] == "principal.last_admin"


async def signed_in(http, stage, *, secure=False):
    ctx = await stage.admin()
    link = await identity.create_sign_in_link(ctx, PEPPER, "admin")
    page = await http.get("/sign-in", params={"token": link.token})
    assert page.status_code == 200
    assert link.token in page.text
    return await http.post("/sign-in", data={"token": link.token}, headers={"sec-fetch-site": "same-origin"})


async def test_signing_in_with_the_link_of_an_admin_and_out_again(stage):
    async with client(stage.app(), stage.admin_key) as http:
        link = (await http.post("/api/sign-in-links", json={"principal": "admin"})).json()
        assert link["url"].startswith("http://test/sign-in?token=")
    path = link["url"].removeprefix("http://test")
    async with client(stage.app()) as http:
        # Opening it, as a mail program's preview does, uses nothing up.
        assert (await http.get(path)).status_code == (await http.get(path)).status_code == 200
        token = path.partition("=")[2]
        answer = await http.post("/sign-in", data={"token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("stanchion_session=")
        for attribute in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
            assert attribute in cookie
        assert "Secure" not in cookie
        assert (await http.get("/api/whoami")).json()["credential"].startswith("session:")
        front = await http.get("/", headers={"accept": "text/html"})
        assert front.status_code == 200
        assert "admin in default" in front.text
        again = await http.post("/sign-in", data={"token": token}, headers={"accept": "text/html"})
        assert again.status_code == 401
        assert "used already" in again.text
        out = await http.post("/sign-out", headers={"sec-fetch-site": "same-origin", "accept": "text/html"})
        assert (out.status_code, out.headers["location"]) == (303, "/sign-in")
        assert not http.cookies
        http.cookies.set("stanchion_session", cookie.split("=", 1)[1].split(";")[0])
        ended = await http.get("/api/whoami")
        assert (ended.status_code, ended.json()["code"]) == (401, "auth.signed_out")


async def test_over_tls_the_cookie_is_a_host_cookie_and_the_plain_one_counts_for_nothing(stage):
    app = stage.app(settings=WebSettings(public_url="https://stanchion.example.org"))
    async with client(app, base_url="https://stanchion.example.org") as http:
        answer = await signed_in(http, stage)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-stanchion=")
        assert "Secure" in cookie
        assert "Domain" not in cookie
        token = cookie.split("=", 1)[1].split(";")[0]
        assert (await http.get("/api/whoami")).status_code == 200
        assert "max-age" in answer.headers["strict-transport-security"]
    async with client(app, base_url="https://stanchion.example.org") as http:
        planted = await http.get("/api/whoami", headers={"cookie": f"stanchion_session={token}"})
        assert planted.status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 201),
        ({"origin": "http://test"}, 201),
        ({}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://test"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://test.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
    ],
)
async def test_a_session_changes_things_from_our_own_pages_only(stage, headers, status):
    async with client(stage.app()) as http:
        await signed_in(http, stage)
        answer = await http.post("/api/principals", json={"name": "x", "kind": "user"}, headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["code"] == "auth.cross_site"
        # Reading is not changing, and an API key is no cookie.
        assert (await http.get("/api/whoami", headers=headers)).status_code == 200
        keyed = headers | {"authorization": f"Bearer {stage.admin_key}"}
        other = await http.post("/api/principals", json={"name": "y", "kind": "user"}, headers=keyed)
        assert other.status_code == 201


async def test_another_site_cannot_sign_anybody_in(stage):
    link = await identity.create_sign_in_link(await stage.admin(), PEPPER, "admin")
    async with client(stage.app()) as http:
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
            answer = await http.post("/sign-in", data={"token": link.token}, headers=headers)
            assert answer.status_code == 403
        assert (await http.post("/sign-in", data={"token": link.token})).status_code == 303


@pytest.mark.parametrize("body", [b"", b"token=", b"token=x&token=y", b"\xff=\xfe", b"token=%00", b"a" * 5000])
async def test_a_bad_sign_in_form_is_401(stage, body):
    async with client(stage.app()) as http:
        answer = await http.post("/sign-in", content=body)
        assert answer.status_code == 401
        assert answer.json()["code"] == "auth.malformed_token"


async def test_a_person_without_session_is_sent_to_the_sign_in_page(stage):
    async with client(stage.app()) as http:
        answer = await http.get("/", headers={"accept": "text/html,*/*"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert (await http.get("/api/runs", headers={"accept": "text/html"})).status_code == 401


async def test_the_token_in_the_page_is_escaped(stage):
    async with client(stage.app()) as http:
        page = await http.get("/sign-in", params={"token": '"><script>alert(1)</script>'})
        assert "<script>" not in page.text
        assert "script" not in page.headers["content-security-policy"].replace("default-src", "")


async def test_a_principal_is_limited_over_all_its_credentials(stage):
    app = stage.app(settings=WebSettings(per_principal=RateLimit(per_s=0.001, burst=3)))
    other = (await stage.made_key("viewer", name="other")).text
    second = (await identity.create_key(await stage.admin(), PEPPER, principal="admin", label="second")).text
    async with client(app, stage.admin_key) as http:
        statuses = [(await http.get("/api/whoami")).status_code for _ in range(3)]
        statuses.append((await http.get("/api/whoami", headers={"authorization": f"Bearer {second}"})).status_code)
        assert statuses == [200, 200, 200, 429]
        refused = await http.get("/api/whoami")
        assert refused.json()["code"] == "limit.rate"
        assert int(refused.headers["retry-after"]) > 1
        assert (await http.get("/api/whoami", headers={"authorization": f"Bearer {other}"})).status_code == 200
        assert b'stanchion_http_limited_total{scope="principal"} 2.0' in stage.env.telemetry.expose()


async def test_an_address_is_limited_before_its_credential_is_looked_at(stage):
    app = stage.app(settings=WebSettings(per_address=RateLimit(per_s=0.001, burst=2)))
    async with client(app) as http:
        bad = {"authorization": "Bearer nonsense"}
        assert [(await http.get("/api/whoami", headers=bad)).status_code for _ in range(3)] == [401, 401, 429]
        # Liveness touches nothing, not even this; another address is another bucket.
        assert (await http.get("/health/live")).status_code == 200
    async with client(app, stage.admin_key, client=("192.0.2.9", 1)) as http:
        assert (await http.get("/api/whoami")).status_code == 200


async def test_tenants_over_http(stage):
    async with client(stage.app(), stage.admin_key) as http:
        made = (await http.post("/api/tenants", json={"name": "acme", "admin": "boss"})).json()
        assert [t["name"] for t in (await http.get("/api/tenants")).json()["items"]] == ["acme", "default"]
        assert (await http.post("/api/tenants", json={"name": "acme"})).status_code == 409
        boss = {"authorization": f"Bearer {made['key']['text']}"}
        assert [t["name"] for t in (await http.get("/api/tenants", headers=boss)).json()["items"]] == ["acme"]
        assert (await http.get("/api/principals/admin", headers=boss)).status_code == 404
        assert (await http.post("/api/tenants", json={"name": "more"}, headers=boss)).status_code == 403
