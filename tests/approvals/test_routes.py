from __future__ import annotations

import pytest

from stanchion.approvals.routes import build_router
from stanchion.base import digest
from stanchion.db import Database
from tests.approvals.support import SHOWN, FrozenClock, add_run, ask, call_of
from tests.artifacts.support import ctx_of
from tests.conftest import make_env
from tests.support.http import app_of, client_of

REASON = "The fine matches the gravity."


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def env(fresh_database_urls, clock: FrozenClock):
    async with Database(fresh_database_urls) as db:
        yield make_env(db, clock=clock)


@pytest.fixture
def caller() -> dict[str, object]:
    return {"principal": "bo", "roles": ("approver",)}


@pytest.fixture
async def client(env, caller):
    async with client_of(app_of(lambda: ctx_of(env, **caller), build_router())) as client:
        yield client


async def asked(env) -> str:
    return str(await ask(env, call_of(run_id=await add_run(env))))


def decision(shown: dict, **changes: object) -> dict[str, object]:
    return {"reason": REASON, "args_digest": shown["args_digest"], **changes}


async def test_list_show_approve(env, client) -> None:
    approval_id = await asked(env)
    listed = (await client.get("/api/approvals?status=PENDING")).json()
    assert [i["id"] for i in listed["items"]] == [approval_id]
    shown = (await client.get(f"/api/approvals/{approval_id}")).json()
    assert shown == listed["items"][0]
    assert shown["shown"] == SHOWN
    assert shown["may_decide"] == {"roles": ["approver"], "principals": ["cfo"]}
    assert "nonce" not in shown
    done = await client.post(f"/api/approvals/{approval_id}/approve", json=decision(shown))
    assert (done.status_code, done.json()["status"], done.json()["decided_by"]) == (200, "APPROVED", "bo")
    assert (await client.get("/api/approvals?status=PENDING")).json()["items"] == []
    of_run = (await client.get(f"/api/approvals?run={shown['run_id']}")).json()
    assert [i["status"] for i in of_run["items"]] == ["APPROVED"]


async def test_every_refusal_over_http(env, client, caller, clock: FrozenClock) -> None:
    async def refuse(approval_id: str, verdict: str = "approve", **changes: object) -> tuple[int, str]:
        answer = await client.post(f"/api/approvals/{approval_id}/{verdict}", json=decision(shown, **changes))
        return answer.status_code, answer.json()["code"]

    approval_id = await asked(env)
    shown = (await client.get(f"/api/approvals/{approval_id}")).json()
    assert await refuse(approval_id, args_digest=digest("else")) == (409, "approval.changed")
    assert await refuse(approval_id, reason="ok") == (422, "approval.reason")
    caller["principal"] = "ada"
    assert await refuse(approval_id) == (403, "approval.self")
    caller.update(principal="bo", roles=("viewer",))
    assert await refuse(approval_id) == (403, "approval.not_allowed")
    caller["roles"] = ("approver",)
    done = await client.post(f"/api/approvals/{approval_id}/reject", json=decision(shown))
    assert (done.status_code, done.json()["status"]) == (200, "REJECTED")
    assert await refuse(approval_id) == (409, "approval.decided")
    late = await asked(env)
    shown = (await client.get(f"/api/approvals/{late}")).json()
    await clock.sleep(72 * 3600)
    assert await refuse(late) == (409, "approval.expired")
    assert await refuse("00000000-0000-0000-0000-000000000001") == (404, "approval.unknown")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/approvals/nonsense", None, 400),
        ("GET", "/api/approvals?status=OPEN", None, 400),
        ("GET", "/api/approvals?run=x", None, 400),
        ("GET", "/api/approvals?after=eHh4", None, 400),
        ("POST", "/api/approvals/{id}/approve", {}, 422),
        ("POST", "/api/approvals/{id}/approve", {"reason": REASON, "args_digest": "x"}, 422),
        ("POST", "/api/approvals/{id}/approve", {"reason": REASON + "\x00", "args_digest": digest(1)}, 422),
        ("POST", "/api/approvals/{id}/approve", {"reason": REASON, "args_digest": digest(1), "force": True}, 422),
        ("POST", "/api/approvals/{id}/reject", {"reason": "x" * 5000, "args_digest": digest(1)}, 422),
    ],
)
async def test_malformed_requests_are_no_defects(env, client, method: str, path: str, body, status: int) -> None:
    answer = await client.request(method, path.replace("{id}", await asked(env)), json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
