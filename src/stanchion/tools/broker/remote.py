"""Adapters as processes other than the broker have them: they know the form of a connector, and call through the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from stanchion.base import Json
from stanchion.blueprints import ConfigIssue
from stanchion.tools.adapter import Adapter, AdapterRegistry, Target
from stanchion.tools.broker.client import BrokerClient
from stanchion.tools.broker.types import BrokerCall, Op
from stanchion.tools.credentials import Credentials
from stanchion.tools.types import Connector, Discovery, Envelope, Record


class RemoteAdapters:
    """All adapters by name, each calling through the broker. `known` says the form of their connectors."""

    def __init__(self, known: AdapterRegistry, client: BrokerClient) -> None:
        self._known = known
        self._client = client

    def get(self, name: str, *, tenant: str = "", principal: str = "") -> Adapter:
        """The adapter. `tenant`, `principal`: for whom it is tested or asked what there is, where no run does.

        Raises Invalid `connector.unknown_adapter`.
        """
        return RemoteAdapter(self._known.get(name), self._client, tenant, principal)

    async def close(self) -> None:
        """Hang up."""
        await self._known.close()
        await self._client.close()


class RemoteAdapter:
    """One kind of external system, reached through the broker."""

    def __init__(self, known: Adapter, client: BrokerClient, tenant: str, principal: str = "") -> None:
        self._known = known
        self._client = client
        self._tenant = tenant
        self._principal = principal
        self.name = known.name
        self.settings_schema = known.settings_schema
        self.settings_required = known.settings_required
        self.resource_schema = known.resource_schema
        self.resource_required = known.resource_required
        self.operation_schemas = known.operation_schemas
        self.refused = known.refused

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """As the adapter itself: this touches nothing."""
        return self._known.check(body)

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:
        """As `Adapter.fetch`."""
        return await self._envelope("fetch", target, {"where": dict(where), "limit": limit, "page": page})

    async def lookup(self, target: Target, key: Json) -> Envelope:
        """As `Adapter.lookup`."""
        return await self._envelope("lookup", target, {"key": key})

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """As `Adapter.push`."""
        return await self._envelope("push", target, _written(target, record), idempotency_key)

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:
        """As `Adapter.probe`."""
        answer = await self._called("probe", target, _written(target, record), idempotency_key)
        return bool(cast("Mapping[str, Json]", answer)["applied"])

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:
        """As `Adapter.execute`."""
        return await self._envelope("execute", target, _written(target, arguments), idempotency_key or "")

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:  # noqa: ARG002 - the broker has them
        """As `Adapter.test`."""
        answer = await self._client.call(self._of_connector("test", connector, timeout_s))
        return str(cast("Mapping[str, Json]", answer)["detail"])

    async def discover(
        self,
        connector: Connector,
        timeout_s: float,
        credentials: Credentials | None = None,  # noqa: ARG002 - the broker has them
    ) -> Discovery:
        """As `Adapter.discover`."""
        answer = cast(
            "Mapping[str, Any]", await self._client.call(self._of_connector("discover", connector, timeout_s))
        )
        return Discovery(
            resources=answer["resources"],
            operations=answer.get("operations", {}),
            capabilities=answer["capabilities"],
            narrative=answer["narrative"],
            truncated=answer["truncated"],
        )

    async def close(self) -> None:
        """The connection belongs to the registry."""

    async def _envelope(self, op: Op, target: Target, arguments: Mapping[str, Json], key: str = "") -> Envelope:
        return cast("Envelope", await self._called(op, target, arguments, key))

    async def _called(
        self, op: Op, target: Target, arguments: Mapping[str, Json], key: str
    ) -> Envelope | Mapping[str, Json]:
        call = BrokerCall(
            op=op,
            tenant=target.asker.tenant if target.asker is not None else self._tenant,
            connector=target.connector.name,
            digest=target.connector.digest,
            resource=target.resource.name,
            operation=target.operation.verb,
            arguments=arguments,
            key=key,
            timeout_s=target.timeout_s,
            traceparent=target.traceparent,
            asker=target.asker,
            token="",
        )
        return await self._client.call(call)

    def _of_connector(self, op: Op, connector: Connector, timeout_s: float) -> BrokerCall:
        return BrokerCall(
            op=op,
            tenant=self._tenant,
            connector=connector.name,
            digest=connector.digest,
            resource="",
            operation="",
            arguments={},
            key="",
            timeout_s=timeout_s,
            traceparent=None,
            asker=None,
            token="",
            principal=self._principal,
        )


def _written(target: Target, record: Record) -> dict[str, Json]:
    said: dict[str, Json] = {"record": dict(record)}
    if target.raw is not None and target.raw != said["record"]:
        said["raw"] = target.raw
    return said
