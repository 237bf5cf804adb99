"""The verb that lets releases out: versions, everything that they refer to, and what gates know of them, sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stanchion import __version__, audit
from stanchion.artifacts import ArtifactVersion
from stanchion.base import Internal, Invalid, Json, NotFound, digest
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases.bundles import codec, envelope, store
from stanchion.releases.bundles.keys import SigningKey
from stanchion.releases.bundles.types import EVIDENCE_MAX, MEMBERS_MAX, Exported, Key, Member, Origin
from stanchion.releases.rollouts import Target
from stanchion.releases.usable import refuse_unusable


async def export(
    ctx: Ctx,
    targets: Sequence[Target],
    *,
    key: SigningKey,
    reason: str,
    everything: bool = False,
) -> Exported:
    """Seal versions with the closure of their references: of what is named the version named, of all else the live one.

    Args:
        ctx: who exports; needs `releases.export`, and `artifacts.read` of each artifact.
        targets: what is asked for; without a version, the live one.
        key: the deployment's own.
        reason: why; it stands in the bundle and in the audit record.
        everything: everything that is live, instead of `targets`.

    Raises:
        Denied; Invalid `bundle.nothing`, `bundle.open_reference`; NotFound `release.unknown`, `artifact.unknown`;
        Conflict `release.revoked`,
        `release.drained`, `release.retired` for what new runs do not get here either; Invalid `bundle.too_many`, `bundle.too_large`.
    """
    environment = ctx.env.environment
    ctx.require("releases.export", environment=environment.name)
    async with ctx.tx() as tx:
        live = dict(await store.live_keys(tx, ctx.tenant, environment.name))
        wanted = dict(live) if everything else _wanted(targets, live)
        if not wanted:
            raise Invalid(
                "bundle.nothing",
                "There is nothing to export: nothing is live."
                if everything
                else "Nothing is named that could be exported.",
                hint="Apply something first." if everything else "Name KIND/NAME[@VERSION], or use --all.",
            )
        found = await _closure(tx, ctx, wanted, live)
        await refuse_unusable(tx, ctx, [(row.kind, row.name, row.version, row.digest) for row in found])
        known: dict[tuple[str, str, str], list[Mapping[str, Json]]] = {}
        for one in await store.evidence_of(tx, ctx.tenant, found, each_max=EVIDENCE_MAX):
            known.setdefault((one.kind, one.name, one.digest), []).append(one.record)
        members = [_member(row, live, known.get((row.kind, row.name, row.digest), ())) for row in found]
        origin = Origin(
            environment=environment.name,
            production=environment.production,
            tenant=ctx.tenant,
            exported_by=ctx.actor.principal,
            exported_at=ctx.now,
            reason=reason,
            stanchion=__version__,
        )
        payload = codec.encode(origin, list(wanted), members)
        made = Exported(
            data=envelope.seal(payload, key),
            bundle=codec.decode(payload),
            fingerprint=key.public.fingerprint,
        )
        await _record(tx, ctx, made)
    ctx.env.telemetry.emit("bundle.moved", 1, "exported")
    return made


def _wanted(targets: Sequence[Target], live: Mapping[Key, int]) -> dict[Key, int]:
    wanted: dict[Key, int] = {}
    for target in targets:
        version = target.version or live.get(target.key)
        if version is None:
            raise NotFound(
                "release.unknown",
                f"No version of {target.kind} {target.name} is live in this environment.",
                hint=f"Name one: {target.kind}/{target.name}@VERSION.",
            )
        if wanted.setdefault(target.key, version) != version:
            raise Invalid(
                "bundle.duplicate",
                f"{target.kind} {target.name} is named twice, with versions {wanted[target.key]} and {version}.",
                hint="A bundle holds one version of an artifact; export the other one apart.",
            )
    return wanted


async def _closure(tx: Tx, ctx: Ctx, wanted: Mapping[Key, int], live: Mapping[Key, int]) -> list[ArtifactVersion]:
    """The wanted versions and, of everything that they refer to, directly or not, the wanted version or the live one."""
    found: dict[Key, ArtifactVersion] = {}
    pending = dict(wanted)
    while pending:
        if len(found) + len(pending) > MEMBERS_MAX:
            raise Invalid(
                "bundle.too_many",
                f"More than {MEMBERS_MAX} artifacts belong together here; a bundle holds no more.",
                hint="Export them in parts, what others refer to first.",
            )
        rows = {(row.kind, row.name): row for row in await store.versions_of(tx, ctx.tenant, list(pending.items()))}
        for key, version in pending.items():
            ctx.require("artifacts.read", kind=key[0], name=key[1])
            _check(key, version, rows.get(key))
        found |= rows
        pending = _missing(rows, found, wanted, live)
    return [found[key] for key in sorted(found)]


def _check(key: Key, version: int, row: ArtifactVersion | None) -> None:
    what = f"{key[0]} {key[1]} version {version}"
    if row is None:
        raise NotFound(
            "artifact.unknown",
            f"There is no {what}.",
            hint=f"`stanchion artifact history {key[0]}/{key[1]}` lists them.",
        )
    if digest(row.body) != row.digest:
        raise Internal("bundle.damaged", f"What is stored of {what} has another digest than {row.digest}.")


def _missing(
    rows: Mapping[Key, ArtifactVersion],
    found: Mapping[Key, ArtifactVersion],
    wanted: Mapping[Key, int],
    live: Mapping[Key, int],
) -> dict[Key, int]:
    """What these rows refer to and is not there yet."""
    missing: dict[Key, int] = {}
    for key, row in rows.items():
        for ref in ((ref[0], ref[1]) for ref in row.refs):
            if ref in found or ref in missing:
                continue
            version = wanted.get(ref, live.get(ref))
            if version is None:
                hint = f"It is not live here; say which version belongs to it: {ref[0]}/{ref[1]}@VERSION."
                raise codec.open_reference(key, ref, hint=hint)
            missing[ref] = version
    return missing


def _member(row: ArtifactVersion, live: Mapping[Key, int], evidence: Sequence[Mapping[str, Json]]) -> Member:
    return Member(
        kind=row.kind,
        name=row.name,
        version=row.version,
        digest=row.digest,
        body=row.body,
        refs=tuple((ref[0], ref[1]) for ref in row.refs),
        source=row.source,
        source_path=row.source_path,
        owner=row.owner,
        author=row.author,
        changelog=row.changelog,
        created_at=row.created_at,
        labels=row.labels,
        risk=row.risk,
        live=live.get((row.kind, row.name)) == row.version,
        evidence=tuple(evidence),
    )


async def _record(tx: Tx, ctx: Ctx, made: Exported) -> None:
    await audit.record(
        tx,
        ctx,
        "release.exported",
        target=("bundle", made.bundle.digest),
        after=made.bundle.digest,
        reason=made.bundle.origin.reason or None,
        extra={
            "content": made.bundle.content,
            "fingerprint": made.fingerprint,
            "artifacts": [
                {"kind": m.kind, "name": m.name, "version": m.version, "digest": m.digest} for m in made.bundle.members
            ],
        },
    )
