"""A Blueprint and a policy that read a config, live, and runs of them."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from uuid import UUID

from stanchion.approvals import GovernHandler, GovernVerb, PolicyKind
from stanchion.artifacts import Document
from stanchion.blueprints import TRANSFORM, BlueprintKind, ConfigKind, program_from_body
from stanchion.context import Env
from stanchion.queue import Notifier
from stanchion.releases import Resolver, apply
from stanchion.releases.rollouts import Plan, Step, Strategy, Target, begin
from stanchion.runs import Starter, TransformHandler, Worker
from tests.artifacts.support import ctx_of

LIMITS = """\
# Agreed with the board.
config: risk-limits
owner: casework
risk: high
labels: {team: casework}
values:
  fine_eur: 100      # in January
  words: {high: first}
  countries: [DE, FR]
  factors: {DE: 1.5, FR: 2}
environments:
  staging: {fine_eur: 5}
"""
POLICY = """\
policy: ask-high
type: approval
owner: casework
facts: {type: object, required: [fine], properties: {fine: {type: integer}}}
when: facts.fine > config.risk_limits.fine_eur
title: More than ${config.risk_limits.fine_eur}
"""
BLUEPRINT = """\
blueprint: triage
owner: casework
input: {type: object, required: [fine], properties: {fine: {type: integer}, customer: {type: string, default: c}}}
steps:
  - id: high
    if: input.fine > config.risk_limits.fine_eur
    transform: {value: "${config.risk_limits.words.high} over ${config.risk_limits.fine_eur}"}
  - id: asked
    govern: {policy: ask-high, facts: {fine: "${input.fine}"}, show: ["${input}"]}
  - id: each
    for_each:
      in: config.risk_limits.countries
      as: country
      steps:
        - id: factor
          transform: {value: "${config.risk_limits.factors[country]}"}
      output: ${steps.factor.value}
output:
  said: "${has(steps.high) ? steps.high.value : config.risk_limits.words.high}"
  factors: ${steps.each.succeeded.map(s, s.output)}
"""
PLAIN = "blueprint: plain\nowner: casework\nsteps: [{id: a, transform: {value: 1}}]\noutput: ${steps.a.value}\n"
SOURCES = {"config": LIMITS, "policy": POLICY, "blueprint": BLUEPRINT}


def changed(kind: str, *changes: tuple[str, str]) -> Document:
    source = SOURCES[kind]
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return Document(path=f"{kind}s/it.yaml", source=source)


def canary(*shares: int, unit: str = "run") -> Plan:
    return Plan(strategy=Strategy.CANARY, steps=tuple(Step(share=share) for share in shares), unit=unit)


class Stage:
    """One tenant with the three live at version 1, as one process sees it."""

    def __init__(self, env: Env, *, roles: tuple[str, ...] = ("admin",)) -> None:
        self.env = env
        self.verbs = {verb.verb: verb for verb in (TRANSFORM, GovernVerb())}
        self.kinds = {kind.kind: kind for kind in (BlueprintKind(self.verbs), PolicyKind(), ConfigKind())}
        self.ctx = ctx_of(env, "acme", roles=roles)
        self.resolver = Resolver(env, lambda body, lookup: program_from_body(body, self.verbs, lookup))
        self.starter = Starter(env, self.resolver, Notifier(env, role="app"))

    async def apply(self, *documents: Document, **kwargs):
        return await apply(self.ctx, documents, kinds=self.kinds, changelog="by apply", **kwargs)

    async def begin(self, plan: Plan, *targets: Target, documents=()):
        return await begin(self.ctx, plan, targets=targets, documents=documents, kinds=self.kinds, reason="try it")

    async def start(self, fine: int = 10, customer: str = "c", blueprint: str = "triage") -> UUID:
        value = {"fine": fine, "customer": customer} if blueprint == "triage" else {}
        return (await self.starter.start(self.ctx, blueprint, value)).run_id

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

    async def row(self, run_id: UUID) -> dict:
        async with self.env.db.engine_tx() as tx:
            found = await (
                await tx.execute("select status, waiting_kind, output, error from runs where id = %s", (run_id,))
            ).fetchone()
        return dict(zip(("status", "waiting_on", "output", "error"), found, strict=True))

    async def settled(self, run_id: UUID) -> dict:
        """The run's row once it has ended, or waits for a person."""

        async def poll() -> dict:
            while True:
                row = await self.row(run_id)
                if row["status"] in ("SUCCEEDED", "FAILED") or row["waiting_on"] == "approval":
                    return row
                await asyncio.sleep(0.02)

        return await asyncio.wait_for(poll(), 60)

    @asynccontextmanager
    async def working(self):
        """Run a worker for the block."""
        handlers = (TransformHandler(), GovernHandler())
        worker = Worker(
            self.env, {h.verb: h for h in handlers}, self.resolver, specs=self.verbs.values(), name="w", capacity=8
        )
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            await worker.drain(5)
            await task
