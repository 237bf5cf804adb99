"""Routes that tell this process at once of what a request has changed, before their answer leaves."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


def telling(changed: Callable[[], None]) -> type[APIRoute]:
    """A class of routes for an APIRouter: `changed` is called after each request that may change something, also one that failed.

    So whoever has the answer meets the change in the next request to this process; other processes hear of it in their time.
    """

    class Telling(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            if set(self.methods or ()) <= {"GET", "HEAD"}:
                return handle

            async def told(request: Request) -> Response:
                try:
                    return await handle(request)
                finally:
                    changed()

            return told

    return Telling
