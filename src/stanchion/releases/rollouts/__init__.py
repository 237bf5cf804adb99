"""Rollouts: a candidate on its way to everybody, for more and more units.

Which arm a unit gets is pure: sticky, deterministic, and reproducible from what is recorded. A rollout is ACTIVE or
PAUSED until it is DONE (its candidates are live), ROLLED_BACK or ABANDONED; an artifact has at most one open one per
environment, what it moves goes together, and nothing is dealt that was not checked to fit.
"""

from stanchion.releases.rollouts.assignment import assign, bucket_of, grows, in_ring, key_of, reproduces, share_of
from stanchion.releases.rollouts.duty import watch
from stanchion.releases.rollouts.fitting import refuse_apply
from stanchion.releases.rollouts.returning import rollback
from stanchion.releases.rollouts.service import (
    Begun,
    advance,
    begin,
    history,
    list_rollouts,
    pause,
    resume,
    show_release,
    show_rollout,
)
from stanchion.releases.rollouts.states import (
    OPEN,
    TRANSITIONS,
    Change,
    Judgement,
    Member,
    NoGuards,
    Plan,
    RolledBack,
    Rollout,
    State,
    Step,
    Strategy,
    Target,
    Verdicts,
)
from stanchion.releases.rollouts.types import SHARE_MAX, Arm, Assignment, Exposure, Ring, Unit, UnitKind

__all__ = [
    "OPEN",
    "SHARE_MAX",
    "TRANSITIONS",
    "Arm",
    "Assignment",
    "Begun",
    "Change",
    "Exposure",
    "Judgement",
    "Member",
    "NoGuards",
    "Plan",
    "Ring",
    "RolledBack",
    "Rollout",
    "State",
    "Step",
    "Strategy",
    "Target",
    "Unit",
    "UnitKind",
    "Verdicts",
    "advance",
    "assign",
    "begin",
    "bucket_of",
    "grows",
    "history",
    "in_ring",
    "key_of",
    "list_rollouts",
    "pause",
    "refuse_apply",
    "reproduces",
    "resume",
    "rollback",
    "share_of",
    "show_release",
    "show_rollout",
    "watch",
]
