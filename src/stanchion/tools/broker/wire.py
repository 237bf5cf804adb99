"""The wire between the broker and its clients: frames, and what is in them. Pure.

A frame is its length (4 bytes, big-endian) and one JSON object. The broker speaks first:

    {"hello": {"v": 1, "key": "<hex>", "now": 1763800000.5}}        the session's key and the broker's time
    {"stopping": true}                                              takes no more calls here; those it has, it ends
    {"refused": {"code", "message", "hint"}}                        why it hangs up now; instead of or after the greeting

A client asks, many calls at once, each under an id of its own; `cancel` says that nobody waits any more, `goodbye` (after
`stopping`) that no more calls come on this connection:

    {"id", "op", "tenant", "connector", "digest", "resource", "operation", "arguments", "key", "timeout_s",
     "traceparent", "asker", "token", "principal"}
    {"id", "ask", "said", "timeout_s", "tenant", "principal", "token"}   of the broker itself, not of a connector
    {"cancel": id}
    {"goodbye": true}

and gets, in any order, `{"id", "envelope"}`, `{"id", "result"}` or `{"id", "problem"}`. The two ends need not run the same
release: what a reader does not know in an answer it leaves alone, and what it does not know in a request it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stanchion.base import (
    Conflict,
    Denied,
    Internal,
    Invalid,
    Json,
    LimitExceeded,
    NotFound,
    Problem,
    Unauthenticated,
    Unavailable,
    dumps,
    loads,
)
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker.proofs import Proof
from stanchion.tools.broker.types import BrokerAsk, BrokerCall, Op
from stanchion.tools.types import Asker, Envelope

WIRE_V: Final = 1
# A step's result holds at most a megabyte, but a fetch of 10,000 records is read whole before it is measured.
FRAME_BYTES_MAX: Final = 20 * 1024 * 1024
HEAD_BYTES: Final = 4
_CLASSES: Final[Mapping[str, type[Problem]]] = {
    "adapter": AdapterProblem,
    **{
        cls.kind.value: cls
        for cls in (Invalid, Unauthenticated, Denied, NotFound, Conflict, LimitExceeded, Unavailable)
    },
    Internal.kind.value: Internal,
}
_RESERVED: Final = frozenset({"self", "code", "message", "hint", "retryable"})


def frame(message: object) -> bytes:
    """One frame. Raises Invalid `json.unencodable`, LimitExceeded `broker.frame_too_large`."""
    body = dumps(message)
    if len(body) > FRAME_BYTES_MAX:
        raise LimitExceeded(
            "broker.frame_too_large",
            f"What was to cross to or from the broker has {len(body)} bytes; at most {FRAME_BYTES_MAX} are allowed.",
            hint="Narrow the call: a `where`, a smaller `limit` and the `page` that continues it, or fewer fields.",
            retryable=False,
        )
    return len(body).to_bytes(HEAD_BYTES, "big") + body


def frame_length(data: bytes | bytearray, bytes_max: int) -> int:
    """The bytes that follow the head at the beginning of `data`. Raises Invalid `broker.bad_frame` beyond `bytes_max`."""
    length = int.from_bytes(data[:HEAD_BYTES], "big")
    if length > bytes_max:
        raise _bad(f"a frame of {length} bytes is announced; at most {bytes_max} are allowed")
    return length


def message_of(body: bytes) -> dict[str, Json]:
    """The message in a frame. Raises Invalid `broker.bad_frame`, `json.…`."""
    message = loads(body)
    if not isinstance(message, dict):
        raise _bad("a frame holds no object")
    return message


class Frames:
    """Takes bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Json], int]]:
        """The messages that are whole now, each with its size in bytes. Raises Invalid `broker.bad_frame`."""
        self._bytes += data
        while len(self._bytes) >= HEAD_BYTES:
            length = frame_length(self._bytes, FRAME_BYTES_MAX)
            if len(self._bytes) < HEAD_BYTES + length:
                return
            body = bytes(memoryview(self._bytes)[HEAD_BYTES : HEAD_BYTES + length])
            del self._bytes[: HEAD_BYTES + length]
            yield message_of(body), length


def _bad(what: str) -> Invalid:
    return Invalid("broker.bad_frame", f"The other end does not speak the broker's language: {what}.")


# --- calls

_NAME = Field(max_length=200)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _AskerSaid(_Strict):
    tenant: str = _NAME
    run_id: UUID
    root_id: UUID
    path: str = Field(max_length=2000)
    epoch: int = Field(ge=0)
    principal: str = Field(max_length=300)
    tool: str = Field(default="", max_length=200)
    tool_digest: str = Field(default="", max_length=200)


class _CallSaid(_Strict):
    id: int = Field(ge=0)
    op: Op
    tenant: str = Field(min_length=1, max_length=200)
    connector: str = Field(min_length=1, max_length=200)
    digest: str = Field(min_length=1, max_length=200)
    resource: str = _NAME
    operation: str = _NAME
    arguments: dict[str, Any]
    key: str = _NAME
    timeout_s: float = Field(gt=0, le=3600)
    traceparent: str | None = Field(max_length=200)
    asker: _AskerSaid | None
    token: str = _NAME
    principal: str = Field(default="", max_length=300)


def name_of(call: BrokerCall) -> str:
    """What is called, as messages name it."""
    return f"{call.connector}.{call.resource}" if call.resource else call.connector


def writes(call: BrokerCall) -> bool:
    """Whether the call may change the target: what does has an idempotency key, and a probe only asks about one."""
    return call.op == "push" or (call.op == "execute" and bool(call.key))


