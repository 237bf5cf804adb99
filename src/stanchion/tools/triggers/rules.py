"""Pure decisions of triggers: the document's schema, what it compiles to, what a message comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, cast

from stanchion.base import Invalid, Json, canonical, loads
from stanchion.blueprints import ABOUT_PROPERTIES, Schema, closed, duration_s, validate_value
from stanchion.expressions import compile_expression, compile_template
from stanchion.secrets import SecretRef
from stanchion.tools.triggers.types import LiveTrigger, Message, Trigger, Verdict, Webhook
from stanchion.tools.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER

NAME: Final = "^[a-z][a-z0-9-]{0,62}$"
TOLERANCE_DEFAULT: Final = "5m"
# A signature that is believed for longer than this is a replay waiting to happen.
TOLERANCE_S_MAX: Final = 3600.0
HEADERS_MAX: Final = 20
# Characters of what duplicates are known by, and of a header that expressions read.
DEDUPE_CHARS_MAX: Final = 1000
HEADER_CHARS_MAX: Final = 1000
# Always readable: both are signed. What else a request carries is not, and is read only where it is listed.
SIGNED_HEADERS: Final = (ID_HEADER, TIMESTAMP_HEADER)
# Never readable: they are credentials.
SECRET_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization", SIGNATURE_HEADER})
_COMPILED_MAX: Final = 512

SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "additionalProperties": False,
    "x-label": "field of a trigger",
    "required": ["trigger", "owner", "blueprint", "source"],
    "properties": {
        "trigger": {"type": "string", "pattern": NAME, "description": "Up to 63 small letters, digits and dashes."},
        "description": {"type": "string", "maxLength": 4000},
        "owner": {"type": "string", "minLength": 1, "maxLength": 200, "description": "the team that answers for it"},
        **ABOUT_PROPERTIES,
        "blueprint": {"type": "string", "pattern": NAME, "description": "The name of the Blueprint to start."},
        "source": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {
                "webhook": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["scheme", "secret"],
                    "properties": {
                        "scheme": {"type": "string", "enum": ["standard-webhooks"]},
                        "secret": {"type": "string", "maxLength": 500},
                        "tolerance": {"type": "string", "x-duration": True},
                        "headers": {
                            "type": "array",
                            "maxItems": HEADERS_MAX,
                            "uniqueItems": True,
                            "items": {
                                "type": "string",
                                "pattern": "^[a-z][a-z0-9-]{0,62}$",
                                "description": "The name of a header, in lower case.",
                            },
                        },
                    },
                },
                "event": {"type": "object", "additionalProperties": False, "properties": {}},
            },
        },
        "event": {"x-schema": True},
        "when": {
            "type": "string",
            "minLength": 1,
            "x-expression": True,
            "description": "a CEL expression over `event` and `headers`",
        },
        "input": {"type": "object", "x-template": True},
        "dedupe": {"type": "string", "minLength": 1, "maxLength": 1000, "x-template": True},
    },
}


def variable_of(header: str) -> str:
    """What expressions call a header: `x-shop-topic` is `headers.x_shop_topic`."""
    return header.lower().replace("-", "_")


def webhook_of(body: Mapping[str, Json]) -> Webhook | None:
    """The webhook of a checked document; None where events come with an API key."""
    said = cast("Mapping[str, Json]", body["source"]).get("webhook")
    if not isinstance(said, dict):
        return None
    tolerance = duration_s(str(said.get("tolerance", TOLERANCE_DEFAULT)))
    return Webhook(
        secret=SecretRef.parse(said["secret"], place=f"trigger {body.get('trigger')}, /source/webhook/secret"),
        tolerance_s=cast("float", tolerance),
        headers=tuple(str(one) for one in cast("list[Json]", said.get("headers", []))),
    )


def scope_of(body: Mapping[str, Json]) -> Schema:
    """What expressions of a trigger read: `event` as it is declared, and `headers`, each a text, empty if it did not come."""
    source = body.get("source")
    said = source.get("webhook") if isinstance(source, dict) else None
    listed = said.get("headers") if isinstance(said, dict) else None
    names = [*SIGNED_HEADERS, *(str(one) for one in (listed if isinstance(listed, list) else ()))]
    headers: Json = {variable_of(name): {"type": "string"} for name in names}
    return {
        "type": "object",
        "properties": {
            "event": cast("Json", event_schema(body)),
            "headers": {"type": "object", "properties": headers, "required": list(headers)},
        },
        "required": ["event", "headers"],
    }


def event_schema(body: Mapping[str, Json]) -> Schema:
    """The JSON Schema of the payload. Members that it does not declare are permitted and not read: a sender adds some."""
    declared = body.get("event")
    return declared if isinstance(declared, dict) else {}


def dedupe_source(body: Mapping[str, Json]) -> Json:
    """The template of what duplicates share: as written, else the message's id."""
    return body.get("dedupe", "${headers." + variable_of(ID_HEADER) + "}")


