"""Pure decisions of withdrawn versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from stanchion.base import Conflict, Invalid, Unavailable, sentence
from stanchion.controls.looking import AGAIN_S
from stanchion.controls.withdrawals.types import UNREAD, Mode, Stopped, Withdrawal

# How often a process looks for changes by itself: a revocation is effective everywhere within a second even if every
# notification is lost, as a kill is.
LOOK_S: Final = 0.25
# How old the snapshot may be before it is no longer believed where the outside world would be changed or work begun.
AGE_S_MAX: Final = 5.0
REASON_CHARS_MAX: Final = 500

# By tenant, and there by digest: a revocation where there is one, else the drain.
Index = Mapping[str, Mapping[str, Withdrawal]]

_DONE: Final = {Mode.REVOKE: "revoked", Mode.DRAIN: "drained"}
_UNDO: Final = {Mode.REVOKE: "reinstate", Mode.DRAIN: "undrain"}
_ALREADY: Final = {Mode.REVOKE: "release.already_revoked", Mode.DRAIN: "release.already_drained"}


def index_of(withdrawals: Iterable[Withdrawal]) -> Index:
    """Withdrawals by tenant and digest. Of a version that is both drained and revoked, the revocation."""
    found: dict[str, dict[str, Withdrawal]] = {}
    for one in withdrawals:
        mine = found.setdefault(one.tenant, {})
        if one.mode is Mode.REVOKE or one.digest not in mine:
            mine[one.digest] = one
    return found


def revoked(known: Mapping[str, Withdrawal], uses: Iterable[str]) -> Withdrawal | None:
    """The first of these digests that is revoked."""
    for digest in uses:
        found = known.get(digest)
        if found is not None and found.mode is Mode.REVOKE:
            return found
    return None


def told(one: Withdrawal) -> str:
    """A withdrawal in one sentence: what, by whom, when, why."""
    return f"{one.target} was {_DONE[one.mode]} by {one.set_by} at {one.set_at:%Y-%m-%d %H:%M:%S} UTC: {sentence(one.reason)}"


def stopped_by(one: Withdrawal) -> Stopped:
    """What a point of use is told of a revoked version."""
    return Stopped(ref=one.digest, text=told(one))


def start_refused(one: Withdrawal) -> Conflict:
    """The answer to a start that would get a withdrawn version."""
    way = f"Give new runs another version: stanchion release rollback {one.kind}/{one.name} --reason …, or apply one."
    return _refused(one, "A new run would get it, and is not begun.", way)


def move_refused(one: Withdrawal) -> Conflict:
    """The answer to a verb that would give new runs a withdrawn version."""
    return _refused(one, "New runs would get it; nothing was changed.", "Name another version (--to N), or apply one.")


def _refused(one: Withdrawal, then: str, way: str) -> Conflict:
    text = f"{told(one)} {then}"
    hint = f"{way} If {one.target} is fit after all: stanchion release {_UNDO[one.mode]} {one.target} --reason …"
    if one.mode is Mode.REVOKE:
        return Conflict("release.revoked", text, hint=hint, **_fields(one))
    return Conflict("release.drained", text, hint=hint, **_fields(one))


def _fields(one: Withdrawal) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "name": one.name,
        "version": one.version,
        "digest": one.digest,
        "set_by": one.set_by,
        "set_at": one.set_at.isoformat(),
        "reason": one.reason,
    }


def age_text(age_s: float | None) -> str:
    """How long it is unread what is withdrawn, in words."""
    if age_s is None:
        return "It has not been read yet which versions are revoked."
    return f"It could not be read for {age_s:.1f} s which versions are revoked; after {AGE_S_MAX:g} s nothing is begun."


def unread(age_s: float | None) -> Unavailable:
    """The answer to new work while nobody knows what is withdrawn (I11)."""
    return Unavailable(
        "release.unread",
        age_text(age_s),
        hint="The database is away or slow, see /health/dependencies; try again when it is back.",
        retry_after_s=1,
    )


def unread_stopped(age_s: float | None) -> Stopped:
    """The same for a run that has begun: it waits."""
    return Stopped(ref=UNREAD, text=age_text(age_s), again_s=AGAIN_S)


def check_reason(reason: str) -> str:
    """The reason without the spaces around it. Raises Invalid `withdrawal.no_reason` if it is empty or too long."""
    said = reason.strip()
    if not 1 <= len(said) <= REASON_CHARS_MAX:
        raise Invalid(
            "withdrawal.no_reason",
            f"A reason has 1 to {REASON_CHARS_MAX} characters; this has {len(said)}.",
            hint="Say why: everybody whose work stops reads it.",
        )
    return said


def already(one: Withdrawal) -> Conflict:
    """The answer to who withdraws what is withdrawn so already."""
    return Conflict(
        _ALREADY[one.mode],
        f"{told(one)} It is in force; nothing was changed.",
        hint=f"See stanchion release revoked {one.target}."
        if one.mode is Mode.REVOKE
        else f"See stanchion release drain {one.target} --status.",
        withdrawal_id=str(one.id),
    )


def lift(one: Withdrawal, *, by: str, at: datetime, reason: str) -> Withdrawal:
    """The withdrawal, lifted."""
    return replace(one, lifted_by=by, lifted_at=at, lift_reason=reason)
