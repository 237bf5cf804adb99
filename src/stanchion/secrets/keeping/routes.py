"""HTTP: /api/secrets. New values pass sealed, to the process that can open them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from stanchion.context import Ctx
from stanchion.http import CtxDep, Page, PageDep, shows
from stanchion.secrets.keeping import service
from stanchion.secrets.keeping.types import Checked, Kept, References, Sealed
from stanchion.secrets.keeping.wire import (
    KEPT,
    CheckedReply,
    CheckReply,
    GrantRequest,
    RekeyReply,
    RekeyRequest,
    RemoveRequest,
    RotateRequest,
    SealedRequest,
    SealingKeyReply,
    SecretReply,
    SetRequest,
    UngrantRequest,
)
from stanchion.secrets.types import SecretHolder

_FIRST: dict[str, Any] = {**KEPT, "version": 1, "previous": [], "previous_until": None}
_ELSEWHERE: dict[str, Any] = {
    **_FIRST, "name": "vault/erp/api-key", "provider": "vault", "version": None, "fields": [],
}  # fmt: skip


def _reply(kept: Kept) -> SecretReply:
    return SecretReply.model_validate(kept)


def _checked(found: Checked) -> CheckedReply:
    return CheckedReply(
        connector=found.connector,
        place=found.place,
        reference=found.reference,
        resolves=not found.code,
        version=found.version,
        issued_to=found.issued_to,
        granted=list(found.granted),
        code=found.code,
        detail=found.detail,
        hint=found.hint,
    )


def _sealed(body: SealedRequest) -> Sealed:
    return Sealed(key_id=body.key_id, text=body.sealed)


# The broker, asked on behalf of the person of a request.
HolderFor = Callable[[Ctx], SecretHolder]


def build_router(holder_for: HolderFor, references: References) -> APIRouter:
    """The routes of secrets. `references`: who knows what live connectors refer to."""
    router = APIRouter(prefix="/api/secrets", tags=["secrets"])
    _add_values(router, holder_for)
    _add_uses(router, references)

    @router.get("", summary="List secrets", operation_id="list_secrets")
    async def get_secrets(ctx: CtxDep, page: PageDep) -> Page[SecretReply]:
        """The tenant's secrets by name: for which environment, which connectors, which versions. Never a value."""
        found = await service.list_secrets(ctx, page)
        return Page(items=[_reply(kept) for kept in found.items], next=found.next)

    @router.get("/check", summary="Check references", operation_id="check_secrets")
    async def get_check(ctx: CtxDep) -> CheckReply:
        """Of each reference of the live connectors: whether it resolves now, for which environment, granted to whom."""
        found = await service.check_secrets(ctx, holder_for(ctx), references)
        return CheckReply(items=[_checked(one) for one in found], unresolved=sum(bool(one.code) for one in found))

    return router


def _add_values(router: APIRouter, holder_for: HolderFor) -> None:
    """What brings values in, and changes the keys they are encrypted under."""

    @router.get("/sealing-key", summary="Key to seal values to", operation_id="sealing_key")
    async def get_sealing_key(ctx: CtxDep) -> SealingKeyReply:
        """The broker's public key. Compare `id` with what was told to you on another way, if you do not trust this one."""
        key = await service.sealing_key(ctx, holder_for(ctx))
        return SealingKeyReply(id=key.id, public=key.public, tenant=ctx.tenant, environment=ctx.env.environment.name)

    @router.post("", status_code=201, summary="Set a secret", operation_id="set_secret", responses=shows(_FIRST, 201))
    async def post_secret(ctx: CtxDep, body: SetRequest) -> SecretReply:
        """Keep a new secret. Its value is sealed to the sealing key before it is sent."""
        made = await service.set_secret(
            ctx, holder_for(ctx), body.name, _sealed(body), environment=body.environment, connectors=body.connectors
        )
        return _reply(made)

    @router.post("/rotate", summary="Rotate a secret", operation_id="rotate_secret")
    async def post_rotate(ctx: CtxDep, body: RotateRequest) -> SecretReply:
        """Give it a new value, which calls get within seconds; the one before stays valid for a grace."""
        return _reply(await service.rotate_secret(ctx, holder_for(ctx), body.name, _sealed(body), grace_s=body.grace_s))

    @router.post("/rekey", summary="Change the key-encryption key", operation_id="rekey_secrets")
    async def post_rekey(ctx: CtxDep, body: RekeyRequest) -> RekeyReply:
        """Encrypt the data keys of all tenants anew. Admins of the deployment's own tenant alone may."""
        return RekeyReply.model_validate(await service.rekey(ctx, holder_for(ctx), fresh=body.fresh))


def _add_uses(router: APIRouter, references: References) -> None:
    """Who may have a secret, and its end."""

    @router.post("/grant", summary="Grant a secret", operation_id="grant_secret", responses=shows(_ELSEWHERE))
    async def post_grant(ctx: CtxDep, body: GrantRequest) -> SecretReply:
        """Let connectors have it. One of the providers env, file, vault is made known by its first grant."""
        return _reply(await service.grant_secret(ctx, body.name, body.connectors, environment=body.environment))

    @router.post(
        "/ungrant",
        summary="Take a grant back",
        operation_id="ungrant_secret",
        responses=shows({**KEPT, "connectors": []}),
    )
    async def post_ungrant(ctx: CtxDep, body: UngrantRequest) -> SecretReply:
        """Let connectors have it no more, within seconds."""
        return _reply(await service.ungrant_secret(ctx, body.name, body.connectors))

    @router.post("/remove", summary="Remove a secret", operation_id="remove_secret")
    async def post_remove(ctx: CtxDep, body: RemoveRequest) -> SecretReply:
        """Erase a secret, or a previous version of it; it is shown as it was before."""
        return _reply(await service.remove_secret(ctx, references, body.name, force=body.force))