def trigger_of(live: LiveTrigger) -> Trigger:
    """Compile a published trigger; from memory for one that was seen before."""
    return _compiled(live.name, live.version, live.digest, canonical(cast("Json", dict(live.body))))


@lru_cache(maxsize=_COMPILED_MAX)
def _compiled(name: str, version: int, digest: str, encoded: bytes) -> Trigger:
    body = cast("dict[str, Json]", loads(encoded))
    scope, when = scope_of(body), body.get("when")
    where = f"trigger {name}, "
    return Trigger(
        name=name,
        version=version,
        digest=digest,
        owner=str(body["owner"]),
        description=str(body.get("description", "")),
        blueprint=str(body["blueprint"]),
        webhook=webhook_of(body),
        event=event_schema(body),
        when=None if when is None else compile_expression(str(when), scope, where=f"{where}/when"),
        input=compile_template(body.get("input", {}), scope, where=f"{where}/input"),
        dedupe=compile_template(dedupe_source(body), scope, where=f"{where}/dedupe"),
    )


def message_of(trigger: Trigger, event: Json, given: Mapping[str, str]) -> Message:
    """What expressions read of a request. `given`: its headers by name in lower case; what is not listed is left out."""
    listed = (*SIGNED_HEADERS, *(trigger.webhook.headers if trigger.webhook is not None else ()))
    headers = {variable_of(name): given.get(name, "") for name in listed}
    for name in listed:
        value = headers[variable_of(name)]
        if len(value) > HEADER_CHARS_MAX or "\x00" in value:
            raise Invalid(
                "trigger.bad_header",
                f"The header {name} has more than {HEADER_CHARS_MAX} characters, or one that no text can hold.",
                hint="Send what is large in the payload.",
            )
    return Message(event=event, headers=headers)


def judge(trigger: Trigger, message: Message) -> Verdict:
    """Filter, mapping and dedupe value of a message.

    Raises Invalid `trigger.bad_event` with `errors`, `trigger.when`, `trigger.bad_dedupe`; `expression.failed` with the
    expression's place.
    """
    faults = validate_value(trigger.event, message.event)
    if faults:
        raise Invalid(
            "trigger.bad_event",
            f"The payload does not fit trigger {trigger.name}, at {faults[0][0] or '/'}: {faults[0][1]}",
            hint=f"`event` of trigger {trigger.name} says what is taken.",
            errors=[{"pointer": pointer, "message": text} for pointer, text in faults[:20]],
        )
    scope: dict[str, Json] = {"event": message.event, "headers": cast("Json", dict(message.headers))}
    if trigger.when is not None:
        answer = trigger.when.evaluate(scope)
        if not isinstance(answer, bool):
            raise Invalid(
                "trigger.when",
                f"trigger {trigger.name}, /when: `{trigger.when.source}` gave neither true nor false.",
                hint="Compare the members of the event so that the expression is a boolean.",
            )
        if not answer:
            return Verdict(input=None, dedupe="", reason=f"`when` is false: {trigger.when.source}")
    return Verdict(input=trigger.input.render(scope), dedupe=_dedupe(trigger, scope))


def _dedupe(trigger: Trigger, scope: Mapping[str, Json]) -> str:
    value = trigger.dedupe.render(scope)
    plain = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not plain or len(plain) > DEDUPE_CHARS_MAX:
        raise Invalid(
            "trigger.bad_dedupe",
            f"trigger {trigger.name}, /dedupe: what duplicates are known by is no text of 1 to {DEDUPE_CHARS_MAX} characters.",
            hint="Send an id with each message, or let `dedupe` name a member that every payload has.",
        )
    return plain


def digest_of(dedupe: str) -> str:
    """What is kept of a dedupe value, and what the idempotency key of its run is made of."""
    return hashlib.sha256(dedupe.encode()).hexdigest()


def key_of(trigger: str, digest: str) -> str:
    """The idempotency key of the run that a trigger starts for one dedupe value."""
    return f"trigger:{trigger}:{digest}"


def input_of(body: Mapping[str, Json]) -> Schema:
    """The input schema of a Blueprint's document, closed as the Blueprint's own runs check it."""
    declared = body.get("input")
    return closed(declared) if isinstance(declared, dict) else closed({"type": "object", "properties": {}})
