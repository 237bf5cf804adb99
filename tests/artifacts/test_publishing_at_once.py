"""Fifty publishers of one name at the same time, on PostgreSQL: gapless versions, one live winner, losers are told."""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar

import pytest

from stanchion.artifacts.routes import build_router as artifact_routes
from stanchion.base import Conflict, digest
from stanchion.context import Ctx, Env
from stanchion.http import PageParams
from stanchion.releases import apply, list_releases
from stanchion.releases.routes import build_router
from tests.artifacts.support import ctx_of
from tests.releases.support import KINDS, apply_all, policy
from tests.support.http import app_of, client_of

PUBLISHERS = 50


def limit(n: int):
    return policy("crowd", ("> 100000.0", f"> {n}.0"))


async def records(env: Env, event: str) -> list[dict]:
    async with env.db.engine_tx() as tx:
        rows = await (
            await tx.execute(
                "select record from audit_records where event_type = %s and target_id = 'policy/crowd'", (event,)
            )
        ).fetchall()
    return [json.loads(row[0]) for row in rows]


def in_a_chain(found: list[dict], first: str | None) -> list[dict]:
    """The records in the order of their before and after: each begins where one other ended, none forks."""
    by_before = {record["before"]: record for record in found}
    assert len(by_before) == len(found), "two changes began at the same version"
    chain = []
    while first in by_before:
        chain.append(by_before.pop(first))
        first = chain[-1]["after"]
    assert not by_before, "a change began at a version that was never live"
    return chain


async def test_fifty_http_publishes_of_one_name(fresh_env: Env) -> None:
    env = fresh_env
    who: ContextVar[Ctx] = ContextVar("who")
    who.set(ctx_of(env))
    seen: list[tuple[int, str]] = []
    done = asyncio.Event()

    async def publish(client, n: int):
        who.set(ctx_of(env, principal=f"author-{n}"))
        document = limit(n)
        body = {"documents": [{"path": document.path, "source": document.source}], "changelog": f"Limit {n}."}
        answer = await client.post("/api/artifacts/apply", json=body)
        assert answer.status_code == 200, answer.text
        return n, answer.json()["changes"][0]

    async def watch() -> None:
        while not done.is_set():
            live = [r for r in (await list_releases(ctx_of(env), PageParams())).items if r.name == "crowd"]
            assert len(live) <= 1
            seen.extend((row.version, row.digest) for row in live)

    async with client_of(app_of(who.get, build_router(KINDS), artifact_routes())) as client:
        watcher = asyncio.create_task(watch())
        told = await asyncio.gather(*(publish(client, n) for n in range(PUBLISHERS)))
        done.set()
        await watcher
        # Each publisher has a version of its own, gapless from 1.
        by_version = {change["version"]: (n, change) for n, change in told}
        assert sorted(by_version) == list(range(1, PUBLISHERS + 1))
        listed = (await client.get("/api/artifacts/policy/crowd/versions?limit=200")).json()["items"]
        assert [(i["version"], i["author"], i["changelog"], i["digest"]) for i in reversed(listed)] == [
            (version, f"author-{n}", f"Limit {n}.", change["digest"])
            for version, (n, change) in sorted(by_version.items())
        ]
    # At each moment one version was live, and they were live in the order of their numbers.
    assert seen
    assert dict(seen) == {v: by_version[v][1]["digest"] for v in {v for v, _ in seen}}
    assert [version for version, _ in seen] == sorted(version for version, _ in seen)
    (live,) = (await list_releases(ctx_of(env), PageParams())).items
    assert (live.version, live.released_by) == (PUBLISHERS, f"author-{by_version[PUBLISHERS][0]}")
    # Every change of both is recorded: author, reason, before, after, one after the other.
    for event in ("artifact.published", "release.applied"):
        chain = in_a_chain(await records(env, event), None)
        assert [(r["actor"]["id"], r["reason"], r["after"], r["extra"]["version"]) for r in chain] == [
            (f"author-{n}", digest(f"Limit {n}."), change["digest"], version)
            for version, (n, change) in sorted(by_version.items())
        ]


async def test_fifty_who_all_build_on_the_same_version_have_one_winner(fresh_env: Env) -> None:
    env = fresh_env
    await apply_all(ctx_of(env), policy("crowd"), changelog="First.")

    async def publish(n: int):
        ctx = ctx_of(env, principal=f"author-{n}")
        try:
            return n, await apply(
                ctx, [limit(n)], kinds=KINDS, changelog=f"Limit {n}.", expected={("policy", "crowd"): 1}
            )
        except Conflict as problem:
            return n, problem

    told = await asyncio.gather(*(publish(n) for n in range(PUBLISHERS)))
    winners = [(n, result) for n, result in told if not isinstance(result, Conflict)]
    assert len(winners) == 1
    winner, applied = winners[0]
    assert applied.changes[0].version == 2
    losers = [result for _, result in told if isinstance(result, Conflict)]
    assert len(losers) == PUBLISHERS - 1
    for problem in losers:
        assert problem.code == "release.superseded"
        assert f"version 2, released by author-{winner} at " in problem.message
        fields = problem.fields
        assert (fields["live_version"], fields["live_digest"]) == (2, applied.changes[0].digest)
        assert fields["released_by"] == f"author-{winner}"
    # Losing leaves nothing behind: no version, no gap, no record.
    assert [r["extra"]["version"] for r in in_a_chain(await records(env, "artifact.published"), None)] == [1, 2]
    assert [r["extra"]["version"] for r in in_a_chain(await records(env, "release.applied"), None)] == [1, 2]
    after = await apply_all(ctx_of(env), policy("crowd", ("> 100000.0", "> 0.5")))
    assert after.changes[0].version == 3


@pytest.mark.parametrize("same", [10, 1])
async def test_equal_documents_share_a_version(fresh_env: Env, same: int) -> None:
    """Publishers of the same content get the same version: it is the content that has a number."""
    made = await asyncio.gather(
        *(apply_all(ctx_of(fresh_env, principal=f"author-{n}"), limit(n % same)) for n in range(PUBLISHERS))
    )
    assert sorted({applied.changes[0].version for applied in made}) == list(range(1, same + 1))
