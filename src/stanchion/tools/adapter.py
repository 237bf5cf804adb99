"""The contract of an adapter: code that speaks to one kind of external system.

An adapter performs one call and classifies what happened; it never retries, never decides, and holds nothing of a
run between calls. The rules every implementation keeps (and `tests/conformance/test_adapters.py` holds them to):

* A read cannot change the target, whatever its statement says; the target's own means enforce that.
* A push is serialised on its idempotency key in the target: whoever comes second sees that the first applied, so a
  dead worker's late write and its successor's repetition never both happen.
* Every failure is an `AdapterProblem`. `sent` is False only where it is certain that nothing was written. One that a team
  brings says so itself (`sent=False`): whatever else it raises in a write leaves the outcome unknown.
* No URL and no credential is ever part of a problem, an envelope, a log line or a span (I9).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from stanchion.base import Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.credentials import Credentials
from stanchion.tools.problems import AdapterProblem
from stanchion.tools.types import Asker, Connector, Discovery, Envelope, Operation, Record, Resource

__all__ = ["Adapter", "AdapterProblem", "Target"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where one call goes: a resource of a connector, how long it may take (seconds), under which trace, for whom.

    For EXECUTE the resource is the declared operation itself. `credentials` are there only in the process that holds them.
    `raw` is what is written as the step has it, which an approval was shown; None where it is what is sent.
    """

    connector: Connector
    resource: Resource
    operation: Operation
    timeout_s: float
    traceparent: str | None = None
    asker: Asker | None = None
    credentials: Credentials | None = None
    raw: Json = None

    @property
    def name(self) -> str:
        """`casebook.cases`, as messages say it."""
        return f"{self.connector.name}.{self.resource.name}"

    def problem(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        retryable: bool = False,
        sent: bool | None = None,
        **fields: object,
    ) -> AdapterProblem:
        """An AdapterProblem about this call. `message` follows the resource's name: "timed out after 5 s".

        `sent`: whether a write may have been applied. Left out, it says no such thing: of an adapter that a team brings a
        write is then unknown; those that ship leave it out where nothing was written.
        """
        said = {} if sent is None else {"sent": sent}
        return AdapterProblem(
            code, f"{self.name} {message}", hint=hint, retryable=retryable, resource=self.name, **said, **fields
        )


class Adapter(Protocol):
    """One kind of external system. Built once per process, closed once.

    Attributes:
        name: the value of `adapter:` in a connector.
        settings_schema: properties of a connector's document that belong to this adapter, name -> JSON Schema.
        settings_required: those that must be there.
        resource_schema: the same for a resource.
        operation_schemas: operation -> JSON Schema of its object, for the operations this adapter can do.
        refused: operation -> why this adapter does not offer it.
    """

    name: str
    settings_schema: Mapping[str, Schema]
    settings_required: tuple[str, ...]
    resource_schema: Mapping[str, Schema]
    resource_required: tuple[str, ...]
    operation_schemas: Mapping[str, Schema]
    refused: Mapping[str, str]

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """Complaints about a connector's document beyond its schema; pointers are into the document. Touches nothing."""
        ...

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:
        """At most `limit` records; `metadata.page` is what to pass as `page` for those that follow, or None."""
        ...

    async def lookup(self, target: Target, key: Json) -> Envelope:
        """The one record with that key, or none. Raises AdapterProblem `adapter.ambiguous` if there are several."""
        ...

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """Write `record` unless the target has it under this key; `metadata.applied` says which."""
        ...

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:
        """Whether the target has the write of that key: of a push, or of an EXECUTE with these arguments. Only where
        idempotency is `probe`."""
        ...

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:
        """Perform a declared operation; the one record of the envelope is `{"result": …}`. What writes has a key, and
        keeps the rules of `push`; `metadata.applied` says as there. Refused where the adapter has no such operations."""
        ...

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """Reach the target without changing it; return a sentence about what was found. Raises AdapterProblem."""
        ...

    async def discover(
        self, connector: Connector, timeout_s: float, credentials: Credentials | None = None
    ) -> Discovery:
        """What the target offers, as resources for the connector's document. Bounded, changes nothing.

        Raises AdapterProblem if the target cannot be asked; one that has nothing to say of itself is no problem: then
        `narrative` says so.
        """
        ...

    async def close(self) -> None:
        """Give back connections and files. The adapter is not used afterwards."""
        ...


class AdapterRegistry(Protocol):
    """Which adapters a process has: those that call themselves, or those that call through the broker."""

    def get(self, name: str, *, tenant: str = "", principal: str = "") -> Adapter:
        """The adapter. `tenant`, `principal`: for whom, where no step of a run asks.

        Raises Invalid `connector.unknown_adapter`.
        """
        ...

    async def close(self) -> None:
        """Give back what they hold."""
        ...
