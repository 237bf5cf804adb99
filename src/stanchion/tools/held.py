"""Whether a kill switch, a revocation or a broker that cannot be had holds back a call of an external system."""

from __future__ import annotations

from typing import Final, Literal

from stanchion.base import Denied, Problem
from stanchion.context import Env
from stanchion.controls.kills import Kills
from stanchion.controls.withdrawals import Withdrawals
from stanchion.runs import StepCall, Suspend, WaitingKind

# What says that the broker took nothing, for reasons of the runtime's own and not of the step or its target. A broker that
# was lost while it performed a call is not among them: a call that ends its broker must not be repeated for ever.
_NOT_TAKEN: Final = frozenset(
    {"broker.busy", "broker.stopping", "db.pool_exhausted", "db.unavailable", "policy.unread", "tool.unread"}
)
# A call has waited up to ten seconds for a broker before (tools/broker/client), so this only spaces the looks.
_LOOK_AGAIN_S: Final = 2.0


def held(env: Env, kills: Kills, call: StepCall, connector: str, digest: str, *, writes: bool) -> Suspend | None:
    """The wait of a step whose connector (at the pinned version) or tenant is killed, or None.

    The run goes on by itself when the kill is lifted. `writes`: also wait while nobody knows what is killed (I11).
    """
    blocked = kills.blocked(call.claim.tenant, "connector", connector, digest, strict=writes)
    if blocked is None:
        return None
    env.telemetry.emit("kill.stopped", 1.0, "effect" if writes else "connector")
    return Suspend(WaitingKind.KILLED, ref=blocked.ref, after_s=blocked.again_s)


def held_back(what: Literal["killed", "revoked"], ref: str, again_s: float | None, why: str) -> Denied:
    """What the broker says where it would have called and must not: nothing was sent, and the run waits as it would have."""
    return Denied(
        "kill.held_back" if what == "killed" else "release.held_back",
        f"Nothing was sent: {why}.",
        hint="The step goes on by itself when that is taken back.",
        waits_for=what,
        ref=ref,
        again_s=again_s,
    )


def waiting(problem: Problem) -> Suspend | None:
    """The wait of a step whose call was not taken, or None.

    Either the broker held it back, having heard of a kill or a revocation before this process; or no broker could take it.
    Such an outage costs the step none of its attempts, however long it lasts: nothing of it has failed.
    """
    if problem.code in _NOT_TAKEN or problem.fields.get("waits_for") == "broker":
        return Suspend(WaitingKind.BROKER, ref=problem.code, after_s=_LOOK_AGAIN_S)
    waits_for, again_s = problem.fields.get("waits_for"), problem.fields.get("again_s")
    if problem.code not in {"kill.held_back", "release.held_back"} or waits_for not in {"killed", "revoked"}:
        return None
    kind = WaitingKind.KILLED if waits_for == "killed" else WaitingKind.REVOKED
    after_s = float(again_s) if isinstance(again_s, int | float) else None
    return Suspend(kind, ref=str(problem.fields.get("ref", "")), after_s=after_s)


def revoked(env: Env, withdrawals: Withdrawals, call: StepCall) -> Suspend | None:
    """The wait of a step that is about to write with a version that was revoked since it began, or None; also while
    nobody knows what is revoked (I11)."""
    stopped = withdrawals.stopped(call.claim.tenant, call.uses, strict=True)
    if stopped is None:
        return None
    env.telemetry.emit("withdrawal.stopped", 1.0, "effect")
    return Suspend(WaitingKind.REVOKED, ref=stopped.ref, after_s=stopped.again_s)
