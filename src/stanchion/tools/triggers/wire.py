"""What the routes of triggers take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import Field

from stanchion.http import Model, Reply, example
from stanchion.tools.triggers.rules import DEDUPE_CHARS_MAX, trigger_of
from stanchion.tools.triggers.types import Delivery, LiveTrigger, Outcome, Receipt, SourceKind, Trigger, Verdict

_RUN: Final = "019a5e7a-3c8e-7d3a-8a49-0d3c1f6b2a77"
_EVENT: Final[dict[str, Any]] = {"type": "order.placed", "data": {"id": "A-17", "total": "120.00"}}
_TRIGGER: Final[dict[str, Any]] = {
    "name": "order-placed",
    "version": 2,
    "digest": "sha256:" + "3c" * 32,
    "owner": "sales",
    "description": "Orders of the shop.",
    "blueprint": "check-order",
    "source": "webhook",
    "url": "/api/hooks/default/order-placed",
    "secret": "secret://local/hooks/shop",
    "tolerance_s": 300.0,
    "headers": ["x-shop-topic"],
    "when": "event.type == 'order.placed'",
    "input": {"order": "${event.data.id}"},
    "dedupe": "${event.data.id}",
}


class TriggerReply(Reply):
    """A live trigger. `url`: where its messages go."""

    model_config = example(_TRIGGER)

    name: str
    version: int
    digest: str
    owner: str
    description: str
    blueprint: str
    source: SourceKind
    url: str
    secret: str | None
    tolerance_s: float | None
    headers: list[str]
    when: str | None
    input: Any
    dedupe: Any

    @classmethod
    def of(cls, tenant: str, one: Trigger) -> TriggerReply:
        """As people see it."""
        webhook = one.webhook
        return cls(
            name=one.name,
            version=one.version,
            digest=one.digest,
            owner=one.owner,
            description=one.description,
            blueprint=one.blueprint,
            source=one.source,
            url=f"/api/triggers/{one.name}/events" if webhook is None else f"/api/hooks/{tenant}/{one.name}",
            secret=None if webhook is None else str(webhook.secret),
            tolerance_s=None if webhook is None else webhook.tolerance_s,
            headers=[] if webhook is None else list(webhook.headers),
            when=None if one.when is None else one.when.source,
            input=one.input.value,
            dedupe=one.dedupe.value,
        )


class TriggerDetailReply(TriggerReply):
    """A live trigger, with what it takes and who released it."""

    model_config = example(
        {**_TRIGGER, "event": {"type": "object"}, "released_at": "2026-11-22T09:30:12.104212Z", "released_by": "ada"}
    )

    event: dict[str, Any]
    released_at: datetime
    released_by: str

    @classmethod
    def shown(cls, tenant: str, live: LiveTrigger) -> TriggerDetailReply:
        """With everything."""
        one = trigger_of(live)
        known = TriggerReply.of(tenant, one).model_dump()
        return cls(**known, event=dict(one.event), released_at=live.released_at, released_by=live.released_by)


class ReceiptReply(Reply):
    """What came of a message. A duplicate gets the answer that the first one got."""

    model_config = example({"started": True, "run_id": _RUN, "reason": ""})

    started: bool
    run_id: UUID | None
    reason: str

    @classmethod
    def of(cls, one: Receipt) -> ReceiptReply:
        """As the sender sees it."""
        return cls(started=one.run_id is not None, run_id=one.run_id, reason=one.reason)


class EventBody(Model):
    """An event. `id` is the message's: the same when it is sent again."""

    model_config = example({"id": "A-17", "event": _EVENT})

    id: str = Field(default="", max_length=DEDUPE_CHARS_MAX)
    event: Any


class TryBody(Model):
    """A sample message."""

    model_config = example({"event": _EVENT, "headers": {"webhook-id": "msg_1"}})

    event: Any
    headers: dict[str, str] = Field(default_factory=dict[str, str], max_length=50)


class TryReply(Reply):
    """What a trigger would make of it. `input` is with the Blueprint's defaults; null where nothing would be started."""

    model_config = example({"starts": True, "reason": "", "input": {"order": "A-17"}, "dedupe": "A-17"})

    starts: bool
    reason: str
    input: Any
    dedupe: str

    @classmethod
    def of(cls, one: Verdict) -> TryReply:
        """As people see it."""
        return cls(starts=not one.reason, reason=one.reason, input=one.input, dedupe=one.dedupe)


class DeliveryReply(Reply):
    """A message that was believed. `dedupe` is the SHA-256 of what duplicates share."""

    model_config = example(
        {
            "id": "019a5e7a-3c8e-7d3a-8a49-0d3c1f6b2a78",
            "trigger": "order-placed",
            "version": 2,
            "source": "webhook",
            "received_at": "2026-11-22T09:30:12.104212Z",
            "dedupe": "5d" * 32,
            "outcome": "started",
            "reason": "",
            "run_id": _RUN,
        }
    )

    id: UUID
    trigger: str
    version: int
    source: SourceKind
    received_at: datetime
    dedupe: str
    outcome: Outcome
    reason: str
    run_id: UUID | None

    @classmethod
    def of(cls, one: Delivery) -> DeliveryReply:
        """As kept."""
        return cls.model_validate(one)
