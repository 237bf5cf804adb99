"""A page of http says where a request with the connector's credentials goes: only one that was given out is followed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from stanchion.base import SystemClock, SystemIds
from stanchion.base.settings import Settings
from stanchion.secrets.holding import KeyFile, holding
from stanchion.tools import PAGE_PURPOSE, AdapterProblem, Pages
from stanchion.tools.adapters.http_paging import Position
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.types import Asker
from tests.conformance import worlds
from tests.conformance.worlds import CASES, World

FILTER = {"least": None}


class Keys:
    """Keys that can be replaced; `given` as a key-encryption key gives them."""

    def __init__(self, *keys: bytes) -> None:
        self.keys: Sequence[bytes] = keys

    async def __call__(self) -> Sequence[bytes]:
        return self.keys


@pytest.fixture
async def origin() -> AsyncIterator[tuple[str, dict]]:
    faults: dict = {}
    async with worlds.http_server(faults) as url:
        yield url, faults


def world_of(root: Path, origin: tuple[str, dict], keys: Keys, style: str = "link") -> tuple[Adapters, World]:
    adapters = Adapters(root, SystemClock(), pages=Pages(keys))
    return adapters, worlds.make_http(adapters, origin[0], style, origin[1])


def asked_by(world: World, tenant: str, **changes: object):
    run = UUID(int=1)
    asker = Asker(tenant=tenant, run_id=run, root_id=run, path="/a", epoch=1, principal="ada")
    return replace(world.target("cases", "fetch", **changes), asker=asker)


@pytest.mark.parametrize("style", ["link", "cursor", "offset", "page"])
async def test_a_page_goes_on_in_another_process_and_under_replaced_keys(tmp_path: Path, origin, style: str) -> None:
    keys = Keys(b"1" * 32)
    adapters, world = world_of(tmp_path, origin, keys, style)
    first = await world.adapter.fetch(asked_by(world, "acme"), FILTER, 3, None)
    await adapters.close()
    keys.keys = (b"2" * 32, b"1" * 32)
    adapters, world = world_of(tmp_path, origin, keys, style)
    rest = await world.adapter.fetch(asked_by(world, "acme"), FILTER, 10, str(first.metadata["page"]))
    assert [*first.records, *rest.records] == CASES
    await adapters.close()


async def test_a_forged_page_reaches_nothing(tmp_path: Path, origin) -> None:
    adapters, world = world_of(tmp_path, origin, Keys(b"1" * 32))
    target = asked_by(world, "acme")
    given = str((await world.adapter.fetch(target, FILTER, 3, None)).metadata["page"])
    text, _, seal = given.rpartition(".")
    elsewhere = Position(at=origin[0] + "/link/cases?least=4000").token()
    origin[1]["asked"].clear()
    other = replace(target, connector=replace(target.connector, digest="sha256:other"))
    named = replace(target, resource=replace(target.resource, name="others"))
    forged = [
        (target, elsewhere),
        (target, f"{elsewhere}."),
        (target, f"{elsewhere}.{seal}"),
        (target, f"{text}.{seal[:-1]}"),
        (target, f"{text}.é"),
        (target, text),
        (target, f".{seal}"),
        (target, ""),
        (asked_by(world, "globex"), given),
        (replace(target, asker=None), given),
        (other, given),
        (named, given),
    ]
    for asked, page in forged:
        with pytest.raises(AdapterProblem) as caught:
            await world.adapter.fetch(asked, FILTER, 10, page)
        assert caught.value.code == "adapter.bad_page", page
        assert "from the beginning" in caught.value.hint
    assert origin[1]["asked"] == [], "a forged page was followed"
    assert len((await world.adapter.fetch(target, FILTER, 10, given)).records) == 2
    await adapters.close()


async def test_a_page_of_keys_that_are_gone_says_what_to_do(tmp_path: Path, origin) -> None:
    keys = Keys(b"1" * 32)
    adapters, world = world_of(tmp_path, origin, keys)
    target = asked_by(world, "acme")
    given = str((await world.adapter.fetch(target, FILTER, 3, None)).metadata["page"])
    keys.keys = (b"2" * 32,)
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.fetch(target, FILTER, 10, given)
    assert (caught.value.code, caught.value.retryable) == ("adapter.bad_page", False)
    await adapters.close()


def test_the_key_is_derived_and_is_none_that_secrets_are_encrypted_under(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys" / "kek", data=tmp_path / "data")
    file.make(SystemIds(SystemClock()))
    (kek,) = file.read()
    (again,) = KeyFile(tmp_path / "keys" / "kek", data=tmp_path / "data").read()
    found = kek.derived(b"a purpose")
    assert found == again.derived(b"a purpose")
    assert len({found, kek.derived(b"another"), kek.key, kek.sealing_secret}) == 4


async def test_every_broker_with_the_key_file_opens_what_another_sealed(env, tmp_path: Path, origin) -> None:
    settings = Settings(data=tmp_path / "data")
    adapters, world = world_of(tmp_path, origin, Keys(b"1" * 32))
    target = asked_by(world, "acme")
    async with holding(env, settings, {}) as held:
        page = await Pages(partial(held.derived, PAGE_PURPOSE)).sealed(target, "here")
    async with holding(env, settings, {}) as another:
        pages = Pages(partial(another.derived, PAGE_PURPOSE))
        assert await pages.opened(target, page) == "here"
        await another.holder.rekey(fresh=True)
        with pytest.raises(AdapterProblem) as caught:
            await pages.opened(target, page)
        assert caught.value.code == "adapter.bad_page"
    await adapters.close()
