"""The fields of triggers, what becomes of a message, and its bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.tables import Field, code, fields, table

from stanchion.tools.triggers import rules, service
from stanchion.tools.triggers.types import OUTCOMES

_TRIGGER = {
    "trigger": Field("order-placed", "The name; webhooks come to `/api/hooks/TENANT/NAME`."),
    "description": Field("Orders of the shop.", "What it is for.", "empty"),
    "owner": Field("sales", "The team that answers for it."),
    "labels": Field("{team: sales}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do; policy says which releases a level permits.", "`low`"),
    "blueprint": Field("check-order", "What is started, its live version; it must be live or in the same apply."),
    "source": Field("{webhook: {…}}", "Where messages come from: exactly one."),
    "source.webhook": Field("{scheme: standard-webhooks, secret: …}", "Signed, without an API key.", "–"),
    "source.webhook.scheme": Field("standard-webhooks", "How it is signed."),
    "source.webhook.secret": Field("secret://local/hooks/shop", "The secret, `whsec_…`, as a reference. It is granted to `trigger:NAME`."),
    "source.webhook.tolerance": Field("5m", "How old, and how far ahead, a signature may be; at most an hour.", code(rules.TOLERANCE_DEFAULT)),
    "source.webhook.headers": Field("[x-shop-topic]", "Headers that expressions read besides. The signature does not cover them.", "none"),
    "source.event": Field("{}", "Events with an API key: `POST /api/triggers/NAME/events`, permission `triggers.fire`.", "–"),
    "event": Field("{type: object, properties: {…}}", "JSON Schema of the payload.", "anything"),
    "when": Field("event.type == 'order.placed'", "Which messages start a run.", "all"),
    "input": Field('{order: "${event.data.id}"}', "The run's input; its types are checked against the Blueprint's at publish.", "`{}`"),
    "dedupe": Field('"${event.data.id}"', "By what duplicates are known: a text, or a whole number.", "the message's id (`webhook-id`)"),
}  # fmt: skip
_OUTCOMES = {
    "started": ("202 with `run_id`", "It started a run."),
    "repeated": ("202 with the same `run_id`", "Its run was there already."),
    "filtered": ("202 with `started: false`", "`when` is false."),
    "failed": (
        "422, or 503 `hook.paused`",
        "It does not fit `event`, filter or mapping failed, or the run may not start now: a kill, a drain.",
    ),
}


def _outcomes() -> str:
    if missing := set(OUTCOMES) ^ _OUTCOMES.keys():
        raise SystemExit(f"triggers: the outcomes differ: {missing}")
    rows = [(code(name), *_OUTCOMES[name]) for name in OUTCOMES]
    rows.append(
        (
            "–",
            "401 `hook.refused`",
            "It is not believed. Nothing is noted; `stanchion_trigger_refusals_total` counts why.",
        )
    )
    return table(("outcome", "answer", "what it means"), rows)


def _bounds() -> str:
    rows = [
        ("body of a webhook", f"{service.BODY_BYTES_MAX // 1024} KiB"),
        (
            "messages of one address, to each web process",
            f"{service.PER_ADDRESS.per_s:g} a second, {service.PER_ADDRESS.burst} at once",
        ),
        (
            "believed messages of one trigger, to each web process",
            f"{service.PER_TRIGGER.per_s:g} a second, {service.PER_TRIGGER.burst} at once",
        ),
        ("deliveries are kept", f"{service.KEPT_DAYS} days, of each trigger the newest {service.KEPT_MAX:,}"),
        ("`dedupe`, a header that is read", f"{rules.DEDUPE_CHARS_MAX} characters"),
    ]
    return table(("bound", "is"), rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "triggers.fields": lambda: fields(rules.SCHEMA, _TRIGGER, "trigger"),
    "triggers.outcomes": _outcomes,
    "triggers.bounds": _bounds,
}