def call_said(number: int, call: BrokerCall) -> dict[str, object]:
    """A call as a message."""
    asker = call.asker
    return {
        "id": number,
        "op": call.op,
        "tenant": call.tenant,
        "connector": call.connector,
        "digest": call.digest,
        "resource": call.resource,
        "operation": call.operation,
        "arguments": dict(call.arguments),
        "key": call.key,
        "timeout_s": call.timeout_s,
        "traceparent": call.traceparent,
        "asker": None if asker is None else asdict(asker),
        "token": call.token,
        "principal": call.principal,
    }


class _AskSaid(_Strict):
    id: int = Field(ge=0)
    ask: str = Field(min_length=1, max_length=200)
    said: dict[str, Any]
    timeout_s: float = Field(gt=0, le=3600)
    tenant: str = Field(default="", max_length=200)
    principal: str = Field(default="", max_length=300)
    token: str = Field(default="", max_length=200)


def ask_said(number: int, ask: BrokerAsk) -> dict[str, object]:
    """Something asked of the broker itself, as a message."""
    return {
        "id": number,
        "ask": ask.operation,
        "said": dict(ask.said),
        "timeout_s": ask.timeout_s,
        "tenant": ask.tenant,
        "principal": ask.principal,
        "token": ask.token,
    }


def ask_of(message: Mapping[str, Json]) -> BrokerAsk:
    """What is asked. Raises Invalid `broker.bad_call`."""
    try:
        found = _AskSaid.model_validate(message)
    except ValidationError as error:
        raise _wrong(error) from None
    return BrokerAsk(
        operation=found.ask,
        said=found.said,
        tenant=found.tenant,
        principal=found.principal,
        timeout_s=found.timeout_s,
        token=found.token,
    )


def _wrong(error: ValidationError) -> Invalid:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return Invalid("broker.bad_call", f"A call has a wrong {place or 'form'}: {first['msg']}.")


def call_of(message: Mapping[str, Json]) -> BrokerCall:
    """The call that a message says. Raises Invalid `broker.bad_call` with the place and the reason."""
    try:
        said = _CallSaid.model_validate(message)
    except ValidationError as error:
        raise _wrong(error) from None
    asker = said.asker
    return BrokerCall(
        op=said.op,
        tenant=said.tenant,
        connector=said.connector,
        digest=said.digest,
        resource=said.resource,
        operation=said.operation,
        arguments=said.arguments,
        key=said.key,
        timeout_s=said.timeout_s,
        traceparent=said.traceparent,
        asker=None if asker is None else Asker(**dict(asker)),
        token=said.token,
        principal=said.principal,
    )


# --- who the client is


class _ProofSaid(_Strict):
    ticket: str = _NAME
    nonce: str = Field(pattern=r"^[0-9a-f]{32,128}$")
    mac: str = Field(pattern=r"^[0-9a-f]{64}$")


def proof_said(proof: Proof) -> dict[str, object]:
    """A proof as a message."""
    return {"proof": {"ticket": proof.ticket, "nonce": proof.nonce.hex(), "mac": proof.mac.hex()}}


def proof_of(said: Json) -> Proof:
    """The proof that a message says. Raises Invalid `broker.bad_frame`."""
    try:
        found = _ProofSaid.model_validate(said)
        return Proof(ticket=found.ticket, nonce=bytes.fromhex(found.nonce), mac=bytes.fromhex(found.mac))
    except (ValidationError, ValueError):
        raise _bad("what is shown of a ticket has another form") from None


# --- answers


def answer_said(number: int, answer: Envelope | Mapping[str, Json]) -> dict[str, object]:
    """An answer as a message."""
    if not isinstance(answer, Envelope):
        return {"id": number, "result": dict(answer)}
    return {
        "id": number,
        "envelope": {
            "records": [dict(record) for record in answer.records],
            "metrics": dict(answer.metrics),
            "trace": dict(answer.trace),
            "narrative": answer.narrative,
            "metadata": dict(answer.metadata),
            "schema_v": answer.schema_v,
        },
    }


def problem_said(number: int, problem: Problem) -> dict[str, object]:
    """A problem as a message. A field that is no JSON is said as text."""
    return {
        "id": number,
        "problem": {
            "kind": "adapter" if isinstance(problem, AdapterProblem) else problem.kind.value,
            "code": problem.code,
            "message": problem.message,
            "hint": problem.hint,
            "retryable": problem.retryable,
            "fields": {name: _plain(value) for name, value in problem.fields.items()},
        },
    }


def _plain(value: object) -> object:
    try:
        return loads(dumps(value))
    except Problem:
        return str(value)


def answer_of(message: Mapping[str, Json]) -> Envelope | Mapping[str, Json] | Problem:
    """What a message answers. Raises Invalid `broker.bad_frame` if it answers nothing."""
    try:
        if "envelope" in message:
            return _envelope(cast("Mapping[str, Any]", message["envelope"]))
        if "problem" in message:
            return _problem(cast("Mapping[str, Any]", message["problem"]))
        return cast("Mapping[str, Json]", message["result"])
    except (KeyError, TypeError, AttributeError) as error:
        raise _bad(f"an answer has no {error}") from error


def _envelope(said: Mapping[str, Any]) -> Envelope:
    return Envelope(
        records=tuple(said["records"]),
        metrics=said["metrics"],
        trace=said["trace"],
        narrative=said["narrative"],
        metadata=said["metadata"],
        schema_v=said["schema_v"],
    )


def _problem(said: Mapping[str, Any]) -> Problem:
    # A kind that came with a later release is a problem all the same.
    cls = _CLASSES.get(said["kind"], Internal)
    fields = {name: value for name, value in said["fields"].items() if name not in _RESERVED}
    return cls(said["code"], said["message"], hint=said["hint"], retryable=bool(said["retryable"]), **fields)
