"""Verbs over secrets: set, rotate, list, grant, ungrant, remove, check, rekey. None of them ever has a value."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from stanchion import audit
from stanchion.base import Conflict, Problem, present
from stanchion.base.paging import PageParams, Slice, decode_cursor, slice_of
from stanchion.context import Ctx, Env, system_actor
from stanchion.db import Tx
from stanchion.secrets.keeping import rules, store
from stanchion.secrets.keeping.types import Checked, Kept, Reference, References, Sealed
from stanchion.secrets.references import SecretRef
from stanchion.secrets.types import Encrypted, EncryptRequest, Finding, Rekeyed, SealingKey, SecretHolder, Wanted

_END_BATCH: Final = 200


async def sealing_key(ctx: Ctx, holder: SecretHolder) -> SealingKey:
    """The key that new values are sealed to. Raises Unavailable `secret.holder_away`."""
    ctx.require("secrets.write")
    return await holder.sealing_key()


async def set_secret(
    ctx: Ctx,
    holder: SecretHolder,
    name: str,
    value: Sealed,
    *,
    environment: str | None = None,
    connectors: Sequence[str] = (),
) -> Kept:
    """Make a local secret, issued to `environment` (this deployment's if None) and granted to `connectors`.

    Raises as `rules.local_path`, `check_connectors`, `check_environment`; Conflict `secret.exists`,
    `secret.changed_meanwhile`; and as `SecretHolder.encrypt`.
    """
    path = rules.local_path(name)
    ctx.require("secrets.write", name=f"local/{path}")
    granted = rules.check_connectors(connectors)
    issued_to = rules.check_environment(environment or ctx.env.environment.name)
    async with ctx.tx() as tx:
        rules.new(await store.get(tx, ctx.tenant, "local", path), f"local/{path}")
        number = rules.next_version(await store.last_version(tx, ctx.tenant, path))
    made = await _encrypted(ctx, holder, path, issued_to, number, value)
    async with ctx.tx() as tx:
        fresh = await store.insert(
            tx,
            ctx.tenant,
            "local",
            path,
            environment=issued_to,
            connectors=granted,
            by=ctx.actor.principal,
            at=ctx.now,
        )
        if not fresh or not await _insert_version(tx, ctx, path, number, made):
            raise rules.changed_meanwhile(f"local/{path}")
        kept = await _there(tx, ctx, "local", path)
        await _record(tx, ctx, "secret.set", kept, made=made)
    _tell(ctx, "set", kept.name)
    return kept


async def rotate_secret(
    ctx: Ctx, holder: SecretHolder, name: str, value: Sealed, *, grace_s: int = rules.GRACE_S_DEFAULT
) -> Kept:
    """Give a local secret a new current version; the one before stays valid for `grace_s` seconds.

    Who resolves the secret gets the new value within seconds; calls in flight have theirs; a target that does not know the new
    value yet can be called with the previous one while its grace lasts. With `grace_s` 0 it is erased at once.

    Raises NotFound `secret.unknown`; Conflict `secret.other_fields`, `secret.changed_meanwhile`; Invalid `secret.bad_grace`; and
    as `rules.local_path`, `SecretHolder.encrypt`.
    """
    path = rules.local_path(name)
    ctx.require("secrets.write", name=f"local/{path}")
    ends_at = rules.until(ctx.now, grace_s)
    async with ctx.tx() as tx:
        before = await _there(tx, ctx, "local", path)
        number = rules.next_version(await store.last_version(tx, ctx.tenant, path))
    made = await _encrypted(ctx, holder, path, before.environment, number, value)
    rules.same_fields(before, made.fields)
    async with ctx.tx() as tx:
        await store.lock(tx, ctx.tenant, "local", path)
        outdated = present(before.version, "a local secret that is not removed has a current version")
        if not await store.outdate(tx, ctx.tenant, path, outdated, until=ends_at):
            raise rules.changed_meanwhile(before.name)
        if grace_s == 0:
            await store.end(tx, ctx.tenant, path, outdated, at=ctx.now)
        if not await _insert_version(tx, ctx, path, number, made):
            raise rules.changed_meanwhile(before.name)
        kept = await _there(tx, ctx, "local", path)
        await _record(tx, ctx, "secret.rotated", kept, before=before, made=made)
    _tell(ctx, "rotated", kept.name)
    return kept


async def grant_secret(ctx: Ctx, name: str, connectors: Sequence[str], *, environment: str | None = None) -> Kept:
    """Let these connectors have a secret too. One of another provider than `local` is made known by it, issued to
    `environment` (this deployment's if None).

    Raises NotFound `secret.unknown` for a local one; Conflict `secret.other_environment`; Invalid as `set_secret`.
    """
    ref = SecretRef.named(name)
    ctx.require("secrets.write", name=ref.name)
    added = rules.check_connectors(connectors)
    async with ctx.tx() as tx:
        await store.lock(tx, ctx.tenant, ref.provider, ref.path)
        before = await store.get(tx, ctx.tenant, ref.provider, ref.path)
        if before is None:
            await _make_known(tx, ctx, ref, environment, added)
        else:
            _same_environment(before, environment)
            granted = rules.check_connectors((*before.connectors, *added))
            await store.grant(tx, ctx.tenant, ref.provider, ref.path, granted)
        after = await _there(tx, ctx, ref.provider, ref.path)
        await _record(tx, ctx, "secret.granted", after, before=before)
    _tell(ctx, "granted", ref.name)
    return after


async def ungrant_secret(ctx: Ctx, name: str, connectors: Sequence[str]) -> Kept:
    """Let these connectors have a secret no more, within seconds. Raises NotFound `secret.unknown`, and as `SecretRef.named`."""
    ref = SecretRef.named(name)
    ctx.require("secrets.write", name=ref.name)
    gone = set(rules.check_connectors(connectors))
    async with ctx.tx() as tx:
        await store.lock(tx, ctx.tenant, ref.provider, ref.path)
        before = await _there(tx, ctx, ref.provider, ref.path)
        left = [one for one in before.connectors if one not in gone]
        await store.grant(tx, ctx.tenant, ref.provider, ref.path, left)
        after = await _there(tx, ctx, ref.provider, ref.path)
        await _record(tx, ctx, "secret.ungranted", after, before=before)
    _tell(ctx, "ungranted", ref.name)
    return after


async def remove_secret(ctx: Ctx, references: References, name: str, *, force: bool = False) -> Kept:
    """Remove a secret; what is stored of its values is erased. With a version (`local/erp@2`), only that previous version.

    Returns it as it was before, or, of a version, as it is without it. Raises NotFound `secret.unknown`,
    `secret.unknown_version`; Conflict `secret.in_use` (unless `force`), `secret.is_current`, `secret.already_ended`; and as
    `SecretRef.named`.
    """
    ref = SecretRef.named(name)
    ctx.require("secrets.write", name=ref.name)
    async with ctx.tx() as tx:
        await store.lock(tx, ctx.tenant, ref.provider, ref.path)
        before = await _there(tx, ctx, ref.provider, ref.path)
        if ref.version is not None:
            rules.may_end(await store.version(tx, ctx.tenant, ref.path, ref.version), ref.name, ref.version)
            await store.end(tx, ctx.tenant, ref.path, ref.version, at=ctx.now)
            after = await _there(tx, ctx, ref.provider, ref.path)
            await _record(tx, ctx, "secret.version_ended", after, before=before, ended=ref.version)
            before = after
        else:
            if not force:
                live = await references.live(tx, ctx.tenant, ctx.env.environment.name)
                rules.not_in_use(ref.name, _referring(live, ref))
            if ref.provider == "local":
                await store.end(tx, ctx.tenant, ref.path, None, at=ctx.now)
            await store.remove(tx, ctx.tenant, ref.provider, ref.path, by=ctx.actor.principal, at=ctx.now)
            await _record(tx, ctx, "secret.removed", before, before=before)
    _tell(ctx, "removed", ref.name)
    return before


async def list_secrets(ctx: Ctx, page: PageParams) -> Slice[Kept]:
    """The tenant's secrets by provider and path, without their values."""
    ctx.require("secrets.read")
    after: tuple[str, str] | None = None
    if page.after:
        provider, path = decode_cursor(page.after, 2)
        after = (provider, path)
    async with ctx.tx() as tx:
        found = await store.select(tx, ctx.tenant, after=after, limit=page.limit + 1)
    return slice_of(found, page.limit, lambda kept: (kept.provider, kept.path))


async def check_secrets(ctx: Ctx, holder: SecretHolder, references: References) -> Sequence[Checked]:
    """Of each reference of the live connectors: whether it resolves now, the environment that its secret is issued to, and
    the connectors that it is granted to. Raises Unavailable `secret.holder_away`."""
    ctx.require("secrets.read")
    environment = ctx.env.environment.name
    async with ctx.tx() as tx:
        found = await references.live(tx, ctx.tenant, environment)
        parsed = [_parsed(one) for one in found]
        names = {(ref.provider, ref.path) for ref in parsed if isinstance(ref, SecretRef)}
        kept = {name: await store.get(tx, ctx.tenant, *name) for name in sorted(names)}
    wanted = [
        Wanted(connector=one.connector, place=one.place, ref=ref)
        for one, ref in zip(found, parsed, strict=True)
        if isinstance(ref, SecretRef)
    ]
    answers = iter(await holder.check(ctx.tenant, environment, wanted)) if wanted else iter(())
    return [
        _malformed(one, ref)
        if isinstance(ref, Problem)
        else _checked(one, ref, next(answers), kept[ref.provider, ref.path])
        for one, ref in zip(found, parsed, strict=True)
    ]


async def rekey(ctx: Ctx, holder: SecretHolder, *, fresh: bool) -> Rekeyed:
    """Encrypt the data keys of all tenants under the newest key-encryption key, with `fresh` under one that is made now.

    Raises as `SecretHolder.rekey`.
    """
    ctx.require("secrets.rekey")
    done = await holder.rekey(fresh=fresh)
    facts = {"key_id": done.key_id, "data_keys": done.data_keys, "dropped": done.dropped, "fresh": fresh}
    async with ctx.tx() as tx:
        # After the fact: the keys are other ones in the holder's transactions, and a repetition changes nothing.
        await audit.record(tx, ctx, "secret.rekeyed", target=("key_encryption_key", done.key_id), extra=facts)
    _tell(ctx, "rekeyed", done.key_id)
    return done


async def end_due(env: Env) -> int:
    """The scheduler's duty: erase every previous version whose grace is over; return how many."""
    ended = 0
    while True:
        async with env.db.engine_tx() as tx:
            due = await store.due(tx, env.clock.now(), _END_BATCH)
            for one in due:
                await store.end(tx, one.tenant, one.path, one.version, at=env.clock.now())
                ctx = Ctx(env=env, actor=system_actor("scheduler", one.tenant))
                facts = {"version": one.version}
                target = ("secret", f"local/{one.path}")
                await audit.record(tx, ctx, "secret.version_ended", target=target, extra=facts)
        ended += len(due)
        if len(due) < _END_BATCH:
            return ended


async def _encrypted(
    ctx: Ctx, holder: SecretHolder, path: str, environment: str, number: int, value: Sealed
) -> Encrypted:
    return await holder.encrypt(
        EncryptRequest(
            tenant=ctx.tenant,
            path=path,
            environment=environment,
            version=number,
            key_id=value.key_id,
            sealed=value.text,
        )
    )


async def _insert_version(tx: Tx, ctx: Ctx, path: str, number: int, made: Encrypted) -> bool:
    return await store.insert_version(tx, ctx.tenant, path, number, made, by=ctx.actor.principal, at=ctx.now)


async def _there(tx: Tx, ctx: Ctx, provider: str, path: str) -> Kept:
    found = await store.get(tx, ctx.tenant, provider, path)
    if found is None:
        raise rules.unknown(f"{provider}/{path}")
    return found


async def _make_known(tx: Tx, ctx: Ctx, ref: SecretRef, environment: str | None, connectors: Sequence[str]) -> None:
    if ref.provider == "local":
        raise rules.unknown(ref.name)
    issued_to = rules.check_environment(environment or ctx.env.environment.name)
    made = await store.insert(
        tx,
        ctx.tenant,
        ref.provider,
        ref.path,
        environment=issued_to,
        connectors=connectors,
        by=ctx.actor.principal,
        at=ctx.now,
    )
    if not made:
        raise rules.changed_meanwhile(ref.name)


def _same_environment(kept: Kept, environment: str | None) -> None:
    if environment is not None and environment != kept.environment:
        raise Conflict(
            "secret.other_environment",
            f"The secret {kept.name} is issued to {kept.environment}; nothing was changed.",
            hint=f"A credential serves one environment: keep another one for {environment}, or remove this one first.",
        )


def _parsed(one: Reference) -> SecretRef | Problem:
    try:
        return SecretRef.parse(one.text, place=f"connector {one.connector}, {one.place}")
    except Problem as problem:
        return problem


def _referring(found: Sequence[Reference], ref: SecretRef) -> Sequence[Reference]:
    return [one for one in found if isinstance(other := _parsed(one), SecretRef) and other.name == ref.name]


def _malformed(one: Reference, problem: Problem) -> Checked:
    return Checked(
        connector=one.connector,
        place=one.place,
        reference="",
        version=None,
        code=problem.code,
        detail=problem.message,
        hint=problem.hint,
        issued_to=None,
        granted=(),
    )


def _checked(one: Reference, ref: SecretRef, finding: Finding, kept: Kept | None) -> Checked:
    return Checked(
        connector=one.connector,
        place=one.place,
        reference=str(ref),
        version=finding.version,
        code=finding.code,
        detail=finding.detail,
        hint=finding.hint,
        issued_to=None if kept is None else kept.environment,
        granted=() if kept is None else kept.connectors,
    )


async def _record(
    tx: Tx,
    ctx: Ctx,
    event: str,
    kept: Kept,
    *,
    before: Kept | None = None,
    made: Encrypted | None = None,
    ended: int | None = None,
) -> None:
    """The audit record of a change: names and digests, and of a value only the digest of its ciphertext."""
    facts = _facts(kept)
    if made is not None:
        facts["ciphertext"] = "sha256:" + hashlib.sha256(made.ciphertext).hexdigest()
    if ended is not None:
        facts["ended"] = ended
    await audit.record(
        tx,
        ctx,
        event,
        target=("secret", kept.name),
        before=None if before is None else _facts(before),
        after=None if event == "secret.removed" else facts,
        extra=facts,
    )


def _facts(kept: Kept) -> dict[str, object]:
    return {
        "environment": kept.environment,
        "connectors": list(kept.connectors),
        "version": kept.version,
        "fields": list(kept.fields),
        "previous_until": _stamp(kept.previous_until),
    }


def _stamp(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _tell(ctx: Ctx, change: str, name: str) -> None:
    ctx.env.telemetry.emit("secret.changed", 1.0, change, secret=name, by=ctx.actor.principal)
