"""The Ctx of a request. `web` authenticates and leaves it in the ASGI scope; routes read it from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from fastapi import Depends, Request

from stanchion.base import Unauthenticated
from stanchion.context import Ctx

# Keys of the ASGI scope, written by `web`'s middleware.
CTX_KEY: Final = "stanchion.ctx"
REQUEST_ID_KEY: Final = "stanchion.request_id"


def current_ctx(request: Request) -> Ctx:
    """The authenticated Ctx of this request. Raises Unauthenticated `auth.required` if no middleware left one (I11)."""
    ctx = request.scope.get(CTX_KEY)
    if not isinstance(ctx, Ctx):
        raise Unauthenticated(
            "auth.required",
            "This needs a credential and the request carries none.",
            hint="Send `Authorization: Bearer <api key>`, or sign in for a session.",
        )
    return ctx


def request_id_of(scope: Mapping[str, Any]) -> str:
    """The request id in an ASGI scope, empty where none was given."""
    return cast("str", scope.get(REQUEST_ID_KEY, ""))


CtxDep = Annotated[Ctx, Depends(current_ctx)]
