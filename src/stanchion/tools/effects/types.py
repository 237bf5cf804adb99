"""The nouns of the effect ledger: an effect, its states, and the check that approvals fill in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, Protocol
from uuid import UUID

from stanchion.base import Json
from stanchion.db import Tx
from stanchion.runs import StepCall


class EffectState(StrEnum):
    """States of an effect. INTENT: recorded, perhaps called. DONE: the target has it. FAILED: the target certainly
    does not have it. UNKNOWN: it may have it; the target or a person tells."""

    INTENT = "INTENT"
    DONE = "DONE"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


TRANSITIONS: Final[Mapping[EffectState, frozenset[EffectState]]] = {
    EffectState.INTENT: frozenset({EffectState.DONE, EffectState.FAILED, EffectState.UNKNOWN}),
    EffectState.UNKNOWN: frozenset({EffectState.INTENT, EffectState.DONE, EffectState.FAILED}),
    EffectState.FAILED: frozenset({EffectState.INTENT}),
    EffectState.DONE: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One effect: a row of `effects`. Times are UTC.

    Attributes:
        run_id, path: the PUSH step that wants it. `key`: what the target receives, the same on every attempt.
        connector_digest, args_digest: exactly what was called with exactly what; the record itself is in run history.
        epoch: the claim under which it was last attempted.
        receipt: `applied` (False: the target had it already), `rows`, `idempotency_key`; None without one.
        resolved_by, evidence: the person who settled an unknown outcome, and on what grounds.
        attempts: how often it was attempted, or the target asked about an attempt; a settlement is about the last one.
    """

    tenant: str
    id: UUID
    run_id: UUID
    path: str
    key: str
    connector: str
    connector_digest: str
    operation: str
    effect_class: Literal["write", "destructive"]
    idempotency: Literal["key", "natural", "probe", "none"]
    args_digest: str
    state: EffectState
    epoch: int
    receipt: Mapping[str, Json] | None
    error: Mapping[str, Json] | None
    resolved_by: str | None
    evidence: str | None
    intent_at: datetime
    outcome_at: datetime | None
    attempts: int = 1

    @property
    def simulated(self) -> bool:
        """Whether nothing was sent: the receipt is of a simulation (I10)."""
        return self.receipt is not None and self.receipt.get("simulated") is True

    def __post_init__(self) -> None:
        # Rows carry the state as text.
        object.__setattr__(self, "state", EffectState(self.state))


class Next(StrEnum):
    """What a PUSH does with what the ledger knows of its effect."""

    CALL = "call"  # not attempted, or certain that nothing was written: a new attempt
    ASK_TARGET = "ask_target"  # attempted, outcome unseen: the target recognises the key
    ASK_PERSON = "ask_person"  # attempted, outcome unseen, and the target cannot be asked
    RETURN = "return"  # done: the receipt is known


class ApprovalCheck(Protocol):
    """Filled by `approvals`: the binding of an approval, looked at again where the effect happens (I8)."""

    async def check(self, tx: Tx, call: StepCall, record_digest: str) -> None:
        """Return if every approval in `call.op.approvals` stands and one was shown exactly these arguments.

        Raises Denied `approval.missing` or `approval.arguments_changed`.
        """
        ...
