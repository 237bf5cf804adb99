"""What is said of a call that a defect ended."""

from __future__ import annotations

from stanchion.base import Internal, Problem
from stanchion.context import Env
from stanchion.tools.adapter import AdapterProblem


def failed(env: Env, name: str, error: Exception, *, writes: bool) -> Problem:
    """Count and log that `error`, which is no Problem, ended the call `name`.

    Returns what its caller is told: `broker.failed`. By the kind of error alone: its words may hold what the target said, or
    a credential (I9). Whether a write was sent is not known (I5).
    """
    env.telemetry.emit("broker.failed", 1.0, call=name, error=type(error).__name__)
    message = f"{name} failed in the broker ({type(error).__name__})."
    if writes:
        return AdapterProblem("broker.failed", message, sent=True, retryable=False)
    return Internal("broker.failed", message, hint="Please report this.")
