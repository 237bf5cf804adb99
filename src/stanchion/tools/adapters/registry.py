"""Which adapters there are. Built once per process; `close` gives back what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stanchion.base import Clock, Invalid
from stanchion.tools.adapter import Adapter
from stanchion.tools.adapters.files import FilesAdapter
from stanchion.tools.adapters.http import HttpAdapter
from stanchion.tools.adapters.mcp import McpAdapter
from stanchion.tools.adapters.objects import ObjectsAdapter
from stanchion.tools.adapters.own import NO_OWN, Means, OwnAdapters, made
from stanchion.tools.adapters.pages import Pages
from stanchion.tools.adapters.paths import tenant_folder
from stanchion.tools.adapters.smtp import SmtpAdapter
from stanchion.tools.adapters.sql import SqlAdapter
from stanchion.tools.adapters.webhook import WebhookAdapter
from stanchion.tools.egress import Network
from stanchion.tools.sandbox import Sandbox

BROKEN_HINT = "Correct or remove that package where the broker and the web process run, and start them again."


@dataclass(slots=True, kw_only=True)
class _Set:
    """The adapters of those who share a folder."""

    by_name: Mapping[str, Adapter]
    broken: Mapping[str, str]


class Adapters:
    """All adapters by name, for each tenant its own: they reach its folder alone, and share no connection with another's.

    Args:
        root: `tools.connectors_root`, with a folder per tenant (`tenant_folder`).
        clock: of the process.
        network: what the deployment says about the way out.
        sandbox: where commands of connectors run.
        own: the adapters that a team brings.
        pages: what seals the pages of http; without it a key of this process.
        home: the tenant whose files may still lie in `root` itself; also who is meant where no tenant is named.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock,
        network: Network | None = None,
        sandbox: Sandbox | None = None,
        own: OwnAdapters = NO_OWN,
        *,
        pages: Pages | None = None,
        home: str = "default",
    ) -> None:
        self._root = root
        self._clock = clock
        self._network = network or Network()
        self._sandbox = sandbox or Sandbox()
        self._own = own
        self._pages = pages or Pages.of_this_process(clock)
        self._home = home
        # One per tenant that was asked for, and one more of the home tenant if its files were moved meanwhile.
        self._sets: dict[tuple[str, Path], _Set] = {}

    @property
    def by_name(self) -> Mapping[str, Adapter]:
        """Name -> adapter, the home tenant's."""
        return self._of(self._home).by_name

    @by_name.setter
    def by_name(self, adapters: Mapping[str, Adapter]) -> None:
        """Have others in their place, as tests and measurements do."""
        self._of(self._home).by_name = adapters

    @property
    def broken(self) -> Mapping[str, str]:
        """Name -> why an own adapter of that name cannot be used."""
        return self._of(self._home).broken

    def get(self, name: str, *, tenant: str = "", principal: str = "") -> Adapter:  # noqa: ARG002 - no broker asks who it is
        """The adapter, of that tenant. Raises Invalid `connector.unknown_adapter` or `connector.broken_adapter`."""
        those = self._of(tenant or self._home)
        found = those.by_name.get(name)
        if found is None and name in those.broken:
            raise Invalid("connector.broken_adapter", those.broken[name], hint=BROKEN_HINT)
        if found is None:
            raise Invalid(
                "connector.unknown_adapter",
                f"There is no adapter {name!r}.",
                hint=f"There are: {', '.join(those.by_name)}.",
            )
        return found

    def _of(self, tenant: str) -> _Set:
        folder = tenant_folder(self._root, tenant, self._home)
        found = self._sets.get((tenant, folder))
        if found is None:
            found = self._sets[tenant, folder] = self._made(folder)
        return found

    def _made(self, folder: Path) -> _Set:
        clock, network = self._clock, replace(self._network, root=folder)
        shipped: tuple[Adapter, ...] = (
            SqlAdapter(folder, clock, network),
            FilesAdapter(folder, clock),
            HttpAdapter(clock, network, self._pages),
            McpAdapter(folder, clock, sandbox=self._sandbox, network=network),
            ObjectsAdapter(folder, clock, network),
            SmtpAdapter(clock, network),
            WebhookAdapter(clock, network),
        )
        means = Means(root=folder, clock=clock, network=network)
        brought, broken = made(self._own, means, {adapter.name for adapter in shipped})
        return _Set(by_name={adapter.name: adapter for adapter in (*shipped, *brought)}, broken=broken)

    async def close(self) -> None:
        """Close every adapter."""
        for those in self._sets.values():
            for adapter in those.by_name.values():
                await adapter.close()
