"""The Blueprints of the workload, compiled once per OS process, and what each must give for an input.

What a Blueprint gives is computed here a second time, by hand and without the engine: `ORDER` says in which order the
paths of a run may be executed, the functions of `results.py` what comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from textwrap import dedent
from typing import Any, Final

from stanchion.approvals import GovernVerb
from stanchion.base import Json, NotFound, digest
from stanchion.blueprints import LOGIC_GATE, TRANSFORM, Document, compile_document, read_document
from stanchion.context import Ctx
from stanchion.runs import Pin, Pinned, PinSet, Resolved
from stanchion.tools import LOOKUP, PUSH
from tests.simulation.work import SIGNAL, WORK

LIMIT: Final = 500

ERRAND = """
    blueprint: errand
    owner: simulation
    input:
      type: object
      required: [order, n, fails, fatal]
      additionalProperties: false
      properties: {order: {type: string}, n: {type: integer}, fails: {type: integer}, fatal: {type: boolean}}
    steps:
      - id: third
        if: input.n % 3 == 0
        transform: {value: "${input.n}"}
      - id: first
        transform: {value: "${input.n * 2}"}
      - id: odd
        if: input.n % 2 == 1
        transform: {value: "${steps.first.value + 1}"}
      - id: shaky
        work: {name: shaky, value: "${steps.first.value}", fails: "${input.fails}", fatal: "${input.fatal}", order: "${input.order}"}
        retry: {attempts: 3, backoff: exponential, initial: 300ms}
        timeout: 20s
      - id: signed
        signal: {name: signed}
      - id: way
        logic_gate:
          if: steps.shaky.value > 60
          then:
            - id: high
              work: {name: high, value: "${steps.shaky.value}"}
            - id: higher
              transform: {value: "${steps.high.value + 1}"}
          else:
            - id: low
              work: {name: low, value: "${steps.shaky.value}"}
      - id: last
        work: {name: last, value: "${steps.shaky.value}"}
    output: {order: "${input.order}", value: "${steps.last.value}"}
"""

PAYMENT = """
    blueprint: payment
    owner: simulation
    input:
      type: object
      required: [order]
      additionalProperties: false
      properties: {order: {type: string}}
    steps:
      - id: asked
        lookup: {connector: bank, resource: orders, key: "${input.order}"}
        retry: {attempts: 4, backoff: exponential, initial: 200ms}
      - id: amount
        transform: {value: {order: "${input.order}", place: "payment", amount: "${steps.asked.record.amount}", tenant: "${steps.asked.record.tenant}"}}
      - id: size
        logic_gate:
          if: steps.asked.record.amount > 500
          then:
            - id: consent
              govern:
                policy: consent
                facts: {order: "${input.order}", amount: "${steps.asked.record.amount}"}
                show: ["${steps.amount.value}"]
                on_expire: skip
            - id: pay_large
              push: {connector: bank, resource: probed, record: "${steps.amount.value}"}
              retry: {attempts: 4, backoff: exponential, initial: 300ms}
          else:
            - id: pay_small
              push: {connector: bank, resource: keyed, record: "${steps.amount.value}"}
              retry: {attempts: 4, backoff: constant, initial: 500ms}
      - id: filed
        work: {name: filed, value: "${steps.asked.record.amount}"}
    output: {order: "${input.order}", amount: "${steps.filed.value}"}
"""

PARCEL = """
    blueprint: parcel
    owner: simulation
    input:
      type: object
      required: [order, parts]
      additionalProperties: false
      properties:
        order: {type: string}
        parts:
          type: array
          items:
            type: object
            required: [n, fails, fatal]
            additionalProperties: false
            properties: {n: {type: integer}, fails: {type: integer}, fatal: {type: boolean}}
    steps:
      - id: pack
        for_each: {in: input.parts, as: part, concurrency: 4, on_item_error: continue, max_failures: 2}
        work: {name: pack, value: "${part.n}", fails: "${part.fails}", fatal: "${part.fatal}"}
        retry: {attempts: 3, backoff: exponential, initial: 200ms}
      - id: send
        for_each: {in: "steps.pack.succeeded.filter(p, p.output.value % 4 == 0)", as: packed, concurrency: 3, on_item_error: stop}
        push:
          connector: bank
          resource: natural
          record: {order: "${input.order}", place: "parcel", amount: "${packed.output.value}", tenant: ""}
        retry: {attempts: 6, backoff: exponential, initial: 300ms}
    output: {order: "${input.order}", sent: "${size(steps.send.succeeded)}", lost: "${size(steps.pack.failed)}"}
