"""Whose adapter performs a call: that of the tenant that the call is checked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.broker.held import Held


@pytest.mark.parametrize("op", ["push", "fetch", "lookup", "probe", "test"])
async def test_each_call_is_performed_by_its_tenants_adapter(
    env, cluster, database_urls, monkeypatch: pytest.MonkeyPatch, op: str
) -> None:
    held = Held(env, cluster.superuser(database_urls))
    await held.begin()
    registry: Any = held.broker._adapters
    asked: list[str] = []
    get = registry.get

    def noted(name: str, *, tenant: str = "", **more: Any) -> Any:
        asked.append(tenant)
        return get(name, tenant=tenant, **more)

    monkeypatch.setattr(registry, "get", noted, raising=False)
    await held.perform(op)
    assert asked == ["acme"]
