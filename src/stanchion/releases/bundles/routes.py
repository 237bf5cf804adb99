"""HTTP: /api/bundles, /api/signing-key, /api/trusted-keys, and the plan of an apply, /api/artifacts/plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.routing import APIRoute

from stanchion.artifacts import KindSpec
from stanchion.artifacts.routes import KindPath, NamePath, VersionQuery
from stanchion.context import Ctx
from stanchion.http import CtxDep, Page, PageDep
from stanchion.releases.bundles import exporting, importing, planning, trusting
from stanchion.releases.bundles.keys import SigningKey
from stanchion.releases.bundles.types import Imported
from stanchion.releases.bundles.wire import (
    DistrustRequest,
    ExportReply,
    ExportRequest,
    ImportedReply,
    ImportReply,
    ImportRequest,
    OriginOfReply,
    OriginsReply,
    PlanReply,
    PlanRequest,
    SigningKeyReply,
    TrustedReply,
    TrustRequest,
)
from stanchion.releases.service import apply, require_environment
from stanchion.releases.types import Applied

_DIGEST = Path(pattern=r"^sha256:[0-9a-f]{64}$", description="Digest of a bundle.")


def build_router(
    kinds: Mapping[str, KindSpec], signing_key: Callable[[], SigningKey], route: type[APIRoute] = APIRoute
) -> APIRouter:
    """The routes of bundles.

    Args:
        kinds: how each kind is read.
        signing_key: the deployment's key, made if there is none; asked for when something is signed or shown.
        route: the class of its routes (`http.telling`).
    """
    router = APIRouter(prefix="/api", tags=["releases"], route_class=route)
    _add_bundles(router, kinds, signing_key)
    _add_keys(router, signing_key)
    _add_artifacts(router, kinds)
    return router


def _add_bundles(
    router: APIRouter,
    kinds: Mapping[str, KindSpec],
    signing_key: Callable[[], SigningKey],
) -> None:
    @router.post("/bundles/export", summary="Export a bundle", operation_id="export_bundle")
    async def post_export(ctx: CtxDep, body: ExportRequest) -> ExportReply:
        """Versions and everything that they refer to, sealed with this deployment's key."""
        made = await exporting.export(
            ctx,
            body.read(),
            key=signing_key(),
            reason=body.reason,
            everything=body.everything,
        )
        return ExportReply.of(made)

    @router.post("/bundles/import", summary="Import a bundle", operation_id="import_bundle")
    async def post_import(ctx: CtxDep, body: ImportRequest) -> ImportReply:
        """Publish what a trusted bundle holds, with the same digests; live only with `apply`. Refused whole, or taken whole."""
        require_environment(ctx, body.environment)
        data = body.bundle.encode("utf-8", "surrogatepass")
        imported = await importing.take_in(ctx, data, kinds=kinds, reason=body.reason, dry_run=body.dry_run)
        applied = await _made_live(ctx, imported, kinds, body) if body.apply else None
        return ImportReply.of(imported, applied)

    @router.get("/bundles", summary="List imported bundles", operation_id="list_bundles")
    async def get_bundles(ctx: CtxDep, page: PageDep) -> Page[ImportedReply]:
        """Bundles that were taken in, the newest first."""
        found = await importing.list_imports(ctx, page)
        return Page(items=[ImportedReply.model_validate(row) for row in found.items], next=found.next)

    @router.get("/bundles/{digest}", summary="Show an imported bundle", operation_id="show_bundle")
    async def get_bundle(ctx: CtxDep, digest: Annotated[str, _DIGEST]) -> ImportedReply:
        """One bundle that was taken in."""
        return ImportedReply.model_validate(await importing.show_import(ctx, digest))


async def _made_live(ctx: Ctx, imported: Imported, kinds: Mapping[str, KindSpec], body: ImportRequest) -> Applied:
    """Apply what came: a release of its own, with every check and gate that any apply has here."""
    # A dry run judges versions that are not published yet, by one changelog for all.
    said = all(member.changelog for member in imported.bundle.members)
    return await apply(
        ctx,
        importing.documents_of(imported.bundle),
        kinds=kinds,
        dry_run=body.dry_run,
        changelog=body.reason if said or not body.dry_run else "",
        break_glass=body.break_glass,
    )


def _add_keys(router: APIRouter, signing_key: Callable[[], SigningKey]) -> None:
    @router.get("/signing-key", summary="Show the signing key", operation_id="show_signing_key")
    async def get_key(ctx: CtxDep) -> SigningKeyReply:
        """The public half of the key that this deployment signs bundles with."""
        ctx.require("releases.read")
        public = signing_key().public
        return SigningKeyReply(
            public_key=public.text,
            fingerprint=public.fingerprint,
            pem=public.pem,
            environment=ctx.env.environment.name,
            tenant=ctx.tenant,
        )

    @router.get("/trusted-keys", summary="List trusted keys", operation_id="list_trusted_keys")
    async def get_trusted(
        ctx: CtxDep, page: PageDep, removed: Annotated[bool, Query(description="Also those that were.")] = False
    ) -> Page[TrustedReply]:
        """The keys whose bundles are taken in, the newest first."""
        found = await trusting.list_trusted(ctx, page, removed=removed)
        return Page(items=[TrustedReply.of(row) for row in found.items], next=found.next)

    @router.post("/trusted-keys", summary="Trust a key", operation_id="trust_key", status_code=201)
    async def post_trusted(ctx: CtxDep, body: TrustRequest) -> TrustedReply:
        """Take in bundles that this key signs, of one tenant of its deployment."""
        return TrustedReply.of(
            await trusting.trust(
                ctx,
                body.name,
                body.public_key,
                reason=body.reason,
                origin_tenant=body.tenant,
                origin_environment=body.environment,
            )
        )

    @router.post("/trusted-keys/{name}/remove", summary="Trust a key no more", operation_id="distrust_key")
    async def post_removed(ctx: CtxDep, name: NamePath, body: DistrustRequest) -> TrustedReply:
        """Take in no more of its bundles. What came stays."""
        return TrustedReply.of(await trusting.distrust(ctx, name, reason=body.reason))


def _add_artifacts(router: APIRouter, kinds: Mapping[str, KindSpec]) -> None:
    @router.post("/artifacts/plan", summary="Plan an apply", operation_id="plan_apply")
    async def post_plan(ctx: CtxDep, body: PlanRequest) -> PlanReply:
        """What applying these documents would do here, with every check that it would make; nothing is kept."""
        return PlanReply.of(await planning.plan(ctx, body.read(), kinds=kinds))

    @router.get("/artifacts/{kind}/{name}/origins", summary="Show where a version came from", operation_id="origins")
    async def get_origins(ctx: CtxDep, kind: KindPath, name: NamePath, version: VersionQuery = None) -> OriginsReply:
        """The bundles that a version (the latest, if none is named) came with; empty if it was written here."""
        found = await importing.origins(ctx, kind, name, version)
        return OriginsReply(origins=[OriginOfReply.model_validate(one) for one in found])
