"""Nouns of the broker: a call as it arrives, who sent it, and what the broker asks of others before it performs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol
from uuid import UUID

from stanchion.base import Json
from stanchion.db import Tx
from stanchion.tools.types import Asker, Connector, Operation

Op = Literal["fetch", "lookup", "push", "probe", "execute", "test", "discover"]
OPS: Final[tuple[Op, ...]] = ("fetch", "lookup", "push", "probe", "execute", "test", "discover")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerCall:
    """One call as a client sent it. Nothing in it is believed before the broker has checked it.

    Attributes:
        op: what is asked. `resource` and `operation` are empty for `test` and `discover`.
        tenant, connector, digest: which version of whose connector; its body is read by digest, never sent.
        operation: the operation's name within the resource: `fetch`, `lookup`, `push`, or that of an EXECUTE.
        arguments: `{where, limit, page}` of a fetch, `{key}` of a lookup, `{record, raw}` of a push or a probe (`raw`: the
            record as the step has it, what an approval was shown), `{arguments}` of an execute, `{}` of the others.
        key: the idempotency key of a push, probe or execute; else empty.
        timeout_s: how long the caller waits; the broker takes no longer.
        asker: the step on whose behalf, or None for a person's `test` or `discover`.
        token: the run token, as `tokens` made it.
    """

    op: Op
    tenant: str
    connector: str
    digest: str
    resource: str
    operation: str
    arguments: Mapping[str, Json]
    key: str
    timeout_s: float
    traceparent: str | None
    asker: Asker | None
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of a connection, as the broker authenticated it.

    Attributes:
        how: `unix`, the kernel told its user id; `mtls`, a certificate of ours; `memory`, the same process (tests).
        name: that user id, or the certificate's name.
        session_key: with which this connection's run tokens are signed; made by the broker when it accepted it.
    """

    how: Literal["unix", "mtls", "memory"]
    name: str
    session_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What policy is asked about one call: may this principal do this through this connector, here?

    Attributes:
        principal: who started the run, by name; `system:…` for Stanchion's own.
        action: `tools.call` for what changes nothing outside, `effects.perform` for what does.
        effect: the class declared for the operation. `environment`: this deployment's.
    """

    tenant: str
    principal: str
    action: Literal["tools.call", "effects.perform"]
    connector: Connector
    resource: str
    operation: Operation | None
    effect: Literal["read", "write", "destructive"]
    environment: str
    production: bool
    arguments: Mapping[str, Json]


class CallPolicy(Protocol):
    """Decides calls by policy, the third lock of I10. What it does not permit is denied (I11)."""

    async def authorize(self, question: Question) -> None:
        """Return if permitted. Raises Denied `auth.denied`."""
        ...


class ApprovalBinding(Protocol):
    """Filled by `approvals`: the binding of an approval, looked at again where the effect happens (I8)."""

    async def covered(
        self, tx: Tx, *, tenant: str, run_id: UUID, path: str, paths: tuple[str, ...], record_digest: str
    ) -> None:
        """Return if every GOVERN step of `paths` asked nobody, or was approved with this record shown.

        Raises Denied `approval.missing` or `approval.arguments_changed`.
        """
        ...
