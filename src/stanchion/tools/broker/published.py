"""Published documents as the broker has them: read by digest from the database, never taken from a caller."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Generic, Literal, Protocol, TypeVar

from stanchion.base import Denied, Internal, Json, digest
from stanchion.context import Env
from stanchion.tools.broker import store

# Immutable, some kilobytes each.
_KEPT_MAX: Final = 1024


class Named(Protocol):
    """What a document becomes: it has the name under which it was published."""

    @property
    def name(self) -> str:
        """As authors write it."""
        ...


T = TypeVar("T", bound=Named)


class Published(Generic[T]):
    """The connectors, or the tools, of all tenants, by digest, from memory once they were read.

    Args:
        env: the database of the process.
        kind: which of the two.
        read: a document and its digest, as what is used of it.
        kept_max: how many are kept; those that were used longest ago go first.
    """

    def __init__(
        self,
        env: Env,
        kind: Literal["connector", "tool"],
        read: Callable[[Mapping[str, Json], str], T],
        *,
        kept_max: int = _KEPT_MAX,
    ) -> None:
        self._env = env
        self._kind: Final = kind
        self._as_used = read
        self._kept_max = kept_max
        self._kept: OrderedDict[tuple[str, str], T] = OrderedDict()

    async def load(self, tenant: str, name: str, content: str) -> T:
        """The tenant's version of that digest.

        Raises Denied `broker.unknown_connector` or `broker.unknown_tool` if the tenant published no such version under that
        name; Internal `broker.corrupt_connector` or `broker.corrupt_tool` if what is stored is not what its digest says.
        """
        found = self._kept.get((tenant, content))
        if found is None:
            found = await self._read(tenant, content)
        if found is None or found.name != name:
            raise Denied(
                "broker.unknown_connector" if self._kind == "connector" else "broker.unknown_tool",
                f"The tenant published no version {content[:19]} of a {self._kind} {name!r}; nothing was sent.",
                hint=f"A run {'calls' if self._kind == 'connector' else 'uses'} the versions that it is pinned to."
                " Was the database restored without it?",
            )
        self._kept.move_to_end((tenant, content))
        return found

    async def _read(self, tenant: str, content: str) -> T | None:
        async with self._env.db.engine_tx() as tx:
            row = await store.published(tx, tenant, self._kind, content)
        if row is None:
            return None
        if digest(row.body) != content:
            raise Internal(
                "broker.corrupt_connector" if self._kind == "connector" else "broker.corrupt_tool",
                f"The stored document of the {self._kind} {row.name!r} does not have its digest {content[:19]}.",
                hint="It was changed behind Stanchion's back; restore it or publish a new version. Nothing was sent.",
            )
        found = self._kept[tenant, content] = self._as_used(row.body, content)
        while len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        return found
