"""Durations as authors write them: `500ms`, `60s`, `15m`, `72h`, `7d`."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)\Z")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

DURATION_MAX_S = 366 * 86400.0
DURATION_HINT = "Write a number and a unit, such as 500ms, 60s, 15m, 72h or 7d, up to 366d."


def duration_s(text: str) -> float | None:
    """Seconds of a duration, or None if `text` is none, is zero or is longer than 366 days."""
    match = _DURATION.match(text)
    if match is None:
        return None
    seconds = float(match[1]) * _SECONDS[match[2]]
    return seconds if 0 < seconds <= DURATION_MAX_S else None