"""

BATCH = """
    blueprint: batch
    owner: simulation
    input:
      type: object
      required: [order, lines]
      additionalProperties: false
      properties:
        order: {type: string}
        lines:
          type: array
          items:
            type: object
            required: [line, amount, fatal]
            additionalProperties: false
            properties: {line: {type: string}, amount: {type: integer}, fatal: {type: boolean}}
    steps:
      - id: begun
        transform: {value: "${size(input.lines)}"}
      - id: each
        for_each:
          in: input.lines
          as: line
          concurrency: 3
          on_item_error: continue
          max_failures: 1
          steps:
            - id: posting
              transform: {value: {order: "${line.line}", place: "batch", amount: "${line.amount}", tenant: ""}}
            - id: checked
              work: {name: checked, value: "${line.amount}", fatal: "${line.fatal}"}
            - id: agreed
              govern:
                policy: consent
                facts: {order: "${line.line}", amount: "${line.amount}"}
                show: ["${steps.posting.value}"]
                on_reject: skip
                on_expire:
                  - id: reminded
                    work: {name: reminded, value: "${line.amount}"}
            - id: post
              push: {connector: bank, resource: keyed, record: "${steps.posting.value}"}
              retry: {attempts: 5, backoff: exponential, initial: 300ms}
          output: {line: "${line.line}", amount: "${steps.checked.value}"}
      - id: summed
        work: {name: summed, value: "${size(steps.each.succeeded)}"}
    output: {order: "${input.order}", value: "${steps.summed.value}", failed: "${size(steps.each.failed)}"}
"""

LETTER = """
    blueprint: letter
    owner: simulation
    input:
      type: object
      required: [order, pages]
      additionalProperties: false
      properties: {order: {type: string}, pages: {type: integer}}
    steps:
      - id: written
        work: {name: written, value: "${input.pages}"}
      - id: posted
        push: {connector: bank, resource: plain, record: {order: "${input.order}", place: "letter", amount: "${steps.written.value}", tenant: ""}}
        retry: {attempts: 5, backoff: constant, initial: 400ms}
      - id: noted
        transform: {value: "${steps.written.value + 1}"}
    output: {order: "${input.order}", value: "${steps.noted.value}"}
"""

# The order in which a run may execute its paths; a path without an entry here may never be executed.
ORDER: Final[Mapping[str, tuple[str, ...]]] = {
    "errand": ("third", "first", "odd", "shaky", "signed", "way/then/high", "way/then/higher", "way/else/low", "last"),
    "payment": ("asked", "amount", "size/then/consent", "size/then/pay_large", "size/else/pay_small", "filed"),
    "parcel": ("pack", "send"),
    "batch": (
        "begun",
        "each",
        "each/posting",
        "each/checked",
        "each/agreed",
        "each/agreed/on_expire/reminded",
        "each/post",
        "summed",
    ),
    "letter": ("written", "posted", "noted"),
}

_FIELDS: Final[Json] = {
    "order": {"type": "string"},
    "place": {"type": "string"},
    "amount": {"type": "integer"},
    "tenant": {"type": "string"},
}


def _resource(idempotency: str) -> dict[str, Json]:
    return {"key": "order", "fields": _FIELDS, "push": {"idempotency": idempotency}}


BANK: Final[dict[str, Json]] = {
    "connector": "bank",
    "owner": "simulation",
    "adapter": "simulated",
    "environment": "local",
    "timeout": "3s",
    "resources": {
        "orders": {"key": "order", "fields": _FIELDS, "lookup": {}},
        "keyed": _resource("key"),
        "natural": _resource("natural"),
        "probed": _resource("probe"),
        "plain": _resource("none"),
    },
}

CONSENT: Final = """
    policy: consent
    type: approval
    owner: simulation
    facts:
      type: object
      required: [order, amount]
      additionalProperties: false
      properties: {order: {type: string}, amount: {type: integer}}
    when: facts.amount > 500
    ask: {roles: [approver], forbid_self: true, expires: 12s}
"""


class Resolver:
    """Fills `runs.PinResolver` from what was compiled here."""

    def __init__(self) -> None:
        policy = read_document(Document(path="consent.yaml", source=dedent(CONSENT))).body
        assert isinstance(policy, dict)
        bodies: dict[tuple[str, str], Mapping[str, Json]] = {("connector", "bank"): BANK, ("policy", "consent"): policy}
        verbs: dict[str, Any] = {
            spec.verb: spec for spec in (TRANSFORM, LOGIC_GATE, GovernVerb(), LOOKUP, PUSH, WORK, SIGNAL)
        }
        shared = [Pin(kind=kind, name=name, version=1, digest=digest(body)) for (kind, name), body in bodies.items()]
        self.live: dict[str, Resolved] = {}
        self.pinned: dict[str, Pinned] = {}
        for source in (ERRAND, PAYMENT, PARCEL, BATCH, LETTER):
            text = dedent(source)
            program, issues = compile_document(
                Document(path="simulation.yaml", source=text),
                verbs=verbs,
                lookup=lambda kind, name: bodies.get((kind, name)),
            )
            assert program is not None, issues
            pin = Pin(kind="blueprint", name=program.name, version=1, digest=digest(text))
            pins = PinSet(digest=digest([pin.digest, *(p.digest for p in shared)]), pins=(pin, *shared))
            self.live[program.name] = Resolved(blueprint=pin, pins=pins, program=program)
            self.pinned[pins.digest] = Pinned(pins=pins, program=program, bodies=bodies)

    async def resolve(self, ctx: Ctx, blueprint: str) -> Resolved:
        if blueprint not in self.live:
            raise NotFound("blueprint.unknown", f"No Blueprint {blueprint!r}.")
        return self.live[blueprint]

    async def load(self, tenant: str, pins: str) -> Pinned:
        if pins not in self.pinned:
            raise NotFound("pins.unknown", f"No pin set {pins}.")
        return self.pinned[pins]


@lru_cache(maxsize=1)
def resolver() -> Resolver:
    """The one resolver of this OS process."""
    return Resolver()
