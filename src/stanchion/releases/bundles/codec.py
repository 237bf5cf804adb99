"""The payload of a bundle: from the nouns to canonical JSON and back, every claim of it recomputed.

Read are only bytes whose signature was found right. They are bounded and checked all the same: a trusted deployment may
be wrong, or older, or newer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from stanchion.artifacts import BODY_BYTES_MAX, unstorable
from stanchion.base import Invalid, Json, canonical, digest, digest_bytes, loads
from stanchion.releases.bundles.types import DEPTH_MAX, EVIDENCE_MAX, MEMBERS_MAX, Bundle, Key, Member, Origin

_FORMAT: Final = 1
_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"')
_BRACKETS: Final = re.compile(rb"[\[\]{}]")
_SOURCE_BYTES_MAX: Final = 1_048_576

_Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_Kind = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
_Text = Annotated[str, StringConstraints(max_length=_SOURCE_BYTES_MAX, pattern=r"^[^\x00]*$")]
_Line = Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00]*$")]
_Short = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f]+$")]
_Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Time = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z$")]
_Ref = Annotated[list[str], Field(min_length=2, max_length=2)]
_PATH: Final = re.compile(r"[^\x00-\x1f\\:/]+(?:/[^\x00-\x1f\\:/]+)*")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class EvidencePart(_Part):
    """A record of a gate, and the digest over it."""

    digest: _Digest
    record: dict[str, Any]


class MemberPart(_Part):
    """One version."""

    kind: _Kind
    name: _Name
    version: _Version
    digest: _Digest
    body: dict[str, Any]
    refs: list[_Ref] = Field(max_length=1000)
    source: _Text
    source_path: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    owner: Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f]*$")]
    author: _Short
    changelog: _Line
    created_at: _Time
    labels: dict[str, str] = Field(max_length=200)
    risk: Literal["low", "medium", "high"]
    live: bool
    evidence: list[EvidencePart] = Field(max_length=EVIDENCE_MAX)


class OriginPart(_Part):
    """Where a bundle was made."""

    environment: _Name
    production: bool
    tenant: _Short
    exported_by: _Short
    exported_at: _Time
    reason: _Line
    stanchion: _Short


class PayloadPart(_Part):
    """What is signed."""

    format: Annotated[int, Field(ge=_FORMAT, le=_FORMAT)]
    origin: OriginPart
    content: _Digest
    selected: list[_Ref] = Field(min_length=1, max_length=MEMBERS_MAX)
    artifacts: list[MemberPart] = Field(min_length=1, max_length=MEMBERS_MAX)


def encode(origin: Origin, selected: Sequence[Key], members: Sequence[Member]) -> bytes:
    """The payload of these members, which are put in order. Members with equal facts give equal bytes."""
    ordered = [_member_json(member) for member in sorted(members, key=lambda m: m.key)]
    return canonical(
        {
            "format": _FORMAT,
            "origin": origin_json(origin),
            "content": _content(ordered),
            "selected": [list(key) for key in sorted(set(selected))],
            "artifacts": ordered,
        }
    )


def _content(members: Sequence[Mapping[str, Any]]) -> str:
    """What travels, whoever sends it and whenever: the digest over [kind, name, digest] of each."""
    return digest([[m["kind"], m["name"], m["digest"]] for m in members])


def origin_json(origin: Origin) -> dict[str, Json]:
    """An origin as JSON."""
    return {
        "environment": origin.environment,
        "production": origin.production,
        "tenant": origin.tenant,
        "exported_by": origin.exported_by,
        "exported_at": _said(origin.exported_at),
        "reason": origin.reason,
        "stanchion": origin.stanchion,
    }


def _member_json(member: Member) -> dict[str, Any]:
    return {
        "kind": member.kind,
        "name": member.name,
        "version": member.version,
        "digest": member.digest,
        "body": member.body,
        "refs": [list(ref) for ref in sorted(set(member.refs))],
        "source": member.source,
        "source_path": path_of(member),
        "owner": member.owner,
        "author": member.author,
        "changelog": member.changelog,
        "created_at": _said(member.created_at),
        "labels": dict(member.labels),
        "risk": member.risk,
        "live": member.live,
        "evidence": [{"digest": digest(record), "record": dict(record)} for record in member.evidence],
    }


def path_of(member: Member) -> str:
    """Where a member's text stood, as far as others may know: a clean relative path as it was, else `KIND/NAME.yaml`."""
    return member.source_path if _is_clean(member.source_path) else f"{member.kind}/{member.name}.yaml"


