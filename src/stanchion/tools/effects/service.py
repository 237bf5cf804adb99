"""Performing an effect at most once (I5), and settling one whose outcome nobody saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast
from uuid import UUID

from stanchion import audit, runs
from stanchion.base import Denied, Invalid, Json, NotFound, Problem, Unavailable, present
from stanchion.context import Ctx, Env
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.db import Tx
from stanchion.runs import StepCall, Suspend, WaitingKind
from stanchion.tools.adapter import Adapter, AdapterProblem, Target
from stanchion.tools.effects import rules, store
from stanchion.tools.effects.ledger import Ledger
from stanchion.tools.effects.types import ApprovalCheck, Effect, EffectState, Next
from stanchion.tools.held import held, revoked, waiting
from stanchion.tools.series import Series
from stanchion.tools.simulated import envelope_of, is_simulated
from stanchion.tools.types import Envelope, Record

Receipt = Mapping[str, "Json"]


class EffectPort:
    """The one place in which the outside world is changed. Built once per worker.

    Order of what happens: environment (I10: what belongs to another is simulated) → intent, under the run's claim and with the approval looked at again
    (I3, I8) → kill switches and revocations, once more → call with the key → receipt. A crash between any two leaves a
    row from which the next attempt knows whether to call, to ask the target, or to ask a person.
    """

    def __init__(
        self,
        env: Env,
        approvals: ApprovalCheck | None,
        kills: Kills = NO_KILLS,
        withdrawals: Withdrawals = NO_WITHDRAWALS,
    ) -> None:
        self._env = env
        self._kills = kills
        self._withdrawals = withdrawals
        self._ledger = Ledger(env, approvals)
        self._series = Series()

    async def perform(self, call: StepCall, adapter: Adapter, target: Target, record: Record, raw: Json) -> Receipt:
        """Write `record` to the target, or execute its operation with it, at most once, and return the receipt.

        Args:
            call: the PUSH or EXECUTE step.
            adapter: what performs it.
            target: where, and by which operation.
            record: the record or the arguments, checked against what the connector declares; what is sent.
            raw: the same as the step has it; what an approval was shown.

        Raises:
            Denied: the environment or an approval says no; nothing was sent.
            AdapterProblem: nothing was written, or (`effect.outcome_unknown`) the next attempt will ask the target.
            Suspend: the outcome is unknown and only a person can tell; or the connector was killed meanwhile, or what
                the step uses was revoked, and nothing was sent.
        """
        simulated = is_simulated(target.connector, self._env.environment)
        target = replace(target, raw=raw)
        wanted = self._wanted(call, target, record)
        digest = rules.bound_digest(raw, call.op.own_fields)
        begun = await self._ledger.begin(call, wanted, digest)
        effect = begun.effect
        if begun.next is Next.RETURN:
            return cast("Receipt", effect.receipt)
        if begun.next is Next.ASK_PERSON and not simulated:
            raise self._waits(call, target, effect, None)
        asked = begun.next is Next.ASK_TARGET
        await self._hold_back(call, target, effect, asked=asked)
        if simulated:
            return await self._simulated(call, target, record, effect)
        return await self._called(call, adapter, target, record, effect, asked=asked)

    async def _simulated(self, call: StepCall, target: Target, record: Record, effect: Effect) -> Receipt:
        """Perform nothing, and say so in the receipt. An attempt that nobody saw the end of has sent nothing either."""
        receipt = rules.receipt_of(envelope_of(target, record, effect.key, environment=self._env.environment))
        await self._ended(call, target, effect, EffectState.DONE, receipt=receipt)
        return receipt

    async def _hold_back(self, call: StepCall, target: Target, effect: Effect, *, asked: bool) -> None:
        """Raise Suspend if a kill or a revocation came while the intent was committed: nothing is sent now, which the
        ledger says."""
        connector = target.connector
        wait = held(self._env, self._kills, call, connector.name, connector.digest, writes=True)
        problem = Denied(
            "kill.held_back",
            f"Connector {connector.name!r} was killed before this was sent; nothing was sent.",
            hint="The step goes on by itself when the kill is lifted.",
        )
        if wait is None:
            wait = revoked(self._env, self._withdrawals, call)
            problem = Denied(
                "release.held_back",
                f"A version that step {call.path!r} uses was revoked before this was sent; nothing was sent.",
                hint="The step goes on with another version, or when the revocation is taken back.",
            )
        if wait is None:
            return
        state = EffectState.UNKNOWN if asked else EffectState.FAILED
        await self._ended(call, target, effect, state, error=problem)
        raise wait

    def _wanted(self, call: StepCall, target: Target, record: Record) -> Effect:
        operation = target.operation
        return Effect(
            tenant=call.claim.tenant,
            id=self._env.ids.new(),
            run_id=call.claim.run_id,
            path=call.path,
            key=rules.effect_key(call.root_id, call.claim.run_id, call.path),
            connector=target.connector.name,
            connector_digest=target.connector.digest,
            operation=f"{target.resource.name}.{operation.verb}",
            effect_class="destructive" if operation.effect == "destructive" else "write",
            idempotency=operation.idempotency,
            args_digest=rules.args_digest(target.connector, target.resource.name, operation.verb, record),
            state=EffectState.INTENT,
            epoch=call.claim.epoch,
            receipt=None,
            error=None,
            resolved_by=None,
            evidence=None,
            intent_at=self._env.clock.now(),
            outcome_at=None,
        )

    async def _called(
        self, call: StepCall, adapter: Adapter, target: Target, record: Record, effect: Effect, *, asked: bool
    ) -> Receipt:
        try:
            envelope = await _performed(adapter, target, record, effect.key)
        except Problem as problem:
            if not (isinstance(problem, AdapterProblem) and problem.sent):
                # This call wrote nothing; what an earlier one did whose end nobody saw is as unknown as before.
                state = EffectState.UNKNOWN if asked else EffectState.FAILED
                await self._ended(call, target, effect, state, error=problem)
                if (wait := waiting(problem)) is not None:
                    raise wait from None
                raise
            return await self._unseen(call, adapter, target, record, effect, problem)
        receipt = rules.receipt_of(envelope)
        await self._ended(call, target, effect, EffectState.DONE, receipt=receipt)
        return receipt

    async def _unseen(
        self, call: StepCall, adapter: Adapter, target: Target, record: Record, effect: Effect, problem: Problem
    ) -> Receipt:
        """The call's end was not seen. Ask the target at once where it can be asked; else the next attempt repeats
        under the same key, or, where the target would not know it, a person tells."""
        if effect.idempotency == "none":
            raise self._waits(call, target, effect, problem)
        if effect.idempotency == "probe" and await self._probed(adapter, target, record, effect.key):
            receipt: Receipt = {"applied": True, "rows": 1, "idempotency_key": effect.key}
            await self._ended(call, target, effect, EffectState.DONE, receipt=receipt)
            return receipt
        await self._ended(call, target, effect, EffectState.UNKNOWN, error=problem)
        raise Unavailable(
            "effect.outcome_unknown",
            f"The write to {target.name} was sent and its outcome was not seen.",
            hint="The next attempt of the step asks the target under the same idempotency key before it writes.",
            effect_id=str(effect.id),
        ) from None

    async def _probed(self, adapter: Adapter, target: Target, record: Record, key: str) -> bool:
        try:
            return await adapter.probe(target, record, key)
        except Problem:
            return False

    def _waits(self, call: StepCall, target: Target, effect: Effect, problem: Problem | None) -> Suspend:
        """Suspend until a person answers. The effect becomes UNKNOWN in the transaction that suspends the run."""

        async def also(tx: Tx) -> None:
            at = self._env.clock.now()
            await self._ledger.write_end(tx, call, effect, EffectState.UNKNOWN, at=at, error=problem)

        if effect.state is EffectState.UNKNOWN:  # as it was before: the run was woken and still has no answer
            return Suspend(WaitingKind.EFFECT, ref=str(effect.id))
        self._env.telemetry.emit("effect.ended", 1.0, target.connector.adapter, EffectState.UNKNOWN.value)
        return Suspend(WaitingKind.EFFECT, ref=str(effect.id), also=also)

    async def _ended(
        self,
        call: StepCall,
        target: Target,
        effect: Effect,
        state: EffectState,
        *,
        receipt: Receipt | None = None,
        error: Problem | None = None,
    ) -> None:
        await self._ledger.end(call, effect, state, receipt=receipt, error=error)
        self._env.telemetry.emit("effect.ended", 1.0, target.connector.adapter, state.value)
        if receipt is not None and receipt.get("simulated") is True:  # by this process, by a dry run, or by the broker
            self._env.telemetry.emit("effect.simulated", 1.0, target.connector.adapter)
            self._env.telemetry.emit("connector.simulated", 1.0, *self._series.of(effect.connector, effect.operation))

    async def flush(self) -> None:
        """Wait until every intent and receipt in hand is committed."""
        await self._ledger.flush()


async def _performed(adapter: Adapter, target: Target, record: Record, key: str) -> Envelope:
    if target.operation.verb == "execute":
        return await adapter.execute(target, record, key)
    return await adapter.push(target, record, key)


async def resolve(ctx: Ctx, effect_id: UUID, *, happened: bool, evidence: str, attempt: int | None = None) -> Effect:
    """A person says whether an effect of unknown outcome happened, and on what grounds; its run goes on.

    If it happened, the step gets a receipt that names the person; if not, the step attempts it anew.

    `attempt`: which one was looked into, 1 being the first; it may be left out while there was only one.

    Raises NotFound `effect.unknown`, Conflict `effect.attempted_again`, `effect.settled` or `effect.in_progress`, Invalid
    `effect.no_evidence`.
    """
    ctx.require("effects.resolve", id=str(effect_id))
    if not evidence.strip():
        raise Invalid("effect.no_evidence", "The answer needs its evidence.", hint="Say what you looked at.")
    async with ctx.tx() as tx:
        before = await store.lock(tx, ctx.tenant, effect_id)
        if before is None:
            raise _unknown(effect_id)
        rules.check_resolvable(before, ctx.now, attempt)
        state = EffectState.DONE if happened else EffectState.FAILED
        rules.transition(before, state)
        receipt: Receipt | None = (
            {"applied": True, "rows": 1, "idempotency_key": before.key, "resolved_by": ctx.actor.principal}
            if happened
            else None
        )
        await store.set_outcome(
            tx, before, state=state, at=ctx.now, receipt=receipt, resolved_by=ctx.actor.principal, evidence=evidence
        )
        await audit.record(
            tx,
            ctx,
            "effect.resolved",
            target=("effect", effect_id),
            run_id=before.run_id,
            reason=evidence,
            outcome=audit.Outcome(status="SUCCEEDED" if happened else "FAILED", receipt=receipt),
            extra={"key": before.key, "happened": happened, "before_state": before.state.value},
        )
        await runs.wake(tx, ctx.tenant, before.run_id, WaitingKind.EFFECT, str(effect_id))
        after = await store.by_id(tx, ctx.tenant, effect_id)
    return present(after, "an effect that was locked and updated exists")


async def show(ctx: Ctx, effect_id: UUID) -> Effect:
    """One effect. Raises NotFound `effect.unknown`."""
    ctx.require("effects.read", id=str(effect_id))
    async with ctx.tx() as tx:
        found = await store.by_id(tx, ctx.tenant, effect_id)
    if found is None:
        raise _unknown(effect_id)
    return found


def _unknown(effect_id: UUID) -> NotFound:
    return NotFound(
        "effect.unknown", f"There is no effect {effect_id}.", hint="`GET /api/effects` lists what there is."
    )
