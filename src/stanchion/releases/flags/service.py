"""Verbs of live flags: list, show, evaluate; enable, disable and set the default, which publish a new version."""

from __future__ import annotations

from collections.abc import Mapping

from stanchion.artifacts import Document, KindSpec
from stanchion.base import Json, NotFound, did_you_mean
from stanchion.base.paging import PageParams, Slice, decode_cursor, slice_of
from stanchion.context import Ctx
from stanchion.controls.flags import Attributes, FlagType
from stanchion.releases.flags import rules, store
from stanchion.releases.flags.snapshot import Snapshot
from stanchion.releases.flags.types import Answer, FlagRow
from stanchion.releases.service import apply
from stanchion.releases.types import Change


async def list_flags(ctx: Ctx, page: PageParams) -> Slice[FlagRow]:
    """The live flags of this environment, by name."""
    ctx.require("flags.read")
    after = decode_cursor(page.after, 1)[0] if page.after else None
    async with ctx.tx() as tx:
        found = await store.rows(tx, ctx.tenant, ctx.env.environment.name, after=after, limit=page.limit + 1)
    return slice_of(found, page.limit, lambda row: (row.name,))


async def show_flag(ctx: Ctx, name: str) -> FlagRow:
    """What is live of a flag, and its candidate. Raises NotFound `flag.unknown`."""
    ctx.require("flags.read", name=name)
    return await _one(ctx, name)


def evaluate(
    ctx: Ctx,
    flags: Snapshot,
    name: str,
    fallback: Json,
    context: Attributes,
    *,
    expected: FlagType | None = None,
) -> Answer:
    """What a flag gives to this caller for these attributes: from memory, no query.

    Raises Denied; NotFound `flag.unknown`; Unavailable `flag.unread` if this process never read the flags.
    """
    ctx.require("flags.evaluate", name=name)
    check_read(flags)
    if name not in flags.of(ctx.tenant).entries:
        raise _unknown(ctx, name, flags.of(ctx.tenant).entries)
    return flags.evaluate(ctx.tenant, name, fallback, context, principal=ctx.actor.principal, expected=expected)


def check_read(flags: Snapshot) -> None:
    """Return if this process knows the flags. Raises Unavailable `flag.unread`."""
    if flags.age_s is None:
        raise rules.unread_problem(None)


async def enable(ctx: Ctx, name: str, *, kinds: Mapping[str, KindSpec], reason: str) -> Change:
    """Publish and release the live document with `enabled: true`. Raises as `apply`; NotFound `flag.unknown`."""
    return await _changed(ctx, name, "enabled", True, kinds, reason)


async def disable(ctx: Ctx, name: str, *, kinds: Mapping[str, KindSpec], reason: str) -> Change:
    """Publish and release the live document with `enabled: false`: everybody gets the caller's own value."""
    return await _changed(ctx, name, "enabled", False, kinds, reason)


async def set_default(ctx: Ctx, name: str, variant: str, *, kinds: Mapping[str, KindSpec], reason: str) -> Change:
    """Publish and release the live document with another default variant."""
    return await _changed(ctx, name, "default", variant, kinds, reason)


async def _changed(
    ctx: Ctx, name: str, field: str, value: bool | str, kinds: Mapping[str, KindSpec], reason: str
) -> Change:
    """The same path as everybody's: a changed document, applied on top of the version that it was made from."""
    ctx.require("releases.apply", environment=ctx.env.environment.name)
    row = await _one(ctx, name)
    before = Document(path=row.source_path, source=row.source)
    if field == "enabled" and value and row.body.get("enabled", True) is True:
        after = before
    else:
        after = rules.edited(before, field, value)
    done = await apply(ctx, [after], kinds=kinds, changelog=reason, expected={("flag", name): row.version})
    return done.changes[0]


async def _one(ctx: Ctx, name: str) -> FlagRow:
    async with ctx.tx() as tx:
        found = await store.rows(tx, ctx.tenant, ctx.env.environment.name, name=name)
    if not found:
        raise _unknown(ctx, name, ())
    return found[0]


def _unknown(ctx: Ctx, name: str, known: Mapping[str, object] | tuple[()]) -> NotFound:
    near = did_you_mean(name, known)
    return NotFound(
        "flag.unknown",
        f"No flag {name!r} is live in {ctx.env.environment.name}.",
        hint=f"{near} `stanchion flag list` shows what there is.".strip(),
    )
