"""What an adapter does where its kind of system has nothing: it refuses, and says so. A base for adapters, also of others.

A subclass sets `name` and the schemas, and overrides what it offers. What it leaves is refused at publish by its absence
from `operation_schemas`, and here once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stanchion.base import Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.credentials import Credentials
from stanchion.tools.types import Connector, Discovery, Envelope, Record


class PlainAdapter:
    """Fills `Adapter`; see there what each member means."""

    name: str = ""
    settings_schema: Mapping[str, Schema] = {}
    settings_required: tuple[str, ...] = ()
    resource_schema: Mapping[str, Schema] = {}
    resource_required: tuple[str, ...] = ()
    operation_schemas: Mapping[str, Schema] = {}
    refused: Mapping[str, str] = {}

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:  # noqa: ARG002
        """No complaints beyond the schema."""
        return ()

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:  # noqa: ARG002
        """Refused."""
        raise self._not_offered(target, "fetch")

    async def lookup(self, target: Target, key: Json) -> Envelope:  # noqa: ARG002
        """Refused."""
        raise self._not_offered(target, "lookup")

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:  # noqa: ARG002
        """Refused."""
        raise self._not_offered(target, "push")

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:  # noqa: ARG002
        """Refused."""
        raise self._not_offered(target, "probe")

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:  # noqa: ARG002
        """Refused."""
        raise self._not_offered(target, "execute")

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:  # noqa: ARG002
        """Nothing is asked: the adapter has no way to reach its target without changing it."""
        return f"The adapter {self.name!r} cannot ask its target without changing it; the document is right."

    async def discover(
        self,
        connector: Connector,  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
        credentials: Credentials | None = None,  # noqa: ARG002
    ) -> Discovery:
        """The operations alone: the target has no way to be asked what it has."""
        return Discovery(
            capabilities={verb: {} for verb in self.operation_schemas},
            narrative=f"A target of the adapter {self.name!r} cannot be asked for what it has.",
        )

    async def close(self) -> None:
        """Nothing is held."""

    def _not_offered(self, target: Target, verb: str) -> AdapterProblem:
        reason = self.refused.get(verb, f"the adapter {self.name!r} has no {verb}")
        return target.problem("adapter.not_offered", f"cannot be asked to {verb}: {reason.rstrip('.')}.")
