"""What stands when a verb begins, and its refusal where combinations would not fit, with the nearest set that does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stanchion.artifacts import KindSpec
from stanchion.base import Conflict
from stanchion.context import Ctx
from stanchion.controls import withdrawals
from stanchion.db import Tx
from stanchion.releases import rules as document_rules
from stanchion.releases import store as releases_store
from stanchion.releases.rollouts import compat, rules, store
from stanchion.releases.rollouts.compat import Chosen
from stanchion.releases.rollouts.states import Key, Rollout
from stanchion.releases.types import Change, Item, Live, ReleaseChange
from stanchion.releases.usable import refuse_unusable

# How many of a name's latest versions the search for the nearest set looks at.
_VERSIONS_MAX: Final = 10
_SAID_MAX: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is live and what is open, as of one moment under the lock."""

    live: Mapping[Key, Live]
    rollouts: tuple[Rollout, ...]
    candidates: Mapping[tuple[str, str, int], Live]

    def group(self, rollout: Rollout) -> dict[Key, Live]:
        """The candidates of an open rollout."""
        return rules.overlaid({}, rollout.members, self.candidates)

    def opened(self, key: Key) -> Rollout | None:
        """The open rollout that moves an artifact, if there is one."""
        return next((r for r in self.rollouts if any(m.key == key for m in r.members)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What runs could get after a verb: what is live then, the groups of candidates open then, and what it is about.

    `together`: further changes would have to go into the last group, as in a rollout that begins; else into what is live.
    """

    base: Chosen
    groups: Sequence[Chosen]
    about: frozenset[Key]
    together: bool = False

    def changed(self, extras: Chosen) -> Situation:
        """The situation with further changes made at the same time."""
        about = self.about | frozenset(extras)
        if self.together:
            groups = [*self.groups[:-1], {**self.groups[-1], **extras}]
            return Situation(base=self.base, groups=groups, about=about, together=True)
        return Situation(base={**self.base, **extras}, groups=self.groups, about=about)


async def ground(tx: Tx, ctx: Ctx) -> Ground:
    """Everything live and open in the environment. The caller holds the lock of the tenant's releases."""
    environment = ctx.env.environment.name
    live = await releases_store.live(tx, ctx.tenant, environment)
    rollouts = await store.open_rollouts(tx, ctx.tenant, environment)
    candidates = await store.candidates(tx, ctx.tenant, [rollout.id for rollout in rollouts])
    return Ground(
        live={(row.kind, row.name): row for row in live},
        rollouts=tuple(rollouts),
        candidates={(row.kind, row.name, row.version): row for row in candidates},
    )


async def refuse_misfits(
    tx: Tx, ctx: Ctx, kinds: Mapping[str, KindSpec], at: Ground, then: Situation, *, what: str, asked: Iterable[Live]
) -> None:
    """Refuse a verb after which runs could get versions that do not fit together.

    Args:
        tx: the verb's transaction.
        ctx: who acts.
        kinds: how each kind is read.
        at: what stands now.
        then: what would stand.
        what: the verb, as the beginning of a sentence.
        asked: the versions that the verb was asked for.

    Raises:
        Conflict `release.revoked`, `release.drained` or `release.retired` if what is asked for is given to nobody new;
        Conflict `rollout.incompatible` with `misfits` [{kind, name, version, reason}] and `nearest`
        [{kind, name, version}]: the whole set that would fit, empty if none was found.
    """
    wanted = list(asked)
    # What is live already stays so: going back to it from a candidate gives new runs nothing that they would not get.
    moving = [
        row for row in wanted if (live := at.live.get((row.kind, row.name))) is None or live.version != row.version
    ]
    await refuse_unusable(tx, ctx, [(row.kind, row.name, row.version, row.digest) for row in moving])
    check = compat.Check(kinds, at.live)
    misfits = check.misfits(then.base, then.groups, then.about)
    if not misfits:
        return
    others = {key for group in then.groups[: -1 if then.together else None] for key in group}
    near = [key for key in compat.involved(misfits, [(row.kind, row.name) for row in wanted]) if key not in others]
    rows = await store.latest_versions(tx, ctx.tenant, near, _VERSIONS_MAX)
    versions: dict[Key, list[Live]] = {}
    for row in rows:
        versions.setdefault((row.kind, row.name), []).append(row)

    def fits(extras: Chosen) -> bool:
        changed = then.changed(extras)
        return not check.misfits(changed.base, changed.groups, changed.about)

    found = compat.nearest(near, versions, then.base, fits, spent=lambda: check.reads > compat.READS_MAX)
    raise _incompatible(what, misfits, wanted, found)


def _incompatible(
    what: str, misfits: Sequence[compat.Misfit], wanted: Sequence[Live], found: Mapping[Key, Live] | None
) -> Conflict:
    first = misfits[0]
    more = f" ({len(misfits) - 1} more combinations do not fit.)" if len(misfits) > 1 else ""
    if found:
        extras = " ".join(f"--with {row.kind}/{row.name}@{row.version}" for row in found.values())
        whole = ", ".join(f"{row.kind}/{row.name}@{row.version}" for row in (*wanted, *found.values()))
        hint = f"The nearest set that fits: {whole}. Move it together: add {extras}."
    else:
        hint = "No set of published versions near this one fits; publish one that does."
    return Conflict(
        "rollout.incompatible",
        f"{what} would let runs get versions that do not fit together: {first}{more}",
        hint=hint,
        misfits=[
            {"kind": m.key[0], "name": m.key[1], "version": m.version, "reason": m.reason} for m in misfits[:_SAID_MAX]
        ],
        nearest=[
            {"kind": row.kind, "name": row.name, "version": row.version}
            for row in ((*wanted, *found.values()) if found else ())
        ],
    )


def refuse_open(rollouts: Sequence[Rollout], keys: Sequence[Key]) -> None:
    """Raise Conflict `rollout.open` if one of these artifacts has an open rollout, naming it and who began it."""
    for rollout in rollouts:
        for member in rollout.members:
            if member.key in keys:
                raise Conflict(
                    "rollout.open",
                    f"{member.kind} {member.name} has a rollout under way, which {rollout.author} began at"
                    f" {rollout.created_at:%Y-%m-%d %H:%M:%S} UTC: {rules.told(rollout)}.",
                    hint=f"Promote it or roll it back first: stanchion release show {member.kind}/{member.name}",
                    rollout_id=str(rollout.id),
                    author=rollout.author,
                )


async def refuse_apply(
    tx: Tx,
    ctx: Ctx,
    kinds: Mapping[str, KindSpec],
    live: Mapping[Key, Live],
    items: Sequence[Item],
    changes: Sequence[Change],
) -> None:
    """Refuse an apply that would move what a rollout moves, or that does not fit a candidate which is out.

    Args:
        tx: the apply's transaction, under the lock of the tenant's releases.
        ctx: who applies.
        kinds: how each kind is read.
        live: what was live before the apply.
        items: its documents, checked against what is live.
        changes: the version of each.

    Raises:
        Conflict `rollout.open`, `rollout.incompatible`, `release.revoked`, `release.drained`.
    """
    moving_digests = [c.digest for c in changes if c.change is not ReleaseChange.UNCHANGED]
    await withdrawals.refuse(tx, ctx.tenant, moving_digests)
    rollouts = await store.open_rollouts(tx, ctx.tenant, ctx.env.environment.name)
    if not rollouts:
        return
    moved = {(c.kind, c.name): c for c in changes if c.change is not ReleaseChange.UNCHANGED}
    refuse_open(rollouts, list(moved))
    moving = {
        key: document_rules.row_of(item, moved[key].version, moved[key].digest)
        for item in items
        if (key := (item.kind, item.parsed.name)) in moved
    }
    candidates = await store.candidates(tx, ctx.tenant, [rollout.id for rollout in rollouts])
    at = Ground(
        live=live,
        rollouts=tuple(rollouts),
        candidates={(row.kind, row.name, row.version): row for row in candidates},
    )
    groups = [at.group(rollout) for rollout in rollouts]
    then = Situation(base={**live, **moving}, groups=groups, about=frozenset(moving))
    await refuse_misfits(tx, ctx, kinds, at, then, what="This apply", asked=moving.values())
