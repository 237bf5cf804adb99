"""Flags of one tenant, applied and asked as one process does it, and a clock to turn."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from stanchion.artifacts import Document
from stanchion.context import Ctx, Env
from stanchion.releases import apply
from stanchion.releases.flags import FlagKind, Snapshot
from stanchion.releases.rollouts import Plan, Step, Strategy, Target, begin, rollback
from tests.artifacts.support import ctx_of

KINDS = {"flag": FlagKind()}
FLAG = """\
flag: new-review-flow
owner: casework
description: The review page of next year.
type: boolean
variants: {on: true, off: false}
default: off
rules:
  - when: ${has(context.team) && context.team == "fines"}   # they asked for it
    serve: on
"""


def document(*changes: tuple[str, str], source: str = FLAG, name: str = "") -> Document:
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    if name:
        source = source.replace("new-review-flow", name)
    return Document(path=f"flags/{name or 'new-review-flow'}.yaml", source=source)


SECOND = document(('"fines"', '"appeals"'))


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


class Stage:
    """A tenant, and what one process serves of its flags."""

    def __init__(self, env: Env, tenant: str = "acme") -> None:
        self.env = env
        self.ctx: Ctx = ctx_of(env, tenant, roles=("admin",))
        self.flags = Snapshot(env)

    async def apply(self, *documents: Document, changelog: str = "by apply"):
        done = await apply(self.ctx, documents, kinds=KINDS, changelog=changelog)
        return {change.name: change.version for change in done.changes}

    async def canary(self, *shares: int, document: Document, unit: str = "run", salt: str | None = None):
        steps = tuple(Step(share=share) for share in shares)
        plan = Plan(strategy=Strategy.CANARY, steps=steps, unit=unit, salt=salt)
        begun = await begin(self.ctx, plan, documents=[document], kinds=KINDS, reason="try it")
        return begun.rollout

    async def back(self, name: str = "new-review-flow"):
        return await rollback(self.ctx, Target(kind="flag", name=name), kinds=KINDS, reason="no")

    def ask(self, name: str = "new-review-flow", fallback=False, **context):
        return self.flags.evaluate(self.ctx.tenant, name, fallback, context, principal=self.ctx.actor.principal)


async def until(condition, what: str, timeout_s: float = 60.0) -> float:
    """Seconds until `condition()` holds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < timeout_s, what
        await asyncio.sleep(0.002)
    return loop.time() - began
