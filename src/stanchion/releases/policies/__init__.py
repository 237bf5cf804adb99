"""Authorization policies: Cedar text as artifacts of kind `policy`, never pinned, served from the memory of each process.

`identity.CedarCalls` decides by them, together with the policy that Stanchion ships; `forbid` wins (docs/adr/0027).
"""

from stanchion.releases.policies.kind import AuthorizationType
from stanchion.releases.policies.snapshot import AGE_S_MAX, CHANNEL, LOOK_S, Snapshot, kept
from stanchion.releases.policies.store import revision, revisions

__all__ = [
    "AGE_S_MAX",
    "CHANNEL",
    "LOOK_S",
    "AuthorizationType",
    "Snapshot",
    "kept",
    "revision",
    "revisions",
]
