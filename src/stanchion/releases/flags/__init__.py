"""Live flags: artifacts of kind `flag`, served from the memory of each process that evaluates them.

A flag is published, released per environment, rolled out and rolled back like every artifact. It is never pinned: an
evaluation gives what is live now, or what the open rollout deals to its unit. A `Snapshot` hears of every change and looks
twice a second besides; its evaluations cost microseconds and no query. `controls.flags` is the pure part (docs/adr/0015).
"""

from stanchion.releases.flags.kind import FlagKind
from stanchion.releases.flags.rules import AGE_S_MAX, LOOK_S, LOST_S, unread_problem
from stanchion.releases.flags.service import disable, enable, evaluate, list_flags, set_default, show_flag
from stanchion.releases.flags.snapshot import Snapshot, kept
from stanchion.releases.flags.types import Answer, Entry, FlagRow, LiveFlags, Served

__all__ = [
    "AGE_S_MAX",
    "LOOK_S",
    "LOST_S",
    "Answer",
    "Entry",
    "FlagKind",
    "FlagRow",
    "LiveFlags",
    "Served",
    "Snapshot",
    "disable",
    "enable",
    "evaluate",
    "kept",
    "list_flags",
    "set_default",
    "show_flag",
    "unread_problem",
]
