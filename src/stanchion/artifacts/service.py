"""Verbs of artifacts: publish a version, read versions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from stanchion import audit
from stanchion.artifacts import rules, store
from stanchion.artifacts.credentials import WAY_OUT, Credential, accepted_facts, credentials_in
from stanchion.artifacts.diff import Diff, diff_of
from stanchion.artifacts.types import ArtifactSummary, ArtifactVersion, PublishChange, Usage
from stanchion.base import Conflict, Invalid, NotFound, canonical, digest_bytes, invariant, present
from stanchion.base.paging import PageParams, Slice, bad_cursor, decode_cursor, slice_of
from stanchion.blueprints import Document, Parsed
from stanchion.context import Ctx
from stanchion.db import Tx

_INT4_MAX = 2**31 - 1


async def publish(
    tx: Tx, ctx: Ctx, kind: str, parsed: Parsed, document: Document, *, changelog: str = ""
) -> tuple[ArtifactVersion, PublishChange]:
    """Give a checked document its version, in the caller's transaction.

    Version numbers of a name are gapless under concurrency: the name is held until the transaction ends. A body that
    is already a version of the name is not stored again, whatever its comments and layout. A new version is audited
    as `artifact.published`.

    Args:
        tx: the caller's transaction, which also decides about the rest of its change.
        ctx: who publishes; needs `artifacts.publish`.
        kind: the artifact kind.
        parsed: what the kind made of the document; must have no errors.
        document: the text as written.
        changelog: the author's own words on what changed.

    Raises:
        Denied, and Invalid `artifact.unstorable`, `artifact.too_large` or `artifact.secret`.
    """
    ctx.require("artifacts.publish", kind=kind, name=parsed.name)
    invariant(not [i for i in parsed.issues if i.severity == "error"], f"{kind} {parsed.name} has errors")
    digest = content_digest(kind, parsed)
    found = credentials_in(document)
    _refuse_secrets(kind, parsed.name, document, found)
    await store.lock_name(tx, ctx.tenant, kind, parsed.name)
    existing = await store.versions(tx, ctx.tenant, kind, parsed.name)
    placed = rules.place(digest, existing)
    if placed.change in (PublishChange.UNCHANGED, PublishChange.REUSED):
        return await _known(tx, ctx, kind, parsed.name, placed.version, changelog), placed.change
    artifact = ArtifactVersion(
        tenant=ctx.tenant,
        kind=kind,
        name=parsed.name,
        version=placed.version,
        digest=digest,
        body=parsed.body,
        refs=[list(reference) for reference in sorted(set(parsed.references))],
        source=document.source,
        source_path=document.path,
        owner=parsed.owner,
        author=ctx.actor.principal,
        changelog=changelog,
        created_at=ctx.now,
        labels=rules.labels_of(parsed.body),
        risk=rules.risk_of(parsed.body),
    )
    await store.insert(tx, artifact)
    await _audit_published(tx, ctx, artifact, existing[-1][1] if existing else None, found)
    return artifact, placed.change


async def _audit_published(
    tx: Tx, ctx: Ctx, artifact: ArtifactVersion, before: str | None, found: Sequence[Credential]
) -> None:
    """The record of a new version, after the one that was the latest, with what its author says is no credential."""
    accepted = accepted_facts(found)
    await audit.record(
        tx,
        ctx,
        "artifact.published",
        target=("artifact", f"{artifact.kind}/{artifact.name}"),
        before=before,
        after=artifact.digest,
        reason=artifact.changelog or None,
        extra={
            "kind": artifact.kind,
            "name": artifact.name,
            "version": artifact.version,
            **({"not_a_secret": accepted} if accepted else {}),
        },
    )


async def _known(tx: Tx, ctx: Ctx, kind: str, name: str, version: int, changelog: str) -> ArtifactVersion:
    """A version that is there already. If it was retired, publishing its content again takes it back."""
    listed = await store.by_version(tx, ctx.tenant, kind, name, version)
    known = present(listed, "a version that was just listed exists")
    if known.retired_at is None or not await store.reinstate(tx, known):
        return known
    await audit.record(
        tx,
        ctx,
        "artifact.reinstated",
        target=("artifact", f"{kind}/{name}"),
        before={"digest": known.digest, "retired": True},
        after={"digest": known.digest, "retired": False},
        reason=changelog or None,
        extra={"kind": kind, "name": name, "version": version, "digest": known.digest},
    )
    return dataclasses.replace(known, retired_at=None)


def _refuse_secrets(kind: str, name: str, document: Document, found: Sequence[Credential]) -> None:
    """Raise for the first credential that nobody accepted. `releases` has told all of them before, with the other errors."""
    left = [one for one in found if one.accepted is None]
    if left:
        raise Invalid(
            "artifact.secret",
            f"{kind} {name} holds what looks like {left[0].what}, at {document.path}:{left[0].line}:{left[0].column}.",
            hint=WAY_OUT,
            line=left[0].line,
            column=left[0].column,
        )


async def retire(tx: Tx, ctx: Ctx, artifact: ArtifactVersion, usage: Usage, *, reason: str) -> ArtifactVersion:
    """Retire a version that nothing refers to, in the caller's transaction, which also holds what `usage` says still.

    The content stays. Audited as `artifact.retired`; a version that is retired already stays as it is.

    Raises Denied; Conflict `artifact.in_use` with everything that refers to it.
    """
    ctx.require("artifacts.publish", kind=artifact.kind, name=artifact.name)
    what = f"version {artifact.version} of {artifact.kind} {artifact.name}"
    if holders := rules.holders(usage):
        raise Conflict(
            "artifact.in_use",
            f"{what[0].upper()}{what[1:]} is in use: {'; '.join(holders)}.",
            hint="Release another version in its place, and let the runs end; `stanchion artifact usage` shows them.",
            holders=list(holders),
        )
    if not await store.retire(tx, artifact, by=ctx.actor.principal, at=ctx.now, reason=reason):
        return artifact
    await audit.record(
        tx,
        ctx,
        "artifact.retired",
        target=("artifact", f"{artifact.kind}/{artifact.name}"),
        before={"digest": artifact.digest, "retired": False},
        after={"digest": artifact.digest, "retired": True},
        reason=reason,
        extra={
            "kind": artifact.kind,
            "name": artifact.name,
            "version": artifact.version,
            "digest": artifact.digest,
        },
    )
    return dataclasses.replace(artifact, retired_at=ctx.now)


def content_digest(kind: str, parsed: Parsed) -> str:
    """The content address of a document: `sha256:…` over its canonical body.

    Raises Invalid `artifact.unstorable` (naming the JSON pointer) or `artifact.too_large`.
    """
    broken = rules.unstorable(parsed.body)
    if broken:
        pointer, reason = broken
        raise Invalid(
            "artifact.unstorable",
            f"{kind} {parsed.name} holds {reason} at {pointer or '/'}.",
            hint="Write it as a text or number that JSON and PostgreSQL can keep.",
            pointer=pointer,
        )
    data = canonical(parsed.body)
    if len(data) > rules.BODY_BYTES_MAX:
        raise Invalid(
            "artifact.too_large",
            f"{kind} {parsed.name} has {len(data)} bytes; at most {rules.BODY_BYTES_MAX} are allowed.",
            hint="Split it, or keep the data outside the document.",
        )
    return digest_bytes(data)


async def versions(tx: Tx, tenant: str, kind: str, name: str) -> list[tuple[int, str]]:
    """(version, digest) of every version of a name, oldest first; empty for a name without versions."""
    return await store.versions(tx, tenant, kind, name)


async def load(tx: Tx, tenant: str, kind: str, digest: str) -> ArtifactVersion:
    """The version with this content address. Raises NotFound `artifact.unknown`."""
    found = await store.by_digest(tx, tenant, kind, digest)
    if found is None:
        raise NotFound("artifact.unknown", f"There is no {kind} with digest {digest}.")
    return found


async def show(ctx: Ctx, kind: str, name: str, version: int | None = None) -> ArtifactVersion:
    """One version of a name, or its latest. Raises NotFound `artifact.unknown`."""
    ctx.require("artifacts.read", kind=kind, name=name)
    async with ctx.tx() as tx:
        found = await store.by_version(tx, ctx.tenant, kind, name, version)
    if found is None:
        raise _unknown(kind, name, version)
    return found


async def diff(ctx: Ctx, kind: str, name: str, *, before: int | None = None, after: int | None = None) -> Diff:
    """What changed between two versions of a name: from `before` (else the one before `after`, or nothing) to `after`
    (else the latest).

    Raises Denied; NotFound `artifact.unknown`.
    """
    new = await show(ctx, kind, name, after)
    number = before if before is not None else new.version - 1
    return diff_of(await show(ctx, kind, name, number) if number else None, new)


async def history(ctx: Ctx, kind: str, name: str, page: PageParams) -> Slice[ArtifactSummary]:
    """The versions of a name, newest first. Raises NotFound `artifact.unknown` for a name without any."""
    ctx.require("artifacts.read", kind=kind, name=name)
    before = _version_cursor(page.after)
    async with ctx.tx() as tx:
        found = await store.history(tx, ctx.tenant, kind, name, before=before, limit=page.limit + 1)
    if not found and before is None:
        raise _unknown(kind, name, None)
    return slice_of(found, page.limit, lambda row: (str(row.version),))


async def list_artifacts(ctx: Ctx, page: PageParams, *, kind: str | None = None) -> Slice[ArtifactSummary]:
    """The latest version of each name of the tenant, by kind and name."""
    ctx.require("artifacts.read")
    after = decode_cursor(page.after, 2) if page.after else None
    async with ctx.tx() as tx:
        found = await store.latest(
            tx, ctx.tenant, kind=kind, after=(after[0], after[1]) if after else None, limit=page.limit + 1
        )
    return slice_of(found, page.limit, lambda row: (row.kind, row.name))


def _version_cursor(after: str | None) -> int | None:
    if after is None:
        return None
    text = decode_cursor(after, 1)[0]
    if not (text.isascii() and text.isdigit() and int(text) <= _INT4_MAX):
        raise bad_cursor()
    return int(text)


def _unknown(kind: str, name: str, version: int | None) -> NotFound:
    what = f"{kind} {name}" if version is None else f"version {version} of {kind} {name}"
    listed = (
        f"list --kind {kind}` lists what there is."
        if version is None
        else f"history {kind}/{name}` lists its versions."
    )
    return NotFound("artifact.unknown", f"There is no {what}.", hint=f"`stanchion artifact {listed}")
