"""Verbs of live configs: list, show one as it is in an environment, set values of the live document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stanchion import artifacts
from stanchion.artifacts import Document, KindSpec
from stanchion.base import Json, NotFound
from stanchion.base.paging import PageParams, Slice, decode_cursor, slice_of
from stanchion.blueprints import config_schema, config_set_here, config_values
from stanchion.context import Ctx
from stanchion.releases.configs import rules, store
from stanchion.releases.configs.types import ConfigRow, Shown
from stanchion.releases.service import apply
from stanchion.releases.types import Change

# What the answer about runs is bounded to: pin sets looked through, runs of each.
_SETS_MAX: Final = 200
_RUNS_MAX: Final = 1000


async def list_configs(ctx: Ctx, page: PageParams) -> Slice[ConfigRow]:
    """The live configs of this environment, by name."""
    ctx.require("releases.read")
    after = decode_cursor(page.after, 1)[0] if page.after else None
    async with ctx.tx() as tx:
        found = await store.rows(tx, ctx.tenant, ctx.env.environment.name, after=after, limit=page.limit + 1)
    return slice_of(found, page.limit, lambda row: (row.name,))


async def show_config(ctx: Ctx, name: str, *, version: int | None = None, environment: str | None = None) -> Shown:
    """A config as it is in an environment.

    Args:
        ctx: who asks; needs `releases.read`, and `artifacts.read` for another version than the live one.
        name: of a config that is live here.
        version: another version of it than the live one.
        environment: whose values are told; this one's by default.

    Raises Denied; NotFound `config.unknown`, `artifact.unknown`.
    """
    ctx.require("releases.read", kind="config", name=name)
    here = ctx.env.environment.name
    async with ctx.tx() as tx:
        found = await store.rows(tx, ctx.tenant, here, name=name)
        held = await store.held(tx, ctx.tenant, here, name, sets_max=_SETS_MAX, runs_max=_RUNS_MAX)
    if not found:
        raise _unknown(ctx, name)
    row = found[0]
    body, number, digest = row.body, row.version, row.digest
    if version is not None and version != row.version:
        asked = await artifacts.show(ctx, "config", name, version)
        body, number, digest = asked.body, asked.version, asked.digest
    where = environment or here
    return Shown(
        row=row,
        version=number,
        digest=digest,
        environment=where,
        description=str(body.get("description", "")),
        values=config_values(body, where),
        set_here=tuple(config_set_here(body, where)),
        schema=config_schema(body),
        held=tuple(held),
    )


async def set_values(
    ctx: Ctx,
    name: str,
    changes: Mapping[str, Json],
    *,
    environment: str | None,
    kinds: Mapping[str, KindSpec],
    reason: str,
    dry_run: bool = False,
) -> tuple[Change, Document, tuple[str, ...]]:
    """Set values in the live document and apply it: the path of every change, by one action.

    Args:
        ctx: who sets; needs what `apply` needs.
        name: of a live config.
        changes: by JSON pointer the new value.
        environment: whose overlay is changed; None for the values that hold where no environment says otherwise.
        kinds: how each kind is read.
        reason: kept as the version's changelog, and in the audit.
        dry_run: make every check and say what would be; change nothing.

    Returns what became of it, the document, and which of the pointers were set for everywhere else, while this
    environment has a value of its own.

    Raises as `apply`, which refuses it if somebody else released a version meanwhile; NotFound `config.unknown`;
    Invalid `config.no_value`; Conflict `config.not_edited`.
    """
    ctx.require("releases.apply", environment=ctx.env.environment.name)
    async with ctx.tx() as tx:
        found = await store.rows(tx, ctx.tenant, ctx.env.environment.name, name=name)
    if not found:
        raise _unknown(ctx, name)
    document = rules.edited(Document(path=found[0].source_path, source=found[0].source), changes, environment)
    done = await apply(
        ctx,
        [document],
        kinds=kinds,
        changelog=reason,
        expected={("config", name): found[0].version},
        dry_run=dry_run,
    )
    own = config_set_here(found[0].body, ctx.env.environment.name) if environment is None else []
    not_here = [pointer for pointer in changes if any(_touch(pointer, other) for other in own)]
    return done.changes[0], document, tuple(not_here)


def _touch(one: str, other: str) -> bool:
    """Whether one of two places is the other or lies within it."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _unknown(ctx: Ctx, name: str) -> NotFound:
    return NotFound(
        "config.unknown",
        f"No config {name!r} is live in {ctx.env.environment.name}.",
        hint="`stanchion config list` shows what there is; `stanchion settings show` the settings of this machine.",
    )
