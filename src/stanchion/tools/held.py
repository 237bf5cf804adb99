"""Whether a kill switch or a revocation holds back a call of an external system."""

from __future__ import annotations

from stanchion.context import Env
from stanchion.controls.kills import Kills
from stanchion.controls.withdrawals import Withdrawals
from stanchion.runs import StepCall, Suspend, WaitingKind


def held(env: Env, kills: Kills, call: StepCall, connector: str, digest: str, *, writes: bool) -> Suspend | None:
    """The wait of a step whose connector (at the pinned version) or tenant is killed, or None.

    The run goes on by itself when the kill is lifted. `writes`: also wait while nobody knows what is killed (I11).
    """
    blocked = kills.blocked(call.claim.tenant, "connector", connector, digest, strict=writes)
    if blocked is None:
        return None
    env.telemetry.emit("kill.stopped", 1.0, "effect" if writes else "connector")
    return Suspend(WaitingKind.KILLED, ref=blocked.ref, after_s=blocked.again_s)


def revoked(env: Env, withdrawals: Withdrawals, call: StepCall) -> Suspend | None:
    """The wait of a step that is about to write with a version that was revoked since it began, or None; also while
    nobody knows what is revoked (I11)."""
    stopped = withdrawals.stopped(call.claim.tenant, call.uses, strict=True)
    if stopped is None:
        return None
    env.telemetry.emit("withdrawal.stopped", 1.0, "effect")
    return Suspend(WaitingKind.REVOKED, ref=stopped.ref, after_s=stopped.again_s)
