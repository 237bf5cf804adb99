"""HTTP: /api/triggers for those who are known, /api/hooks for senders of signed webhooks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from stanchion.artifacts.routes import NamePath
from stanchion.base import LimitExceeded
from stanchion.context import Env
from stanchion.http import CtxDep, Page, PageDep, request_id_of
from stanchion.telemetry import current_traceparent
from stanchion.tools.triggers import service, wire
from stanchion.tools.triggers.types import Outcome

_Word = Annotated[str, Path(max_length=200, description="As the trigger's `url` has it.")]
_OutcomeQuery = Annotated[Outcome | None, Query(description="Only those that came to this.")]


def build_router(env: Env, means: service.Means) -> APIRouter:
    """The routes of triggers."""
    router = APIRouter(tags=["triggers"])
    _add_reads(router, means)
    _add_messages(router, env, means)
    return router


def _add_reads(router: APIRouter, means: service.Means) -> None:
    @router.get("/api/triggers", summary="List triggers", operation_id="list_triggers")
    async def get_triggers(ctx: CtxDep, page: PageDep) -> Page[wire.TriggerReply]:
        """The live triggers, by name."""
        found = await service.list_triggers(ctx, page)
        return Page(items=[wire.TriggerReply.of(ctx.tenant, one) for one in found.items], next=found.next)

    @router.get("/api/triggers/{name}", summary="Show a trigger", operation_id="show_trigger")
    async def get_trigger(ctx: CtxDep, name: NamePath) -> wire.TriggerDetailReply:
        """The live version."""
        return wire.TriggerDetailReply.shown(ctx.tenant, await service.show_trigger(ctx, name))

    @router.get("/api/triggers/{name}/deliveries", summary="List deliveries", operation_id="list_trigger_deliveries")
    async def get_deliveries(
        ctx: CtxDep, name: NamePath, page: PageDep, outcome: _OutcomeQuery = None
    ) -> Page[wire.DeliveryReply]:
        """What came of the messages that were believed, newest first; kept for a week."""
        found = await service.list_deliveries(ctx, name, page, outcome=outcome)
        return Page(items=[wire.DeliveryReply.of(one) for one in found.items], next=found.next)

    @router.post("/api/triggers/{name}/test", summary="Try a message", operation_id="test_trigger")
    async def post_test(ctx: CtxDep, name: NamePath, body: wire.TryBody) -> wire.TryReply:
        """Put a sample message through filter and mapping. Starts nothing."""
        return wire.TryReply.of(await service.try_message(ctx, means, name, body.event, body.headers))


def _add_messages(router: APIRouter, env: Env, means: service.Means) -> None:
    @router.post("/api/triggers/{name}/events", status_code=202, summary="Send an event", operation_id="fire_trigger")
    async def post_event(ctx: CtxDep, name: NamePath, body: wire.EventBody, response: Response) -> wire.ReceiptReply:
        """Send an event with an API key. The same `id` (or dedupe value) again gives the same run."""
        return _answered(response, await service.fire(ctx, means, name, body.event, body.id))

    @router.post(
        "/api/hooks/{tenant}/{name}", status_code=202, summary="Deliver a webhook", operation_id="deliver_webhook"
    )
    async def post_hook(request: Request, response: Response, tenant: _Word, name: _Word) -> wire.ReceiptReply:
        """Deliver a webhook, signed as Standard Webhooks says; no API key. The same message again gives the same run."""
        body = await request.body()
        if len(body) > service.BODY_BYTES_MAX:
            raise LimitExceeded(
                "request.too_large",
                f"The body has more than {service.BODY_BYTES_MAX} bytes.",
                hint="Send a reference to the data.",
                retryable=False,
                limit_bytes=service.BODY_BYTES_MAX,
            )
        names = request.headers.keys()
        headers = {key: request.headers[key] for key in names if len(request.headers.getlist(key)) == 1}
        made = await service.receive(
            env,
            means,
            tenant,
            name,
            headers=headers,
            body=body,
            address=request.client.host if request.client is not None else "local",
            traceparent=current_traceparent(),
            request_id=request_id_of(request.scope),
        )
        return _answered(response, made)


def _answered(response: Response, made: service.Receipt) -> wire.ReceiptReply:
    if made.run_id is not None:
        response.headers["Location"] = f"/api/runs/{made.run_id}"
    return wire.ReceiptReply.of(made)
