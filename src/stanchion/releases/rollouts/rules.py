"""What a rollout may do, and what a start gets: pure. Time is passed in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from stanchion.base import Conflict, Invalid, Json, digest
from stanchion.releases.rollouts.assignment import assign
from stanchion.releases.rollouts.states import (
    HOLD_S_MAX,
    RING_UNITS_MAX,
    STEPS_MAX,
    TRANSITIONS,
    Key,
    Member,
    Plan,
    Rollout,
    State,
    Step,
    Strategy,
)
from stanchion.releases.rollouts.types import SHARE_MAX, Arm, Assignment, Exposure, Ring, Unit, UnitKind
from stanchion.releases.types import Live
from stanchion.releases.watching import guards_json, parse_guards
from stanchion.runs import Begins

_UNIT: Final = re.compile(r"run|principal|tenant|input:[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62}){0,7}")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")
_SALT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNIT_MAX: Final = 500


def plan_of(plan: Plan) -> Plan:
    """The plan, checked and completed. Raises Invalid `rollout.bad_plan` that names what is wrong and the way out;
    `guard.invalid` with every flaw of the guards."""
    if not _UNIT.fullmatch(plan.unit):
        raise _bad(
            f"Unit {plan.unit!r} is none.", "It is run, principal, tenant, or input:PATH such as input:customer.id."
        )
    if plan.salt is not None and not _SALT.fullmatch(plan.salt):
        raise _bad(
            "The salt is not 1 to 64 letters, digits, dots, dashes and underscores.", "Leave it out for a new one."
        )
    steps = plan.steps
    if plan.strategy in (Strategy.ALL_AT_ONCE, Strategy.BLUE_GREEN):
        if len(steps) > 1 or any(step.share != 100 or step.rings for step in steps):
            raise _bad(
                f"{plan.strategy.value} has one step, for everybody.", "Leave `steps` out, or choose canary or rings."
            )
        steps = steps or (Step(share=100),)
    if not 1 <= len(steps) <= STEPS_MAX:
        raise _bad(f"It has {len(steps)} steps.", f"Give 1 to {STEPS_MAX} steps, such as 10, 50 and 100 percent.")
    _check_rings(plan)
    share = 0
    for number, step in enumerate(steps, 1):
        _check_step(plan, step, number, share)
        share = max(share, step.share)
    return replace(plan, steps=steps, guards=_guards(plan.guards, steps[0]))


def _guards(declared: Mapping[str, Json] | None, first: Step) -> Mapping[str, Json] | None:
    """The guards with every default written out."""
    if declared is None:
        return None
    guards = parse_guards(dict(declared))
    if first.share == 100:
        raise _bad(
            "Guards compare the candidate with the stable versions, and its first step leaves nobody on these.",
            "Begin with a step of less than 100 percent, such as 10 or 50.",
        )
    return guards_json(guards)


def _check_step(plan: Plan, step: Step, number: int, before: int) -> None:
    if step.hold_s is not None and not 0 <= step.hold_s <= HOLD_S_MAX:
        raise _bad(f"Step {number} holds {step.hold_s} s.", f"Hold 0 to {HOLD_S_MAX} s, or leave it out.")
    if not 0 <= step.share <= 100:
        raise _bad(f"Step {number} has a share of {step.share}.", "A share is 0 to 100 percent.")
    if step.share < before and not step.rings:
        raise _bad(
            f"Step {number} goes back from {before} to {step.share} percent.",
            "Shares only grow: who had the candidate keeps it until a rollback.",
        )
    unknown = sorted(set(step.rings) - set(plan.rings))
    if unknown:
        raise _bad(f"Step {number} names ring {unknown[0]!r}, which is not defined.", "Define it in `rings`.")
    if plan.strategy is Strategy.CANARY and step.rings:
        raise _bad(f"Step {number} of a canary names rings.", "Choose strategy rings.")


def _check_rings(plan: Plan) -> None:
    if plan.strategy is Strategy.RINGS and not plan.rings:
        raise _bad("Strategy rings has no rings.", "Define them: name → units.")
    if plan.rings and plan.unit == "run":
        raise _bad("A ring is a list of units, and no run's id is known before it starts.", "Choose unit tenant, principal or input:PATH.")  # fmt: skip
    for name, units in plan.rings.items():
        if not _NAME.fullmatch(name):
            raise _bad(f"Ring {name!r} is no name.", "Use lower-case letters, digits and dashes, a letter first.")
        if not 1 <= len(units) <= RING_UNITS_MAX or any(not 1 <= len(unit) <= _UNIT_MAX for unit in units):
            raise _bad(
                f"Ring {name} has {len(units)} units, or one that is empty or longer than {_UNIT_MAX}.",
                f"Name 1 to {RING_UNITS_MAX} units.",
            )


def _bad(message: str, hint: str) -> Invalid:
    return Invalid("rollout.bad_plan", message, hint=hint)


def begun(
    plan: Plan, members: Sequence[Member], *, tenant: str, environment: str, rollout_id: UUID, salt: str, by: str,
    at: datetime, reason: str,
) -> Rollout:  # fmt: skip
    """The rollout of a checked plan, ACTIVE at its first step."""
    return Rollout(
        tenant=tenant,
        id=rollout_id,
        environment=environment,
        strategy=plan.strategy,
        state=State.ACTIVE,
        unit=plan.unit,
        salt=plan.salt or salt,
        rings=plan.rings,
        steps=plan.steps,
        step=0,
        rev=1,
        due_at=_due(plan.steps[0], at),
        members=tuple(members),
        author=by,
        reason=reason,
        created_at=at,
        changed_by=by,
        changed_at=at,
        ended_at=None,
        guards=plan.guards,
    )


def ends_at_once(rollout: Rollout) -> bool:
    """Whether its beginning is its end: everybody gets the candidate and nobody waits for anything."""
    return rollout.strategy is Strategy.ALL_AT_ONCE and rollout.present.hold_s is None


def _due(step: Step, at: datetime) -> datetime | None:
    return None if step.hold_s is None else at + timedelta(seconds=step.hold_s)


def check_seen(rollout: Rollout, rev: int | None) -> None:
    """Refuse a verb that was decided on another revision than this one. Raises Conflict `rollout.moved`."""
    if rev is not None and rollout.rev != rev:
        raise Conflict(
            "rollout.moved",
            f"{rollout.changed_by} was first: {told(rollout)}.",
            hint="Look at it (`stanchion release show KIND/NAME`) and decide again.",
            rollout_id=str(rollout.id),
            rev=rollout.rev,
            changed_by=rollout.changed_by,
            state=rollout.state.value,
        )


def advanced(rollout: Rollout, to: int | None, *, by: str, at: datetime) -> Rollout:
    """The rollout at step index `to`, or its next; past its last step it is DONE.

    Raises Conflict `rollout.ended`, `rollout.paused`, `rollout.backwards`; Invalid `rollout.bad_plan` if it has no such step.
    """
    _check_open(rollout)
    last = len(rollout.steps)
    if rollout.state is State.PAUSED:
        raise Conflict(
            "rollout.paused",
            f"{told(rollout)} by {rollout.changed_by} and goes no further.",
            hint="Resume it first, or roll it back.",
            rollout_id=str(rollout.id),
        )
    if to is not None and to > last:  # a slip of the pen must not give the candidate to everybody
        raise _bad(
            f"There is no step {to + 1}: it has {last} step{'s' * (last > 1)}.",
            f"Leave it out to go to the next; {last + 1} is past the last and makes the candidate live.",
        )
    step = rollout.step + 1 if to is None else to
    if step <= rollout.step:
        raise Conflict(
            "rollout.backwards",
            f"{told(rollout)} already.",
            hint="A rollout only goes on; to take the candidate back, roll it back.",
            rollout_id=str(rollout.id),
        )
    if step >= last:
        return _changed(rollout, State.DONE, by=by, at=at)
    moved = replace(rollout, step=step, due_at=_due(rollout.steps[step], at))
    return replace(moved, rev=rollout.rev + 1, changed_by=by, changed_at=at)


def paused(rollout: Rollout, *, by: str, at: datetime) -> Rollout:
    """The rollout, PAUSED: units keep what they have, and nobody goes on. Raises Conflict `rollout.ended`."""
    return _changed(rollout, State.PAUSED, by=by, at=at)


def resumed(rollout: Rollout, *, by: str, at: datetime) -> Rollout:
    """The rollout, ACTIVE again; the hold of its step begins anew. Raises Conflict `rollout.ended`."""
    return replace(_changed(rollout, State.ACTIVE, by=by, at=at), due_at=_due(rollout.present, at))


def taken_back(rollout: Rollout, *, by: str, at: datetime) -> Rollout:
    """The rollout, ended with every unit on its stable versions. Raises Conflict `rollout.ended`."""
    nobody = rollout.share == 0 and not rollout.open_rings
    return _changed(rollout, State.ABANDONED if nobody else State.ROLLED_BACK, by=by, at=at)


def _changed(rollout: Rollout, state: State, *, by: str, at: datetime) -> Rollout:
    _check_open(rollout)
    if state not in TRANSITIONS[rollout.state]:
        raise Conflict(
            "rollout.unchanged",
            f"{told(rollout)} already, by {rollout.changed_by}.",
            rollout_id=str(rollout.id),
            changed_by=rollout.changed_by,
        )
    ended = at if state not in (State.ACTIVE, State.PAUSED) else None
    return replace(rollout, state=state, rev=rollout.rev + 1, due_at=None, changed_by=by, changed_at=at, ended_at=ended)


def _check_open(rollout: Rollout) -> None:
    if rollout.ended_at is not None:
        raise Conflict(
            "rollout.ended",
            f"{told(rollout)}, by {rollout.changed_by} at {rollout.ended_at:%Y-%m-%d %H:%M:%S} UTC.",
            hint="What is live now: `stanchion release show KIND/NAME`.",
            rollout_id=str(rollout.id),
            changed_by=rollout.changed_by,
            state=rollout.state.value,
        )


def told(rollout: Rollout) -> str:
    """A rollout and where it stands, as the beginning of a sentence."""
    names = ", ".join(f"{m.kind}/{m.name} {m.stable_version} → {m.candidate_version}" for m in rollout.members)
    if rollout.ended_at is not None:
        return f"The rollout of {names} is {rollout.state.value}"
    step = rollout.present
    who = " and ".join([*(f"ring {ring}" for ring in step.rings), *([f"{step.share} %"] if step.share else [])])
    return f"The rollout of {names} is {rollout.state.value} at step {rollout.step + 1} of {len(rollout.steps)} ({who or 'nobody'})"


def state_json(rollout: Rollout) -> dict[str, Json]:
    """Where a rollout stands, for its history."""
    return {
        "state": rollout.state.value,
        "step": rollout.step + 1,
        "share": rollout.share,
        "rings": list(rollout.open_rings),
    }


def evidence_digest(evidence: Mapping[str, Json]) -> str | None:
    """The digest of evidence with figures, for a record, which holds no floats; None without evidence.

    It is over the canonical JSON in which each number that is no whole one within ±2^53 is its shortest decimal text that
    reads back as the same number (Python's `repr`): what was stored and read back gives the same digest.
    """
    return digest(_plain(dict(evidence))) if evidence else None


def _plain(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return int(value) if abs(value) < 2**53 and value == int(value) else repr(float(value))


def unit_of(rollout: Rollout, begins: Begins) -> Unit | None:
    """The unit of a start, or None if its input has none at the path (it gets the stable versions)."""
    return unit_among(
        rollout, tenant=begins.tenant, run=str(begins.run_id), principal=begins.principal, value=begins.value
    )


def unit_among(rollout: Rollout, *, tenant: str, run: str, principal: str, value: Json) -> Unit | None:
    """The unit that the rollout deals by among these; `value` is what an `input:` path leads into. None: it has none."""
    kind, _, path = rollout.unit.partition(":")
    text = {"run": run, "principal": principal, "tenant": tenant}.get(kind)
    if text is None:
        text = _text_at(value, path)
    if not text:
        return None
    return Unit(kind=UnitKind(kind), tenant=tenant, value=text if len(text) <= _UNIT_MAX else digest(text))


def _text_at(value: Json, path: str) -> str:
    """The scalar at a dotted path as text; empty if there is none."""
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ""
        value = value[part]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""


def dealt(rollout: Rollout, begins: Begins) -> Assignment | None:
    """The arm of a start, or None where it has no unit. A unit of an open ring gets the candidate, whatever the share."""
    unit = unit_of(rollout, begins)
    return None if unit is None else dealt_to(rollout, unit)


def dealt_to(rollout: Rollout, unit: Unit) -> Assignment:
    """The arm of a unit."""
    inside = [name for name in rollout.open_rings if unit.value in rollout.ring_sets[name]]
    return assign(
        str(rollout.id),
        rollout.salt,
        unit,
        Exposure(share=rollout.share * 100, rings=dict.fromkeys(inside, SHARE_MAX)),
        rings=[Ring(name=name, tenants=frozenset({unit.tenant})) for name in inside],
    )


def assignment_json(rollout: Rollout, made: Assignment | None) -> dict[str, Json]:
    """What the audit record of a start keeps: with the rollout's salt and the run's own unit all that it takes to deal
    again. The unit's value is not among it: a record holds no content."""
    said: dict[str, Json] = {"rollout": str(rollout.id), "step": rollout.step + 1, "unit": rollout.unit}
    if made is None:
        return {**said, "arm": Arm.STABLE.value}
    return {**said, "bucket": made.bucket, "share": made.share, "ring": made.ring, "arm": made.arm.value}


def assemble(root: Key, chosen: Mapping[Key, Live]) -> list[Live]:
    """The closure of `root` over `chosen` versions, root first; what is referred to and not chosen is left out."""
    found: dict[Key, Live] = {}
    waiting = [root]
    while waiting:
        key = waiting.pop()
        row = chosen.get(key)
        if row is None or key in found:
            continue
        found[key] = row
        waiting += [(ref[0], ref[1]) for ref in row.refs]
    return list(found.values())


def overlaid(base: Mapping[Key, Live], members: Iterable[Member], candidates: Mapping[tuple[str, str, int], Live]) -> dict[Key, Live]:  # fmt: skip
    """`base` with the candidates of `members` in place of what is live."""
    return {
        **base,
        **{
            member.key: candidates[member.kind, member.name, member.candidate_version]
            for member in members
            if (member.kind, member.name, member.candidate_version) in candidates
        },
    }