def _is_clean(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def _said(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def decode(payload: bytes) -> Bundle:
    """Read an authenticated payload, and hold everything that can be recomputed against it.

    Raises:
        Invalid: `bundle.too_deep`, `bundle.too_large` for a body beyond an artifact's, `bundle.bad_payload` (naming the place), `bundle.digest_mismatch`, `bundle.evidence_mismatch`,
            `bundle.duplicate`, `bundle.open_reference`.
    """
    _check_depth(payload)
    try:
        said = loads(payload)
    except Invalid as error:
        raise _bad("", f"it is not JSON ({error.message})") from error
    if canonical(said) != payload:
        raise _bad("", "it is not in canonical form; a key may be there twice")
    try:
        read = PayloadPart.model_validate(said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _bad("/" + "/".join(str(part) for part in first["loc"]), first["msg"]) from None
    members = tuple(_read_member(number, member) for number, member in enumerate(read.artifacts))
    selected = tuple((kind, name) for kind, name in read.selected)
    _check_set(members, selected)
    if read.content != _content([_member_json(m) for m in members]):
        raise Invalid("bundle.digest_mismatch", "The digest over what the bundle holds is another one.", hint=_WAY_OUT)
    return Bundle(
        origin=_read_origin(read.origin),
        selected=selected,
        members=members,
        digest=digest_bytes(payload),
        content=read.content,
    )


_WAY_OUT: Final = "The deployment that signed it is at fault: export again there, and see its version."


def _bad(pointer: str, why: str) -> Invalid:
    at = f" at {pointer}" if pointer else ""
    return Invalid("bundle.bad_payload", f"The bundle cannot be read{at}: {why}.", hint=_WAY_OUT, pointer=pointer)


def _check_depth(payload: bytes) -> None:
    depth = 0
    for bracket in _BRACKETS.finditer(_TEXTS.sub(b"", payload)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > DEPTH_MAX:
            raise Invalid(
                "bundle.too_deep",
                f"The bundle nests more than {DEPTH_MAX} deep.",
                hint="No artifact needs that; see what is in it where it was exported.",
            )


def _read_member(number: int, said: MemberPart) -> Member:
    where = f"/artifacts/{number}"
    what = f"{said.kind} {said.name}"
    if not _is_clean(said.source_path):
        raise _bad(f"{where}/source_path", "it is no relative path without `..`")
    if broken := unstorable(said.body):
        raise _bad(f"{where}/body{broken[0]}", f"it holds {broken[1]}")
    body = canonical(said.body)
    if len(body) > BODY_BYTES_MAX:
        raise Invalid(
            "bundle.too_large",
            f"{what} has {len(body)} bytes; at most {BODY_BYTES_MAX} are allowed.",
            hint="Split it where it is written.",
            limit_bytes=BODY_BYTES_MAX,
        )
    if (computed := digest_bytes(body)) != said.digest:
        raise Invalid(
            "bundle.digest_mismatch",
            f"The bundle says that {what} has digest {said.digest}; what it holds has {computed}.",
            hint=_WAY_OUT,
            kind=said.kind,
            name=said.name,
        )
    for record in said.evidence:
        if digest(record.record) != record.digest:
            raise Invalid(
                "bundle.evidence_mismatch",
                f"Evidence of {what} has another digest than {record.digest}, which the bundle says it has.",
                hint=_WAY_OUT,
                kind=said.kind,
                name=said.name,
            )
    return Member(
        kind=said.kind,
        name=said.name,
        version=said.version,
        digest=said.digest,
        body=cast("dict[str, Json]", said.body),
        refs=tuple((ref[0], ref[1]) for ref in said.refs),
        source=said.source,
        source_path=said.source_path,
        owner=said.owner,
        author=said.author,
        changelog=said.changelog,
        created_at=_time(f"{where}/created_at", said.created_at),
        labels=said.labels,
        risk=said.risk,
        live=said.live,
        evidence=tuple(record.record for record in said.evidence),
    )


def _read_origin(said: OriginPart) -> Origin:
    return Origin(
        environment=said.environment,
        production=said.production,
        tenant=said.tenant,
        exported_by=said.exported_by,
        exported_at=_time("/origin/exported_at", said.exported_at),
        reason=said.reason,
        stanchion=said.stanchion,
    )


def _time(pointer: str, said: str) -> datetime:
    try:
        return datetime.fromisoformat(said)
    except ValueError:
        raise _bad(pointer, f"{said!r} is no time") from None


def _check_set(members: Sequence[Member], selected: Sequence[Key]) -> None:
    """Each artifact once and in order; whatever one refers to, and whatever was asked for, is there."""
    keys = [member.key for member in members]
    if keys != sorted(set(keys)):
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is None:
            raise _bad("/artifacts", "they are not in the order of kind and name")
        raise Invalid("bundle.duplicate", f"The bundle holds {twice[0]} {twice[1]} twice.", hint=_WAY_OUT)
    known = set(keys)
    for member in members:
        for ref in member.refs:
            if ref not in known:
                raise open_reference(member.key, ref, hint=_WAY_OUT)
    for key in selected:
        if key not in known:
            raise _bad("/selected", f"{key[0]} {key[1]} is not in the bundle")


def open_reference(key: Key, ref: Key, *, hint: str) -> Invalid:
    """The problem of a set in which something is missing that a member refers to."""
    return Invalid(
        "bundle.open_reference",
        f"{key[0]} {key[1]} refers to {ref[0]} {ref[1]}, which is not in the bundle.",
        hint=hint,
        kind=key[0],
        name=key[1],
        reference=list(ref),
    )
