"""Giving the runs of a revoked version another one: each that fits, in a transaction of its own, recorded with it.

A run keeps everything but the one version (and what that refers to and the run had none of). It is refused with the reason
where the other version does not fit what the run is pinned to, or what it has done; then it is cancelled, or waits until the
revocation is taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from stanchion import audit
from stanchion.artifacts import KindSpec
from stanchion.base import Conflict, NotFound, Problem
from stanchion.blueprints import Program, VerbSpec, validate_value
from stanchion.context import Ctx
from stanchion.controls import withdrawals
from stanchion.controls.withdrawals import Mode, Withdrawal
from stanchion.db import Tx
from stanchion.queue import Notifier
from stanchion.releases import store as releases_store
from stanchion.releases.gates import refuse_forward
from stanchion.releases.resolver import Resolver
from stanchion.releases.revoking import rules, store
from stanchion.releases.revoking.naming import named
from stanchion.releases.revoking.service import in_force, next_page
from stanchion.releases.revoking.types import Fate, Key, Named, Outcome, Outcomes, Repin
from stanchion.releases.rollouts import compat
from stanchion.releases.rollouts import rules as rollout_rules
from stanchion.releases.rollouts import store as rollout_store
from stanchion.releases.types import Live
from stanchion.runs import PinSet, RunEndHook, RunStatus, revoking
from stanchion.runs.revoking import OpenRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What re-pinning needs beside who asks: how kinds are read, who compiles, the verbs, who is told, who cancels what a
    run asked."""

    kinds: Mapping[str, KindSpec]
    resolver: Resolver
    verbs: Mapping[str, VerbSpec]
    notifier: Notifier
    hook: RunEndHook | None

    def lasts(self, verb: str) -> bool:
        """Whether a verb leaves something that a second attempt must find as it was."""
        spec = self.verbs.get(verb)
        return spec is not None and (spec.effect == "write" or spec.suspends)


async def repin(
    ctx: Ctx, digest: str, *, means: Means, reason: str, to: int | None = None, after: UUID | None = None
) -> Outcomes:
    """Give the runs that are pinned to a revoked version another one, a page of them per call; those that stopped go on.

    Runs that a worker executes are left: they stop before their next use, and can be re-pinned then.

    Args:
        ctx: who does it; needs `releases.repin`.
        digest: of the revoked version, or its beginning.
        means: see there.
        reason: why; kept with each run.
        to: the version number to give instead; None: the live one.
        after: `next` of the page before.

    Raises:
        Denied; NotFound `artifact.unknown`, `revocation.unknown`; Invalid `release.ambiguous_digest`,
        `withdrawal.no_reason`; Conflict `repin.no_version`, `release.revoked`, `release.retired`, `release.gated`.
    """
    ctx.require("releases.repin")
    why = withdrawals.check_reason(reason)
    async with ctx.tx() as tx:
        version = await named(tx, ctx, digest)
        revocation = await in_force(tx, ctx, version)
        other = await _other(tx, ctx, version, to)
        rows = await releases_store.live(tx, ctx.tenant, ctx.env.environment.name)
        live = {(row.kind, row.name): row for row in rows}
        # What was never live here gets into no run by this way either.
        await refuse_forward(tx, ctx, {(other.kind, other.name): other}, live=live, kinds=means.kinds, keeps=False)
        roots = await revoking.roots(tx, ctx.tenant, version.digest, stopped=False, before=after)
    action = _Action(ctx, means, revocation, version, other, live, why)
    found = tuple([await action.give(root) for root in roots])
    done = sum(one.fate is Fate.REPINNED for one in found)
    if done:
        ctx.env.telemetry.emit("run.repinned", float(done))
    to_version = Named(kind=other.kind, name=other.name, version=other.version, digest=other.digest)
    return Outcomes(version=version, to=to_version, runs=found, next=next_page(roots))


