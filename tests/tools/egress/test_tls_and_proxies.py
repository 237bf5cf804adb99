"""TLS is verified by name while the connection goes to a checked address; proxies, whose own address is somebody's too."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stanchion.secrets import Secret, SecretRef
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.credentials import Credentials
from stanchion.tools.egress import Egress, EgressProblem, Network
from tests.tools.egress.scenarios import fetched, refused
from tests.tools.egress.support import EVIL, GOOD, Names, Reached, connector, server

NAME = "erp.internal"


@dataclass
class Authority:
    """A certificate authority of a network, and servers' certificates by it."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.certificate = self._signed("authority", self.key, names=[])
        (self.folder / "ca.pem").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, names: list[str]) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        )
        if names:
            said = [
                x509.IPAddress(ipaddress.ip_address(one)) if one[0].isdigit() else x509.DNSName(one) for one in names
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(said), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def pair(self, *names: str) -> tuple[str, str]:
        """A certificate for these names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        certificate = self._signed(names[0], key, list(names)).public_bytes(serialization.Encoding.PEM)
        return certificate.decode(), key.private_bytes(serialization.Encoding.PEM, *plain).decode()

    def server(self, *names: str, ask: bool = False) -> ssl.SSLContext:
        """A server's context with a certificate for these names; notes in `asked` the names that clients ask for. `ask`:
        for a certificate of the client too."""
        file = self.folder / f"{names[0]}.pem"
        file.write_text("".join(self.pair(*names)))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        if ask:
            context.load_verify_locations(self.folder / "ca.pem")
            context.verify_mode = ssl.CERT_OPTIONAL
        self.asked: list[str | None] = []
        context.sni_callback = lambda _, name, __: self.asked.append(name)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_the_certificate_is_that_of_the_name_and_the_socket_goes_to_the_checked_address(
    authority: Authority,
) -> None:
    async with server(GOOD, ssl_context=authority.server(NAME)) as reached:
        found = connector(f"https://{NAME}:{reached.port}/api", private=[GOOD], ca_file="ca.pem")
        names = Names(erp_internal=[[GOOD]])
        assert await fetched(found, names, root=authority.folder) == 0
        assert (reached.paths, authority.asked, names.asked) == (["/api/cases"], [NAME], {NAME: 1})
        # The deployment's authorities are trusted beside the system's.
        plain = connector(f"https://{NAME}:{reached.port}/api", private=[GOOD])
        assert await fetched(plain, names, ca_file=authority.folder / "ca.pem") == 0


@pytest.mark.parametrize("case", ["unknown authority", "another name", "its address"])
async def test_a_certificate_that_is_not_the_hosts_is_refused(authority: Authority, case: str) -> None:
    context = authority.server(*{"another name": ["other.internal"], "its address": [GOOD]}.get(case, [NAME]))
    async with server(GOOD, ssl_context=context) as reached:
        lists = {"private": [GOOD], **({} if case == "unknown authority" else {"ca_file": "ca.pem"})}
        found = connector(f"https://{NAME}:{reached.port}/api", **lists)
        with pytest.raises(AdapterProblem) as caught:
            await fetched(found, Names(erp_internal=[[GOOD]]), root=authority.folder)
        assert (caught.value.code, caught.value.retryable) == ("adapter.unreachable", False)
        assert "certificate" in caught.value.message
        assert reached.requests == []


async def test_a_file_of_authorities_that_is_none_or_lies_elsewhere(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link.pem").symlink_to(tmp_path / "ca.pem")
    cases = [
        ({"ca_file": "gone.pem"}, {"root": tmp_path}),
        ({"ca_file": "empty.pem"}, {"root": tmp_path}),
        ({"ca_file": "../ca.pem"}, {"root": tmp_path / "root"}),
        ({"ca_file": "link.pem"}, {"root": tmp_path / "root"}),
        ({"ca_file": "ca.pem"}, {}),
        ({}, {"ca_file": tmp_path / "gone.pem"}),
    ]
    for lists, network in cases:
        problem = await refused(fetched(connector("https://a.example/", **lists), Names(), **network))
        assert problem.code == "egress.bad_ca_file"
        assert str(tmp_path) not in str(problem)


def test_a_context_cannot_be_made_that_does_not_verify(authority: Authority) -> None:
    for lists in ({}, {"ca_file": "ca.pem"}):
        egress = Egress.of(connector("https://a.example/", **lists), Network(root=authority.folder))
        context = egress.tls_context()
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_a_client_certificate_is_shown_to_the_connectors_own_origin_alone(authority: Authority) -> None:
    async with (
        server(GOOD, ssl_context=authority.server(NAME, ask=True)) as own,
        server(EVIL, ssl_context=authority.server("files.internal", ask=True)) as other,
    ):
        lists = {"private": ["127.0.0.0/8"], "ca_file": "ca.pem", "hosts": [f"files.internal:{other.port}"]}
        bare = connector(f"https://{NAME}:{own.port}/api", **lists)
        site = {"certificate": "secret://local/c#certificate", "private_key": "secret://local/c#key"}
        found = dataclasses.replace(bare, settings={**bare.settings, "auth": {"client_certificate": site}})
        pair = zip(site.items(), authority.pair("robot"), strict=True)
        credentials = Credentials(
            {f"/auth/client_certificate/{name}": Secret(text, ref=SecretRef.parse(ref)) for (name, ref), text in pair}
        )
        own.answers = [web.Response(status=302, headers={"Location": f"https://files.internal:{other.port}/file"})]
        names = Names(erp_internal=[[GOOD]], files_internal=[[EVIL]])
        assert await fetched(found, names, credentials=credentials, root=authority.folder) == 0
        assert [bool(one) for one in (*own.certificates, *other.certificates)] == [True, False]
        assert other.paths == ["/file"]


# --- proxies


@dataclass
class Proxy:
    """An HTTP proxy that notes what it is asked for, and connects to `to` whatever that is."""

    to: tuple[str, int]
    port: int = 0
    lines: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *headers = head.split("\r\n")
        self.lines.append(line)
        self.headers += headers
        up, out = await asyncio.open_connection(*self.to)
        if line.startswith("CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            method, url, version = line.split(" ")
            out.write(f"{method} /{url.split('/', 3)[3]} {version}\r\n{head.split(chr(10), 1)[1]}".encode())
        await asyncio.gather(_pump(reader, out), _pump(up, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def proxy(good: Reached) -> AsyncIterator[Proxy]:
    found = Proxy(to=(GOOD, good.port))
    listening = await asyncio.start_server(found.serve, EVIL, 0)
    found.port = listening.sockets[0].getsockname()[1]
    yield found
    listening.close()


async def test_a_proxy_of_the_operator_resolves_and_is_not_checked(proxy: Proxy, good: Reached) -> None:
    names = Names()
    network = {"proxy": f"http://user:pa55@{EVIL}:{proxy.port}"}
    assert await fetched(connector("http://public.example/api"), names, **network) == 0
    assert proxy.lines == ["GET http://public.example/api/cases HTTP/1.1"]
    assert any(line.startswith("Proxy-Authorization: Basic") for line in proxy.headers)
    assert good.paths == ["/api/cases"]
    assert names.asked == {}


async def test_a_proxy_by_name_is_resolved_here(proxy: Proxy) -> None:
    names = Names(proxy_internal=[[EVIL]])
    network = {"proxy": f"http://proxy.internal:{proxy.port}"}
    assert await fetched(connector("http://public.example/api"), names, **network) == 0
    assert names.asked == {"proxy.internal": 1}


async def test_through_a_proxy_the_list_of_hosts_holds_and_so_do_addresses(proxy: Proxy, good: Reached) -> None:
    network = {"proxy": f"http://{EVIL}:{proxy.port}"}
    good.answers = [web.Response(status=302, headers={"Location": "http://other.example/"})]
    problem = await refused(fetched(connector("http://public.example/api"), Names(), **network))
    assert problem.code == "egress.host_not_allowed"
    assert len(proxy.lines) == 1
    for url in ("http://169.254.169.254/latest", "http://10.0.0.1/", "http://[::1]/", f"http://{EVIL}:{proxy.port}/"):
        assert (await refused(fetched(connector(url), Names(), **network))).code == "egress.address_denied"
    assert len(proxy.lines) == 1


async def test_a_proxy_of_a_connector_is_checked_like_any_host(proxy: Proxy) -> None:
    url = f"http://{EVIL}:{proxy.port}"
    problem = await refused(fetched(connector("http://public.example/api", proxy=url), Names()))
    assert problem.code == "egress.address_denied"
    named = {"proxy": f"http://proxy.internal:{proxy.port}"}
    names = Names(proxy_internal=[[EVIL]])
    assert (await refused(fetched(connector("http://a.example/", **named), names))).code == "egress.address_denied"
    metadata = Names(proxy_internal=[["169.254.169.254"]])
    found = connector("http://public.example/api", **named, private=["proxy.internal"])
    assert (await refused(fetched(found, metadata))).code == "egress.address_denied"
    assert proxy.lines == []
    assert await fetched(found, names) == 0
    assert await fetched(connector("http://public.example/api", proxy=url, private=[EVIL]), Names()) == 0
    assert len(proxy.lines) == 2


async def test_a_proxy_of_a_connector_goes_before_that_of_the_deployment(proxy: Proxy) -> None:
    found = connector("http://public.example/", proxy=f"http://{EVIL}:{proxy.port}", private=[EVIL])
    assert await fetched(found, Names(), proxy="http://127.0.0.1:1") == 0


async def test_through_a_proxy_tls_is_with_the_target(proxy: Proxy, authority: Authority) -> None:
    async with server(GOOD, ssl_context=authority.server(NAME)) as reached:
        proxy.to = (GOOD, reached.port)
        network = {"proxy": f"http://{EVIL}:{proxy.port}", "root": authority.folder}
        assert await fetched(connector(f"https://{NAME}/api", ca_file="ca.pem"), Names(), **network) == 0
        assert proxy.lines == [f"CONNECT {NAME}:443 HTTP/1.1"]
        assert authority.asked == [NAME]
        with pytest.raises(AdapterProblem, match="certificate"):
            await fetched(connector(f"https://{NAME}/api"), Names(), **network)
        with pytest.raises(AdapterProblem, match="certificate"):
            await fetched(connector("https://other.internal/", ca_file="ca.pem"), Names(), **network)


async def test_variables_of_the_environment_are_ignored(proxy: Proxy, good: Reached, monkeypatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{EVIL}:{proxy.port}")
    assert await fetched(connector(f"http://{GOOD}:{good.port}/", private=[GOOD]), Names()) == 0
    assert proxy.lines == []


async def test_a_proxy_that_is_no_url_is_said() -> None:
    with pytest.raises(EgressProblem) as caught:
        await fetched(connector("http://public.example/"), Names(), proxy="http://127.1:3128")
    assert caught.value.code == "egress.bad_host"
