"""A small application with everything real but its verbs: what a step does, and when, a test scripts."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from stanchion.approvals import GovernHandler, GovernVerb, PendingApprovals, PolicyKind
from stanchion.artifacts import Document
from stanchion.blueprints import LOGIC_GATE, TRANSFORM, BlueprintKind, program_from_body
from stanchion.context import Ctx
from stanchion.controls import withdrawals
from stanchion.releases import Resolver, apply, draining, revoking
from stanchion.runs import Starter, TransformHandler, Worker
from stanchion.runs import revoking as runs_revoking
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors.kind import ConnectorKind
from tests.runs.support import Probe, World

CONNECTOR = """\
connector: {name}
owner: tests
description: version {version}
adapter: files
environment: local
root: .
resources:
  cases:
    file: cases.jsonl
    key: number
    fields: {{number: {{type: integer}}}}
    fetch: {{}}
"""
POLICY = """\
policy: supervise
type: approval
owner: tests
facts: {{type: object, required: [amount], properties: {{amount: {{type: number}}}}}}
when: facts.amount > 100.0
title: version {version}
ask:
  roles: [admin]
  expires: 1h
"""


def connector(version: int, name: str = "ledger") -> Document:
    return Document(path=f"{name}.yaml", source=CONNECTOR.format(name=name, version=version))


def policy(version: int) -> Document:
    return Document(path="supervise.yaml", source=POLICY.format(version=version))


def blueprint(source: str) -> Document:
    return Document(path="flow.yaml", source=source)


class Use(Probe):
    """A verb that names a connector."""

    def __init__(self) -> None:
        super().__init__("use", suspends=False)
        self.config_schema = {
            **self.config_schema,
            "properties": {
                **self.config_schema["properties"],
                "connector": {"type": "string", "x-artifact": "connector"},
            },
        }


class Stage(World):
    """One tenant, its artifacts in the registry, runs that start and go on for real, and the snapshot of its one process,
    which looks when a test says so."""

    def __init__(self, env, owner_url: str, folder: Path) -> None:
        super().__init__(env, owner_url)
        self.use = Use()
        self.specs = (TRANSFORM, LOGIC_GATE, GovernVerb(), self.probe, self.writer, self.call, self.use)
        self.verbs = {spec.verb: spec for spec in self.specs}
        self.handlers = {**self.handlers, "govern": GovernHandler(), "transform": TransformHandler(), "use": self.use}
        kinds = (BlueprintKind(self.verbs), PolicyKind(), ConnectorKind(Adapters(folder, env.clock)))
        self.kinds = {kind.kind: kind for kind in kinds}
        self.resolver = Resolver(env, lambda body, lookup: program_from_body(body, self.verbs, lookup))
        self.known = withdrawals.Snapshot(env, role="engine", notified=False)
        self.starter = Starter(env, self.resolver, self.notifier, withdrawals=self.known)
        self.means = revoking.Means(
            kinds=self.kinds,
            resolver=self.resolver,
            verbs=self.verbs,
            notifier=self.notifier,
            hook=PendingApprovals(env),
        )

    async def apply(self, *documents: Document) -> None:
        await apply(self.ctx, documents, kinds=self.kinds, changelog="by apply")
        self.resolver._views.clear()  # as if half a second had passed

    async def digest(self, kind: str, name: str, version: int) -> str:
        rows = await self.rows(
            "select digest from artifacts where tenant = 'acme' and kind = %s and name = %s and version = %s",
            kind, name, version,
        )  # fmt: skip
        return rows[0]["digest"]

    async def revoke(self, kind: str, name: str, version: int = 1) -> str:
        """Revoke a version, and let this process know; its digest."""
        digest = await self.digest(kind, name, version)
        await revoking.revoke(self.ctx, digest, reason="It is wrong.")
        await self.known.refresh()
        return digest

    async def reinstate(self, digest: str) -> None:
        await revoking.reinstate(self.ctx, digest, reason="It is right.")
        await self.known.refresh()
        await runs_revoking.wake_reinstated(self.env)

    async def repin(self, digest: str, to: int | None = None) -> revoking.Outcomes:
        return await revoking.repin(self.ctx, digest, means=self.means, reason="Another one.", to=to)

    async def cancel_stopped(self, digest: str, **more) -> revoking.Outcomes:
        return await revoking.cancel_stopped(
            self.ctx, digest, reason="Again.", notifier=self.notifier, hook=self.means.hook, **more
        )

    async def drain(self, kind: str, name: str, version: int = 1) -> draining.Drain:
        made = await draining.drain(self.ctx, kind, name, version, reason="Replaced.")
        await self.known.refresh()
        return made

    @asynccontextmanager
    async def working(self):
        async with self.worker(withdrawals=self.known) as worker:
            yield worker

    def gate(self, probe: Probe, name: str) -> tuple[asyncio.Event, asyncio.Event]:
        """The step named so says that it has begun, and ends when it is let."""
        begun, let = asyncio.Event(), asyncio.Event()

        async def behave(call):
            begun.set()
            await let.wait()
            return {"value": call.config.get("value")}

        probe.script[name] = behave
        return begun, let

    async def stopped(self, run: UUID, digest: str) -> dict:
        """The run's row once it waits before that version."""
        await self.eventually(lambda: self._waits(run, digest))
        return await self.run_row(run)

    async def _waits(self, run: UUID, digest: str) -> bool:
        row = await self.run_row(run)
        return (row["status"], row["waiting_kind"], row["waiting_ref"]) == ("SUSPENDED", "revoked", digest)

    async def pinned(self, run: UUID) -> dict[str, int]:
        """What a run is pinned to: version by kind/name."""
        rows = await self.rows(
            "select s.pins from runs r join pin_sets s on s.tenant = r.tenant and s.digest = r.pins where r.id = %s",
            run,
        )
        return {f"{pin['kind']}/{pin['name']}": pin["version"] for pin in rows[0]["pins"]}

    async def records(self, *events: str) -> list[dict]:
        rows = await self.rows(
            "select record from audit_records where tenant = 'acme' and event_type = any(%s) order by id", list(events)
        )
        return [json.loads(row["record"]) for row in rows]

    def as_role(self, *roles: str, tenant: str = "acme") -> Ctx:
        import dataclasses

        ctx = self.as_principal("rita", tenant)
        return dataclasses.replace(ctx, actor=dataclasses.replace(ctx.actor, roles=frozenset(roles)))


__all__ = ["Stage", "Worker", "blueprint", "connector", "policy"]
