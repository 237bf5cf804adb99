"""HTTP: who am I, tenants, principals, API keys, sign-in links, signing out. The sign-in page itself is `web`'s."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import RedirectResponse

from stanchion.http import CtxDep, Page, PageDep, clear_session_cookie, shows
from stanchion.identity import service, sessions
from stanchion.identity.authenticate import Authenticator
from stanchion.identity.types import ACTIONS
from stanchion.identity.wire import (
    DISABLED,
    REVOKED_KEY,
    REVOKED_ROLE,
    KeyReply,
    NewKeyBody,
    NewKeyReply,
    NewPrincipalBody,
    NewTenantBody,
    NewTenantReply,
    PrincipalReply,
    RoleBody,
    SignInLinkBody,
    SignInLinkReply,
    SignOutReply,
    TenantReply,
    TenantsReply,
    WhoamiReply,
)

Name = Annotated[str, Path(min_length=1, max_length=127, pattern=r"^[^\x00]+$")]
NameFilter = Annotated[str | None, Query(min_length=1, max_length=127, pattern=r"^[^\x00]+$")]


def build_router(authenticator: Authenticator, *, public_url: str = "") -> APIRouter:
    """The routes of identity. `public_url` begins sign-in links; without it the request's own base URL does."""
    router = APIRouter(tags=["identity"])
    _add_self(router, authenticator)
    _add_tenants(router, authenticator)
    _add_principals(router)
    _add_keys(router, authenticator)
    _add_sign_in_links(router, authenticator, public_url)
    return router


def _add_self(router: APIRouter, authenticator: Authenticator) -> None:
    @router.get("/api/whoami", summary="Who this credential is")
    async def whoami(ctx: CtxDep) -> WhoamiReply:
        """The principal, its roles, and every action that this very credential is permitted."""
        principal = await service.whoami(ctx)
        return WhoamiReply(
            tenant=ctx.tenant,
            principal=PrincipalReply.model_validate(principal),
            credential=ctx.actor.credential,
            environment=ctx.env.environment.name,
            production=ctx.env.environment.production,
            scopes=sorted(ctx.actor.scopes),
            actions=sorted(service.permitted(ctx, ACTIONS)),
        )

    @router.post("/sign-out", summary="End the session of this request", response_model=SignOutReply)
    async def sign_out(ctx: CtxDep, request: Request, response: Response) -> SignOutReply | Response:
        """Ends the session and drops its cookie. A request made with an API key has none to end.

        A browser's form is sent on to the sign-in page (303).
        """
        ended = await sessions.end_session(ctx)
        authenticator.forget(ctx.actor)
        if "text/html" in request.headers.get("accept", ""):
            response = RedirectResponse("/sign-in", status_code=303)
            clear_session_cookie(response)
            return response
        clear_session_cookie(response)
        return SignOutReply(signed_out=ended)


def _add_tenants(router: APIRouter, authenticator: Authenticator) -> None:
    @router.get("/api/tenants", summary="List tenants")
    async def list_tenants(ctx: CtxDep) -> TenantsReply:
        """One's own tenant; all of them for those who may make tenants. By name, at most 1,000."""
        return TenantsReply(items=[TenantReply.model_validate(t) for t in await service.list_tenants(ctx)])

    @router.post("/api/tenants", status_code=201, summary="Make a tenant")
    async def create_tenant(ctx: CtxDep, body: NewTenantBody) -> NewTenantReply:
        """Makes the tenant, its first admin and the admin's API key, which is shown this once."""
        made = await sessions.create_tenant(
            ctx, authenticator.pepper, name=body.name, display_name=body.display_name, admin=body.admin
        )
        return NewTenantReply.model_validate(made)


