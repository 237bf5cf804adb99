"""The guard end to end: the corpus, rebinding, redirects, approved hosts, and mutants of the guard that must be seen."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from stanchion.base import Internal, SystemClock
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.egress import Egress, EgressProblem, Network, Sessions, policy, session, sessions
from stanchion.tools.egress.hosts import host_of
from tests.tools.egress import corpus
from tests.tools.egress.scenarios import fetched, rebinding, redirected, refused, second_address
from tests.tools.egress.support import (
    EVIL,
    GOOD,
    PUBLIC,
    Names,
    Reached,
    Wire,
    connector,
    egress_of,
    redirect,
)

CORPUS = [*(f"http://{host}/" for host in corpus.HOSTS), *corpus.URLS]


# --- the corpus


def test_the_corpus_is_as_large_as_it_is_said_to_be() -> None:
    assert len(corpus.HOSTS) >= 100
    assert len(CORPUS) + len(corpus.NAMES) >= 160


@pytest.mark.parametrize("url", CORPUS)
async def test_a_spelling_of_the_corpus_is_refused_as_the_connectors_own_url_and_nothing_is_connected_to(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, names = Wire(monkeypatch), Names()

    async def admitted() -> None:
        Egress.of(connector(url), Network(resolve=names.resolve)).admit_url(url)

    problem = await refused(admitted())
    # A URL that no document can hold may break the adapter before it comes to the guard; it is not called either.
    with pytest.raises((EgressProblem, ValueError, TypeError, AdapterProblem)):
        await fetched(connector(url), names)
    host = url.removeprefix("http://").removesuffix("/")
    found = corpus.HOSTS.get(host)
    assert problem.code == ("egress.address_denied" if found else "egress.bad_host")
    assert problem.fields.get("address_class") == found
    assert wire.to == []
    assert names.asked == {}
    # Neither the address nor what it was taken from is said.
    if found:
        assert host.strip("[]") not in f"{problem} {dict(problem.fields)}"


@pytest.mark.parametrize("url", CORPUS)
async def test_a_spelling_of_the_corpus_is_refused_as_a_redirect(
    url: str, good: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connector names a public host, and lists as much as a document can: its own names, and the host if it is one."""
    wire = Wire(monkeypatch, **{PUBLIC: (GOOD, good.port)})
    names = Names(public_example=[[PUBLIC]])
    lists = [host for host in (hosted(url),) if host]
    found = connector("http://public.example/", hosts=lists)
    if any(ord(character) < 0x20 or not character.isascii() for character in url):
        # No server can send these: given to what follows, as if one had.
        egress = Egress.of(found, Network(resolve=names.resolve))
        with pytest.raises(EgressProblem):
            egress.followed(URL("http://public.example/cases"), url)
        return
    good.answers = [redirect(url) for _ in range(4)]
    problem = await refused(fetched(found, names))
    assert problem.code in {"egress.address_denied", "egress.bad_host", "egress.host_not_allowed"}
    assert len(good.requests) == 1
    assert set(wire.addresses) == {PUBLIC}


def hosted(url: str) -> str | None:
    """`host:80` of a URL of the corpus whose host can be said."""
    try:
        host = host_of(url.removeprefix("http://").removesuffix("/"))
    except ValueError:
        return None
    return f"[{host}]:80" if ":" in host else f"{host}:80"


@pytest.mark.parametrize("name", corpus.NAMES)
async def test_a_name_of_the_corpus_is_refused_for_what_it_resolves_to(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch)
    names = Names()
    names.answers[host_of(name)] = [corpus.NAMES[name]]
    found = connector(f"https://{name}/api")
    problem = await refused(fetched(found, names))
    assert problem.code == "egress.address_denied"
    assert wire.to == []
    shown = str(problem).replace(name, "")
    assert not any(address in shown for address in corpus.NAMES[name] if len(address) > 4)
    # The same, said to those who connect by themselves.
    assert (await refused(Egress.of(found, Network(resolve=names.resolve)).addresses(name, 443))).code == problem.code


async def test_the_corpus_has_its_positive_control(good: Reached) -> None:
    """The same calls reach what is approved: it is the guard that refuses, not the test's own set-up."""
    names = Names(registry_example=[[GOOD]])
    assert await fetched(connector(f"http://{GOOD}:{good.port}", private=[GOOD]), names) == 0
    assert await fetched(connector(f"http://registry.example:{good.port}", private=["registry.example"]), names) == 0
    assert good.paths == ["/cases", "/cases"]


# --- rebinding


