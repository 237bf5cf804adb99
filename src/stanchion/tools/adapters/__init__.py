"""The adapters that ship, and the registry that a process builds once."""

from stanchion.tools.adapters.registry import Adapters

__all__ = ["Adapters"]
