"""What the tests of single adapters share: a document, checked as at publish, and targets of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stanchion.tools.adapter import Target
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of
from stanchion.tools.credentials import Credentials
from tests.conformance.object_worlds import told_secret
from tests.tools.documents import parsed

KEY = "eff_" + "a" * 64


def document(adapter: str, resources: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {
        "connector": "outside",
        "owner": "casework",
        "adapter": adapter,
        "environment": "local",
        **settings,
        "resources": resources,
    }


def complaints(adapters: Adapters, body: dict[str, Any]) -> list[tuple[str, str]]:
    """(code, message) of everything that publishing would say."""
    return [(issue.code, issue.message) for issue in parsed(body, adapters=adapters).issues]


def target(body: dict[str, Any], resource: str, verb: str, timeout_s: float = 5.0, **secrets: str) -> Target:
    """`secrets`: site with `__` for `/` -> value."""
    connector = connector_of(body, "sha256:test")
    found = connector.resources[resource]
    plain = Target(connector=connector, resource=found, operation=found.operations[verb], timeout_s=timeout_s)
    return replace(plain, credentials=told(**secrets))


def told(**secrets: str) -> Credentials:
    return Credentials({"/" + site.replace("__", "/"): told_secret(value) for site, value in secrets.items()})