async def test_a_rebound_name_is_resolved_once_and_the_checked_address_is_called(
    good: Reached, evil: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await rebinding(good, monkeypatch) == [PUBLIC]
    assert (len(good.requests), len(evil.requests)) == (1, 0)
    assert good.requests[0].headers["Host"] == f"rebind.example:{good.port}"


async def test_the_next_connection_of_a_rebound_name_is_refused(good: Reached, evil: Reached, monkeypatch) -> None:
    """The second answer is checked like the first; and the listener that it means would have answered."""
    wire = Wire(monkeypatch, **{PUBLIC: (GOOD, good.port)})
    names = Names(rebind_example=[[PUBLIC], [EVIL]])
    found = connector(f"http://rebind.example:{good.port}")
    assert await fetched(found, names) == 0
    assert (await refused(fetched(found, names))).code == "egress.address_denied"
    assert wire.addresses == [PUBLIC]
    assert evil.requests == []
    async with aiohttp.ClientSession() as unguarded, unguarded.get(f"http://{EVIL}:{evil.port}/") as answer:
        assert answer.status == 200
    assert len(evil.requests) == 1


async def test_a_second_address_is_no_way_in(good: Reached, evil: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await second_address(good, monkeypatch) == []
    assert evil.requests == []


# --- redirects


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://{evil}/", "egress.address_denied"),
        ("//{evil}/", "egress.address_denied"),
        ("http://evil.example/", "egress.address_denied"),
        ("http://other.example/", "egress.host_not_allowed"),
        ("http://public.example:81/", "egress.host_not_allowed"),
        ("https://public.example/", "egress.host_not_allowed"),
        ("http://public.example.evil.example/", "egress.host_not_allowed"),
        ("http://169.254.169.254/latest/meta-data/", "egress.host_not_allowed"),
        ("file:///etc/passwd", "egress.bad_host"),
        ("http://u:p@public.example/", "egress.bad_host"),
    ],
)
async def test_a_redirect_out_is_refused_before_anything_is_connected_to(
    good: Reached, evil: Reached, monkeypatch: pytest.MonkeyPatch, location: str, code: str
) -> None:
    problem = await redirected(good, location.format(evil=f"{EVIL}:{good.port}"), monkeypatch)
    assert problem is not None
    assert problem.code == code
    assert EVIL not in str(problem)
    assert len(good.requests) == 1
    assert evil.requests == []


async def test_each_hop_of_a_chain_is_checked(good: Reached, evil: Reached, monkeypatch: pytest.MonkeyPatch) -> None:
    Wire(monkeypatch, **{PUBLIC: (GOOD, good.port)})
    names = Names(public_example=[[PUBLIC]], files_example=[[PUBLIC]])
    found = connector("http://public.example/api", hosts=["files.example:80"])
    good.answers = [redirect("/api/2"), redirect("http://files.example/3"), redirect(f"http://{EVIL}:{good.port}/4")]
    assert (await refused(fetched(found, names))).code == "egress.host_not_allowed"
    assert good.paths == ["/api/cases", "/api/2", "/3"]
    assert evil.requests == []
    # Another host than the base URL's is told nothing of the connector.
    assert [request.headers.get("X-Client") for request in good.requests] == ["stanchion", "stanchion", None]
    good.requests.clear()
    good.answers = [redirect("http://files.example/ok")]
    assert await fetched(found, names) == 0
    assert good.paths == ["/api/cases", "/ok"]


def test_https_is_not_followed_to_http() -> None:
    egress = egress_of("https://public.example/", hosts=["public.example:80", "files.example:443"])
    with pytest.raises(EgressProblem, match="without TLS"):
        egress.followed(URL("https://public.example/a"), "http://public.example/b")
    assert str(egress.followed(URL("https://public.example/a/b"), "../c?next=http://x/#f")) == (
        "https://public.example/c?next=http://x/"
    )
    assert str(egress.followed(URL("https://public.example/a"), "//files.example/b")) == "https://files.example/b"


# --- what aiohttp itself would do


