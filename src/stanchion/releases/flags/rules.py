"""Pure decisions about live flags: which version answers, how far an old snapshot is believed, and how a document is edited."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from stanchion.base import Conflict, Json, Unavailable
from stanchion.blueprints import Document, Positions, read_document
from stanchion.controls.flags import (
    TARGETING_KEY,
    Attributes,
    ErrorCode,
    FlagType,
    Reason,
    Resolution,
    compile_flag,
    evaluate,
)
from stanchion.releases.flags.types import Answer, Entry, LiveFlags, Served
from stanchion.releases.rollouts import rules as rollout_rules
from stanchion.releases.rollouts.store import Offer
from stanchion.releases.rollouts.types import Arm
from stanchion.releases.types import Live

# How often a process looks for changes by itself: half of the second that I14 allows.
LOOK_S: Final = 0.5
# From this age on what is known is called STALE. As for kill switches: ten looks were missed.
AGE_S_MAX: Final = 5.0
# From this age on its rules are not believed any more either, and everybody gets the default variant: five minutes are
# longer than a failover of a managed PostgreSQL takes, and shorter than anybody leaves a change unnoticed.
LOST_S: Final = 300.0

# Digest -> why that version must not be used now; empty if it may.
Stopped = Callable[[str], str]

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NO_TEXT: Final = frozenset({"null", "true", "false"})


def evaluated(
    flags: LiveFlags,
    name: str,
    fallback: Json,
    context: Attributes,
    *,
    tenant: str,
    principal: str,
    age_s: float,
    now: datetime,
    expected: FlagType | None = None,
    stopped: Stopped | None = None,
) -> Answer:
    """What the flag `name` gives; never raises for what a flag or an attribute is.

    Args:
        flags: the tenant's, as of `age_s` seconds ago.
        name: the flag's.
        fallback: the caller's own value.
        context: attributes; `targetingKey` is the unit.
        tenant: whose flags they are; a rollout may deal by it.
        principal: who asks; likewise.
        age_s: how old `flags` is. Over `AGE_S_MAX` the reason is STALE, over `LOST_S` the value is the default variant's.
        now: the time that targeting may read.
        expected: the type the caller needs.
        stopped: why a version must not be used; None if nothing anywhere is killed or revoked.
    """
    entry = flags.entries.get(name)
    if entry is None:
        return Answer(resolution=_error(name, fallback, ErrorCode.FLAG_NOT_FOUND, f"There is no flag {name!r}."))
    served, arm = chosen(entry, context, tenant=tenant, principal=principal)
    if stopped is not None and (why := stopped(served.digest)):
        if served is entry.live or stopped(entry.live.digest):
            resolution = _error(name, fallback, ErrorCode.GENERAL, why)
            return Answer(resolution=resolution, version=served.version, digest=served.digest)
        served, arm = entry.live, Arm.STABLE  # a candidate that was revoked is nobody's; the live version is still good
    flag = served.flag if age_s <= LOST_S else replace(served.flag, decide=None)
    resolution = evaluate(flag, fallback, context, now=now, expected=expected)
    if age_s > AGE_S_MAX and resolution.reason is not Reason.ERROR:
        resolution = replace(resolution, reason=Reason.STALE, message=stale_text(age_s))
    return Answer(
        resolution=resolution,
        version=served.version,
        digest=served.digest,
        rollout=entry.rollout.id if entry.rollout is not None else None,
        arm=arm,
    )


def chosen(entry: Entry, context: Attributes, *, tenant: str, principal: str) -> tuple[Served, Arm | None]:
    """The version that this unit gets, and the rollout's side that it is on.

    What a run is to a Blueprint, the `targetingKey` is to a flag; the context is what an `input:` path leads into.
    """
    rollout = entry.rollout
    if rollout is None or entry.candidate is None:
        return entry.live, None
    key = context.get(TARGETING_KEY)
    unit = rollout_rules.unit_among(
        rollout,
        tenant=tenant,
        run=key if isinstance(key, str) else "",
        principal=principal,
        value=context if isinstance(context, dict) else dict(context),
    )
    if unit is None:
        return entry.live, Arm.STABLE
    arm = rollout_rules.dealt_to(rollout, unit).arm
    return (entry.candidate if arm is Arm.CANDIDATE else entry.live), arm


def unread(name: str, fallback: Json) -> Answer:
    """The answer of a process that has not read the flags yet: the caller's own value."""
    message = "The flags have not been read yet."
    return Answer(resolution=_error(name, fallback, ErrorCode.PROVIDER_NOT_READY, message))


