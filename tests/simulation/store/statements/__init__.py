"""Python models of the engine's statements, one module per domain. Importing them registers them."""

from __future__ import annotations

import importlib

_DOMAINS = (
    "runs",
    "engine",
    "fanout",
    "sweeping",
    "deadletters",
    "approvals",
    "effects",
    "audit",
    "queue",
    "simulated",
)


def register() -> None:
    """Register all models."""
    for domain in _DOMAINS:
        importlib.import_module(f"{__name__}.{domain}")
