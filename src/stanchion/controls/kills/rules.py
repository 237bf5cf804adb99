"""Pure decisions of kill switches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from stanchion.base import Conflict, Denied, Invalid, Unavailable, nearest, sentence
from stanchion.controls.kills.types import TENANT, UNREAD, Blocked, Kill
from stanchion.controls.looking import AGAIN_S

# How often a process looks for changes by itself: a kill is effective everywhere within a second even if every
# notification is lost, with the greater part of it left for the read and for calls in hand on a busy machine.
LOOK_S: Final = 0.25
# How old the snapshot may be before it is no longer believed where the outside world would be changed or work begun.
AGE_S_MAX: Final = 5.0
REASON_CHARS_MAX: Final = 500

Index = Mapping[tuple[str, str, str], tuple[Kill, ...]]


def index_of(kills: Iterable[Kill]) -> Index:
    """Kills by (tenant, kind, name)."""
    found: dict[tuple[str, str, str], tuple[Kill, ...]] = {}
    for kill in kills:
        key = (kill.tenant, kill.kind, kill.name)
        found[key] = (*found.get(key, ()), kill)
    return found


def find(index: Index, tenant: str, kind: str, name: str, digest: str | None) -> Kill | None:
    """The kill that stops this use: of the whole tenant first, then of the thing or of just that version."""
    for kill in index.get((tenant, TENANT, tenant), ()):
        return kill
    for kill in index.get((tenant, kind, name), ()):
        if kill.digest is None or kill.digest == digest:
            return kill
    return None


def told(kill: Kill) -> str:
    """A kill in one sentence: what, by whom, when, why."""
    what = f"Everything of tenant {kill.name}" if kill.kind == TENANT else kill.target
    return f"{what} was killed by {kill.set_by} at {kill.set_at:%Y-%m-%d %H:%M:%S} UTC: {sentence(kill.reason)}"


def blocked_by(kill: Kill) -> Blocked:
    """What a point of use is told of a kill."""
    return Blocked(ref=str(kill.id), text=told(kill))


def denied(kill: Kill) -> Denied:
    """The answer to new work that a kill stops."""
    return Denied(
        "kill.active",
        told(kill),
        hint=f"It may begin again when the kill is lifted: stanchion kill lift {kill.id}.",
        kill_id=str(kill.id),
        target=kill.target,
        set_by=kill.set_by,
        set_at=kill.set_at.isoformat(),
        reason=kill.reason,
    )


def age_text(age_s: float | None) -> str:
    """How long the kill switches are unread, in words."""
    if age_s is None:
        return "The kill switches have not been read yet."
    return f"The kill switches could not be read for {age_s:.1f} s; after {AGE_S_MAX:g} s nothing is begun on old ones."


def unread(age_s: float | None) -> Unavailable:
    """The answer to new work while nobody knows what is killed (I11)."""
    return Unavailable(
        "kill.unread",
        age_text(age_s),
        hint="The database is away or slow, see /health/dependencies; try again when it is back.",
        retry_after_s=1,
    )


def unread_blocked(age_s: float | None) -> Blocked:
    """The same for a run that has begun: it waits."""
    return Blocked(ref=UNREAD, text=age_text(age_s), again_s=AGAIN_S)


def check_reason(reason: str) -> str:
    """The reason without the spaces around it. Raises Invalid `kill.no_reason` if it is empty or too long."""
    said = reason.strip()
    if not 1 <= len(said) <= REASON_CHARS_MAX:
        raise Invalid(
            "kill.no_reason",
            f"A reason has 1 to {REASON_CHARS_MAX} characters; this has {len(said)}.",
            hint="Say why: everybody whose work stops reads it.",
        )
    return said


def unknown_kind(kind: str, known: Iterable[str]) -> Invalid:
    """The problem of a kind that cannot be killed here, with the nearest that can."""
    names = sorted(known)
    near = nearest(kind, names)
    return Invalid(
        "kill.unknown_kind",
        f"There is no kind {kind!r} that can be killed.",
        hint=f"Did you mean {near!r}?" if near else f"There are: {', '.join(names)}.",
    )


def already(kill: Kill) -> Conflict:
    """The answer to who kills what is killed already."""
    return Conflict(
        "kill.already",
        f"{told(kill)} It is in force; nothing was changed.",
        hint=f"See stanchion kill show {kill.id}.",
        kill_id=str(kill.id),
    )


def lift(kill: Kill, *, by: str, at: datetime, reason: str) -> Kill:
    """The kill, lifted. Raises Conflict `kill.lifted` if somebody lifted it before."""
    if kill.lifted_at is not None:
        raise Conflict(
            "kill.lifted",
            f"Kill {kill.id} of {kill.target} was lifted by {kill.lifted_by} at {kill.lifted_at:%Y-%m-%d %H:%M:%S} UTC.",
            hint="Nothing was changed.",
        )
    return Kill(
        tenant=kill.tenant,
        id=kill.id,
        kind=kill.kind,
        name=kill.name,
        version=kill.version,
        digest=kill.digest,
        reason=kill.reason,
        set_by=kill.set_by,
        set_at=kill.set_at,
        lifted_by=by,
        lifted_at=at,
        lift_reason=reason,
    )
