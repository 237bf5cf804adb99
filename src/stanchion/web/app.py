"""The ASGI application of the web process: the domains' routes behind one set of bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from stanchion import __version__
from stanchion.context import Env
from stanchion.http import install_problem_handlers
from stanchion.identity import Authenticator
from stanchion.web import health, operations, pages
from stanchion.web.access import Access
from stanchion.web.health import Board, Dependency
from stanchion.web.middleware import InputBounds, RequestScope
from stanchion.web.openapi import install_openapi
from stanchion.web.operations import Exposition, Gauge
from stanchion.web.pages import Counter
from stanchion.web.settings import WebSettings


def create_app(
    env: Env,
    routers: Sequence[APIRouter],
    *,
    authenticator: Authenticator,
    settings: WebSettings | None = None,
    gauges: Sequence[Gauge] = (),
    dependencies: Sequence[Dependency] = (),
    counters: Sequence[Counter] = (),
    exposition: Exposition | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """Put the application together.

    Args:
        env: the process's Env, its database open (or opened by `lifespan`).
        routers: the domains' routes; health, metrics, `/` and `/sign-in` are added here.
        authenticator: turns credentials into Actors.
        settings: bounds; the defaults if None.
        gauges: read into the registry when /metrics is asked for.
        dependencies: shown by /health/dependencies beside the database and its schema.
        counters: lines of the front page.
        exposition: what /metrics says; by default this process's own series.
        lifespan: what to do before the first and after the last request.
    """
    settings = settings or WebSettings()
    app = FastAPI(
        title="Stanchion",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        lifespan=lifespan,
    )
    install_problem_handlers(app)
    for router in (
        *routers,
        health.build_router(Board(env, dependencies)),
        operations.build_router(env, gauges, exposition),
        pages.build_router(env, authenticator, settings, counters),
    ):
        app.include_router(router)
    install_openapi(app)
    # The one added last is the outermost: scope, then access, then the body, then the routes.
    layers: list[tuple[Any, dict[str, Any]]] = [
        (InputBounds, {"settings": settings}),
        (Access, {"env": env, "authenticator": authenticator, "settings": settings}),
        (RequestScope, {"env": env, "settings": settings}),
    ]
    for layer, options in layers:
        app.add_middleware(layer, **options)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
