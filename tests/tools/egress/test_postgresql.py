"""PostgreSQL by its egress: hosts of the URL file are checked and pinned before libpq sees them; Unix sockets are no network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from stanchion.base import Invalid, SystemClock
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.postgresql_way import way
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of
from stanchion.tools.egress import Egress, EgressProblem, Network
from tests.conformance import worlds
from tests.conformance.test_adapters import make_target_database
from tests.tools.egress.scenarios import refused
from tests.tools.egress.support import EVIL, GOOD, Names, connector


def egress(names: Names, *private: str) -> Egress:
    return Egress.of(connector("https://unused.example/", private=list(private)), Network(resolve=names.resolve))


async def shown(url: str, names: Names | None = None, *private: str) -> tuple[str, str, str]:
    found = await way(egress(names or Names(), *private), conninfo_to_dict(url))
    return found["host"], found["hostaddr"], found["port"]


async def test_hosts_are_pinned_each_to_its_addresses_and_keep_their_names_for_tls() -> None:
    names = Names(a_internal=[["10.0.0.1", "10.0.0.2"]], b_internal=[["fd12::1"]])
    assert await shown("postgresql://u:p@a.internal/x", names, "a.internal") == (
        "a.internal,a.internal",
        "10.0.0.1,10.0.0.2",
        "5432,5432",
    )
    assert await shown("postgresql://a.internal:1,b.internal:2/x", names, "10.0.0.0/8", "fd12::/32") == (
        "a.internal,a.internal,b.internal",
        "10.0.0.1,10.0.0.2,fd12::1",
        "1,1,2",
    )
    assert await shown("host=a.internal,b.internal port=7", names, "a.internal", "b.internal") == (
        "a.internal,a.internal,b.internal",
        "10.0.0.1,10.0.0.2,fd12::1",
        "7,7,7",
    )
    assert names.asked == {"a.internal": 3, "b.internal": 2}
    assert await shown("host=93.184.216.34") == ("93.184.216.34", "93.184.216.34", "5432")
    assert await shown("host=db.example hostaddr=93.184.216.34") == ("db.example", "93.184.216.34", "5432")


@pytest.mark.parametrize(
    "url", ["postgresql:///x", "postgresql://u@/x?host=/run/pg", "dbname=x host=/run/pg", "host=@abstract", "host=''"]
)
async def test_a_unix_socket_is_left_as_it_is(url: str) -> None:
    host, address, _ = await shown(url)
    assert host == (conninfo_to_dict(url).get("host") or "")
    assert address == ""


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://127.0.0.1/x", "egress.address_denied"),
        ("postgresql://[::1]/x", "egress.address_denied"),
        ("postgresql://u:p@10.0.0.1:5432/x", "egress.address_denied"),
        ("postgresql://169.254.169.254:80/x", "egress.address_denied"),
        ("postgresql://db.internal/x", "egress.address_denied"),
        ("host=public.example hostaddr=127.0.0.1", "egress.address_denied"),
        ("host=/run/pg hostaddr=127.0.0.1", "egress.address_denied"),
        ("host=public.example,db.internal", "egress.address_denied"),
        ("hostaddr=10.0.0.1", "egress.address_denied"),
        ("host=127.1", "egress.bad_host"),
        ("host=2130706433", "egress.bad_host"),
        ("host=0x7f000001", "egress.bad_host"),
        ("hostaddr=127.1", "egress.bad_host"),
    ],
)
async def test_what_is_not_listed_is_refused(url: str, code: str) -> None:
    names = Names(db_internal=[["10.0.0.1"]], public_example=[["93.184.216.34"]])
    assert (await refused(shown(url, names))).code == code


async def test_an_address_is_not_approved_for_the_name_that_stands_beside_it() -> None:
    """`hostaddr` is what is connected to; the list must name it, not the host that TLS will ask for."""
    problem = await refused(shown("host=db.internal hostaddr=10.0.0.1", Names(), "db.internal"))
    assert problem.code == "egress.address_denied"
    assert await shown("host=db.internal hostaddr=10.0.0.1", Names(), "10.0.0.1") == ("db.internal", "10.0.0.1", "5432")


@pytest.mark.parametrize(
    "url", ["service=x", "host=a,b port=1,2,3", "host=a,b,c hostaddr=1.1.1.1,1.1.1.2", "host=a port=x"]
)
async def test_a_url_whose_hosts_cannot_be_known_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as caught:
        await way(egress(Names(a=[["93.184.216.34"]])), conninfo_to_dict(url))
    assert caught.value.code == "connector.bad_url"


# --- against a real server


@pytest.fixture
async def relay(fresh_database_urls: Any) -> AsyncIterator[tuple[str, int, list[str]]]:
    """The test's PostgreSQL on a TCP port of this machine: (its URL on the socket, port, who was connected to)."""
    url = make_target_database(fresh_database_urls.owner)
    params = conninfo_to_dict(url)
    reached: list[str] = []
    serving = set[asyncio.Task[None] | None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        reached.append(writer.get_extra_info("sockname")[0])
        up, out = await asyncio.open_unix_connection(f"{params['host']}/.s.PGSQL.{params.get('port') or 5432}")
        await asyncio.gather(_pump(reader, out), _pump(up, writer))

    good = await asyncio.start_server(serve, GOOD, 0)
    port = good.sockets[0].getsockname()[1]
    evil = await asyncio.start_server(serve, EVIL, port)
    yield url, port, reached
    for listening in (good, evil):
        listening.close()
    # Both ends are closed by now.
    await asyncio.gather(*(task for task in serving if task is not None))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def fetched(root: Path, url: str, names: Names, *private: str) -> int:
    """Records of a fetch by a new adapter whose URL file holds `url`."""
    adapters = Adapters(root, SystemClock(), Network(resolve=names.resolve))
    (root / "casebook.url").write_text(url)
    settings = {"database": {"driver": "postgresql", "url_file": "casebook.url"}, "egress": {"private": list(private)}}
    found = connector_of(worlds.document("sql", worlds.SQL_RESOURCES, **settings), "sha256:test")
    resource = found.resources["cases"]
    target = Target(connector=found, resource=resource, operation=resource.operations["fetch"], timeout_s=5.0)
    try:
        return len((await adapters.get("sql").fetch(target, {"least": None}, 10, None)).records)
    finally:
        await adapters.close()


async def test_an_approved_private_database_works_and_is_resolved_once(
    relay: tuple[str, int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, port, reached = relay
    adapters = Adapters(tmp_path, SystemClock())
    worlds.make_postgres(tmp_path, adapters, url)
    await adapters.close()
    over_tcp = psycopg.conninfo.make_conninfo(url, host="db.internal", port=port)
    params = conninfo_to_dict(over_tcp)
    text = f"postgresql://{params['user']}:{params.get('password', '')}@db.internal:{port}/{params['dbname']}?" + (
        "options=" + str(params["options"]).replace(" ", "%20").replace("=", "%3D") if "options" in params else ""
    )

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("resolved again")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    names = Names(db_internal=[[GOOD], [EVIL]])
    assert await fetched(tmp_path, text, names, "127.0.0.2") == 5
    assert names.asked == {"db.internal": 1}
    assert reached == [GOOD]
    # Rebound since: the second answer is checked like the first.
    with pytest.raises(EgressProblem) as caught:
        await fetched(tmp_path, text, names, "127.0.0.2")
    assert caught.value.code == "egress.address_denied"
    assert EVIL not in str(caught.value)
    assert reached == [GOOD]
    # The control: the other listener is the same server, and answers who may come there.
    assert await fetched(tmp_path, text, names, "127.0.0.0/8") == 5
    assert reached == [GOOD, EVIL]


async def test_variables_of_the_environment_lead_nowhere(
    relay: tuple[str, int, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, port, reached = relay
    adapters = Adapters(tmp_path, SystemClock())
    worlds.make_postgres(tmp_path, adapters, url)
    await adapters.close()
    for name, value in {"PGHOST": GOOD, "PGHOSTADDR": GOOD, "PGPORT": str(port)}.items():
        monkeypatch.setenv(name, value)
    # No host: libpq's own socket folder, at which nobody of that name is let in, and not what the variables say.
    with pytest.raises(AdapterProblem):
        await fetched(tmp_path, "postgresql://nobody@/x", Names(), "127.0.0.0/8")
    assert await fetched(tmp_path, url, Names()) == 5
    assert reached == []
    # The control: libpq by itself would go there.
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect("postgresql://nobody@/x", connect_timeout=2)
    assert reached == [GOOD]
