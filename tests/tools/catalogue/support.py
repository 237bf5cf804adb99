"""A tenant with an ERP in a file, a tool that posts to it, people, a worker that works, and the API of one web process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from stanchion.artifacts import Document
from stanchion.base.settings import Settings, ToolsSettings
from stanchion.bootstrap.parts import build_parts
from stanchion.bootstrap.web import built_routers
from stanchion.bootstrap.worker import built_worker
from stanchion.context import Actor, Ctx, Env, Environment
from stanchion.controls import kills, withdrawals
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import Authenticator, CedarAuthorizer, Pepper
from stanchion.releases import apply, policies
from stanchion.tools import catalogue
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.support.http import app_of, client_of
from tests.support.patience import patient

PEPPER = Pepper(b"p" * 32)
PEOPLE = {
    "ada": ("user", "author"),
    "ben": ("user", "author"),
    "olga": ("user", "approver"),
    "otto": ("user", "operator"),
    "vera": ("user", "viewer"),
    "cleo": ("user", "analyst"),
    "erp-bot": ("service", "service"),
    "root": ("user", "admin"),
}
CONNECTOR = """\
connector: erp
owner: finance
adapter: files
environment: local
root: erp
resources:
  postings:
    file: postings.jsonl
    key: number
    fields: {number: {type: string}, amount: {type: string, format: decimal}, note: {type: [string, "null"]}}
    lookup: {}
    fetch: {}
    push: {idempotency: probe}
"""
APPROVAL = """\
policy: large-postings
type: approval
owner: finance
facts: {type: object, required: [amount], properties: {amount: {type: string, format: decimal}}}
when: compare(facts.amount, 1000) > 0
"""
CEDAR = """\
policy: postings
type: authorization
owner: finance
cedar: |
  @id("clerks")
  permit (principal in Stanchion::Role::"analyst", action == Stanchion::Action::"effects.perform",
          resource == Stanchion::Tool::"post-cost");
  @id("not-beyond")
  forbid (principal, action == Stanchion::Action::"effects.perform", resource in Stanchion::Connector::"erp")
  unless { context.decimals.hasTag("amount") && context.decimals.getTag("amount").lessThan(decimal("100000.0")) };
"""
TOOL = """\
tool: post-cost
owner: finance
description: Cost postings of field work.
model:
  name: post_cost
  description: Posts one cost line to the ERP.
call: {connector: erp, verb: push, resource: postings}
input: {properties: {note: {maxLength: 20}}}
effect: write
idempotency: probe
approval: {policy: large-postings, facts: {amount: "${arguments.amount}"}}
disable: {fallback: Post by hand in the ERP.}
authorization:
  - case: a clerk posts
    principal: {roles: [analyst]}
    arguments: {number: a, amount: "120.00"}
    environment: {name: local, production: false}
    expect: permit
  - case: nobody posts beyond the limit
    principal: {roles: [admin]}
    arguments: {number: a, amount: "100000.00"}
    environment: {name: local, production: false}
    expect: deny
  - case: a viewer does not post
    principal: {roles: [viewer]}
    arguments: {number: a, amount: "1.00"}
    environment: {name: local, production: false}
    expect: deny
examples:
  - case: one line
    arguments: {number: 2026-47-1, amount: "120.00", note: Masts}
"""
READER = """\
tool: find-posting
owner: finance
model: {name: find_posting, description: Finds a posting by its number.}
call: {connector: erp, verb: lookup, resource: postings}
effect: read
approval: {none: It reads what every clerk may read.}
disable: {fallback: Look in the ERP.}
authorization:
  - {case: clerk, principal: {roles: [analyst]}, arguments: {key: a}, environment: {name: local, production: false}, expect: permit}
  - {case: viewer, principal: {roles: [viewer]}, arguments: {key: a}, environment: {name: local, production: false}, expect: deny}
examples:
  - {case: one, arguments: {key: "2026-47-1"}}
