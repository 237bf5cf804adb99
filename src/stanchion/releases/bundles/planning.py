"""What an apply would do, before it does it: what changes and by how much, whose runs get it, and on what that rests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stanchion import artifacts
from stanchion.artifacts import Diff, Document, KindSpec
from stanchion.blueprints import Issue
from stanchion.context import Ctx
from stanchion.releases import rules as document_rules
from stanchion.releases import store as releases_store
from stanchion.releases.bundles import store
from stanchion.releases.bundles.types import Key
from stanchion.releases.gates import Ruling
from stanchion.releases.rollouts import rules as rollout_rules
from stanchion.releases.service import apply
from stanchion.releases.types import Change, Item, Live, ReleaseChange

# As many as an apply can be told to expect.
EXPECTED_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One artifact of a plan.

    `live_version` is what it replaces, 0 for none; `diff` what changes in meaning, None if nothing does; `reaches` the
    Blueprints, live ones and those of the plan, whose new runs get it.
    """

    kind: str
    name: str
    version: int
    digest: str
    change: ReleaseChange
    live_version: int
    diff: Diff | None
    reaches: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyPlan:
    """What an apply would do here and now.

    `expected` says what it rests on: by artifact the version that is live, 0 for none. An apply that is given these does
    what the plan says, or nothing. `ruling`: what the gates say, None if nothing moves.
    """

    environment: str
    production: bool
    changes: tuple[Planned, ...]
    warnings: tuple[Issue, ...]
    ruling: Ruling | None
    expected: Mapping[Key, int]


async def plan(ctx: Ctx, documents: Sequence[Document], *, kinds: Mapping[str, KindSpec]) -> ApplyPlan:
    """Every check that an apply of these documents would make, and what it would do. Writes nothing.

    Raises as `releases.apply`.
    """
    applied = await apply(ctx, documents, kinds=kinds, dry_run=True)
    async with ctx.tx() as tx:
        rows = await releases_store.live(tx, ctx.tenant, ctx.env.environment.name)
        live = {(row.kind, row.name): row for row in rows}
        checked = document_rules.check(documents, kinds, live)
        items = {(item.kind, item.parsed.name): item for item in checked.items}
        wanted = [(key, row.version) for key, row in live.items() if key in items]
        before = {(row.kind, row.name): row for row in await store.versions_of(tx, ctx.tenant, wanted)}
    changed = {(c.kind, c.name): c for c in applied.changes if c.change is not ReleaseChange.UNCHANGED}
    after = {**live, **{key: _applied(items[key], change) for key, change in changed.items() if key in items}}
    reached = _reached(after, changed)
    return ApplyPlan(
        environment=ctx.env.environment.name,
        production=ctx.env.environment.production,
        changes=tuple(
            Planned(
                kind=change.kind,
                name=change.name,
                version=change.version,
                digest=change.digest,
                change=change.change,
                live_version=live[key].version if key in live else 0,
                diff=_diff(items[key], before.get(key)) if key in changed and key in items else None,
                reaches=reached.get(key, ()),
            )
            for change in applied.changes
            if (key := (change.kind, change.name))
        ),
        warnings=applied.warnings,
        ruling=applied.ruling,
        expected=_expected(live, after, items, changed),
    )


def _diff(item: Item, before: artifacts.ArtifactVersion | None) -> Diff:
    return artifacts.diff_of(before, item.document, item.parsed)


def _applied(item: Item, change: Change) -> Live:
    return Live(
        kind=item.kind,
        name=item.parsed.name,
        version=change.version,
        digest=change.digest,
        body=item.parsed.body,
        refs=[list(reference) for reference in item.parsed.references],
        source=item.document.source,
        source_path=item.document.path,
    )


def _reached(after: Mapping[Key, Live], changed: Iterable[Key]) -> dict[Key, tuple[str, ...]]:
    """By changed artifact the Blueprints whose runs resolve it."""
    found: dict[Key, list[str]] = {key: [] for key in changed}
    for root in sorted(after):
        if root[0] == "blueprint":
            for row in rollout_rules.assemble(root, after):
                if (row.kind, row.name) in found:
                    found[row.kind, row.name].append(root[1])
    return {key: tuple(names) for key, names in found.items()}


def _expected(
    live: Mapping[Key, Live], after: Mapping[Key, Live], named: Iterable[Key], changed: Iterable[Key]
) -> dict[Key, int]:
    """What the plan rests on: the artifacts of the set first, then what they refer to, then what refers to them."""
    found: dict[Key, int] = {key: live[key].version if key in live else 0 for key in sorted(named)}
    moved = set(changed)
    for key in [*sorted(found), *sorted(live)]:
        hood = {(row.kind, row.name) for row in rollout_rules.assemble(key, after)}
        wanted = hood if key in found else {key} if hood & moved else set[Key]()
        for near in sorted(wanted):
            if len(found) < EXPECTED_MAX:
                found.setdefault(near, live[near].version if near in live else 0)
    return found
