"""Verbs of releases: apply a set of documents, validate one, read what is live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stanchion import artifacts, audit
from stanchion.artifacts import ArtifactVersion, Document, KindSpec, content_digest, place
from stanchion.base import Invalid, NotFound
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.http import PageParams, Slice, decode_cursor, slice_of
from stanchion.releases import rules, store
from stanchion.releases.types import Applied, BlueprintSummary, Change, Checked, Item, Live, Release, ReleaseChange


async def apply(
    ctx: Ctx,
    documents: Sequence[Document],
    *,
    kinds: Mapping[str, KindSpec],
    dry_run: bool = False,
    changelog: str = "",
) -> Applied:
    """Publish what changed in a set of documents and make it live in this deployment's environment: all or nothing.

    The documents are checked together, each seeing the others, then what is live. Applies of one tenant go one after
    the other. A second apply of the same documents changes and records nothing.

    Args:
        ctx: who applies; needs `releases.apply` and `artifacts.publish`.
        documents: one artifact each, in any order.
        kinds: how each kind is read.
        dry_run: check and say what would happen; write nothing.
        changelog: the author's own words on what changed.

    Returns:
        Every artifact of the set with the version that is live afterwards, by kind and name.

    Raises:
        Denied; Invalid `apply.invalid` with every error of every file in `errors`.
    """
    ctx.require("releases.apply", environment=ctx.env.environment.name)
    async with ctx.tx() as tx:
        if not dry_run:
            await store.lock_tenant(tx, ctx.tenant, ctx.env.environment.name)
        live = await _live(tx, ctx)
        checked = rules.check(documents, kinds, live)
        _refuse_errors(checked)
        changes: list[Change] = []
        for item in sorted(checked.items, key=lambda item: (item.kind, item.parsed.name)):
            before = live.get((item.kind, item.parsed.name))
            if dry_run:
                changes.append(await _foreseen(tx, ctx, item, before))
            else:
                changes.append(await _released(tx, ctx, item, before, changelog))
    for change in changes:
        if not dry_run and change.change is not ReleaseChange.UNCHANGED:
            ctx.env.telemetry.emit("release.applied", 1, change.kind)
    return Applied(environment=ctx.env.environment.name, changes=tuple(changes), warnings=checked.warnings)


def _refuse_errors(checked: Checked) -> None:
    errors = checked.errors
    if not errors:
        return
    files = sorted({issue.file for issue in errors})
    first = errors[0]
    raise Invalid(
        "apply.invalid",
        f"{len(errors)} error{'s' * (len(errors) > 1)} in {', '.join(files[:5])}{' …' * (len(files) > 5)}: nothing was"
        f" applied. First: {first.file}:{first.line}:{first.column} {first.message}",
        hint="`errors` lists them all with their places.",
        errors=[rules.issue_json(issue) for issue in errors],
    )


async def _live(tx: Tx, ctx: Ctx) -> dict[tuple[str, str], Live]:
    rows = await store.live(tx, ctx.tenant, ctx.env.environment.name)
    return {(row.kind, row.name): row for row in rows}


async def _foreseen(tx: Tx, ctx: Ctx, item: Item, before: Live | None) -> Change:
    """What releasing this item would do, without doing it."""
    ctx.require("artifacts.publish", kind=item.kind, name=item.parsed.name)
    digest = content_digest(item.kind, item.parsed)
    placed = place(digest, await artifacts.versions(tx, ctx.tenant, item.kind, item.parsed.name))
    return Change(
        kind=item.kind,
        name=item.parsed.name,
        version=placed.version,
        digest=digest,
        change=_change(before, digest),
    )


async def _released(tx: Tx, ctx: Ctx, item: Item, before: Live | None, changelog: str) -> Change:
    """Publish one item and make it live, if it is not."""
    artifact, _ = await artifacts.publish(tx, ctx, item.kind, item.parsed, item.document, changelog=changelog)
    change = _change(before, artifact.digest)
    if change is not ReleaseChange.UNCHANGED:
        await store.point(
            tx,
            ctx.tenant,
            ctx.env.environment.name,
            kind=artifact.kind,
            name=artifact.name,
            version=artifact.version,
            digest=artifact.digest,
            by=ctx.actor.principal,
            at=ctx.now,
        )
        await _record(tx, ctx, artifact, before, changelog)
    return Change(
        kind=artifact.kind, name=artifact.name, version=artifact.version, digest=artifact.digest, change=change
    )


def _change(before: Live | None, digest: str) -> ReleaseChange:
    if before is None:
        return ReleaseChange.CREATED
    return ReleaseChange.UNCHANGED if before.digest == digest else ReleaseChange.UPDATED


async def _record(tx: Tx, ctx: Ctx, artifact: ArtifactVersion, before: Live | None, changelog: str) -> None:
    await audit.record(
        tx,
        ctx,
        "release.applied",
        target=("release", f"{artifact.kind}/{artifact.name}"),
        before=before.digest if before else None,
        after=artifact.digest,
        reason=changelog or None,
        extra={
            "kind": artifact.kind,
            "name": artifact.name,
            "version": artifact.version,
            "version_before": before.version if before else None,
        },
    )


async def validate(ctx: Ctx, documents: Sequence[Document], *, kinds: Mapping[str, KindSpec]) -> Checked:
    """Check a set of documents as `apply` would, and write nothing. Issues are the answer, not an error."""
    ctx.require("blueprints.validate")
    async with ctx.tx() as tx:
        live = await _live(tx, ctx)
    return rules.check(documents, kinds, live)


async def list_releases(ctx: Ctx, page: PageParams) -> Slice[Release]:
    """What is live in this deployment's environment, by kind and name."""
    ctx.require("releases.read")
    after = decode_cursor(page.after, 2) if page.after else None
    async with ctx.tx() as tx:
        found = await store.releases(
            tx,
            ctx.tenant,
            ctx.env.environment.name,
            after=(after[0], after[1]) if after else None,
            limit=page.limit + 1,
        )
    return slice_of(found, page.limit, lambda row: (row.kind, row.name))


async def list_blueprints(ctx: Ctx, page: PageParams) -> Slice[BlueprintSummary]:
    """The live Blueprints, by name."""
    ctx.require("releases.read")
    after = decode_cursor(page.after, 1)[0] if page.after else None
    async with ctx.tx() as tx:
        found = await store.blueprints(tx, ctx.tenant, ctx.env.environment.name, after=after, limit=page.limit + 1)
    return slice_of(found, page.limit, lambda row: (row.name,))


async def show_blueprint(ctx: Ctx, name: str, version: int | None = None) -> tuple[ArtifactVersion, Release | None]:
    """A version of a Blueprint (the live one, else the latest), and what is live of it.

    Raises NotFound `blueprint.unknown`.
    """
    ctx.require("releases.read", kind="blueprint", name=name)
    async with ctx.tx() as tx:
        live = await store.release(tx, ctx.tenant, ctx.env.environment.name, "blueprint", name)
    wanted = version if version is not None else live.version if live else None
    try:
        return await artifacts.show(ctx, "blueprint", name, wanted), live
    except NotFound as error:
        what = f"Blueprint {name}" if version is None else f"version {version} of Blueprint {name}"
        raise unknown_blueprint(what) from error


def unknown_blueprint(what: str) -> NotFound:
    """The problem of a Blueprint that is not there; `what` begins with its kind or version."""
    return NotFound(
        "blueprint.unknown",
        f"There is no {what} in this environment.",
        hint="`stanchion blueprint list` shows what is live; `stanchion apply -f DIR` publishes.",
    )