async def _other(tx: Tx, ctx: Ctx, version: Named, to: int | None) -> Live:
    """The version to give instead, which is neither revoked nor retired."""
    number = to
    if number is None:
        live = await releases_store.release(tx, ctx.tenant, ctx.env.environment.name, version.kind, version.name)
        if live is None or live.digest == version.digest:
            raise Conflict(
                "repin.no_version",
                f"{version.target} is itself the live version."
                if live
                else f"No version of {version.kind}/{version.name} is live.",
                hint=f"Name another one (--to N), or give new runs another first:"
                f" stanchion release rollback {version.kind}/{version.name} --reason …",
            )
        number = live.version
    found = await rollout_store.version_of(tx, ctx.tenant, version.kind, version.name, number)
    if found is None:
        raise NotFound(
            "artifact.unknown",
            f"There is no {version.kind} {version.name} version {number}.",
            hint=f"`stanchion artifact history {version.kind}/{version.name}` lists its versions.",
        )
    revoked = await withdrawals.find(tx, ctx.tenant, Mode.REVOKE, found.digest)
    if revoked is not None and revoked.lifted_at is None:
        raise Conflict(
            "release.revoked",
            f"{withdrawals.told(revoked)} Runs cannot be given it; nothing was changed.",
            hint="Name a version that is not revoked: --to N.",
        )
    for retired in await releases_store.retired_among(tx, ctx.tenant, [(found.kind, found.name, found.version)]):
        raise Conflict(
            "release.retired",
            f"{found.kind}/{found.name}@{found.version} was retired by {retired.retired_by}; nothing was changed.",
            hint="Name another version: --to N.",
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exchange:
    """One pin set with the version exchanged; or `reason`, why that does not fit."""

    old: Program | None = None
    new: Program | None = None
    pins: PinSet | None = None
    reason: str = ""


class _Action:
    """One action on all runs of a page; what concerns a pin set is worked out once."""

    def __init__(
        self,
        ctx: Ctx,
        means: Means,
        revocation: Withdrawal,
        version: Named,
        other: Live,
        live: Mapping[Key, Live],
        reason: str,
    ) -> None:
        self._ctx = ctx
        self._means = means
        self._revocation = revocation
        self._version = version
        self._other = other
        self._live = live
        self._reason = reason
        self._exchanges: dict[str, _Exchange] = {}

    @property
    def _key(self) -> Key:
        return (self._version.kind, self._version.name)

    async def give(self, root: UUID) -> Outcome:
        """Give one run and its items the other version, if it fits."""
        ctx = self._ctx
        async with ctx.tx() as tx:
            tree = await revoking.locked(tx, ctx.tenant, root)
            refusal = _cannot_now(root, tree)
            if refusal is not None:
                return refusal
            exchange = await self._exchange(tx, tree[0].pins)
            if exchange.pins is None or exchange.old is None or exchange.new is None:
                return Outcome(run_id=root, fate=Fate.REFUSED, reason=exchange.reason)
            why_not = await self._unfit(tx, tree, exchange.old, exchange.new)
            if why_not:
                return Outcome(run_id=root, fate=Fate.REFUSED, reason=why_not)
            again = self._asking(tree, exchange.old)
            if again and self._means.hook is not None:
                await self._means.hook.runs_ended(tx, ctx.tenant, again)
            ready = await revoking.repin(tx, ctx.tenant, tree, exchange.pins, digest=self._version.digest, again=again)
            await self._note(tx, root, tree, exchange.pins)
        for queue in ready:
            self._means.notifier.ready(queue)
        self._means.notifier.changed(root, True)
        return Outcome(run_id=root, fate=Fate.REPINNED)

    async def _exchange(self, tx: Tx, pins: str) -> _Exchange:
        found = self._exchanges.get(pins)
        if found is None:
            found = self._exchanges[pins] = await self._exchanged(tx, pins)
        return found

    async def _exchanged(self, tx: Tx, pins: str) -> _Exchange:
        rows = await store.members(tx, self._ctx.tenant, pins)
        old = {(row.kind, row.name): row for row in rows}
        if not rows or self._key not in old or old[self._key].digest != self._version.digest:
            return _Exchange(reason="its pins have changed meanwhile")
        root = (rows[0].kind, rows[0].name)
        closure = rollout_rules.assemble(root, {**self._live, **old, self._key: self._other})
        chosen = {(row.kind, row.name): row for row in closure}
        misfits = compat.Check(self._means.kinds, old).misfits(chosen, (), [self._key])
        if misfits:
            return _Exchange(reason=str(misfits[0]))
        try:
            before = self._means.resolver.pin(self._ctx.tenant, root[1], rows)
            after = self._means.resolver.pin(self._ctx.tenant, root[1], closure)
        except Problem as problem:
            return _Exchange(reason=problem.message)
        return _Exchange(old=before.program, new=after.program, pins=after.pins)

    async def _unfit(self, tx: Tx, tree: Sequence[OpenRun], old: Program, new: Program) -> str:
        """Why this run cannot go on with the other version, for what it has done; empty if it can."""
        ids = [run.id for run in tree]
        deciding = rules.deciding_steps(old, self._key)
        decided = await store.decided(tx, self._ctx.tenant, ids, deciding) if deciding else None
        if decided is not None:
            return f"step {decided!r} was decided by the revoked version; cancel the run and start it again"
        if self._version.kind == "connector":
            return await self._unsettled(tx, ids)
        if self._version.kind != "blueprint":
            return ""
        for run in tree:
            why_not = rules.misplaced(run, old, new, lasts=self._means.lasts)
            if why_not:
                return f"{why_not}; cancel the run and start it again"
        faults = validate_value(new.input_schema, await store.input_of(tx, self._ctx.tenant, tree[0].id))
        return f"its input does not fit the other version: {faults[0][1]}" if faults else ""

    async def _unsettled(self, tx: Tx, ids: Sequence[UUID]) -> str:
        """Whether a write was sent through the old version whose outcome nobody knows: the other one may ask another
        target, which would know nothing of it (I5)."""
        path = await store.unsettled(tx, self._ctx.tenant, ids, self._version.name)
        if path is None:
            return ""
        return f"whether the write of step {path!r} happened is not known; resolve it first (stanchion effect list)"

    def _asking(self, tree: Sequence[OpenRun], old: Program) -> list[UUID]:
        """Who stands at a step that has asked by the revoked version: it asks anew, by the other."""
        deciding = set(rules.deciding_steps(old, self._key))
        return [run.id for run in tree if run.begun and run.path in deciding]

    async def _note(self, tx: Tx, root: UUID, tree: Sequence[OpenRun], pins: PinSet) -> None:
        ctx, version, other = self._ctx, self._version, self._other
        made = Repin(
            id=ctx.env.ids.new(),
            run_id=root,
            withdrawal_id=self._revocation.id,
            kind=version.kind,
            name=version.name,
            version_before=version.version,
            version=other.version,
            digest_before=version.digest,
            digest=other.digest,
            pins_before=tree[0].pins,
            pins=pins.digest,
            reason=self._reason,
            by=ctx.actor.principal,
            at=ctx.now,
        )
        await store.insert_repin(tx, ctx.tenant, made)
        await audit.record(
            tx,
            ctx,
            "run.repinned",
            target=("run", root),
            run_id=root,
            before=made.pins_before,
            after=made.pins,
            reason=made.reason,
            extra={
                "kind": made.kind,
                "name": made.name,
                "version_before": made.version_before,
                "version": made.version,
                "digest_before": made.digest_before,
                "digest": made.digest,
                "withdrawal": str(made.withdrawal_id),
                "items": len(tree) - 1,
            },
        )


def _cannot_now(root: UUID, tree: Sequence[OpenRun]) -> Outcome | None:
    if not tree:
        return Outcome(run_id=root, fate=Fate.REFUSED, reason="it has ended meanwhile")
    if any(run.cancelling for run in tree):
        return Outcome(run_id=root, fate=Fate.REFUSED, reason="it is being cancelled")
    if any(run.status == RunStatus.RUNNING for run in tree):
        return Outcome(run_id=root, fate=Fate.RUNNING, reason="a worker executes it; it stops before its next use")
    return None
