"""Which adapters there are. Built once per process; `close` gives back what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stanchion.base import Clock, Invalid
from stanchion.tools.adapter import Adapter
from stanchion.tools.adapters.files import FilesAdapter
from stanchion.tools.adapters.http import HttpAdapter
from stanchion.tools.adapters.mcp import McpAdapter
from stanchion.tools.adapters.objects import ObjectsAdapter
from stanchion.tools.adapters.own import NO_OWN, Means, OwnAdapters, made
from stanchion.tools.adapters.plain import PlainAdapter
from stanchion.tools.adapters.smtp import SmtpAdapter
from stanchion.tools.adapters.sql import SqlAdapter
from stanchion.tools.adapters.webhook import WebhookAdapter
from stanchion.tools.egress import Network
from stanchion.tools.sandbox import Sandbox

BROKEN_HINT = "Correct or remove that package where the broker and the web process run, and start them again."


class Adapters:
    """All adapters by name. `root` is the folder that connectors' paths are relative to, `network` what the deployment says
    about the way out, `sandbox` where commands of connectors run, `own` the adapters that a team brings.

    Attributes:
        by_name: name -> adapter.
        broken: name -> why an own adapter of that name cannot be used.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock,
        network: Network | None = None,
        sandbox: Sandbox | None = None,
        own: OwnAdapters = NO_OWN,
    ) -> None:
        network = replace(network or Network(), root=root)
        found: tuple[Adapter, ...] = (
            SqlAdapter(root, clock, network),
            FilesAdapter(root, clock),
            HttpAdapter(clock, network),
            McpAdapter(root, clock, sandbox=sandbox, network=network),
            ObjectsAdapter(root, clock, network),
            SmtpAdapter(clock, network),
            WebhookAdapter(clock, network),
        )
        means = Means(root=root, clock=clock, network=network)
        brought, self.broken = made(own, means, {adapter.name for adapter in found})
        self.by_name: Mapping[str, Adapter] = {adapter.name: adapter for adapter in (*found, *brought)}

    def get(self, name: str, *, tenant: str = "") -> Adapter:  # noqa: ARG002 - whoever asks, they are the same
        """The adapter. Raises Invalid `connector.unknown_adapter` or `connector.broken_adapter`."""
        found = self.by_name.get(name)
        if found is None and name in self.broken:
            raise Invalid("connector.broken_adapter", self.broken[name], hint=BROKEN_HINT)
        if found is None:
            raise Invalid(
                "connector.unknown_adapter",
                f"There is no adapter {name!r}.",
                hint=f"There are: {', '.join(self.by_name)}.",
            )
        return found

    async def close(self) -> None:
        """Close every adapter."""
        for adapter in self.by_name.values():
            await adapter.close()


class NamedAdapters:
    """For processes that call through the broker alone: the adapters that ship, and by name alone every other one: what a
    team brings is not loaded there, and whether there is such an adapter is the broker's to say."""

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters

    def get(self, name: str, *, tenant: str = "") -> Adapter:
        """The adapter, or one of that name which does nothing by itself."""
        if name in self._adapters.by_name:
            return self._adapters.get(name, tenant=tenant)
        named = PlainAdapter()
        named.name = name
        return named

    async def close(self) -> None:
        """Close every adapter."""
        await self._adapters.close()
