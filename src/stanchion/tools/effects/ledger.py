"""The two commits around a call: the intent before it, the outcome after it, shared by all runs of a worker.

Each is one function on a transaction that may run again with the same arguments after its outcome was lost, so it
recognises its own writing. What one run must not do (a lost claim, a missing approval) is found before anything is
written and is that run's result alone; the others of the batch commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from stanchion import audit, runs
from stanchion.base import Conflict, Denied, Json, Problem
from stanchion.context import Env, system_actor
from stanchion.db import GroupWriter, Tx
from stanchion.runs import LostClaim, StepCall
from stanchion.tools.effects import rules, store
from stanchion.tools.effects.types import ApprovalCheck, Effect, EffectState, Next


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The intent is committed, or was not needed: what to do next with which effect."""

    next: Next
    effect: Effect


# What one item of a batch came to: its result, or what the caller is to raise.
Settled = Begun | Problem | LostClaim | None


@dataclass(frozen=True, slots=True)
class _Item:
    run_id: UUID
    write: Callable[[Tx], Awaitable[Settled]]


class Ledger:
    """The effect ledger of one process. `approvals` None refuses every effect that an approval dominates (I11)."""

    def __init__(self, env: Env, approvals: ApprovalCheck | None) -> None:
        self._env = env
        self._approvals = approvals
        self._group = GroupWriter[_Item, Settled](self._commit, clock=env.clock, lanes=2, batch_max=64)

    async def begin(self, call: StepCall, wanted: Effect, record_digest: str) -> Begun:
        """Commit the intent of `wanted`, or find what became of an earlier attempt.

        Raises LostClaim, Denied of the approval check, Conflict `effect.arguments_changed`.
        """
        # What an earlier pass decided: a transaction that is repeated after its outcome was lost finds its own writing.
        decided: list[Next] = []

        async def write(tx: Tx) -> Settled:
            try:
                await runs.hold(tx, [call.claim])
                return await self._intent(tx, call, wanted, record_digest, decided)
            except LostClaim as lost:
                self._env.telemetry.emit("effect.fenced", 1.0)
                return lost
            except (Denied, Conflict) as refusal:
                return refusal

        settled = await self._group.submit(_Item(call.claim.run_id, write), key=call.claim.run_id)
        if isinstance(settled, Begun):
            return settled
        raise settled or LostClaim

    async def _intent(self, tx: Tx, call: StepCall, wanted: Effect, record_digest: str, decided: list[Next]) -> Begun:
        found = await store.lock_of_step(tx, wanted.tenant, wanted.run_id, wanted.path)
        if found is not None and _written_by_us(found, wanted):
            return Begun(next=decided[-1] if decided else Next.CALL, effect=found)
        what = rules.next_of(found, wanted.idempotency, wanted.args_digest)
        decided.append(what)
        if what is not Next.RETURN and call.op.approvals:
            await self._check_approvals(tx, call, record_digest)
        if found is not None and what in {Next.RETURN, Next.ASK_PERSON}:
            return Begun(next=what, effect=found)
        effect = wanted if found is None else replace(wanted, id=found.id)
        if found is None:
            await store.insert_intent(tx, effect)
        else:
            await store.renew_intent(tx, effect)
        if what is Next.CALL:
            await audit.insert_many(tx, [self._attempted(call, effect)])
        return Begun(next=what, effect=effect)

    async def _check_approvals(self, tx: Tx, call: StepCall, record_digest: str) -> None:
        if self._approvals is None:
            raise Denied(
                "approval.missing",
                f"Step {call.path!r} writes only with an approval, and nothing here can check one.",
                hint="This process was built without approvals; report it.",
            )
        await self._approvals.check(tx, call, record_digest)

    def _attempted(self, call: StepCall, effect: Effect) -> audit.AuditRecord:
        return self._record(
            call,
            effect,
            "effect.attempted",
            extra={
                "key": effect.key,
                "connector": effect.connector,
                "connector_digest": effect.connector_digest,
                "operation": effect.operation,
                "class": effect.effect_class,
                "args_digest": effect.args_digest,
                "attempt_at": audit_stamp(effect.intent_at),
            },
        )

    async def end(
        self,
        call: StepCall,
        effect: Effect,
        state: EffectState,
        *,
        receipt: Mapping[str, Json] | None = None,
        error: Problem | None = None,
    ) -> None:
        """Commit what became of the attempt. Raises LostClaim."""
        at = self._env.clock.now()

        async def write(tx: Tx) -> Settled:
            try:
                await runs.hold(tx, [call.claim])
            except LostClaim as lost:
                self._env.telemetry.emit("effect.fenced", 1.0)
                return lost
            await self.write_end(tx, call, effect, state, at=at, receipt=receipt, error=error)
            return None

        settled = await self._group.submit(_Item(call.claim.run_id, write), key=call.claim.run_id)
        if isinstance(settled, BaseException):
            raise settled

    async def write_end(
        self,
        tx: Tx,
        call: StepCall,
        effect: Effect,
        state: EffectState,
        *,
        at: datetime,
        receipt: Mapping[str, Json] | None = None,
        error: Problem | None = None,
    ) -> None:
        """The outcome and its record, in the caller's transaction, whose run row it must hold."""
        found = await store.lock(tx, effect.tenant, effect.id)
        if found is None or (found.state is not EffectState.INTENT and found.outcome_at == at):
            return
        if found.state is EffectState.DONE:
            return  # settled by a person while this attempt was on its way
        rules.transition(found, state)
        said: dict[str, Json] | None = None if error is None else {"code": error.code, "message": str(error)}
        await store.set_outcome(tx, effect, state=state, at=at, receipt=receipt, error=said)
        outcome = audit.Outcome(
            status={EffectState.DONE: "SUCCEEDED", EffectState.UNKNOWN: "UNKNOWN"}.get(state, "FAILED"),
            error_class=None if error is None else error.code,
            receipt=rules.audited(receipt),
        )
        record = self._record(
            call,
            effect,
            "effect.completed",
            extra={
                "key": effect.key,
                "attempt_at": audit_stamp(effect.intent_at),
                # The record holds the receipt's digest; that nothing was done must be read without the receipt.
                **({"simulated": True} if receipt is not None and receipt.get("simulated") is True else {}),
            },
            outcome=outcome,
        )
        await audit.insert_many(tx, [record])

    def _record(
        self,
        call: StepCall,
        effect: Effect,
        event: str,
        *,
        extra: Mapping[str, object],
        outcome: audit.Outcome | None = None,
    ) -> audit.AuditRecord:
        return audit.build(
            clock=self._env.clock,
            ids=self._env.ids,
            tenant=effect.tenant,
            environment=self._env.environment.name,
            actor=system_actor("engine", effect.tenant),
            event_type=event,
            target=("effect", effect.id),
            run_id=effect.run_id,
            outcome=outcome,
            trace_id=audit.trace_id_of(call.traceparent),
            extra=extra,
        )

    async def flush(self) -> None:
        """Wait until everything submitted is committed or has failed."""
        await self._group.flush()

    async def _commit(self, batch: Sequence[_Item]) -> list[Settled]:
        async with self._env.db.engine_tx() as tx:
            return [await item.write(tx) for item in batch]


def _written_by_us(found: Effect, wanted: Effect) -> bool:
    return found.state is EffectState.INTENT and found.epoch == wanted.epoch and found.intent_at == wanted.intent_at


def audit_stamp(at: datetime) -> str:
    """The attempt's time: with the effect's id it links an outcome to its attempt."""
    return at.isoformat()
