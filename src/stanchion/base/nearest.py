"""What somebody meant who named something that is not there."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(said: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The known name that `said` is likely a misspelling of, or None if none is near enough.

    `likeness` is the least ratio of matching letters, from 0 to 1 (Ratcliff and Obershelp, as difflib has it).
    """
    found = get_close_matches(said, list(known), n=1, cutoff=likeness)
    return found[0] if found else None


def did_you_mean(said: str, known: Iterable[str]) -> str:
    """A hint for who said a name that is not there: the nearest known one, or all where they are few, or nothing."""
    names = sorted(known)
    if near := nearest(said, names):
        return f"Did you mean {near}?"
    return f"Known here: {', '.join(names)}." if 0 < len(names) <= 12 else ""
