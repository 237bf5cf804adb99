"""Building a record: pure, canonical by construction, without content."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

from stanchion.audit.types import SCHEMA_VERSION, AuditRecord, Outcome
from stanchion.base import Clock, Ids, Internal, canonical, digest
from stanchion.context import Actor

# Integers beyond this lose precision in other readers' numbers (RFC 8785 §3.2.2.3, I-JSON).
_INT_MAX: Final = 2**53 - 1
# A fact of a record is an id, a name or a count. Longer text is content and belongs in the changed row.
_TEXT_MAX: Final = 512
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
# Most values are of these classes (exactly: an enum of texts is not): no question is asked about them.
_AS_IS: Final = frozenset({str, int, bool, type(None)})
_EVENT: Final = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)+")


def build(
    *,
    clock: Clock,
    ids: Ids,
    tenant: str,
    environment: str,
    actor: Actor,
    event_type: str,
    target: tuple[str, str | UUID],
    run_id: UUID | None = None,
    before: object = None,
    after: object = None,
    reason: str | None = None,
    outcome: Outcome | None = None,
    trace_id: str | None = None,
    extra: Mapping[str, object] | None = None,
) -> AuditRecord:
    """Build one record; nothing is stored.

    Args:
        clock: gives `recorded_at`.
        ids: gives `id`.
        tenant: whose change it is (the engine's actor may be of none).
        environment: this deployment's environment.
        actor: who did it; its id and credential enter the record, its name does not.
        event_type: `noun.past`, ASCII.
        target: (kind, id) of what changed.
        run_id: the run it belongs to.
        before: the value before the change (dataclass, mapping, list, text) or its digest `sha256:…`.
        after: the value after it. Of both only the digest enters: SHA-256 over the sorted, compact JSON.
        reason: the actor's own words; only their digest enters. Keep the words in the changed row.
        outcome: how an attempt ended.
        trace_id: 32 hex digits.
        extra: names, ids, counts and digests that the event needs; ASCII keys, no floats, no long text.

    Raises:
        Internal `audit.not_canonical`: a defect of the caller (a float, a non-ASCII key, long text in `extra`).
    """
    at = clock.now().astimezone(UTC)
    record_id = ids.new()
    # Ids stand in the JSON as their texts.
    body = {
        "schema_version": SCHEMA_VERSION,
        "id": record_id,
        "ts": stamp(at),
        "event_type": event_type,
        "actor": {"kind": actor.kind, "id": _actor_id(actor), "credential": actor.credential},
        "tenant": tenant,
        "env": environment,
        "target": {"kind": target[0], "id": str(target[1])},
        "before": digest_of(before),
        "after": digest_of(after),
        "reason": digest_of(reason),
        "run_id": run_id,
        "trace_id": trace_id,
        "outcome": _outcome(outcome),
    }
    return _sealed(body if not extra else {**body, "extra": _plain_facts(extra, "extra")}, record_id, at, run_id)


def _sealed(body: Mapping[str, Any], record_id: UUID, at: datetime, run_id: UUID | None) -> AuditRecord:
    """The record of a body: its canonical text, its leaf, and the columns that are looked for."""
    if not _is_event(body["event_type"]):
        raise _not_canonical("event_type", f"{body['event_type']!r} is not of the form noun.past")
    record = canonical(body)
    return AuditRecord(
        tenant=body["tenant"],
        id=record_id,
        recorded_at=at,
        event_type=body["event_type"],
        actor=body["actor"]["id"],
        target_kind=body["target"]["kind"],
        target_id=body["target"]["id"],
        run_id=run_id,
        record=record.decode(),
        leaf=leaf_of(record),
    )


@lru_cache(maxsize=512)
def _is_event(text: str) -> bool:
    return _EVENT.fullmatch(text) is not None


def _actor_id(actor: Actor) -> str:
    return actor.principal_id or actor.principal


def leaf_of(record: bytes) -> bytes:
    """The Merkle leaf of a record's bytes: SHA-256(0x00 || record) (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + record).digest()


def stamp(at: datetime) -> str:
    """A time as the record writes it: UTC with exactly six digits of the second, as PostgreSQL stores it."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC)
    return at.isoformat(timespec="microseconds")[:-6] + "Z"


def digest_of(value: object) -> str | None:
    """The digest a record holds of a value: None for None, a digest as it is, else over the value's sorted JSON."""
    if value is None or (isinstance(value, str) and _DIGEST.fullmatch(value)):
        return value
    return digest(_plain(value))


def rows(records: Iterable[AuditRecord]) -> list[dict[str, object]]:
    """Records for one JSON parameter, as `base.dumps` writes it; `leaf` in hex (`decode(leaf, 'hex')` in the statement)."""
    return [
        {
            "tenant": r.tenant,
            "id": r.id,
            "recorded_at": r.recorded_at,
            "event_type": r.event_type,
            "actor": r.actor,
            "target_kind": r.target_kind,
            "target_id": r.target_id,
            "run_id": r.run_id,
            "record": r.record,
            "leaf": r.leaf.hex(),
        }
        for r in records
    ]


def trace_id_of(traceparent: str | None) -> str | None:
    """The trace id of a W3C traceparent (`version-traceid-parent-flags`), or None."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else None


def _outcome(outcome: Outcome | None) -> dict[str, object] | None:
    if outcome is None:
        return None
    return {
        "status": outcome.status,
        "error_class": outcome.error_class,
        "receipt": digest_of(outcome.receipt),
    }


def _plain(value: object) -> object:
    """A value as JSON can hold it, for digesting: sets sorted, bytes in hex, decimals as text."""
    if value.__class__ in _AS_IS:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in cast("Mapping[Any, object]", value).items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(v) for v in cast("set[Any]", value)), key=str)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast("list[Any]", value)]
    return _plain_scalar(value)


def _plain_scalar(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal | UUID):
        return str(value)
    if isinstance(value, datetime):
        return stamp(value)
    return value


def _plain_facts(value: object, where: str) -> object:
    """`extra`, checked: only what is canonical and is not content."""
    if isinstance(value, Mapping):
        plain: dict[str, object] = {}
        for key, item in cast("Mapping[Any, object]", value).items():
            if not isinstance(key, str) or not key.isascii():
                raise _not_canonical(where, f"the key {key!r} is not ASCII text")
            as_it_is = item.__class__ in _AS_IS and _is_fact(item)
            plain[key] = item if as_it_is else _plain_facts(item, f"{where}.{key}")
        return plain
    if isinstance(value, list | tuple):
        return [_plain_facts(item, f"{where}[{n}]") for n, item in enumerate(cast("list[Any]", value))]
    return _plain_fact(_plain_scalar(value), where)


def _is_fact(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _TEXT_MAX
    if isinstance(value, int):
        return abs(value) <= _INT_MAX
    return value is None


def _plain_fact(value: object, where: str) -> object:
    if _is_fact(value):
        return value
    reason = "text too long for a fact" if isinstance(value, str) else f"a {type(value).__name__} is not allowed"
    raise _not_canonical(where, reason)


def _not_canonical(where: str, reason: str) -> Internal:
    return Internal(
        "audit.not_canonical", f"An audit record cannot hold {where}: {reason}.", hint="Please report this."
    )
