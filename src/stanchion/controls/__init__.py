"""Controls: what may be done how often. Token buckets in process memory, bounded in number."""

from stanchion.controls.limits import RateLimit, RateLimiter, address_key

__all__ = ["RateLimit", "RateLimiter", "address_key"]
