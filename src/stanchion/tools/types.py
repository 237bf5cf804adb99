"""The nouns of tools: a connector, what it offers, and the envelope of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from stanchion.base import Json
from stanchion.blueprints import Schema

# The form of the envelope. Raise it when a field changes its meaning.
ENVELOPE_V = 1
# Bounds of one step's result (DESIGN §6: larger results will be record sets by reference).
RECORDS_MAX = 10_000
OUTPUT_BYTES_MAX = 1_048_576

Record = Mapping[str, "Json"]
Verb = Literal["fetch", "lookup", "push", "execute"]
Idempotency = Literal["key", "natural", "probe", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a resource can do, one of `fetch`, `lookup`, `push`; or an operation that EXECUTE performs.

    Attributes:
        parameters: declared parameters of a fetch or an EXECUTE, name -> schema of its value.
        effect: what a push does to the outside; reads are `read`.
        idempotency: how a repeated push is recognised (DESIGN §5, I5): `key`, the target itself refuses a second write
            under the key; `natural`, the same record written twice is one record; `probe`, the target can be asked;
            `none`, none of these: an outcome that was not seen is a person's to settle.
        reversible: whether what it does can be taken back; `undone_by`: the operation of the connector that does so.
        result: JSON Schema of what an EXECUTE gives.
        settings: the rest as the document has it, for the adapter.
    """

    verb: Verb
    parameters: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    effect: Literal["read", "write", "destructive"] = "read"
    idempotency: Idempotency = "none"
    reversible: bool = False
    undone_by: str = ""
    result: Schema = field(default_factory=dict[str, "Json"])
    settings: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """On whose behalf a call is made: the step of a run under its claim. `principal`: who started the run. `tool` and
    `tool_digest`: the tool through which the step makes it, empty for none."""

    tenant: str
    run_id: UUID
    root_id: UUID
    path: str
    epoch: int
    principal: str
    tool: str = ""
    tool_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of record in an external system. `fields`: field name -> JSON Schema, `key`: the field that names one."""

    name: str
    description: str
    key: str
    fields: Mapping[str, Schema]
    operations: Mapping[str, Operation]
    settings: Mapping[str, Json]

    def record_schema(self) -> Schema:
        """JSON Schema of a record as a read returns it: every declared field is there, nothing else is."""
        properties: dict[str, Json] = {name: dict(schema) for name, schema in self.fields.items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a target a connector may take, over all processes. None: no limit.

    Attributes:
        calls_per_s: on average. `burst`: at once, on top; without one, what a second allows.
        concurrent: calls at the same time.
    """

    calls_per_s: float | None = None
    burst: int | None = None
    concurrent: int | None = None

    @property
    def burst_or_default(self) -> int:
        """How many calls may begin at once after a pause."""
        return self.burst if self.burst is not None else max(1, int(self.calls_per_s or 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A configured adapter, as published. `digest` addresses it; it never holds a credential (I9).

    `operations`: what EXECUTE performs, by name; each is a Resource without fields whose one operation is `execute`.
    """

    name: str
    description: str
    owner: str
    adapter: str
    environment: str
    timeout_s: float
    digest: str
    resources: Mapping[str, Resource]
    settings: Mapping[str, Json]
    limits: Limits = Limits()
    operations: Mapping[str, Resource] = field(default_factory=dict[str, Resource])


# Bounds of one discovery: what a connector's document may hold at most.
DISCOVERED_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What a target says of itself; nothing of it is used before a person has put it into a connector's document.

    Attributes:
        resources: name -> the body of that resource, ready to stand under `resources:` of the document; at most 200.
        operations: the same for operations, ready to stand under `execute:`.
        capabilities: operation -> what the adapter makes of it there: `paging` (how a fetch continues), `idempotency`
            (the values that a push may declare), `effects`, or `refused` (why it is not offered).
        narrative: one or more sentences for a person: what was looked at, what could not be.
        truncated: whether the target has more than was looked at.
    """

    resources: Mapping[str, Mapping[str, Json]] = field(default_factory=dict[str, Mapping[str, Json]])
    operations: Mapping[str, Mapping[str, Json]] = field(default_factory=dict[str, Mapping[str, Json]])
    capabilities: Mapping[str, Mapping[str, Json]]
    narrative: str
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What every adapter call returns.

    Attributes:
        records: the records, typed as the resource declares them, in the target's order.
        metrics: `duration_ms` (int), `calls` to the target, `bytes` read where the adapter knows them.
        trace: `traceparent` of the call, empty outside a trace.
        narrative: one sentence for a person: what was done, how much of it.
        metadata: adapter, connector, resource, operation; `truncated` and `page` of a fetch (None: there is no more);
            `applied`, `rows` and `idempotency_key` of a push or an EXECUTE, `fields` of a push whose connector declares
            a receipt; `applied` of a probe.
        schema_v: the form of this envelope.
    """

    records: Sequence[Record]
    metrics: Mapping[str, int]
    trace: Mapping[str, str]
    narrative: str
    metadata: Mapping[str, Json]
    schema_v: int = ENVELOPE_V