def _add_principals(router: APIRouter) -> None:
    @router.get("/api/principals", summary="List principals")
    async def list_principals(ctx: CtxDep, page: PageDep) -> Page[PrincipalReply]:
        """The tenant's principals, newest first."""
        found = await service.list_principals(ctx, page)
        return Page(items=[PrincipalReply.model_validate(p) for p in found.items], next=found.next)

    @router.post("/api/principals", status_code=201, summary="Make a principal")
    async def create_principal(ctx: CtxDep, body: NewPrincipalBody) -> PrincipalReply:
        """Makes a principal of this tenant. It can act once it has a key or a sign-in link."""
        made = await service.create_principal(
            ctx, name=body.name, kind=body.kind, display_name=body.display_name, roles=body.roles
        )
        return PrincipalReply.model_validate(made)

    @router.get("/api/principals/{name}", summary="Show a principal")
    async def get_principal(ctx: CtxDep, name: Name) -> PrincipalReply:
        """One principal of this tenant."""
        return PrincipalReply.model_validate(await service.get_principal(ctx, name))

    @router.post("/api/principals/{name}/grant", summary="Grant a role")
    async def grant_role(ctx: CtxDep, name: Name, body: RoleBody) -> PrincipalReply:
        """Gives the principal a role; effective within a second."""
        return PrincipalReply.model_validate(await service.grant_role(ctx, name, body.role))

    @router.post("/api/principals/{name}/revoke", summary="Revoke a role", responses=shows(REVOKED_ROLE))
    async def revoke_role(ctx: CtxDep, name: Name, body: RoleBody) -> PrincipalReply:
        """Takes a role; effective within a second. The tenant's last admin stays one."""
        return PrincipalReply.model_validate(await service.revoke_role(ctx, name, body.role))

    @router.post("/api/principals/{name}/disable", summary="Disable a principal", responses=shows(DISABLED))
    async def disable_principal(ctx: CtxDep, name: Name) -> PrincipalReply:
        """Ends all that the principal can do, within a second. The tenant's last admin cannot be disabled."""
        return PrincipalReply.model_validate(await service.disable_principal(ctx, name))


def _add_keys(router: APIRouter, authenticator: Authenticator) -> None:
    @router.get("/api/keys", summary="List API keys")
    async def list_keys(ctx: CtxDep, page: PageDep, principal: NameFilter = None) -> Page[KeyReply]:
        """The tenant's API keys without their secrets, newest first."""
        found = await service.list_keys(ctx, page, principal=principal)
        return Page(items=[KeyReply.model_validate(k) for k in found.items], next=found.next)

    @router.post("/api/keys", status_code=201, summary="Make an API key")
    async def create_key(ctx: CtxDep, body: NewKeyBody) -> NewKeyReply:
        """Makes a key; its text is in this answer and nowhere else."""
        made = await service.create_key(
            ctx,
            authenticator.pepper,
            principal=body.principal,
            label=body.label,
            scopes=body.scopes,
            expires_at=body.expires_at,
        )
        return NewKeyReply.model_validate(made)

    @router.post("/api/keys/{id}/revoke", summary="Revoke an API key", responses=shows(REVOKED_KEY))
    async def revoke_key(ctx: CtxDep, id: UUID) -> KeyReply:  # noqa: A002 - the name in the path
        """Revokes a key; it fails on every process within a second."""
        revoked = await service.revoke_key(ctx, id)
        authenticator.forget_key(revoked.id)
        return KeyReply.model_validate(revoked)


def _add_sign_in_links(router: APIRouter, authenticator: Authenticator, public_url: str) -> None:
    @router.post("/api/sign-in-links", status_code=201, summary="Make a one-time sign-in link")
    async def create_sign_in_link(ctx: CtxDep, request: Request, body: SignInLinkBody) -> SignInLinkReply:
        """Makes a link that signs that principal in once, within 15 minutes."""
        made = await sessions.create_sign_in_link(ctx, authenticator.pepper, body.principal)
        base = (public_url or str(request.base_url)).rstrip("/")
        return SignInLinkReply(
            principal=made.principal, url=f"{base}/sign-in?token={made.token}", expires_at=made.expires_at
        )
