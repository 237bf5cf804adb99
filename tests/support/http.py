"""A domain's routes without the rest of the web process: for route tests of domains."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
from fastapi import APIRouter, FastAPI

from stanchion.context import Ctx
from stanchion.http import CTX_KEY, REQUEST_ID_KEY, install_problem_handlers


def app_of(ctx: Ctx | Callable[[], Ctx], *routers: APIRouter):
    """An ASGI app of `routers` in which every request is made by `ctx`; problems are answered as in production."""
    app = FastAPI()
    install_problem_handlers(app)
    for router in routers:
        app.include_router(router)

    async def with_ctx(scope, receive, send) -> None:
        if scope["type"] == "http":
            scope[REQUEST_ID_KEY] = "req-test"
            scope[CTX_KEY] = dataclasses.replace(ctx() if callable(ctx) else ctx, request_id="req-test")
        await app(scope, receive, send)

    return with_ctx


@asynccontextmanager
async def client_of(app) -> AsyncIterator[httpx.AsyncClient]:
    """A client that speaks to `app` in this process."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        yield client
