"""Deployments, each with a database, an environment and a signing key of its own, between which releases travel."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from pathlib import Path

from stanchion.approvals import GovernVerb, PolicyKind
from stanchion.artifacts import Document
from stanchion.base import canonical
from stanchion.blueprints import BlueprintKind
from stanchion.context import Ctx
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import CedarAuthorizer
from stanchion.releases import apply
from stanchion.releases.bundles import SigningKey, envelope, export, take_in, trust
from stanchion.releases.rollouts import Target
from tests.artifacts.support import add_tenants, ctx_of
from tests.conftest import make_env

VERBS = {"govern": GovernVerb()}
KINDS = {"blueprint": BlueprintKind(VERBS), "policy": PolicyKind()}

POLICY = """\
policy: supervisor-approval
type: approval
owner: casework
risk: high
labels: {team: fines}
facts:
  type: object
  required: [fine_eur]
  properties:
    fine_eur: {type: number}
when: facts.fine_eur > 100000.0
"""
BLUEPRINT = """\
# How a case is triaged.
blueprint: case-triage
owner: casework
description: Ask a supervisor about high fines.
input:
  type: object
  required: [fine_eur]
  properties:
    fine_eur: {type: number}
steps:
  - id: approval
    govern:
      policy: supervisor-approval
      facts: {fine_eur: "${input.fine_eur}"}
      show: ["${input}"]
output: ${steps.approval.decision}
"""


def policy(*changes: tuple[str, str]) -> Document:
    return Document(path="policies/supervisor-approval.yaml", source=_changed(POLICY, changes))


def blueprint(*changes: tuple[str, str]) -> Document:
    return Document(path="blueprints/case-triage.yaml", source=_changed(BLUEPRINT, changes))


def _changed(source: str, changes) -> str:
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return source


class Deployment:
    """One deployment as one principal of one tenant sees it."""

    def __init__(self, env, key: SigningKey, tenant: str = "acme", kinds=KINDS) -> None:
        self.env = env
        self.key = key
        self.kinds = kinds
        self.ctx = ctx_of(env, tenant, roles=("admin",))

    def as_(self, principal: str, *roles: str, tenant: str | None = None) -> Ctx:
        return ctx_of(self.env, tenant or self.ctx.tenant, principal=principal, roles=roles or ("admin",))

    async def apply(self, *documents: Document, changelog: str = "") -> None:
        await apply(self.ctx, documents, kinds=self.kinds, changelog=changelog)

    async def export(self, *names: str, ctx: Ctx | None = None, **more):
        targets = [self.target(name) for name in names]
        return await export(ctx or self.ctx, targets, key=self.key, reason="try it", **more)

    @staticmethod
    def target(name: str) -> Target:
        key, _, version = name.partition("@")
        kind, _, name = key.partition("/")
        return Target(kind=kind, name=name, version=int(version) if version else None)

    async def take_in(self, data: bytes, *, ctx: Ctx | None = None, dry_run: bool = False, kinds=None):
        return await take_in(ctx or self.ctx, data, kinds=kinds or self.kinds, reason="it was tried", dry_run=dry_run)

    async def trust(self, other: Deployment, name: str = "staging", **more):
        more = {"origin_tenant": other.ctx.tenant} | more
        return await trust(self.ctx, name, other.key.public.text, reason="ours", **more)

    async def rows(self, sql: str, *values) -> list:
        async with self.env.db.tenant_tx(self.ctx.tenant) as tx:
            return await (await tx.execute(sql, values)).fetchall()

    async def versions(self) -> list:
        return await self.rows("select kind, name, version, digest from artifacts order by kind, name, version")

    async def live(self) -> dict:
        found = await self.rows("select kind, name, digest from releases order by kind, name")
        return {(kind, name): digest for kind, name, digest in found}

    async def records(self, event: str) -> list[dict]:
        found = await self.rows("select record from audit_records where event_type = %s order by id", event)
        return [json.loads(row[0]) for row in found]

    async def everything(self) -> dict[str, list]:
        """All rows that an import could write."""
        tables = ("artifacts", "releases", "imported_bundles", "imported_artifacts", "audit_records", "release_history")
        return {
            table: await self.rows(f"select to_jsonb(t) from {table} t order by to_jsonb(t)::text") for table in tables
        }


@asynccontextmanager
async def deployed(urls: DatabaseUrls, folder: Path, environment: str, *, tenant: str = "acme", kinds=KINDS):
    folder.mkdir(exist_ok=True)
    async with Database(urls) as database:
        env = make_env(database, environment=environment, authorizer=CedarAuthorizer(home_tenant="acme"))
        await add_tenants(env, "acme", "umbra")
        yield Deployment(env, SigningKey.from_file(folder / "signing-key", env.ids), tenant, kinds)


def said(data: bytes) -> dict:
    """The payload of a bundle."""
    return json.loads(base64.b64decode(json.loads(data)["payload"]))


def sealed(payload: dict | bytes, key: SigningKey) -> bytes:
    """A bundle that a trusted deployment signed although it is wrong."""
    return envelope.seal(payload if isinstance(payload, bytes) else canonical(payload), key)
