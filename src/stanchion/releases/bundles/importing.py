"""The verb that lets releases in: nothing of a file is believed that was not signed by a trusted key and computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

from stanchion import __version__, artifacts, audit
from stanchion.artifacts import Document, KindSpec, PublishChange, content_digest
from stanchion.base import Conflict, Denied, Invalid, Json, NotFound, Problem
from stanchion.base.paging import PageParams, Slice, bad_cursor, decode_cursor, slice_of
from stanchion.context import Ctx
from stanchion.controls import withdrawals
from stanchion.db import Tx
from stanchion.releases import rules as document_rules
from stanchion.releases import store as releases_store
from stanchion.releases.bundles import codec, envelope, store
from stanchion.releases.bundles.keys import PublicKey
from stanchion.releases.bundles.types import (
    Arrived,
    Bundle,
    ImportChange,
    Imported,
    ImportRecord,
    Key,
    Member,
    OriginOf,
    TrustedKey,
)
from stanchion.releases.types import Item, Live


class _Undone(Exception):  # noqa: N818 - control flow: everything was tried, nothing is kept
    def __init__(self, imported: Imported) -> None:
        super().__init__()
        self.imported = imported


async def take_in(
    ctx: Ctx, data: bytes, *, kinds: Mapping[str, KindSpec], reason: str, dry_run: bool = False
) -> Imported:
    """Publish what a bundle holds, with the same digests, live nowhere: all of it or nothing.

    Each document is read again by this deployment, and has to give the digest that was signed. Versions get the next
    numbers of this deployment; one whose content is there already stays what it is. The same bundle again changes and
    records nothing.

    Args:
        ctx: who takes it in; needs `releases.import`, and `artifacts.publish` of each artifact.
        data: the file.
        kinds: how each kind is read.
        reason: why; kept.
        dry_run: do everything, keep nothing.

    Raises:
        Denied, also `bundle.untrusted_key`, `bundle.bad_signature`, `bundle.untrusted_origin`; Invalid
        as `envelope.open_file` and `codec.decode`; Invalid `bundle.invalid_here` with every error of every document;
        Conflict `bundle.reparsed` if this Stanchion makes something else of a document, `release.revoked` if one of the
        versions is revoked here.
    """
    ctx.require("releases.import", environment=ctx.env.environment.name)
    try:
        async with ctx.tx() as tx:
            bundle, signer = await _believed(tx, ctx, data)
            await releases_store.lock_tenant(tx, ctx.tenant, ctx.env.environment.name)
            imported = await _taken(tx, ctx, bundle, signer, kinds, reason)
            if dry_run:
                raise _Undone(imported)  # noqa: TRY301 - what is undone is the transaction of this very function
    except _Undone as undone:
        return undone.imported
    except Problem as problem:
        if problem.code.startswith("bundle."):
            ctx.env.telemetry.emit("bundle.moved", 1, "refused")
        raise
    ctx.env.telemetry.emit("bundle.moved", 1, "imported")
    return imported


async def _believed(tx: Tx, ctx: Ctx, data: bytes) -> tuple[Bundle, TrustedKey]:
    """What a file says, once its signature is one that this tenant trusts for where it says it comes from."""
    opened = envelope.open_file(data)
    trusted = await store.trusted(tx, ctx.tenant, opened.fingerprint)
    if not trusted:
        raise Denied(
            "bundle.untrusted_key",
            f"The bundle claims the signature of key {opened.fingerprint}, which the tenant {ctx.tenant} does not trust.",
            hint="Compare it with `stanchion release keys show` there; then `stanchion release trust add`.",
            fingerprint=opened.fingerprint,
        )
    envelope.check_signature(opened, PublicKey.parse(trusted[0].public_key))
    bundle = codec.decode(opened.payload)
    origin = bundle.origin
    for entry in trusted:
        if entry.origin_tenant == origin.tenant and entry.origin_environment in (None, origin.environment):
            return bundle, entry
    allowed = ", ".join(f"{e.origin_tenant} in {e.origin_environment or 'any environment'}" for e in trusted)
    raise Denied(
        "bundle.untrusted_origin",
        f"The bundle comes from tenant {origin.tenant} in {origin.environment}; its key is trusted for {allowed}.",
        hint="`stanchion release trust add --tenant … --environment …` widens what the key is trusted for.",
        fingerprint=opened.fingerprint,
    )


async def _taken(
    tx: Tx, ctx: Ctx, bundle: Bundle, signer: TrustedKey, kinds: Mapping[str, KindSpec], reason: str
) -> Imported:
    rows = await releases_store.live(tx, ctx.tenant, ctx.env.environment.name)
    live = {(row.kind, row.name): row for row in rows}
    if revoked := await withdrawals.revoked_among(tx, [member.digest for member in bundle.members]):
        await withdrawals.refuse(tx, ctx.tenant, [digest for _, digest in revoked])
    items, misfits = _read_again(bundle, kinds, live)
    arrived: list[Arrived] = []
    for member, item in zip(bundle.members, items, strict=True):
        made, change = await artifacts.publish(
            tx, ctx, item.kind, item.parsed, item.document, changelog=member.changelog
        )
        known = change in (PublishChange.UNCHANGED, PublishChange.REUSED)
        before = live.get(member.key)
        arrived.append(
            Arrived(
                kind=made.kind,
                name=made.name,
                version=made.version,
                digest=made.digest,
                change=ImportChange.UNCHANGED if known else ImportChange.NEW,
                live=before is not None and before.digest == made.digest,
                origin_version=member.version,
            )
        )
    known = not await _note(tx, ctx, bundle, signer, arrived, reason)
    return Imported(
        bundle=bundle,
        fingerprint=signer.fingerprint,
        signer=signer.name,
        environment=ctx.env.environment.name,
        known=known,
        arrived=tuple(arrived),
        misfits=misfits,
    )


def documents_of(bundle: Bundle) -> list[Document]:
    """The documents of a bundle, in its order."""
    return [Document(path=codec.path_of(member), source=member.source) for member in bundle.members]


def _read_again(
    bundle: Bundle, kinds: Mapping[str, KindSpec], live: Mapping[Key, Live]
) -> tuple[list[Item], tuple[str, ...]]:
    """Every member as this deployment reads its text, and what live artifacts would say to its being live."""
    checked = document_rules.check(documents_of(bundle), kinds, live)
    errors = [issue for issue in checked.errors if issue.code != "release.incompatible"]
    if errors:
        first = errors[0]
        raise Invalid(
            "bundle.invalid_here",
            f"{len(errors)} error{'s' * (len(errors) > 1)} as Stanchion {__version__} reads the bundle, which"
            f" {bundle.origin.stanchion} made: nothing was imported. First: {first.file}:{first.line}:{first.column}"
            f" {first.message}",
            hint="`errors` lists them all. Correct the documents where they are written, and export them again.",
            errors=[document_rules.issue_json(issue) for issue in errors],
        )
    by_key = {(item.kind, item.parsed.name): item for item in checked.items}
    items: list[Item] = []
    for member in bundle.members:
        item = by_key.get(member.key)
        if item is None:
            raise _reparsed(bundle, member, "its text begins as another artifact")
        computed = content_digest(item.kind, item.parsed)
        if computed != member.digest:
            raise _reparsed(bundle, member, f"its text gives {computed} here and {member.digest} there")
        if set(item.parsed.references) != set(member.refs):
            raise _reparsed(bundle, member, "its text refers to other artifacts here than there")
        items.append(item)
    return items, tuple(issue.message for issue in checked.errors)


def _reparsed(bundle: Bundle, member: Member, why: str) -> Conflict:
    return Conflict(
        "bundle.reparsed",
        f"{member.kind} {member.name} does not come out as it was signed: {why} (Stanchion {__version__} here,"
        f" {bundle.origin.stanchion} there). Nothing was imported.",
        hint="Bring both deployments to one version and export again; a release keeps its digest or does not travel.",
        kind=member.kind,
        name=member.name,
    )


async def _note(tx: Tx, ctx: Ctx, bundle: Bundle, signer: TrustedKey, arrived: Sequence[Arrived], reason: str) -> bool:
    """Keep that the bundle came, and from where each version did; whether it is the first time."""
    record = ImportRecord(
        digest=bundle.digest,
        content=bundle.content,
        fingerprint=signer.fingerprint,
        origin=codec.origin_json(bundle.origin),
        imported_at=ctx.now,
        imported_by=ctx.actor.principal,
        reason=reason,
    )
    if not await store.add_import(tx, ctx.tenant, record):
        return False
    rows: list[dict[str, Json]] = [
        {
            "kind": one.kind,
            "name": one.name,
            "version": one.version,
            "digest": one.digest,
            "origin_version": member.version,
            "author": member.author,
            "evidence": cast("list[Json]", [dict(record) for record in member.evidence]),
        }
        for member, one in zip(bundle.members, arrived, strict=True)
    ]
    await store.add_artifacts(tx, ctx.tenant, bundle.digest, rows)
    await audit.record(
        tx,
        ctx,
        "release.imported",
        target=("bundle", bundle.digest),
        after=bundle.digest,
        reason=reason or None,
        extra={
            "content": bundle.content,
            "fingerprint": signer.fingerprint,
            "signer": signer.name,
            "origin": {
                "tenant": bundle.origin.tenant,
                "environment": bundle.origin.environment,
                "exported_by": bundle.origin.exported_by,
            },
            "artifacts": [
                {"kind": a.kind, "name": a.name, "version": a.version, "digest": a.digest, "change": a.change.value}
                for a in arrived
            ],
        },
    )
    return True


async def list_imports(ctx: Ctx, page: PageParams) -> Slice[ImportRecord]:
    """Bundles that were taken in, the newest first."""
    ctx.require("releases.read")
    before = _cursor(page.after)
    async with ctx.tx() as tx:
        found = await store.imports(tx, ctx.tenant, before=before, limit=page.limit + 1)
    return slice_of(found, page.limit, lambda row: (row.imported_at.isoformat(), row.digest))


def _cursor(after: str | None) -> tuple[datetime, str] | None:
    if after is None:
        return None
    at, digest = decode_cursor(after, 2)
    try:
        return datetime.fromisoformat(at), digest
    except ValueError:
        raise bad_cursor() from None


async def origins(ctx: Ctx, kind: str, name: str, version: int | None = None) -> list[OriginOf]:
    """Where a version (else the latest) came from, the newest bundle first; empty if it was written here.

    Raises NotFound `artifact.unknown`.
    """
    ctx.require("artifacts.read", kind=kind, name=name)
    found = await artifacts.show(ctx, kind, name, version)
    async with ctx.tx() as tx:
        return await origins_of(tx, ctx.tenant, kind, name, found.version)


async def origins_of(tx: Tx, tenant: str, kind: str, name: str, version: int) -> list[OriginOf]:
    """As `origins`, in the caller's transaction: what a gate asks for, since who wrote a version elsewhere is its author too."""
    return await store.origins(tx, tenant, kind, name, version)


async def show_import(ctx: Ctx, digest: str) -> ImportRecord:
    """One bundle that was taken in, by its digest. Raises NotFound `bundle.unknown`."""
    ctx.require("releases.read")
    async with ctx.tx() as tx:
        found = await store.imported(tx, ctx.tenant, digest)
    if found is None:
        raise NotFound(
            "bundle.unknown",
            f"No bundle with digest {digest} was imported.",
            hint="`stanchion release bundles` lists those that were.",
        )
    return found
