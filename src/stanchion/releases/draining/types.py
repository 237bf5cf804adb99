"""Nouns of drains."""

from __future__ import annotations

from dataclasses import dataclass

from stanchion.controls.withdrawals import Withdrawal
from stanchion.runs.revoking import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """A drained version, and how it stands.

    Attributes:
        withdrawal: who drained it, when, why; its `emptied_at` says when the last run was seen to have ended.
        counts: runs that began on it and have not ended.
        live: whether it is the live version, so that starts are refused.
    """

    withdrawal: Withdrawal
    counts: Counts
    live: bool
