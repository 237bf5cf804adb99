"""Revoked versions and runs: which runs are stopped or bound to one, letting them go on, giving them another pin set.

A run that is pinned to a revoked version waits before its next use of it as SUSPENDED `revoked`, with the version's digest
as what it waits on. As with a kill (adr 0011) that is no retry: it uses up no attempt and is not claimed again until it may
go on, which is when an operator gives it another version, or when the revocation is taken back (`wake_reinstated`).
"""

from stanchion.runs.revoking.service import BATCH, bound, count, counts, locked, repin, roots, wake_reinstated
from stanchion.runs.revoking.types import BoundRun, Counts, OpenRun

__all__ = [
    "BATCH",
    "BoundRun",
    "Counts",
    "OpenRun",
    "bound",
    "count",
    "counts",
    "locked",
    "repin",
    "roots",
    "wake_reinstated",
]
