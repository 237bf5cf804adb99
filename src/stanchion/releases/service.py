"""Verbs of releases: apply a set of documents, validate one, read what is live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from stanchion import artifacts, audit
from stanchion.artifacts import ArtifactVersion, Diff, Document, KindSpec, Usage, content_digest, place
from stanchion.base import Conflict, Denied, Invalid, NotFound, nearest
from stanchion.base.paging import PageParams, Slice, decode_cursor, slice_of
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases import rules, store
from stanchion.releases.gates import GATES, Gates, Ruling, Said, admit, announce, asked_of, audit_facts
from stanchion.releases.rollouts import store as rollouts_store
from stanchion.releases.rollouts.fitting import refuse_apply
from stanchion.releases.types import Applied, BlueprintSummary, Change, Checked, Item, Live, Release, ReleaseChange

# What an answer about usage is bounded to: referrers, pin sets looked through, runs counted, ids shown.
_REFERRERS_MAX: Final = 200
_SETS_MAX: Final = 1000
_COUNTED_MAX: Final = 10_000
_NEWEST_MAX: Final = 10
# Names looked through for the one that was meant.
_NAMES_MAX: Final = 1000


async def apply(
    ctx: Ctx,
    documents: Sequence[Document],
    *,
    kinds: Mapping[str, KindSpec],
    dry_run: bool = False,
    changelog: str = "",
    expected: Mapping[tuple[str, str], int] | None = None,
    gates: Gates = GATES,
    break_glass: str | None = None,
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
        expected: by (kind, name) the version that the author thinks is live, 0 for none: who is not the first to
            replace it is told so, and nothing is changed.
        gates: which gates there are.
        break_glass: why it is made live although its gates say no; needs `releases.break_glass`. None: it is not.

    Returns:
        Every artifact with the version that is live afterwards, and what the gates say: in a dry run they refuse nothing.

    Raises:
        Denied; Invalid `apply.invalid` with every error of every file in `errors`; Conflict `release.superseded` if
        another version than `expected` is live, saying which, since when and by whom; Conflict `rollout.open` or
        `rollout.incompatible` if a rollout moves one of them, or its candidates would not fit; Conflict `release.gated`.
    """
    ctx.require("releases.apply", environment=ctx.env.environment.name)
    async with ctx.tx() as tx:
        if not dry_run:
            await store.lock_tenant(tx, ctx.tenant, ctx.env.environment.name)
        if expected:
            await _refuse_superseded(tx, ctx, expected)
        live = await _live(tx, ctx)
        checked = rules.check(documents, kinds, live)
        _refuse_errors(checked)
        items = sorted(checked.items, key=lambda item: (item.kind, item.parsed.name))
        changes = [await _version(tx, ctx, item, live, changelog, dry_run=dry_run) for item in items]
        await refuse_apply(tx, ctx, kinds, live, checked.items, changes)
        ruling = await _gated(
            tx, ctx, kinds, live, items, changes, changelog, gates=gates, dry_run=dry_run, break_glass=break_glass
        )
        moved = [] if dry_run else [change for change in changes if change.change is not ReleaseChange.UNCHANGED]
        if moved:
            await rollouts_store.explain_moves(tx, "release.applied", None, break_glass or changelog)
        for change in moved:
            await _point(tx, ctx, change, live.get((change.kind, change.name)), changelog, ruling)
    for change in moved:
        ctx.env.telemetry.emit("release.applied", 1, change.kind)
    announce(ctx, "apply", ruling)
    environment = ctx.env.environment.name
    return Applied(environment=environment, changes=tuple(changes), warnings=checked.warnings, ruling=ruling)


async def _version(
    tx: Tx, ctx: Ctx, item: Item, live: Mapping[tuple[str, str], Live], changelog: str, *, dry_run: bool
) -> Change:
    """The version that an item is published as, or would be."""
    before = live.get((item.kind, item.parsed.name))
    return await (_foreseen(tx, ctx, item, before) if dry_run else _published(tx, ctx, item, before, changelog))


async def _gated(
    tx: Tx,
    ctx: Ctx,
    kinds: Mapping[str, KindSpec],
    live: Mapping[tuple[str, str], Live],
    items: Sequence[Item],
    changes: Sequence[Change],
    changelog: str,
    *,
    gates: Gates,
    dry_run: bool,
    break_glass: str | None,
) -> Ruling | None:
    """What the gates say of what would move; None if nothing would. Raises Conflict `release.gated`, but for a dry run."""
    pairs = [(i, c) for i, c in zip(items, changes, strict=True) if c.change is not ReleaseChange.UNCHANGED]
    if not pairs:
        return None
    asked = await asked_of(
        tx,
        ctx,
        move="apply",
        strategy="all_at_once",
        first_share=100,
        share=100,
        rows=[rules.row_of(item, change.version, change.digest) for item, change in pairs],
        live=live,
        kinds=kinds,
        unpublished={(c.kind, c.name, c.version): _said(ctx, i, c, changelog) for i, c in pairs} if dry_run else {},
    )
    return await admit(
        tx, ctx, asked, gates=gates, break_glass=break_glass is not None, reason=break_glass or "", dry_run=dry_run
    )


