"""Kill switches: what must not be used now, whatever version is live or pinned (I7: never pinned, always live; I14).

A kill stops every use of a Blueprint, a connector, a tenant, or any kind that registers a `KillableKind`. It is set and
lifted by a principal with a reason, audited in its own transaction, and effective on every process within a second: each
holds a `Snapshot` in memory, read on notification and four times a second. Points of use ask it on every call: new work is
refused (`Kills.admit`), work that has begun waits (`Kills.blocked`) and goes on when the kill is lifted. If the switches
cannot be read for longer than 5 s, nothing is begun and no effect is sent (I11).

    in force → lifted
"""

from stanchion.controls.kills.rules import AGE_S_MAX, age_text, unread
from stanchion.controls.kills.service import (
    Killable,
    impact,
    in_force_among,
    lift_kill,
    list_kills,
    set_kill,
    show_kill,
)
from stanchion.controls.kills.snapshot import Snapshot, kept
from stanchion.controls.kills.types import (
    NO_KILLS,
    TENANT,
    Affected,
    Blocked,
    InFlight,
    Kill,
    KillableKind,
    Kills,
    NoKills,
)

__all__ = [
    "AGE_S_MAX",
    "NO_KILLS",
    "TENANT",
    "Affected",
    "Blocked",
    "InFlight",
    "Kill",
    "Killable",
    "KillableKind",
    "Kills",
    "NoKills",
    "Snapshot",
    "age_text",
    "impact",
    "in_force_among",
    "kept",
    "lift_kill",
    "list_kills",
    "set_kill",
    "show_kill",
    "unread",
]