async def test_a_session_checks_hops_that_aiohttp_follows_by_itself(
    good: Reached, evil: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    Wire(monkeypatch, **{PUBLIC: (GOOD, good.port)})
    good.answers = [redirect(f"http://{EVIL}:{good.port}/")]
    async with session(egress_of("http://public.example/", Names(public_example=[[PUBLIC]]))) as opened:
        with pytest.raises(EgressProblem) as caught:
            await opened.get("http://public.example/", allow_redirects=True)
    assert caught.value.code == "egress.host_not_allowed"
    assert evil.requests == []


async def test_tls_is_not_turned_off(good: Reached) -> None:
    import ssl

    blind = ssl.create_default_context()
    blind.check_hostname = False
    async with session(egress_of("https://public.example/", Names(public_example=[[PUBLIC]]))) as opened:
        for said in (False, blind):
            with pytest.raises(Internal, match="TLS is always verified"):
                await opened.get("https://public.example/", ssl=said)


async def test_no_socket_is_opened_to_what_no_check_let_through() -> None:
    """The last look, by itself: nothing was resolved before."""
    guard = sessions._Guard(egress_of(f"http://{GOOD}:80/", private=[GOOD]))
    guard.opened((2, 1, 6, "", (GOOD, 80))).close()
    for to in ((GOOD, 81), (EVIL, 80), (PUBLIC, 80), ("a.example", 80), ("fe80::1%lo", 80)):
        with pytest.raises(PermissionError):
            guard.opened((2, 1, 6, "", to))


async def test_cookies_are_not_kept(good: Reached) -> None:
    good.answers = [web.json_response([], headers={"Set-Cookie": "a=b; Path=/"})]
    async with session(egress_of(f"http://{GOOD}:{good.port}/", private=[GOOD])) as opened:
        for _ in range(2):
            async with opened.get(f"http://{GOOD}:{good.port}/"):
                pass
    assert all("Cookie" not in request.headers for request in good.requests)


async def test_sessions_are_kept_per_egress_and_given_back_when_nobody_asks() -> None:
    class Clock(SystemClock):
        at = 0.0

        def monotonic(self) -> float:
            return self.at

    clock = Clock()
    kept = Sessions(clock)
    one = await kept.of(egress_of("https://a.example/"))
    assert await kept.of(egress_of("https://a.example/")) is one
    other = await kept.of(egress_of("https://a.example/", hosts=["b.example"]))
    assert other is not one
    clock.at = 800.0
    assert await kept.of(egress_of("https://a.example/")) is one
    clock.at = 1000.0
    assert await kept.of(egress_of("https://a.example/")) is one
    assert (one.closed, other.closed) == (False, True)
    await kept.close()
    assert one.closed


async def test_sessions_that_many_calls_come_back_to_at_once_are_not_closed_under_them() -> None:
    """After a quiet night the first calls of several connectors come together: each finds the others' sessions unused, and
    while it closes one, another of them is taken into use again."""

    class Clock(SystemClock):
        at = 0.0

        def monotonic(self) -> float:
            return self.at

    clock = Clock()
    kept = Sessions(clock)
    egresses = [egress_of(f"https://{name}.example/") for name in "abcdef"]
    for egress in egresses:
        await kept.of(egress)
    clock.at = 1000.0
    found = await asyncio.gather(*(kept.of(egress) for egress in egresses))
    assert [one.closed for one in found] == [False] * len(egresses)
    assert [await kept.of(egress) for egress in egresses] == found
    await kept.close()


# --- approved private hosts


@pytest.mark.parametrize("listed", [[GOOD], ["127.0.0.0/8"], ["registry.internal"], ["10.0.0.0/8", "127.0.0.2/32"]])
async def test_an_approved_private_host_works(good: Reached, listed: list[str]) -> None:
    names = Names(registry_internal=[[GOOD]])
    good.answers = [web.json_response([{"case_id": "C1"}])]
    found = connector(f"http://registry.internal:{good.port}/api", private=listed)
    assert await fetched(found, names) == 1
    assert good.paths == ["/api/cases"]
    assert names.asked == {"registry.internal": 1}


@pytest.mark.parametrize("listed", [[EVIL], ["10.0.0.0/8"], ["other.internal"], []])
async def test_one_that_is_not_listed_is_refused(good: Reached, listed: list[str]) -> None:
    names = Names(registry_internal=[[GOOD]])
    found = connector(f"http://registry.internal:{good.port}/api", private=listed)
    problem = await refused(fetched(found, names))
    assert problem.code == "egress.address_denied"
    assert problem.message.endswith("may not connect to registry.internal: its address is of the class loopback.")
    assert "egress.private" in problem.hint
    assert good.requests == []


async def test_addresses_and_sockets_for_those_who_connect_by_themselves(good: Reached, evil: Reached) -> None:
    names = Names(mail_internal=[[EVIL, GOOD], [GOOD]])
    egress = egress_of("https://registry.example/", names, private=["mail.internal"]).beside("mail.internal", good.port)
    assert [str(one) for one in await egress.addresses("MAIL.internal.", good.port)] == [EVIL, GOOD]
    opened = await egress.dial("mail.internal", good.port, 5.0)
    assert opened.getpeername() == (GOOD, good.port)
    opened.close()
    for host, port, code in [
        ("mail.internal", good.port + 1, "egress.host_not_allowed"),
        ("other.internal", 443, "egress.host_not_allowed"),
        (GOOD, good.port, "egress.host_not_allowed"),
        ("127.1", good.port, "egress.bad_host"),
    ]:
        assert (await refused(egress.dial(host, port, 5.0))).code == code


async def test_a_dial_tries_each_checked_address_and_ends_in_time(good: Reached, monkeypatch) -> None:
    names = Names(two_internal=[[EVIL, GOOD]], none_internal=[[EVIL]])
    egress = egress_of("https://registry.example/", names, private=["127.0.0.0/8"])
    both = egress.beside("two.internal", good.port).beside("none.internal", good.port)
    opened = await both.dial("two.internal", good.port, 5.0)
    assert opened.getpeername()[0] == GOOD
    opened.close()
    with pytest.raises(ConnectionRefusedError):
        await both.dial("none.internal", good.port, 5.0)

    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", never)
    with pytest.raises(TimeoutError):
        await both.dial("two.internal", good.port, 0.05)


async def test_a_name_without_an_address_may_have_one_later() -> None:
    egress = egress_of("https://gone.example/", Names(empty_example=[[]])).beside("empty.example", 443)
    for host in ("gone.example", "empty.example"):
        with pytest.raises(EgressProblem) as caught:
            await egress.addresses(host, 443)
        assert (caught.value.code, caught.value.retryable) == ("egress.unresolved", True)
    with pytest.raises(AdapterProblem) as unreachable:
        await fetched(connector("https://gone.example/"), Names())
    assert (unreachable.value.code, unreachable.value.retryable) == ("adapter.unreachable", True)


async def test_the_systems_resolver_is_asked_once_and_zones_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await policy.system_resolve("localhost", 80)
    assert set(found) <= {"127.0.0.1", "::1"}
    loop = asyncio.get_running_loop()

    async def zoned(*_: Any, **__: Any) -> list[Any]:
        return [(10, 1, 6, "", ("fe80::1", 80, 0, 2)), (2, 1, 6, "", ("10.0.0.1", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]

    monkeypatch.setattr(loop, "getaddrinfo", zoned)
    assert list(await policy.system_resolve("x", 80)) == ["fe80::1%2", "10.0.0.1"]


# --- limits


async def test_an_answer_is_as_large_as_the_connector_says(good: Reached) -> None:
    good.answers = [web.json_response([{"case_id": "C" * 2000}]) for _ in range(2)]
    with pytest.raises(AdapterProblem) as caught:
        await fetched(connector(f"http://{GOOD}:{good.port}", private=[GOOD], max_bytes=1024), Names())
    assert caught.value.code == "adapter.too_large"
    assert await fetched(connector(f"http://{GOOD}:{good.port}", private=[GOOD], max_bytes=4096), Names()) == 1


async def test_a_resolver_that_does_not_answer_takes_the_calls_time_and_no_more() -> None:
    class Silent(Names):
        async def resolve(self, host: str, port: int) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

    with pytest.raises(AdapterProblem) as caught:
        await fetched(connector("https://silent.example/"), Silent(), timeout_s=0.2)
    assert (caught.value.code, caught.value.retryable) == ("adapter.timeout", True)


# --- without TLS


async def test_secrets_go_without_tls_to_listed_private_addresses_alone(good: Reached, monkeypatch) -> None:
    Wire(monkeypatch, **{PUBLIC: (GOOD, good.port)})
    names = Names(inner_example=[[GOOD]], outer_example=[[PUBLIC]], both_example=[[GOOD, PUBLIC]])
    auth = {"bearer": {"token": "secret://local/t"}}

    def egress(host: str, **said: Any) -> Egress:
        bare = connector(f"http://{host}:{good.port}", private=[GOOD], **said)
        found = dataclasses.replace(bare, settings={**bare.settings, "auth": auth})
        return Egress.of(found, Network(resolve=names.resolve))

    assert [str(one) for one in await egress("inner.example").addresses("inner.example", good.port)] == [GOOD]
    for host in ("outer.example", "both.example", PUBLIC):
        problem = await refused(egress(host).addresses(host, good.port))
        assert problem.code == "egress.no_tls"
        assert PUBLIC not in str(problem)
    # Without secrets, and with TLS, it is the reader's business alone.
    assert await fetched(connector(f"http://outer.example:{good.port}"), names) == 0
    tls = dataclasses.replace(
        connector("https://outer.example"), settings={"base_url": "https://outer.example", "auth": auth}
    )
    assert await Egress.of(tls, Network(resolve=names.resolve)).addresses("outer.example", 443)
    # A proxy resolves in our place: only a host that is listed by name is known to be within.
    proxied = egress("inner.example", proxy="http://proxy.example:3128")
    assert (await refused(proxied.addresses("inner.example", good.port))).code == "egress.no_tls"
    bare = connector(f"http://inner.example:{good.port}", private=["inner.example"], proxy="http://proxy.example:3128")
    Egress.of(dataclasses.replace(bare, settings={**bare.settings, "auth": auth})).admit("inner.example", good.port)
