"""A tenant whose people are real principals, in an environment that is production or not, with the shipped policy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from stanchion.approvals import PolicyKind
from stanchion.artifacts import Document
from stanchion.context import Actor, Ctx, Env, Environment
from stanchion.identity import CedarAuthorizer
from stanchion.releases import Applied, apply
from stanchion.releases.gates import GATES, EvalReport, Verdict, Which, approve, report_eval
from tests.approvals.support import FrozenClock
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.rollouts.support import SOURCES, Stage, canary, document, second

__all__ = ["SOURCES", "GateStage", "canary", "document", "gate_policy", "second"]

PEOPLE = {
    "ada": ("user", ["author"]),
    "ben": ("user", ["author", "approver"]),
    "olga": ("user", ["approver"]),
    "otto": ("user", ["approver", "auditor"]),
    "opal": ("user", ["operator"]),
    "root": ("user", ["admin"]),
    "ci": ("service", ["service"]),
    "cron": ("service", ["service"]),
}
SUITE = "sha256:" + "5" * 64


def gate_policy(*rules: str, more: str = "") -> Document:
    """A gate policy of rules in flow style."""
    listed = "".join(f"  - {{name: r{number}, {rule}}}\n" for number, rule in enumerate(rules))
    source = f"policy: release-gates\ntype: gate\nowner: platform\n{more}rules:\n{listed}"
    return Document(path="policies/release-gates.yaml", source=source)


class GateStage(Stage):
    """The application of the rollouts' tests, with people."""

    clock: FrozenClock

    def __init__(self, env: Env, folder: Path, *, tenant: str = "acme") -> None:
        super().__init__(env, folder, tenant=tenant)
        self.kinds = {**self.kinds, "policy": PolicyKind(others=[GATES.policy_type()])}

    @classmethod
    async def make(
        cls, db, folder: Path, *, production: bool = False, live: bool = True, tenant: str = "acme"
    ) -> GateStage:
        clock = FrozenClock()
        env = make_env(db, clock=clock, authorizer=CedarAuthorizer())
        await add_tenants(env, tenant)
        stage = cls(env, folder, tenant=tenant)
        stage.clock = clock
        await stage.add_people()
        stage.ctx = stage.by("ada")
        if live:
            await stage.apply(*(document(kind) for kind in SOURCES))
        return stage.in_production() if production else stage

    def in_production(self) -> GateStage:
        """The same database, as a process whose environment is production sees it."""
        env = dataclasses.replace(self.env, environment=Environment(name="local", production=True))
        other = GateStage.__new__(GateStage)
        other.__dict__.update(self.__dict__)
        other.env, other.ctx = env, dataclasses.replace(self.ctx, env=env)
        return other

    async def add_people(self) -> None:
        async with self.env.db.tenant_tx(self.ctx.tenant) as tx:
            for name, (kind, roles) in PEOPLE.items():
                await tx.execute(
                    "insert into principals (tenant, id, kind, name, display_name, roles) values (%s, %s, %s, %s, %s, %s)",
                    (self.ctx.tenant, self.env.ids.new(), kind, name, name, roles),
                )

    async def change_person(self, name: str, *, roles: list[str] | None = None, disabled: bool = False) -> None:
        async with self.env.db.tenant_tx(self.ctx.tenant) as tx:
            if roles is not None:
                await tx.execute(
                    "update principals set roles = %s where tenant = %s and name = %s", (roles, self.ctx.tenant, name)
                )
            if disabled:
                await tx.execute(
                    "update principals set disabled_at = %s where tenant = %s and name = %s",
                    (self.clock.at, self.ctx.tenant, name),
                )

    def by(self, name: str) -> Ctx:
        kind, roles = PEOPLE[name]
        actor = Actor(
            tenant=self.ctx.tenant,
            principal=name,
            principal_id="",
            kind=kind,
            roles=frozenset(roles),
            credential="api_key:test",
        )
        return dataclasses.replace(self.ctx, env=self.env, actor=actor)

    async def applied(self, *documents: Document, by: str = "ada", changelog: str = "why", **more) -> Applied:
        return await apply(self.by(by), documents, kinds=self.kinds, changelog=changelog, **more)

    async def rule(self, *rules: str, more: str = "") -> None:
        """Make a gate policy live, by whoever may override what is live."""
        await self.applied(gate_policy(*rules, more=more), by="root", break_glass="The test begins here.")

    async def prepared(self, *documents: Document, by: str = "ada"):
        from stanchion.releases.gates.preparing import prepare

        return await prepare(self.by(by), documents=documents, kinds=self.kinds, reason="Please have a look.")

    async def approve(self, prepared, *, by: str = "olga", verdict: Verdict = Verdict.PASS, **more):
        which = Which(id=prepared.prepared.id)
        return await approve(self.by(by), which, verdict=verdict, reason="It is what we agreed on.", **more)

    async def report(
        self, prepared, *, by: str = "ci", verdict: Verdict = Verdict.PASS, report_id="r1", cases=100, passed=99, **more
    ):
        members = [(m.kind, m.name, m.digest) for m in prepared.members]
        report = EvalReport(
            suite="answers", suite_digest=SUITE, cases=cases, passed=passed, failed=cases - passed, errored=0,
            thresholds={"passed_percent_min": 95},
        )  # fmt: skip
        return await report_eval(
            self.by(by), members, report, report_id=report_id, verdict=verdict, why="As measured.", **more
        )

    async def versions_live(self) -> dict[str, int]:
        async with self.env.db.tenant_tx(self.ctx.tenant) as tx:
            rows = await (await tx.execute("select kind || '/' || name, version from releases order by 1")).fetchall()
        return dict(rows)
