"""Calls performed without the broker's checks: token, connector by digest, adapter. For a broker in tests and measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from stanchion import artifacts
from stanchion.base import Json
from stanchion.context import Env
from stanchion.tools.adapter import Adapter, AdapterRegistry, Target
from stanchion.tools.broker.tokens import verify
from stanchion.tools.broker.types import BrokerCall, Peer
from stanchion.tools.connectors import connector_of, resource_of
from stanchion.tools.types import Connector, Envelope


class DirectService:
    """Fills `server.CallService`."""

    def __init__(self, env: Env, adapters: AdapterRegistry) -> None:
        self._env = env
        self._adapters = adapters
        self._known: dict[tuple[str, str], Connector] = {}

    async def perform(self, call: BrokerCall, peer: Peer) -> Envelope | Mapping[str, Json]:
        """Perform the call. Raises Denied of the token, NotFound `artifact.unknown`, AdapterProblem."""
        verify(call, peer.session_key, self._env.clock.now().timestamp())
        connector = await self._connector(call)
        adapter = self._adapters.get(connector.adapter, tenant=call.tenant)
        if call.op == "test":
            return {"detail": await adapter.test(connector, call.timeout_s)}
        if call.op == "discover":
            return cast("Mapping[str, Json]", asdict(await adapter.discover(connector, call.timeout_s)))
        resource, operation = resource_of(connector, call.resource, call.operation)
        target = Target(
            connector=connector,
            resource=resource,
            operation=operation,
            timeout_s=call.timeout_s,
            traceparent=call.traceparent,
            asker=call.asker,
        )
        return await _called(adapter, target, call)

    async def _connector(self, call: BrokerCall) -> Connector:
        found = self._known.get((call.tenant, call.digest))
        if found is None:
            async with self._env.db.tenant_tx(call.tenant) as tx:
                version = await artifacts.load(tx, call.tenant, "connector", call.digest)
            found = self._known[call.tenant, call.digest] = connector_of(version.body, call.digest)
        return found


async def _called(adapter: Adapter, target: Target, call: BrokerCall) -> Envelope | Mapping[str, Json]:
    said = cast("Mapping[str, Any]", call.arguments)
    if call.op == "fetch":
        return await adapter.fetch(target, said["where"], said["limit"], said["page"])
    if call.op == "lookup":
        return await adapter.lookup(target, said["key"])
    if call.op == "push":
        return await adapter.push(target, said["record"], call.key)
    if call.op == "probe":
        return {"applied": await adapter.probe(target, said["record"], call.key)}
    return await adapter.execute(target, said["record"], call.key or None)