"""
ALL = {"erp": CONNECTOR, "large-postings": APPROVAL, "postings": CEDAR, "post-cost": TOOL, "find-posting": READER}
POSTING = {"number": "2026-47-1", "amount": "120.00", "note": "Masts"}


def document(name: str, *changes: tuple[str, str]) -> Document:
    source = ALL[name]
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    return Document(path=f"{name}.yaml", source=source)


class Stage:
    """The tenant as one web process and one worker see it."""

    client: httpx.AsyncClient
    states: catalogue.States
    policies: policies.Snapshot
    switches: kills.Snapshot
    withdrawn: withdrawals.Snapshot

    def __init__(self, env: Env, settings: Settings) -> None:
        self.env = env
        self.settings = settings
        self.kinds = build_parts(env, settings).kinds
        self.who = "otto"

    def by(self, name: str, tenant: str = "acme") -> Ctx:
        kind, role = PEOPLE[name]
        actor = Actor(
            tenant=tenant, principal=name, principal_id=name, kind=kind, roles=frozenset({role}), credential="api_key:x"
        )
        return Ctx(env=self.env, actor=actor)

    def asker(self) -> Ctx:
        return self.by(self.who)

    async def apply(self, *documents: Document, by: str = "ada"):
        made = await apply(self.by(by), documents, kinds=self.kinds, changelog="why")
        await self.look()
        return made

    async def asked(self, run_id: str) -> tuple[Any, ...]:
        """What a run asks a person for, once it does: the approval's id, its state, what it shows, and its digest."""
        query = "select id, status, shown, args_digest from approvals where run_id = %s"
        async with asyncio.timeout(60):
            while not (found := await self.rows(query, run_id)):
                await asyncio.sleep(0.02)
        return found[0]

    async def look(self) -> None:
        """What every process does within a second."""
        for kept in (self.states, self.policies, self.switches, self.withdrawn):
            await kept.refresh()

    async def ask(self, method: str, path: str, by: str = "otto", **more: Any) -> httpx.Response:
        self.who = by
        return await self.client.request(method, f"/api/tools{path}", **more)

    async def call(
        self, name: str = "post-cost", arguments: Mapping[str, Any] = POSTING, by: str = "cleo", **more: Any
    ) -> httpx.Response:
        headers = {"Prefer": "wait=30", **more.pop("headers", {})}
        body = {"arguments": dict(arguments), **more}
        return await self.ask("POST", f"/{name}/calls", by, json=body, headers=headers)

    async def approve(self, name: str = "post-cost", by: str = "olga", version: int | None = None) -> httpx.Response:
        params = {"version": version} if version else {}
        told = (await self.ask("GET", f"/{name}", by, params=params)).json()["told"]
        body = {"told": told, "reason": "It says what it does.", "version": version}
        return await self.ask("POST", f"/{name}/approve", by, json=body)

    async def change(self, what: str, name: str = "post-cost", by: str = "otto", version: int | None = None):
        return await self.ask("POST", f"/{name}/{what}", by, json={"reason": "as agreed", "version": version})

    async def points(self, name: str = "post-cost", version: int | None = None) -> dict[int, Any]:
        params = {"version": version} if version else {}
        answer = await self.ask("GET", f"/{name}/check", params=params)
        return {one["number"]: one for one in answer.json()["points"]}

    async def failing(self, name: str = "post-cost", version: int | None = None) -> list[int]:
        return [number for number, one in (await self.points(name, version)).items() if not one["holds"]]

    async def make_ready(self, name: str = "post-cost") -> None:
        """All that the gate wants, but for the enabling."""
        assert (await self.ask("POST", f"/{name}/try", json={})).status_code == 200
        assert (await self.approve(name)).status_code == 200

    def postings(self) -> list[dict[str, Any]]:
        """What the ERP has."""
        file = self.settings.connectors_root / "erp/postings.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    async def rows(self, query: str, *values: Any) -> list[Any]:
        async with self.env.db.engine_tx() as tx:
            return await (await tx.execute(query, values)).fetchall()

    async def records(self, event: str) -> list[dict[str, Any]]:
        rows = await self.rows("select record from audit_records where event_type = %s order by id", event)
        return [json.loads(row[0]) for row in rows]


@asynccontextmanager
async def stage_on(urls: DatabaseUrls, folder: Path, *, production: bool = False) -> AsyncIterator[Stage]:
    """The tenant with everything applied but nothing enabled, its worker working."""
    settings = Settings(data=folder, tools=ToolsSettings(connectors_root=folder / "connectors"))
    erp = settings.connectors_root / "erp"
    erp.mkdir(parents=True)
    (erp / "postings.jsonl").touch()
    async with Database(urls) as db, Database(urls) as workers_db, AsyncExitStack() as stack:
        stack.enter_context(patient())
        env = dataclasses.replace(make_env(db), authorizer=CedarAuthorizer())
        worker_env = dataclasses.replace(make_env(workers_db), authorizer=CedarAuthorizer())
        await add_tenants(env, "acme", "beta")
        first = Stage(env, settings)
        await apply(first.by("ada"), [document(name) for name in ALL], kinds=first.kinds, changelog="why")
        if production:  # a process of the same deployment, which everything was brought to before
            here = Environment(name="local", production=True)
            env, worker_env = (dataclasses.replace(one, environment=here) for one in (env, worker_env))
        stage = Stage(env, settings)
        async with (
            kills.kept(env, role="app") as stage.switches,
            withdrawals.kept(env, role="app") as stage.withdrawn,
            policies.kept(env, role="app", withdrawn=stage.withdrawn) as stage.policies,
            catalogue.kept(env, role="app") as stage.states,
            kills.kept(worker_env, role="engine") as switches,
            built_worker(
                worker_env, settings, name="w", spawn=None, probation_of=None, switches=switches,
                adapters=build_parts(worker_env, settings).adapters,
            ) as worker,
            built_routers(
                env, settings, Authenticator(env, PEPPER), stage.switches, None, stage.withdrawn, None,
                stage.policies, stage.states,
            ) as routers,
            client_of(app_of(stage.asker, *routers)) as stage.client,
        ):  # fmt: skip
            working = asyncio.create_task(worker.run())
            try:
                yield stage
            finally:
                await worker.drain(5)
                await working
