"""The noun: one audit record, as stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

# The version of the record's form. Raise it with any change of a member's name or meaning; old records keep theirs.
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One record. Its attributes are the columns of `audit_records`.

    Attributes:
        tenant: whose change it was.
        id: UUIDv7; records of one process sort in the order they were made.
        recorded_at: when, UTC, to the microsecond (what is stored is what is hashed).
        event_type: `noun.past` (`run.started`, `principal.role_granted`).
        actor: the principal's id, or `system:engine` and the like: pseudonymous, as in the record itself.
        target_kind: what was changed (`run`, `approval`, `principal`).
        target_id: which one.
        run_id: the run it belongs to, or None.
        record: the canonical JSON text (RFC 8785) of the whole record.
        leaf: SHA-256(0x00 || record), the leaf of RFC 6962 §2.1.
    """

    tenant: str
    id: UUID
    recorded_at: datetime
    event_type: str
    actor: str
    target_kind: str
    target_id: str
    run_id: UUID | None
    record: str
    leaf: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended: `status` (SUCCEEDED, FAILED, UNKNOWN, …), a problem code, the digest of what came back."""

    status: str
    error_class: str | None = None
    receipt: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A record as read back: the stored columns that people look at, with the actor's name where there is a principal."""

    id: UUID
    recorded_at: datetime
    event_type: str
    actor: str
    actor_name: str | None
    target_kind: str
    target_id: str
    run_id: UUID | None
    record: str
    leaf: bytes
