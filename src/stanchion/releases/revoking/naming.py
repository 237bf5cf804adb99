"""Which version a person means, and where it stands."""

from __future__ import annotations

from typing import Final

from stanchion.base import Invalid, NotFound
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases import store as releases_store
from stanchion.releases.revoking import store
from stanchion.releases.revoking.types import Impact, Named
from stanchion.runs import revoking

_NEWEST_MAX: Final = 10


async def named(tx: Tx, ctx: Ctx, digest: str) -> Named:
    """The version with this digest, or with the only digest that begins so.

    Raises NotFound `artifact.unknown`; Invalid `release.ambiguous_digest`.
    """
    found = await store.by_digest(tx, ctx.tenant, digest, 6)
    if not found:
        raise NotFound(
            "artifact.unknown",
            f"There is no version with digest {digest}.",
            hint="`stanchion artifact history KIND/NAME` lists versions with their digests.",
        )
    exact = [one for one in found if one.digest == digest] or found
    if len({one.digest for one in exact}) > 1:
        told = ", ".join(f"{one.target} ({one.digest[:19]}…)" for one in exact[:5])
        raise Invalid(
            "release.ambiguous_digest",
            f"{digest} begins the digest of several versions: {told}.",
            hint="Give more of it, or all.",
        )
    return exact[0]


async def impact(tx: Tx, ctx: Ctx, version: Named) -> Impact:
    """Where new runs get a version, and which runs are bound to it."""
    return Impact(
        version=version,
        standing=tuple(await releases_store.live_in(tx, ctx.tenant, version.kind, version.name, version.version)),
        counts=await revoking.count(tx, ctx.tenant, version.digest),
        newest=tuple(await revoking.bound(tx, ctx.tenant, version.digest, limit=_NEWEST_MAX)),
    )
