"""GET /metrics: this process's series in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fastapi import APIRouter, Response

from stanchion.context import Env
from stanchion.http import CtxDep

# Reads the present state of a domain into gauges (queue depth, pending approvals) when somebody looks.
Gauge = Callable[[Env], Awaitable[None]]
# All series in Prometheus' text format: this process's, or those of its siblings too.
Exposition = Callable[[], Awaitable[bytes]]

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_EXAMPLE: Final = (
    "# HELP stanchion_queue_depth Runs per queue and state.\n"
    "# TYPE stanchion_queue_depth gauge\n"
    'stanchion_queue_depth{queue="default",state="PENDING"} 0.0\n'
)


def build_router(env: Env, gauges: Sequence[Gauge], expose: Exposition | None = None) -> APIRouter:
    """GET /metrics, for a credential that is permitted `operations.read`."""
    router = APIRouter(tags=["operations"])

    @router.get(
        "/metrics",
        summary="Metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}}}},
    )
    async def metrics(ctx: CtxDep) -> Response:
        """Every series of the processes that share this machine's data folder. Needs `operations.read`: give a scraper a key of its own with that one scope."""
        ctx.require("operations.read")
        for read in gauges:
            await read(env)
        return Response(await expose() if expose else env.telemetry.expose(), media_type=_TEXT)

    return router
