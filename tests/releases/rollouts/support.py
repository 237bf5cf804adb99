"""A small application of three kinds that run together, its runs started for real, and a way to count queries."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from uuid import UUID

import psycopg

from stanchion.approvals import GovernHandler, GovernVerb, PolicyKind
from stanchion.artifacts import Document
from stanchion.blueprints import TRANSFORM, BlueprintKind, program_from_body
from stanchion.context import Ctx, Env
from stanchion.db.direct import Session
from stanchion.queue import Notifier
from stanchion.releases import Resolver, apply
from stanchion.releases.rollouts import Plan, Step, Strategy, Target, service
from stanchion.runs import Starter, TransformHandler, Worker
from stanchion.tools import FETCH, LOOKUP
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors.kind import ConnectorKind
from tests.artifacts.support import ctx_of

POLICY = """\
policy: supervisor-approval
type: approval
owner: casework
facts: {type: object, required: [fine_eur], properties: {fine_eur: {type: number}}}
when: facts.fine_eur > 100000.0
title: first
"""
CONNECTOR = """\
connector: casebook
owner: casework
description: first
adapter: files
environment: local
root: .
resources:
  cases:
    file: cases.jsonl
    key: number
    fields: {number: {type: integer}}
    fetch: {}
"""
BLUEPRINT = """\
blueprint: case-triage
owner: casework
description: first
input: {type: object, properties: {customer: {type: string}, fine_eur: {type: number}}}
steps:
  - id: words
    transform: {value: first}
  - id: asked
    if: has(input.fine_eur)
    govern: {policy: supervisor-approval, facts: {fine_eur: "${input.fine_eur}"}, show: ["${input}"]}
  - id: open
    if: has(input.fine_eur)
    fetch: {connector: casebook, resource: cases}
output: ${steps.words.value}
"""
SOURCES = {
    "blueprint": ("case-triage", BLUEPRINT),
    "policy": ("supervisor-approval", POLICY),
    "connector": ("casebook", CONNECTOR),
}


def document(kind: str, *changes: tuple[str, str]) -> Document:
    name, source = SOURCES[kind]
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return Document(path=f"{kind}s/{name}.yaml", source=source)


def second(kind: str) -> Document:
    return document(kind, ("first", "second"))


def canary(*shares: int, unit: str = "run", hold_s: int | None = None, salt: str | None = None) -> Plan:
    steps = tuple(Step(share=share, hold_s=hold_s) for share in shares)
    return Plan(strategy=Strategy.CANARY, steps=steps, unit=unit, salt=salt)


class Stage:
    """One tenant with the application live at version 1, as one process sees it."""

    def __init__(self, env: Env, folder: Path, *, tenant: str = "acme") -> None:
        self.env = env
        self.adapters = Adapters(folder, env.clock)
        self.verbs = {verb.verb: verb for verb in (TRANSFORM, GovernVerb(), FETCH, LOOKUP)}
        kinds = (BlueprintKind(self.verbs), PolicyKind(), ConnectorKind(self.adapters))
        self.kinds = {kind.kind: kind for kind in kinds}
        self.ctx = ctx_of(env, tenant, roles=("admin",))
        self.resolver = self.other_resolver(env)
        self.starter = Starter(env, self.resolver, Notifier(env, role="app"))

    def other_resolver(self, env: Env) -> Resolver:
        return Resolver(env, lambda body, lookup: program_from_body(body, self.verbs, lookup))

    def as_(self, principal: str) -> Ctx:
        return dataclasses.replace(self.ctx, actor=dataclasses.replace(self.ctx.actor, principal=principal))

    async def apply(self, *documents: Document) -> None:
        await apply(self.ctx, documents, kinds=self.kinds, changelog="by apply")

    async def live(self) -> dict[str, int]:
        async with self.env.db.tenant_tx(self.ctx.tenant) as tx:
            rows = await (await tx.execute("select kind, version from releases order by kind")).fetchall()
        return dict(rows)

    async def publish(self, *documents: Document, back: bool = True) -> None:
        """Give documents a version without leaving it live."""
        await self.apply(*documents)
        if back:
            await self.apply(*(document(kind) for kind in SOURCES))

    async def begin(self, plan: Plan, *targets: Target, documents=(), ctx: Ctx | None = None, dry_run: bool = False):
        return await service.begin(
            ctx or self.ctx,
            plan,
            targets=targets,
            documents=documents,
            kinds=self.kinds,
            reason="try it",
            dry_run=dry_run,
        )

    async def start(self, value=None, ctx: Ctx | None = None) -> UUID:
        return (await self.starter.start(ctx or self.ctx, "case-triage", {} if value is None else value)).run_id

    async def versions(self, *runs: UUID) -> list[dict[str, int]]:
        """What each run is pinned to, by kind, in the order of `runs`."""
        async with self.env.db.engine_tx() as tx:
            rows = await (
                await tx.execute(
                    "select r.id, s.pins from runs r join pin_sets s on s.tenant = r.tenant and s.digest = r.pins"
                    " where r.id = any(%s)",
                    (list(runs),),
                )
            ).fetchall()
        found = {run: {pin["kind"]: pin["version"] for pin in pins} for run, pins in rows}
        return [found[run] for run in runs]

    async def records(self, event: str) -> list[dict]:
        async with self.env.db.tenant_tx(self.ctx.tenant) as tx:
            rows = await (
                await tx.execute("select record from audit_records where event_type = %s order by id", (event,))
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def worker(self) -> Worker:
        handlers = (TransformHandler(), GovernHandler())
        return Worker(
            self.env, {h.verb: h for h in handlers}, self.resolver, specs=self.verbs.values(), name="w", capacity=4
        )


class Statements:
    """Counts the statements of this process by their text, also those that go past psycopg's cursors."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._real = psycopg.AsyncCursor.execute
        self._direct = Session.direct

    def __enter__(self):
        statements, real, real_direct = self, self._real, self._direct

        async def direct(self, row, statement, params):
            statements.seen[" ".join(statement.query.decode().split())] += 1
            return await real_direct(self, row, statement, params)

        async def execute(self, query, *args, **kwargs):
            text = query if isinstance(query, str) else str(query)
            statements.seen[" ".join(text.split())] += 1
            return await real(self, query, *args, **kwargs)

        psycopg.AsyncCursor.execute = execute
        Session.direct = direct
        return self

    def __exit__(self, *_):
        psycopg.AsyncCursor.execute = self._real
        Session.direct = self._direct

    @property
    def total(self) -> int:
        return sum(self.seen.values())
