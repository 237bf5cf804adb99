"""Audit: no change without its record, committed in the transaction of the change (I6).

A record holds digests and pseudonymous ids, never content. Its canonical bytes are RFC 8785 by construction
(ASCII keys, no floats). The transparency log will give committed records their position; here they are ordered by id.
"""

from stanchion.audit.routes import router
from stanchion.audit.service import list_records, record, record_json
from stanchion.audit.types import AuditRecord

__all__ = ["AuditRecord", "list_records", "record", "record_json", "router"]
