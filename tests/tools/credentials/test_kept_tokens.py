"""A refresh token that its server exchanges is not lost: not by a restart, not by two brokers, not by a caller who goes.

The server here is a real one that takes each refresh token once and ends the whole grant when it is shown a used one, as
servers that detect theft do.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psycopg
import pytest
from aiohttp import web

from stanchion.base import Clock, SystemClock, SystemIds, Unavailable
from stanchion.context import Env
from stanchion.db import Database, DatabaseUrls
from stanchion.secrets.holding import KeptTokens, KeyFile, Keyring, store
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of, resource_of
from stanchion.tools.credentials import resolve
from tests.conformance import worlds
from tests.conformance.worlds import checked
from tests.conftest import make_env
from tests.tools.credentials.support import Values, connector_body

SECRETS = {"secret://local/client": "cl13nt", "secret://local/refresh": "r0"}


@dataclass(kw_only=True)
class Server:
    """A token endpoint and a resource. `r0` is the refresh token that was authorised."""

    url: str = ""
    now: int = 0
    used: list[str] = field(default_factory=list)
    dead: bool = False
    ended: set[str] = field(default_factory=set)
    # Until it is set, an exchange is taken and not answered.
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        if request.path != "/token":
            bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
            fine = bearer == f"a{self.now}" and bearer not in self.ended and not self.dead
            return web.json_response({}, status=200 if fine else 401)
        shown = parse_qs((await request.read()).decode())["refresh_token"][0]
        self.used.append(shown)
        if shown != f"r{self.now}" or self.dead:
            self.dead = True
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.now += 1
        self.asked.set()
        await self.gate.wait()
        return web.json_response(
            {
                "access_token": f"a{self.now}",
                "refresh_token": f"r{self.now}",
                "token_type": "bearer",
                "expires_in": 3600,
            }
        )


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    found.gate.set()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


@dataclass(kw_only=True)
class Broker:
    """As much of a broker process as holds tokens."""

    env: Env
    keyring: Keyring
    tokens: KeptTokens | None
    adapters: Adapters
    url: str

    async def call(self, **values: str) -> None:
        """Read from the resource, with these secrets in place of those of `SECRETS`."""
        changed = {f"secret://local/{name}": value for name, value in values.items()}
        await self.adapters.get("http").execute(await self.target({**SECRETS, **changed}), {}, None)

    async def target(self, values: dict[str, str]) -> Target:
        oauth = {
            "grant": "refresh_token",
            "token_url": f"{self.url}/token",
            "client_id": "stanchion",
            "client_secret": "secret://local/client",
            "refresh_token": "secret://local/refresh",
        }
        connector = connector_of(checked(self.adapters, connector_body(self.url, {"oauth2": oauth})), "sha256:test")
        resource, operation = resource_of(connector, "look", "execute")
        credentials = await resolve(
            connector, Values(values=values), tenant="default", environment="local", tokens=self.tokens
        )
        return Target(
            connector=connector, resource=resource, operation=operation, timeout_s=20.0, credentials=credentials
        )


async def _tenant(urls: DatabaseUrls) -> None:
    async with await psycopg.AsyncConnection.connect(urls.engine, autocommit=True) as tx:
        await tx.execute(
            "insert into tenants (name, display_name) values ('default', 'Default') on conflict (name) do nothing"
        )


@asynccontextmanager
async def broker(
    urls: DatabaseUrls, folder: Path, server: Server, *, keeps: bool = True, clock: Clock | None = None
) -> AsyncIterator[Broker]:
    clock = clock or SystemClock()
    adapters = worlds.new_adapters(folder)
    async with Database(urls) as database:
        env = dataclasses.replace(make_env(database, clock=clock), ids=SystemIds(clock))
        keyring = Keyring(env, KeyFile(folder / "data.keys" / "secrets.key", data=folder / "data"))
        tokens = KeptTokens(env, keyring)
        try:
            await _tenant(urls)
            yield Broker(env=env, keyring=keyring, tokens=tokens if keeps else None, adapters=adapters, url=server.url)
        finally:
            await tokens.close()
            await adapters.close()


async def sql(urls: DatabaseUrls, query: str, *params: Any) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(urls.app, autocommit=True) as tx:
        await tx.execute("select set_config('stanchion.tenant', 'default', false)")
        found = await tx.execute(query, params)  # type: ignore[arg-type]
        return await found.fetchall() if found.description else []


async def test_a_restart_goes_on_with_the_token_that_was_given_last(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server
) -> None:
    async with broker(fresh_database_urls, tmp_path, server) as first:
        await first.call()
    async with broker(fresh_database_urls, tmp_path, server) as second:
        await second.call()
    assert server.used == ["r0"], "the access token lives on too"
    server.ended.add("a1")
    async with broker(fresh_database_urls, tmp_path, server) as third:
        await third.call()
        server.ended.add("a2")
        await third.call()
    assert server.used == ["r0", "r1", "r2"]
    assert not server.dead


async def test_without_keeping_the_same_server_ends_the_grant(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server
) -> None:
    """The control: this server does what the others are saved from."""
    for refused in (False, True):
        async with broker(fresh_database_urls, tmp_path, server, keeps=False) as started:
            if not refused:
                await started.call()
                continue
            with pytest.raises(AdapterProblem, match="invalid_grant"):
                await started.call()
    assert server.used == ["r0", "r0"]
    assert server.dead


async def test_of_two_brokers_one_asks_the_server(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server
) -> None:
    async with (
        broker(fresh_database_urls, tmp_path, server) as one,
        broker(fresh_database_urls, tmp_path, server) as other,
    ):
        for round_ in range(3):
            server.gate.clear()
            server.asked.clear()
            calls = [asyncio.create_task(each.call()) for each in (one, other, one, other)]
            await server.asked.wait()
            server.gate.set()
            await asyncio.gather(*calls)
            assert server.used == [f"r{n}" for n in range(round_ + 1)]
            server.ended.add(f"a{server.now}")
    assert not server.dead


async def test_an_exchange_is_brought_to_its_end_also_if_its_caller_goes(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server
) -> None:
    async with broker(fresh_database_urls, tmp_path, server) as first:
        server.gate.clear()
        call = asyncio.create_task(first.call())
        await server.asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        server.gate.set()
    server.ended.add("a1")
    async with broker(fresh_database_urls, tmp_path, server) as second:
        await second.call()
    assert server.used == ["r0", "r1"]


async def test_what_the_database_does_not_take_is_stored_later(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = store.save_refresh

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable("db.unavailable", "The database is away.")

    async with broker(fresh_database_urls, tmp_path, server) as first:
        monkeypatch.setattr(store, "save_refresh", away)
        await first.call()
        assert await sql(fresh_database_urls, "select generation from refresh_tokens") == [(0,)]
        monkeypatch.setattr(store, "save_refresh", save)
        server.ended.add("a1")
        await first.call()
        assert server.used == ["r0", "r1"]
        monkeypatch.setattr(store, "save_refresh", away)
        server.ended.add("a2")
        await first.call()
        monkeypatch.setattr(store, "save_refresh", save)
    server.ended.add("a3")
    async with broker(fresh_database_urls, tmp_path, server) as second:
        await second.call()
    assert server.used == ["r0", "r1", "r2", "r3"]
    assert not server.dead


async def test_a_refused_exchange_is_given_back_and_said(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server
) -> None:
    async with broker(fresh_database_urls, tmp_path, server) as first:
        server.dead = True
        for _ in range(2):
            with pytest.raises(AdapterProblem, match="invalid_grant"):
                await first.call()
        assert await sql(fresh_database_urls, "select held_by, generation from refresh_tokens") == [(None, 0)]
        server.dead = False
        await first.call()


async def test_another_declared_token_is_another_grant_and_another_client_secret_is_not(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server
) -> None:
    async with broker(fresh_database_urls, tmp_path, server) as first:
        await first.call()
        await first.call(client="rotated")
        assert server.used == ["r0"]
        server.now = 7  # authorised anew, after which r7 is what the secret holds
        await first.call(client="rotated", refresh="r7")
        assert server.used == ["r0", "r7"]
        assert len(await sql(fresh_database_urls, "select 1 from refresh_tokens")) == 2


async def test_what_is_stored_shows_nothing_and_opens_nowhere_else(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server
) -> None:
    async with broker(fresh_database_urls, tmp_path, server) as first:
        await first.call()
        ((declared, text),) = await sql(fresh_database_urls, "select declared, ciphertext from refresh_tokens")
        stored = bytes(text) + bytes(declared)
        assert all(word not in stored for word in (b"refresh", b"access", server.url.encode()))
        await first.keyring.rekey(fresh=True)
    async with broker(fresh_database_urls, tmp_path, server) as second:
        await second.call()
        assert server.used == ["r0"], "it opens after the keys were changed"
        await second.call(refresh="r1")  # another grant
        swap = (
            "update refresh_tokens r set ciphertext = o.ciphertext from refresh_tokens o where o.declared <> r.declared"
        )
        await sql(fresh_database_urls, swap)
    async with broker(fresh_database_urls, tmp_path, server) as third:
        with pytest.raises(Unavailable) as caught:
            await third.call()
        assert caught.value.code == "secret.damaged"


class Releasing(SystemClock):
    """A clock whose sleep ends what somebody else holds."""

    def __init__(self, urls: DatabaseUrls) -> None:
        self.urls, self.slept = urls, 0

    async def sleep(self, seconds: float) -> None:
        del seconds
        self.slept += 1
        await sql(self.urls, "update refresh_tokens set held_until = clock_timestamp() - interval '1 s'")


async def test_who_died_in_an_exchange_holds_it_no_longer_than_it_may(
    fresh_database_urls: DatabaseUrls, tmp_path: Path, server: Server
) -> None:
    clock = Releasing(fresh_database_urls)
    async with broker(fresh_database_urls, tmp_path, server, clock=clock) as first:
        await first.call()
        server.ended.add("a1")
        held = "update refresh_tokens set held_by = gen_random_uuid(), held_until = clock_timestamp() + interval '1 h'"
        await sql(fresh_database_urls, held)
        await first.call()
    assert clock.slept == 1
    assert server.used == ["r0", "r1"]
