"""Verbs of trust: whose bundles a tenant takes in. Not a setting, because it changes what may become live, and each
tenant decides it for itself, with a record (I6, I13)."""

from __future__ import annotations

from dataclasses import replace

from stanchion import audit
from stanchion.base import Conflict, Json, NotFound
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx
from stanchion.releases.bundles import store
from stanchion.releases.bundles.keys import PublicKey
from stanchion.releases.bundles.types import TrustedKey


async def trust(
    ctx: Ctx,
    name: str,
    public_key: str,
    *,
    reason: str,
    origin_tenant: str | None = None,
    origin_environment: str | None = None,
) -> TrustedKey:
    """Take in bundles that this key signs, if they come from a certain tenant, and environment if one is said.

    A deployment signs for all its tenants with one key, so trust names the tenant: another one there cannot send us
    anything. Left out, it is the tenant that is called as this one.

    Raises Denied; Invalid `bundle.bad_key`; Conflict `bundle.trusted` for a name, or a key and origin, that is in force.
    """
    ctx.require("releases.trust", name=name)
    key = PublicKey.parse(public_key)
    entry = TrustedKey(
        id=ctx.env.ids.new(),
        name=name,
        fingerprint=key.fingerprint,
        public_key=key.text,
        origin_tenant=origin_tenant or ctx.tenant,
        origin_environment=origin_environment,
        added_by=ctx.actor.principal,
        added_at=ctx.now,
        reason=reason,
    )
    async with ctx.tx() as tx:
        if not await store.trust(tx, ctx.tenant, entry):
            raise Conflict(
                "bundle.trusted",
                f"There is an entry named {name} already, or one of this key for the same origin.",
                hint="`stanchion release trust list` shows them; remove one, or choose another name.",
                fingerprint=key.fingerprint,
            )
        await audit.record(
            tx, ctx, "release.key_trusted", target=("trusted_key", entry.id), after=_facts(entry), reason=reason,
            extra=_facts(entry),
        )  # fmt: skip
    ctx.env.telemetry.emit("bundle.moved", 1, "trusted")
    return entry


async def distrust(ctx: Ctx, name: str, *, reason: str) -> TrustedKey:
    """Take in no more bundles under an entry, by its name. What came under it stays: revoke it if it has to go.

    Raises Denied; NotFound `bundle.not_trusted`.
    """
    ctx.require("releases.trust", name=name)
    async with ctx.tx() as tx:
        entry = await store.trusted_named(tx, ctx.tenant, name)
        if entry is None:
            raise NotFound(
                "bundle.not_trusted",
                f"No trusted key is named {name}.",
                hint="`stanchion release trust list` shows those that are.",
            )
        await store.distrust(tx, ctx.tenant, entry.id, by=ctx.actor.principal, at=ctx.now, reason=reason)
        await audit.record(
            tx, ctx, "release.key_distrusted", target=("trusted_key", entry.id), before=_facts(entry), reason=reason,
            extra=_facts(entry),
        )  # fmt: skip
    ctx.env.telemetry.emit("bundle.moved", 1, "distrusted")
    return replace(entry, removed_by=ctx.actor.principal, removed_at=ctx.now, removal_reason=reason)


def _facts(entry: TrustedKey) -> dict[str, Json]:
    return {
        "name": entry.name,
        "fingerprint": entry.fingerprint,
        "origin_tenant": entry.origin_tenant,
        "origin_environment": entry.origin_environment,
    }


async def list_trusted(ctx: Ctx, page: PageParams, *, removed: bool = False) -> Slice[TrustedKey]:
    """The keys whose bundles are taken in, the newest first; `removed`: also those that were."""
    ctx.require("releases.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        found = await store.all_trusted(tx, ctx.tenant, removed=removed, before=before, limit=page.limit + 1)
    return slice_of(found, page.limit, lambda row: (str(row.id),))
