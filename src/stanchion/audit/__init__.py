"""Audit: no change without its record, committed in the transaction of the change (I6).

A verb calls `record(tx, ctx, "noun.past", target=(kind, id), before=…, after=…)` beside its `save`; the engine builds
records with `build` and inserts them with its batch (`rows`). A record holds digests and pseudonymous ids, never
content: values given as `before`, `after` and `reason` enter as SHA-256 only. Its canonical bytes are RFC 8785 by
construction (ASCII keys, no floats). A transparency log will give committed records their position; here they are
ordered by id.
"""

from stanchion.audit.rules import build, digest_of, leaf_of, rows, trace_id_of
from stanchion.audit.service import list_records, record
from stanchion.audit.store import insert_many
from stanchion.audit.types import SCHEMA_VERSION, AuditRecord, Listed, Outcome

__all__ = [
    "SCHEMA_VERSION",
    "AuditRecord",
    "Listed",
    "Outcome",
    "build",
    "digest_of",
    "insert_many",
    "leaf_of",
    "list_records",
    "record",
    "rows",
    "trace_id_of",
]
