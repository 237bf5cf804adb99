"""Controls: what may be done how often (token buckets in process memory, bounded in number), and how what may be done at
all is kept in the memory of each process."""

from stanchion.controls.limits import RateLimit, RateLimiter, address_key
from stanchion.controls.looking import Revision, Snapshot, TenantRevision, keeping

__all__ = ["RateLimit", "RateLimiter", "Revision", "Snapshot", "TenantRevision", "address_key", "keeping"]
