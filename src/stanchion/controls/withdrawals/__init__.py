"""Withdrawn versions: which versions new runs must not begin on, and which running ones must not use (I14).

A drained version begins no new run; those that began on it finish. A revoked one begins none either, and the runs that are
pinned to it stop before their next use of it. Never pinned, always live (I7): each process holds a `Snapshot` in memory, read
on notification and four times a second. If it cannot be read for longer than 5 s, no run is begun and no effect is sent
(I11). Who withdraws what, and what becomes of the runs that stopped, is `releases`' business.
"""

from stanchion.controls.withdrawals.rules import AGE_S_MAX, age_text, check_reason, told, unread
from stanchion.controls.withdrawals.service import (
    draining,
    emptied,
    find,
    lift,
    listed,
    put,
    refuse,
    revoked_among,
)
from stanchion.controls.withdrawals.snapshot import Snapshot, kept
from stanchion.controls.withdrawals.types import (
    NO_WITHDRAWALS,
    UNREAD,
    Mode,
    NoWithdrawals,
    Stopped,
    Withdrawal,
    Withdrawals,
)

__all__ = [
    "AGE_S_MAX",
    "NO_WITHDRAWALS",
    "UNREAD",
    "Mode",
    "NoWithdrawals",
    "Snapshot",
    "Stopped",
    "Withdrawal",
    "Withdrawals",
    "age_text",
    "check_reason",
    "draining",
    "emptied",
    "find",
    "kept",
    "lift",
    "listed",
    "put",
    "refuse",
    "revoked_among",
    "told",
    "unread",
]
