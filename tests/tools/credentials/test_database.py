"""A PostgreSQL connector's password by reference: resolved for the call, rotated without a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest

from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of
from stanchion.tools.credentials import resolve
from tests.conformance import worlds
from tests.tools.credentials.support import Values


async def test_a_password_by_reference(cluster: Any, fresh_database_urls: Any, tmp_path: Path) -> None:
    owner = cluster.superuser(fresh_database_urls)
    with psycopg.connect(owner) as connection:
        connection.execute(worlds.POSTGRES)
        name = connection.info.dbname
    role = f"robot_{name[-12:].replace('-', '_')}"
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(f"create role {role} login password 'first'")
        connection.execute(f"grant select on cases to {role}")
    try:
        await _called(owner, role, tmp_path)
    finally:
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")


async def _called(owner: str, role: str, tmp_path: Path) -> None:
    parts = urlsplit(owner)
    place = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"{quote(role)}@{place}"))
    adapters = Adapters(tmp_path, worlds.SystemClock())
    body = worlds.checked(
        adapters,
        worlds.document(
            "sql",
            {"cases": worlds.SQL_RESOURCES["cases"]},
            database={
                "driver": "postgresql",
                "url": "postgresql://robot@db.example/x",
                "password": "secret://local/db",
            },
        ),
    )
    # The server of the tests listens on a socket alone, which no document may name.
    body = {**body, "database": {**body["database"], "url": url}}
    connector = connector_of(body, "sha256:test")
    resource = connector.resources["cases"]

    async def fetched(values: dict[str, str] | None) -> int:
        credentials = (
            None
            if values is None
            else await resolve(connector, Values(values=values), tenant="acme", environment="local")
        )
        target = Target(
            connector=connector,
            resource=resource,
            operation=resource.operations["fetch"],
            timeout_s=5.0,
            credentials=credentials,
        )
        return len((await adapters.get("sql").fetch(target, {"least": None}, 10, None)).records)

    try:
        assert await fetched({"secret://local/db": "first"}) == 0
        with pytest.raises(AdapterProblem) as caught:
            await fetched(None)
        assert caught.value.code == "adapter.no_credentials"
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(f"alter role {role} password 'second'")
        assert await fetched({"secret://local/db": "second"}) == 0
        with pytest.raises(AdapterProblem) as caught:
            await fetched({"secret://local/db": "third"})
        assert caught.value.code == "adapter.not_authenticated"
        assert "third" not in f"{caught.value} {caught.value.fields}"
    finally:
        await adapters.close()


async def test_a_server_that_is_not_verified_is_never_told_the_password_itself(tmp_path: Path) -> None:
    said, done = bytearray(), asyncio.Event()

    async def asks_for_it(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (head := await reader.readexactly(8))[4:] in {b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"}:
                writer.write(b"N")  # neither TLS nor GSS
            await reader.readexactly(int.from_bytes(head[:4], "big") - 8)
            writer.write(b"R" + (8).to_bytes(4, "big") + (3).to_bytes(4, "big"))  # AuthenticationCleartextPassword
            said.extend(await reader.read(1000))
        finally:
            writer.close()
            await writer.wait_closed()
            done.set()

    server = await asyncio.start_server(asks_for_it, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    adapters = Adapters(tmp_path, worlds.SystemClock())
    body = worlds.checked(
        adapters,
        worlds.document(
            "sql",
            {"cases": worlds.SQL_RESOURCES["cases"]},
            database={
                "driver": "postgresql",
                "url": f"postgresql://robot@127.0.0.1:{port}/x",
                "password": "secret://local/db",
            },
            egress={"private": ["127.0.0.1"]},
        ),
    )
    connector = connector_of(body, "sha256:test")
    credentials = await resolve(
        connector, Values(values={"secret://local/db": "hunter2"}), tenant="acme", environment="local"
    )
    try:
        with pytest.raises(AdapterProblem):
            await adapters.get("sql").test(connector, 5.0, credentials)
    finally:
        await adapters.close()
        server.close()
        await asyncio.wait_for(done.wait(), 60)
    assert b"hunter2" not in said
