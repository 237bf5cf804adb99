"""Decisions about effects, pure: the key a target receives, and what to do with an attempt whose end nobody saw."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from stanchion.base import Conflict, Json, digest, dumps, invariant
from stanchion.tools.effects.types import TRANSITIONS, Effect, EffectState, Next
from stanchion.tools.types import OUTPUT_BYTES_MAX, Connector, Envelope, Idempotency

# A call ends within its connector's timeout, at most 600 s; after this nobody can still be performing it, and a
# person may settle an attempt that a crash left without an end.
INTENT_SETTLED_AFTER = timedelta(minutes=15)
# What a receipt keeps of a result: with the rest of the step's output it stays within what a step may return.
RESULT_BYTES_MAX = OUTPUT_BYTES_MAX // 2


def effect_key(root_id: UUID, run_id: UUID, path: str) -> str:
    """What the target receives: the same for every attempt of this step of this run, and for no other."""
    return "eff_" + hashlib.sha256(f"{root_id}\x00{run_id}\x00{path}".encode()).hexdigest()


def args_digest(connector: Connector, resource: str, operation: str, record: Mapping[str, Json]) -> str:
    """The digest of exactly what is asked of the target: a `push` of a record, an `execute` with arguments."""
    return digest({"connector": connector.name, "resource": resource, "operation": operation, "record": record})


def receipt_of(envelope: Envelope) -> Mapping[str, Json]:
    """What the ledger keeps of an answer: that it was applied, under which key, the declared `fields` of a push, and the
    `result` of an EXECUTE, which a resumed step returns without calling again."""
    meta = envelope.metadata
    receipt: dict[str, Json] = {name: meta[name] for name in ("applied", "rows", "idempotency_key")}
    if "fields" in meta:
        receipt["fields"] = meta["fields"]
    if meta.get("simulated") is True:
        receipt["simulated"] = True
    if envelope.records:
        result = envelope.records[0].get("result")
        fits = len(dumps(result)) <= RESULT_BYTES_MAX
        receipt |= {"result": result} if fits else {"result": None, "result_dropped": True}
    return receipt


def audited(receipt: Mapping[str, Json] | None) -> Mapping[str, Json] | None:
    """The receipt as the audit record has it: without the result, which belongs to the run."""
    return None if receipt is None else {name: value for name, value in receipt.items() if name != "result"}


def bound_digest(record: Json, own_fields: frozenset[str]) -> str:
    """The digest that an approval must have shown: the record without the fields that the approval itself gave."""
    if isinstance(record, Mapping) and own_fields:
        return digest({name: value for name, value in record.items() if name not in own_fields})
    return digest(record)


def next_of(effect: Effect | None, idempotency: Idempotency, arguments: str) -> Next:
    """What to do, given what the ledger knows.

    Raises Conflict `effect.arguments_changed` if an attempt with other arguments is done or may be: the key stands
    for those, and the target would take the new ones for a repetition.
    """
    if effect is None or effect.state is EffectState.FAILED:
        return Next.CALL
    if effect.args_digest != arguments:
        raise Conflict(
            "effect.arguments_changed",
            f"Effect {effect.id} was attempted with other arguments and is {effect.state}.",
            hint="A new run performs a new effect; this one keeps what it was started with.",
            effect_id=str(effect.id),
        )
    if effect.state is EffectState.DONE:
        return Next.RETURN
    return Next.ASK_PERSON if idempotency == "none" else Next.ASK_TARGET


def transition(effect: Effect, to: EffectState) -> None:
    """Return if the effect may become `to`. Anything else is a defect."""
    invariant(to is effect.state or to in TRANSITIONS[effect.state], f"effect {effect.id}: {effect.state} to {to}")


def check_resolvable(effect: Effect, at: datetime, attempt: int | None) -> None:
    """A person settles what is UNKNOWN, or an attempt whose end nobody recorded and nobody can still record.

    Args:
        effect: as it is now.
        at: now.
        attempt: which attempt was looked into; None may stand for the only one there was. What was seen of one says
            nothing of a later one: an answer that is repeated because its own answer was lost must not settle that.

    Raises Conflict `effect.attempted_again`, `effect.settled` or `effect.in_progress`.
    """
    left = effect.state is EffectState.INTENT and at - effect.intent_at > INTENT_SETTLED_AFTER
    if effect.state is EffectState.UNKNOWN or left:
        return _check_attempt(effect, attempt)
    if effect.state is EffectState.INTENT:
        raise Conflict(
            "effect.in_progress",
            f"Effect {effect.id} is being performed, or its run is about to ask the target.",
            hint=f"If it stays so for {INTENT_SETTLED_AFTER.seconds // 60} minutes, resolve it then.",
        )
    raise Conflict(
        "effect.settled",
        f"Effect {effect.id} is {effect.state}; its outcome is known.",
        hint="Only an effect that is UNKNOWN is resolved by a person.",
    )


def _check_attempt(effect: Effect, attempt: int | None) -> None:
    if attempt != effect.attempts if attempt is not None else effect.attempts > 1:
        told = "does not say which it is about" if attempt is None else f"is about attempt {attempt}"
        raise Conflict(
            "effect.attempted_again",
            f"Effect {effect.id} was attempted {effect.attempts} times, the last time at"
            f" {effect.intent_at:%Y-%m-%d %H:%M:%S} UTC, and this answer {told}.",
            hint=f"Look at the target again; if it has the change, or has it not, after that time, say `attempt: {effect.attempts}`"
            f" (`stanchion effect resolve … --attempt {effect.attempts}`).",
            attempts=effect.attempts,
        )
