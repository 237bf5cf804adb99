"""A process hears of what its own requests have changed before their answers leave."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from stanchion.http.telling import telling


@pytest.mark.parametrize(("method", "path", "told"), [("GET", "/it", 0), ("POST", "/it", 1), ("POST", "/broken", 1)])
async def test_every_request_that_may_have_changed_something_is_told(method: str, path: str, told: int) -> None:
    calls: list[None] = []
    router = APIRouter(route_class=telling(lambda: calls.append(None)))

    @router.get("/it")
    async def get() -> int:
        return len(calls)

    @router.post("/it")
    async def post() -> int:
        return len(calls)

    @router.post("/broken")
    async def post_broken() -> int:
        raise RuntimeError("after its commit")

    app = FastAPI()
    app.include_router(router)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.request(method, path)
    assert len(calls) == told
