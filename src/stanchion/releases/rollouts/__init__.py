"""Rollouts, their pure ground: which arm a unit gets, sticky, deterministic and reproducible from what is recorded."""

from stanchion.releases.rollouts.assignment import assign, bucket_of, grows, in_ring, key_of, reproduces, share_of
from stanchion.releases.rollouts.types import SHARE_MAX, Arm, Assignment, Exposure, Ring, Unit, UnitKind

__all__ = [
    "SHARE_MAX",
    "Arm",
    "Assignment",
    "Exposure",
    "Ring",
    "Unit",
    "UnitKind",
    "assign",
    "bucket_of",
    "grows",
    "in_ring",
    "key_of",
    "reproduces",
    "share_of",
]
