"""What a rollout moves: the versions that are named, or those that documents become, and each with what it returns to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stanchion import artifacts
from stanchion.artifacts import Document, KindSpec
from stanchion.base import Conflict, Invalid, NotFound
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases import rules as document_rules
from stanchion.releases.rollouts import store
from stanchion.releases.rollouts.fitting import Ground, refuse_open
from stanchion.releases.rollouts.states import MEMBERS_MAX, Key, Member, Target
from stanchion.releases.types import Live


async def published(
    tx: Tx,
    ctx: Ctx,
    documents: Sequence[Document],
    live: Mapping[Key, Live],
    kinds: Mapping[str, KindSpec],
    reason: str,
) -> list[Live]:
    """The versions of these documents, published where they are new, without those that are live already."""
    checked = document_rules.check(documents, kinds, live)
    if checked.errors:
        first = checked.errors[0]
        raise Invalid(
            "apply.invalid",
            f"{len(checked.errors)} errors: nothing was begun. First: {first.file}:{first.line}:{first.column}"
            f" {first.message}",
            hint="Correct the documents at these places, and try again.",
            errors=[document_rules.issue_json(issue) for issue in checked.errors],
        )
    found: list[Live] = []
    for item in sorted(checked.items, key=lambda item: (item.kind, item.parsed.name)):
        made, _ = await artifacts.publish(tx, ctx, item.kind, item.parsed, item.document, changelog=reason)
        now = live.get((made.kind, made.name))
        if now is None or now.digest != made.digest:
            found.append(
                Live(
                    kind=made.kind,
                    name=made.name,
                    version=made.version,
                    digest=made.digest,
                    body=made.body,
                    refs=made.refs,
                    source=made.source,
                    source_path=made.source_path,
                )
            )
    return found


async def candidate(tx: Tx, ctx: Ctx, target: Target) -> Live:
    """The version that is named, or the latest of the name. Raises NotFound `artifact.unknown`."""
    if target.version is None:
        latest = await store.latest_versions(tx, ctx.tenant, [target.key], 1)
        found = latest[0] if latest else None
    else:
        found = await store.version_of(tx, ctx.tenant, target.kind, target.name, target.version)
    if found is None:
        version = "" if target.version is None else f" version {target.version}"
        raise NotFound(
            "artifact.unknown",
            f"There is no {target.kind} {target.name}{version}.",
            hint=f"`stanchion artifact history {target.kind}/{target.name}` lists its versions.",
        )
    return found


def members_of(at: Ground, wanted: Sequence[Live]) -> list[Member]:
    """What moves from what is live to these candidates."""
    if not 1 <= len(wanted) <= MEMBERS_MAX:
        raise Invalid(
            "rollout.nothing",
            f"{len(wanted)} artifacts would change." if wanted else "Nothing would change: everything named is live as it is.",
            hint=f"Name 1 to {MEMBERS_MAX} versions that are not live, or give documents that differ from what is live.",
        )  # fmt: skip
    members: list[Member] = []
    for row in wanted:
        key = (row.kind, row.name)
        if any(member.key == key for member in members):
            raise Invalid("rollout.nothing", f"{row.kind} {row.name} is named twice.", hint="Name each artifact once.")
        refuse_open(at.rollouts, [key])
        live = at.live.get(key)
        if live is None:
            raise Conflict(
                "rollout.not_live",
                f"{row.kind} {row.name} has no live version that the other side of a rollout could get.",
                hint="Make its first version live with `stanchion apply`.",
            )
        if live.version == row.version:
            raise Invalid(
                "rollout.nothing",
                f"{row.kind} {row.name} {row.version} is live already.",
                hint="Name a version that is not live, or leave it out.",
            )
        members.append(
            Member(
                kind=row.kind,
                name=row.name,
                stable_version=live.version,
                stable_digest=live.digest,
                candidate_version=row.version,
                candidate_digest=row.digest,
            )
        )
    return members
