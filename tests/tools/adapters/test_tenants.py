"""A tenant's connectors reach the tenant's own folder: whatever path another tenant's author writes, by whatever adapter."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from stanchion.base import Denied, Problem, SystemClock
from stanchion.testing.shelf import ShelfAdapter
from stanchion.tools import Target, connector_of
from stanchion.tools.adapters import GROUP, find_own
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import resource_of
from stanchion.tools.egress import Egress, Network
from stanchion.tools.types import Asker

FIELDS = {"fields": {"case_id": {"type": "string"}}, "key": "case_id"}


class Own(ShelfAdapter):
    name = "own"


def own() -> Any:
    from importlib.metadata import EntryPoint

    return find_own([EntryPoint(name="own", value="tests.tools.adapters.test_tenants:Own", group=GROUP)])


def document(adapter: str, resource: dict[str, Any], **more: Any) -> dict[str, Any]:
    body = {"connector": "c", "owner": "tests", "adapter": adapter, "environment": "local", **more}
    return {**body, "resources": {"cases": {**FIELDS, **resource}}}


SQL = "select case_id from cases"
DOCUMENTS = {
    "files": document("files", {"file": "cases.jsonl", "fetch": {}}, root="data"),
    "sqlite": document("sql", {"fetch": {"statement": SQL}}, database={"driver": "sqlite", "path": "data/cases.db"}),
    "objects": document(
        "objects", {"format": "json", "suffix": "cases.json", "fetch": {}}, store={"url": "folder://data"}
    ),
    "own": document("own", {"shelf": "shelf", "fetch": {}}, root="data"),
}


def place(folder: Path, name: str) -> None:
    """What all four adapters read, with the name of whose it is in each."""
    data = folder / "data"
    (data / "shelf").mkdir(parents=True)
    (data / "cases.jsonl").write_text(f'{{"case_id": "{name}"}}\n')
    (data / "cases.json").write_text(f'{{"case_id": "{name}"}}')
    (data / "shelf" / "1.json").write_text(f'{{"case_id": "{name}"}}')
    with sqlite3.connect(data / "cases.db") as database:
        database.execute("create table cases (case_id text)")
        database.execute("insert into cases values (?)", (name,))


def changed(body: dict[str, Any], path: str) -> dict[str, Any]:
    """The document with its folder elsewhere."""
    if body["adapter"] == "sql":
        return {**body, "database": {"driver": "sqlite", "path": f"{path}/cases.db"}}
    if body["adapter"] == "objects":
        return {**body, "store": {"url": f"folder://{path}"}}
    return {**body, "root": path}


async def fetched(adapters: Adapters, tenant: str, body: dict[str, Any]) -> list[str]:
    connector = connector_of(body, "sha256:1")
    resource, operation = resource_of(connector, "cases", "fetch")
    run = UUID(int=1)
    asker = Asker(tenant=tenant, run_id=run, root_id=run, path="/a", epoch=1, principal="ada")
    target = Target(connector=connector, resource=resource, operation=operation, timeout_s=5.0, asker=asker)
    found = await adapters.get(connector.adapter, tenant=tenant).fetch(target, {}, 10, None)
    return [str(record["case_id"]) for record in found.records]


@pytest.fixture
async def adapters(tmp_path: Path):
    found = Adapters(tmp_path, SystemClock(), own=own())
    yield found
    await found.close()


each = pytest.mark.parametrize("body", DOCUMENTS.values(), ids=[*DOCUMENTS])


@each
async def test_each_tenant_has_a_folder_of_its_own(adapters: Adapters, tmp_path: Path, body: dict[str, Any]) -> None:
    for tenant in ("default", "acme"):
        place(tmp_path / tenant, tenant)
    assert await fetched(adapters, "acme", body) == ["acme"]
    assert await fetched(adapters, "default", body) == ["default"]
    with pytest.raises(Problem):
        await fetched(adapters, "globex", body)


@each
async def test_no_path_and_no_link_leads_to_another_tenant(
    adapters: Adapters, tmp_path: Path, body: dict[str, Any]
) -> None:
    for tenant in ("default", "acme"):
        place(tmp_path / tenant, tenant)
    (tmp_path / "acme" / "link").symlink_to(tmp_path / "default" / "data")
    (tmp_path / "acme" / "relative").symlink_to("../default/data")
    for path in ("../default/data", "data/../../default/data", "link", "relative"):
        with pytest.raises(Denied) as caught:
            await fetched(adapters, "acme", changed(body, path))
        assert caught.value.code == "connector.path_escapes", path
    (tmp_path / "globex").symlink_to(tmp_path / "default")
    for tenant in ("globex", "..", "", "acme/../default", "default/data"):
        found = await _or_none(adapters, tenant, body)
        assert found in (None, ["default"] if tenant == "" else None), tenant


async def _or_none(adapters: Adapters, tenant: str, body: dict[str, Any]) -> list[str] | None:
    try:
        return await fetched(adapters, tenant, body)
    except Problem:
        return None


@each
async def test_a_layout_of_before_serves_the_home_tenant_and_no_other(
    adapters: Adapters, tmp_path: Path, body: dict[str, Any]
) -> None:
    place(tmp_path, "default")
    place(tmp_path / "acme", "a folder of the home tenant's that is called as a tenant")
    assert await fetched(adapters, "default", body) == ["default"]
    with pytest.raises(Denied) as caught:
        await fetched(adapters, "acme", body)
    assert caught.value.code == "connector.no_folder"
    assert "`default`" in caught.value.hint
    # Moved as the hint says, while the process lives.
    (tmp_path / "default").mkdir()
    (tmp_path / "data").rename(tmp_path / "default" / "data")
    assert await fetched(adapters, "default", body) == ["default"]
    assert await fetched(adapters, "acme", body) != ["default"]


async def test_certificate_authorities_are_the_tenants_too(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "ca.pem").write_text("no certificate")
    adapters = Adapters(tmp_path, SystemClock(), Network(root=tmp_path / "elsewhere"))
    asked = [adapters.get("http", tenant=tenant)._client._network.root for tenant in ("default", "acme")]  # type: ignore[attr-defined]
    assert asked == [tmp_path / "default", tmp_path / "acme"]
    connector = replace(
        connector_of(document("http", {"fetch": {"path": "/x"}}, base_url="https://h.example")),
        settings={"base_url": "https://h.example", "egress": {"ca_file": "../default/ca.pem"}},
    )
    with pytest.raises(Problem) as caught:
        Egress.of(connector, Network(root=tmp_path / "acme"), "https://h.example").tls_context()
    assert caught.value.code == "egress.bad_ca_file"
    await adapters.close()
