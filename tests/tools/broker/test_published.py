"""Published documents are kept by tenant and digest: one read each, no more kept than were allowed, and never across tenants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from stanchion.base import Json, Problem, digest
from stanchion.context import Env
from stanchion.tools.broker.published import Published
from tests.tools.broker.held import Held


@dataclass(frozen=True)
class Read:
    name: str
    content: str


class Shelf:
    """Published documents, and what was read of them."""

    def __init__(self, env: Env, held: Held, kind: Any, kept_max: int) -> None:
        self.held, self.kind = held, kind
        self.read: list[str] = []
        self.published = Published(env, kind, self._as_read, kept_max=kept_max)

    def _as_read(self, body: Mapping[str, Json], content: str) -> Read:
        self.read.append(str(body["said"]))
        return Read(str(body[self.kind]), content)

    async def put(self, name: str, said: str) -> str:
        body = {self.kind: name, "said": said, "description": str(self.held.run_id)}
        await self.held.sql("insert into tenants (name, display_name) values ('acme', 'Acme') on conflict do nothing")
        await self.held.sql(
            "insert into artifacts (tenant, kind, name, version, digest, body, source, source_path, owner, author, changelog)"
            " values ('acme', %s, %s, (select coalesce(max(version), 0) + 1 from artifacts where kind = %s),"
            " %s, %s, '', '', 'o', 'ada', '')",
            self.kind,
            name,
            self.kind,
            digest(body),
            json.dumps(body),
        )
        return digest(body)


@pytest.fixture(params=["connector", "tool"])
async def shelf(request, env: Env, cluster, database_urls) -> Shelf:
    return Shelf(env, Held(env, cluster.superuser(database_urls)), request.param, 2)


async def test_each_is_read_once_while_it_is_kept_and_those_used_longest_ago_go_first(shelf: Shelf) -> None:
    one, two, three = [await shelf.put(name, name) for name in ("one", "two", "three")]
    for name, content in [("one", one), ("two", two), ("one", one), ("three", three), ("one", one), ("two", two)]:
        assert await shelf.published.load("acme", name, content) == Read(name, content)
    assert shelf.read == ["one", "two", "three", "two"]


async def test_what_is_kept_is_another_tenants_and_another_names_unknown(shelf: Shelf) -> None:
    content = await shelf.put("mine", "mine")
    assert await shelf.published.load("acme", "mine", content)
    for tenant, name in [("globex", "mine"), ("acme", "yours")]:
        with pytest.raises(Problem) as caught:
            await shelf.published.load(tenant, name, content)
        assert caught.value.code == f"broker.unknown_{shelf.kind}"
    assert shelf.read == ["mine"]


async def test_what_was_changed_behind_our_back_is_neither_given_out_nor_kept(shelf: Shelf) -> None:
    content = await shelf.put("mine", "mine")
    await shelf.held.sql('update artifacts set body = body || \'{"said": "other"}\' where digest = %s', content)
    for _ in range(2):
        with pytest.raises(Problem) as caught:
            await shelf.published.load("acme", "mine", content)
        assert caught.value.code == f"broker.corrupt_{shelf.kind}"
        assert f"{shelf.kind} 'mine'" in caught.value.message
    assert shelf.read == []