def _said(ctx: Ctx, item: Item, change: Change, changelog: str) -> Said:
    """What a version that is not published yet would say of itself."""
    return Said(
        kind=change.kind,
        name=change.name,
        version=change.version,
        author=ctx.actor.principal,
        owner=item.parsed.owner,
        changelog=changelog,
        labels=artifacts.labels_of(item.parsed.body),
        risk=artifacts.risk_of(item.parsed.body),
    )


def require_environment(ctx: Ctx, wanted: str | None) -> None:
    """Return if this deployment is the environment that the caller means. Raises Conflict `release.other_environment`."""
    here = ctx.env.environment
    if wanted is not None and wanted != here.name:
        raise Conflict(
            "release.other_environment",
            f"This deployment is the environment {here.name}, not {wanted}. Nothing was changed.",
            hint="Name the server of the other one (--profile, --url), or this one's environment.",
            environment=here.name,
        )


async def _refuse_superseded(tx: Tx, ctx: Ctx, expected: Mapping[tuple[str, str], int]) -> None:
    live: dict[tuple[str, str], Release] = {}
    for kind, name in expected:
        found = await store.release(tx, ctx.tenant, ctx.env.environment.name, kind, name)
        if found is not None:
            live[kind, name] = found
    late = rules.unexpected(expected, live)
    if not late:
        return
    kind, name = late[0]
    now = live.get(late[0])
    what = (
        f"version {now.version}, released by {now.released_by} at {now.released_at:%Y-%m-%dT%H:%M:%SZ}"
        if now
        else "none"
    )
    raise Conflict(
        "release.superseded",
        f"Of {kind} {name} you expected version {expected[late[0]]} to be live; it is {what}. Nothing was changed.",
        hint=f"`stanchion artifact diff {kind}/{name}` shows what is new; apply on top of that.",
        kind=kind,
        name=name,
        expected=expected[late[0]],
        live_version=now.version if now else 0,
        live_digest=now.digest if now else None,
        released_by=now.released_by if now else None,
        released_at=now.released_at.isoformat() if now else None,
    )


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
        hint="Correct the documents at these places, and try again.",
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


async def _published(tx: Tx, ctx: Ctx, item: Item, before: Live | None, changelog: str) -> Change:
    """Publish one item; it is not live yet."""
    artifact, _ = await artifacts.publish(tx, ctx, item.kind, item.parsed, item.document, changelog=changelog)
    change = _change(before, artifact.digest)
    return Change(
        kind=artifact.kind, name=artifact.name, version=artifact.version, digest=artifact.digest, change=change
    )


async def _point(
    tx: Tx, ctx: Ctx, change: Change, before: Live | None, changelog: str, ruling: Ruling | None
) -> None:  # fmt: skip
    """Make one published version live, with its record and the version that it would return to."""
    await store.point(
        tx,
        ctx.tenant,
        ctx.env.environment.name,
        kind=change.kind,
        name=change.name,
        version=change.version,
        digest=change.digest,
        by=ctx.actor.principal,
        at=ctx.now,
    )
    await audit.record(
        tx,
        ctx,
        "release.applied",
        target=("release", f"{change.kind}/{change.name}"),
        before=before.digest if before else None,
        after=change.digest,
        reason=changelog or None,
        extra={
            "kind": change.kind,
            "name": change.name,
            "version": change.version,
            "version_before": before.version if before else None,
            **audit_facts(ruling),
        },
    )


def _change(before: Live | None, digest: str) -> ReleaseChange:
    if before is None:
        return ReleaseChange.CREATED
    return ReleaseChange.UNCHANGED if before.digest == digest else ReleaseChange.UPDATED


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
        raise unknown_blueprint(what, await nearest_blueprint(ctx, name)) from error


