"""Nouns of the broker: a call as it arrives, who sent it, and what the broker asks of others before it performs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol
from uuid import UUID

from stanchion.base import Json
from stanchion.db import Tx
from stanchion.tools.types import Asker

Op = Literal["fetch", "lookup", "push", "probe", "execute", "test", "discover"]
# Types of processes that call the broker.
PeerKind = Literal["web", "worker", "scheduler", "cli"]
PEER_KINDS: Final[tuple[PeerKind, ...]] = ("web", "worker", "scheduler", "cli")
OPS: Final[tuple[Op, ...]] = ("fetch", "lookup", "push", "probe", "execute", "test", "discover")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerCall:
    """One call as a client sent it. Nothing in it is believed before the broker has checked it.

    Attributes:
        op: what is asked.
        tenant, connector, digest: which version of whose connector; its body is read by digest, never sent.
        resource, operation: `cases` and `fetch`, `lookup` or `push` (a probe: of the push it asks for); of an EXECUTE the
            operation's name, and `execute`; both empty for `test` and `discover`.
        arguments: `{where, limit, page}` of a fetch, `{key}` of a lookup, `{record, raw}` of a push, of an execute, and of
            a probe of either (of an execute `record` holds its arguments). `raw` is the record as the step has it, which an
            approval was shown; left out where it equals `record`. `{}` of the others.
        key: the idempotency key of a push, a probe, or an execute that writes; else empty.
        timeout_s: how long the caller waits; the broker takes no longer.
        asker: the step on whose behalf, or None for a person's `test` or `discover`.
        principal: that person; empty for a step, whose asker names who started its run.
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
    principal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAsk:
    """Something asked of the broker itself, as a client sent it.

    Attributes:
        operation, said: what is asked, and what is said with it.
        tenant, principal: the person behind it; both empty where there is none (a webhook that is to be verified).
        timeout_s: how long the caller waits.
        token: signed for exactly this, as `tokens` does.
    """

    operation: str
    said: Mapping[str, Json]
    tenant: str
    principal: str
    timeout_s: float
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who is at the other end of a connection, as the broker authenticated it.

    Attributes:
        how: `unix`, the kernel told its user id; `mtls`, a certificate of ours; `memory`, the same process (tests).
        name: that user id, or the certificate's name.
        session_key: with which this connection's run tokens are signed; made by the broker when it accepted it.
        kinds: as which types of process it may ask.
    """

    how: Literal["unix", "mtls", "memory"]
    name: str
    session_key: bytes = field(repr=False)
    kinds: frozenset[PeerKind] = frozenset({"worker"})


class ApprovalBinding(Protocol):
    """Filled by `approvals`: the binding of an approval, looked at again where the effect happens (I8)."""

    async def covered(
        self, tx: Tx, *, tenant: str, run_id: UUID, path: str, paths: tuple[str, ...], record_digest: str
    ) -> None:
        """Return if every GOVERN step of `paths` asked nobody, or was approved with this record shown.

        Raises Denied `approval.missing` or `approval.arguments_changed`.
        """
        ...
