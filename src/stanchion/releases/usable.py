"""Whether a version may be given to new runs at all: not one that is revoked, drained or retired."""

from __future__ import annotations

from collections.abc import Iterable

from stanchion.base import Conflict, sentence
from stanchion.context import Ctx
from stanchion.controls import withdrawals
from stanchion.db import Tx
from stanchion.releases import store


async def refuse_unusable(tx: Tx, ctx: Ctx, versions: Iterable[tuple[str, str, int, str]]) -> None:
    """Refuse a verb that would let new runs get one of these versions, each (kind, name, version, digest).

    Raises Conflict `release.revoked`, `release.drained` or `release.retired`, naming who, when, why and the way out.
    """
    wanted = list(versions)
    await withdrawals.refuse(tx, ctx.tenant, [digest for *_, digest in wanted])
    for one in await store.retired_among(tx, ctx.tenant, [(kind, name, version) for kind, name, version, _ in wanted]):
        what = f"{one.kind}/{one.name}@{one.version}"
        raise Conflict(
            "release.retired",
            f"{what} was retired by {one.retired_by} at {one.retired_at:%Y-%m-%d %H:%M:%S} UTC: {sentence(one.reason)}"
            " New runs would get it; nothing was changed.",
            hint=f"Name another version, or apply the content of {what} again, which takes it back.",
            kind=one.kind,
            name=one.name,
            version=one.version,
        )