async def usage(ctx: Ctx, kind: str, name: str, *, version: int | None = None, digest: str | None = None) -> Usage:
    """Who uses an artifact, or the version of it that is named by number or digest: where it is live, which live
    versions refer to it, which runs are pinned to it. The answer is bounded whatever there is.

    Raises Denied; NotFound `artifact.unknown`.
    """
    ctx.require("artifacts.read", kind=kind, name=name)
    async with ctx.tx() as tx:
        known = await artifacts.versions(tx, ctx.tenant, kind, name)
        if digest is not None:
            version = next((v for v, d in known if d == digest and version in (None, v)), -1)
        if not known or (version is not None and version not in {v for v, _ in known}):
            raise NotFound(
                "artifact.unknown",
                f"There is no {kind} {name}{' with that version or digest' if known else ''}.",
                hint=f"`stanchion artifact history {kind}/{name}` lists its versions."
                if known
                else f"`stanchion artifact list --kind {kind}` lists what there is.",
            )
        return await _usage(tx, ctx, kind, name, version)


async def _usage(tx: Tx, ctx: Ctx, kind: str, name: str, version: int | None) -> Usage:
    live = await store.live_in(tx, ctx.tenant, kind, name, version)
    # A reference names no version: it means the live one, so a version that is not live has no referrer.
    referrers = (
        await store.referrers(tx, ctx.tenant, kind, name, limit=_REFERRERS_MAX) if live or version is None else []
    )
    counted = await store.pinned_runs(
        tx, ctx.tenant, kind, name, version, sets_max=_SETS_MAX, runs_max=_COUNTED_MAX + 1
    )
    newest = await store.newest_pinned(tx, ctx.tenant, kind, name, version, sets_max=_SETS_MAX, limit=_NEWEST_MAX)
    return Usage(
        kind=kind,
        name=name,
        version=version,
        live=tuple(live),
        referrers=tuple(referrers),
        runs={row.status: row.count for row in counted},
        runs_cut=sum(row.count for row in counted) > _COUNTED_MAX,
        newest=tuple(newest),
    )


async def retire(ctx: Ctx, kind: str, name: str, version: int, *, reason: str) -> ArtifactVersion:
    """Retire a version that nothing refers to: not live, in no open rollout, pinned by no run that may go on.

    Its content is kept, and applying it again takes it back. No release of this environment moves meanwhile. A process
    that has not yet noticed a release of the last half second may still start a run on the version; such a run ends on
    its pins as any other.

    Raises Denied; NotFound `artifact.unknown`; Conflict `artifact.in_use` with what refers to it.
    """
    ctx.require("artifacts.publish", kind=kind, name=name)
    found = await artifacts.show(ctx, kind, name, version)
    async with ctx.tx() as tx:
        await store.lock_tenant(tx, ctx.tenant, ctx.env.environment.name)
        return await artifacts.retire(tx, ctx, found, await _usage(tx, ctx, kind, name, version), reason=reason)


async def diff_with_live(
    ctx: Ctx, document: Document, *, kinds: Mapping[str, KindSpec], version: int | None = None
) -> Diff:
    """What a document would change: against the live version of its name (else the latest, else nothing), or `version`.

    Raises Denied; Invalid `apply.invalid` for a document that cannot be read; NotFound `artifact.unknown`.
    """
    head = rules.header(document.source)
    kind, name = (head.kind, head.name) if head and head.kind in kinds else ("", "")
    ctx.require("artifacts.read", kind=kind, name=name)
    async with ctx.tx() as tx:
        checked = rules.check([document], kinds, await _live(tx, ctx))
        live = await store.release(tx, ctx.tenant, ctx.env.environment.name, kind, name)
        known = await artifacts.versions(tx, ctx.tenant, kind, name)
    unreadable = [i for i in checked.errors if not checked.items or i.code.startswith("document.")]
    if unreadable or not checked.items:
        _refuse_errors(checked)
    if version is None and known:
        version = live.version if live else known[-1][0]
    before = await artifacts.show(ctx, kind, name, version) if version is not None else None
    return artifacts.diff_of(before, document, checked.items[0].parsed)


def unknown_blueprint(what: str, meant: str | None = None) -> NotFound:
    """The problem of a Blueprint that is not there; `what` begins with its kind or version, `meant` is a name that is."""
    hint = "`stanchion blueprint list` shows what is live; `stanchion apply -f DIR` publishes."
    return NotFound(
        "blueprint.unknown",
        f"There is no {what} in this environment.",
        hint=hint if meant is None else f"Did you mean {meant!r}? {hint}",
    )


async def nearest_blueprint(ctx: Ctx, name: str) -> str | None:
    """The live Blueprint whose name is nearest to `name`, which is not one; None to those who may not know of them."""
    try:
        ctx.require("releases.read")
    except Denied:
        return None
    async with ctx.tx() as tx:
        names = await store.live_names(tx, ctx.tenant, ctx.env.environment.name, "blueprint", limit=_NAMES_MAX)
    return None if name in names else nearest(name, names)
