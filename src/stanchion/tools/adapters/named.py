"""Adapters where calls go through the broker alone: no code of theirs is needed there, and none is loaded."""

from __future__ import annotations

from stanchion.tools.adapter import Adapter
from stanchion.tools.adapters.plain import PlainAdapter


class NamedAdapters:
    """An adapter of every name, which does nothing by itself: whether there is one of that name is the broker's to say."""

    def get(self, name: str, *, tenant: str = "", principal: str = "") -> Adapter:  # noqa: ARG002 - no broker asks who it is
        """The adapter of that name."""
        named = PlainAdapter()
        named.name = name
        return named

    async def close(self) -> None:
        """Nothing is held."""