def unread_problem(age_s: float | None) -> Unavailable:
    """The same for a caller over HTTP, and what health says of a snapshot that is too old."""
    return Unavailable(
        "flag.unread",
        "The flags have not been read yet." if age_s is None else stale_text(age_s),
        hint="The database is away or slow, see /health/dependencies; try again when it is back.",
        retry_after_s=1,
    )


def stale_text(age_s: float) -> str:
    """How long the flags are unread, and what that means for answers."""
    said = f"The flags could not be read for {age_s:.1f} s"
    if age_s > LOST_S:
        return f"{said}; after {LOST_S:g} s everybody gets the default variant of what was known last."
    return f"{said}; this is what was known then."


def _error(name: str, fallback: Json, code: ErrorCode, message: str) -> Resolution:
    return Resolution(flag=name, value=fallback, variant=None, reason=Reason.ERROR, error_code=code, message=message)


def live_flags(offer: Offer, revision: int, known: Mapping[str, Served]) -> LiveFlags:
    """What there is of each name. `known`: every version of the offer by digest, compiled."""
    candidates = {(row.name, row.version): row for row in offer.candidates}
    moved = {m.name: (rollout, m) for rollout in offer.rollouts for m in rollout.members if m.kind == "flag"}
    entries: dict[str, Entry] = {}
    for row in offer.live:
        rollout, member = moved.get(row.name, (None, None))
        candidate = candidates.get((row.name, member.candidate_version)) if member is not None else None
        entries[row.name] = Entry(
            live=_numbered(known[row.digest], row),
            candidate=None if candidate is None else _numbered(known[candidate.digest], candidate),
            rollout=None if candidate is None else rollout,
        )
    return LiveFlags(revision=revision, entries=entries)


def served(row: Live) -> Served:
    """A version, compiled."""
    return Served(version=row.version, digest=row.digest, flag=compile_flag(row.body))


def _numbered(known: Served, row: Live) -> Served:
    """A compiled document under this row's number: two tenants may have the same one under different numbers."""
    return known if known.version == row.version else replace(known, version=row.version)


def edited(document: Document, field: str, value: bool | str) -> Document:
    """The document with one field of its top level set, everything else (comments, layout) as its author wrote it.

    A field that is not there is added below the first one. Raises Conflict `flag.not_edited` where that would change more
    than the field.
    """
    read = read_document(document)
    before = read.body if isinstance(read.body, dict) else {}
    if before.get(field) == value:
        return document
    source = _with(read.positions, field, value)
    after = read_document(Document(path=document.path, source=source))
    if after.issues or after.body != {**before, field: value}:
        raise Conflict(
            "flag.not_edited",
            f"`{field}` cannot be set in {document.path} without changing more than that.",
            hint="Edit the document and apply it.",
        )
    return Document(path=document.path, source=source)


def _with(positions: Positions, field: str, value: bool | str) -> str:
    source = positions.source
    flow = source.lstrip().startswith("{")
    text = _scalar(value, quoted=flow)
    place = positions.places.get(f"/{field}")
    if place is not None and place.start < place.end:
        return source[: place.start] + text + source[place.end :]
    first = positions.places.get("/flag")
    if first is None or first.key_at is None:
        return source
    if flow:
        return f'{source[: first.end]}, "{field}": {text}{source[first.end :]}'
    indent = " " * (first.key_at - source.rfind("\n", 0, first.key_at) - 1)
    at = source.find("\n", first.end)
    if at < 0:
        return f"{source}\n{indent}{field}: {text}\n"
    return f"{source[: at + 1]}{indent}{field}: {text}\n{source[at + 1 :]}"


def _scalar(value: bool | str, *, quoted: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    plain = not quoted and _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXT
    return value if plain else json.dumps(value, ensure_ascii=False)
