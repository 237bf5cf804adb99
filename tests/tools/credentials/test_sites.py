"""Credentials reach their declared site, that site alone, and the connector's own origin alone."""

from __future__ import annotations

import base64
import copy
import ipaddress
import json
import pickle
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stanchion.base import NotFound
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.credentials import Credentials
from tests.conformance import worlds
from tests.tools.credentials.support import Seen, Values, connector_body, showing, target

PLANTED = "pl4nted-S3cret/+="
VALUES = {"secret://local/erp": PLANTED, "secret://local/erp#user": "robot", "secret://local/bad": "two\nlines"}


@pytest.fixture
async def adapters(tmp_path: Path) -> AsyncIterator[Adapters]:
    made = worlds.new_adapters(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    async with showing() as server:
        yield server


async def called(adapters: Adapters, seen: Seen, auth: dict[str, Any], name: str = "look", **settings: Any) -> Any:
    aim = await target(adapters, connector_body(seen.url, auth, **settings), Values(values=VALUES), name)
    arguments = {"amount": 7} if name == "post" else {}
    return aim, await adapters.get("http").execute(aim, arguments, "k" if name == "post" else None)


async def test_header_query_bearer_and_basic(adapters: Adapters, seen: Seen) -> None:
    reference = "secret://local/erp"
    await called(adapters, seen, {"header": {"X-Api-Key": reference}, "query": {"api_key": reference}})
    assert seen.requests[-1].headers["X-Api-Key"] == PLANTED
    assert seen.requests[-1].query["api_key"] == PLANTED
    await called(adapters, seen, {"bearer": {"token": reference, "scheme": "Token"}})
    assert seen.requests[-1].headers["Authorization"] == f"Token {PLANTED}"
    aim, _ = await called(adapters, seen, {"basic": {"username": f"{reference}#user", "password": reference}})
    text = base64.b64encode(f"robot:{PLANTED}".encode()).decode()
    assert seen.requests[-1].headers["Authorization"] == f"Basic {text}"
    assert {PLANTED, "robot", text} == aim.credentials.plain_values()


async def test_a_body_field_by_name_and_by_pointer(adapters: Adapters, seen: Seen) -> None:
    auth = {"body": {"key": "secret://local/erp", "/login/token": "secret://local/erp"}}
    await called(adapters, seen, auth, "post")
    assert json.loads(seen.bodies[-1]) == {"amount": 7, "key": PLANTED, "login": {"token": PLANTED}}


async def test_a_signature_covers_what_goes_out(adapters: Adapters, seen: Seen) -> None:
    keys = {"access_key_id": "AKID", "secret_access_key": "secret://local/erp"}
    await called(adapters, seen, {"sigv4": {"region": "eu-central-1", "service": "execute-api", **keys}}, "post")
    said = seen.requests[-1].headers["Authorization"]
    assert said.startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert "SignedHeaders=content-type;host;x-amz-date," in said
    assert PLANTED not in str(dict(seen.requests[-1].headers))


async def test_each_reference_is_asked_for_this_tenant_environment_and_connector(
    adapters: Adapters, seen: Seen
) -> None:
    values = Values(values=VALUES)
    await target(adapters, connector_body(seen.url, {"bearer": {"token": "secret://local/erp"}}), values)
    assert values.asked == [("acme", "secret://local/erp", "local", "erp")]
    with pytest.raises(NotFound):
        await target(adapters, connector_body(seen.url, {"bearer": {"token": "secret://local/none"}}), values)


async def test_a_process_without_credentials_calls_nothing(adapters: Adapters, seen: Seen) -> None:
    aim = await target(
        adapters, connector_body(seen.url, {"bearer": {"token": "secret://local/erp"}}), Values(values=VALUES)
    )
    from dataclasses import replace

    with pytest.raises(AdapterProblem) as caught:
        await adapters.get("http").execute(replace(aim, credentials=None), {}, None)
    assert caught.value.code == "adapter.no_credentials"
    assert seen.requests == []


async def test_a_value_that_no_header_can_hold_stops_the_call_and_is_not_said(adapters: Adapters, seen: Seen) -> None:
    with pytest.raises(AdapterProblem) as caught:
        await called(adapters, seen, {"bearer": {"token": "secret://local/bad"}})
    assert (caught.value.code, caught.value.sent) == ("adapter.bad_credential", False)
    assert "lines" not in str(caught.value)
    assert seen.requests == []


async def test_nothing_goes_along_to_where_a_redirect_leads(adapters: Adapters, seen: Seen) -> None:
    """Another host is refused; one that the connector lists is called, and told nothing."""
    async with showing() as other:
        auth = {"header": {"X-Api-Key": "secret://local/erp"}, "query": {"api_key": "secret://local/erp"}}
        headers = {"X-Client": "stanchion"}

        async def leads(_: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"{other.url}/there"})

        seen.answers.append(leads)
        with pytest.raises(AdapterProblem) as caught:
            await called(adapters, seen, auth)
        assert caught.value.code == "egress.host_not_allowed"
        assert other.requests == []
        seen.answers.append(leads)
        egress = {"private": ["127.0.0.1"], "hosts": [other.url.removeprefix("http://")]}
        await called(adapters, seen, auth, egress=egress, headers=headers)
        (reached,) = other.requests
        assert reached.query_string == ""
        assert not {"X-Api-Key", "X-Client", "Authorization"} & set(reached.headers)
        assert PLANTED not in str(dict(reached.headers))


async def test_a_write_is_not_led_anywhere(adapters: Adapters, seen: Seen) -> None:
    async def leads(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    seen.answers.append(leads)
    with pytest.raises(AdapterProblem) as caught:
        await called(adapters, seen, {"bearer": {"token": "secret://local/erp"}}, "post")
    assert caught.value.fields["status"] == 307
    assert len(seen.requests) == 1


def test_credentials_show_themselves_nowhere() -> None:
    from stanchion.secrets import Secret, SecretRef

    ref = SecretRef.parse("secret://local/erp")
    credentials = Credentials({"/auth/bearer/token": Secret(PLANTED, ref=ref)})
    credentials.derived("derived-" + PLANTED)
    assert PLANTED not in f"{credentials!r} {credentials}"
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(credentials)


def certificate(name: str, signer: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """A certificate and key for 127.0.0.1, signed by itself or another."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signing = (subject, key) if signer is None else (signer[0].subject, signer[1])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .sign(signing, hashes.SHA256())
    )
    return made, key


def pem(made: tuple[Any, Any]) -> tuple[str, str]:
    key = made[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made[0].public_bytes(serialization.Encoding.PEM).decode(), key.decode()


async def test_a_client_certificate(adapters: Adapters, tmp_path: Path) -> None:
    from stanchion.base import SystemClock
    from stanchion.tools.adapters.http import HttpAdapter
    from stanchion.tools.egress import Network

    authority = certificate("authority")
    (tmp_path / "ca.pem").write_text(pem(authority)[0])
    server = pem(certificate("server", authority))
    (tmp_path / "server.pem").write_text("".join(server))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    tls.load_cert_chain(tmp_path / "server.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    client = pem(certificate("robot", authority))
    values = Values(values={"secret://local/c#cert": client[0], "secret://local/c#key": client[1]})
    auth = {"client_certificate": {"certificate": "secret://local/c#cert", "private_key": "secret://local/c#key"}}
    http = HttpAdapter(SystemClock(), Network(root=tmp_path))
    async with showing(tls) as seen:
        body = connector_body(seen.url, auth, egress={"private": ["127.0.0.1"], "ca_file": "ca.pem"})
        try:
            await http.execute(await target(adapters, body, values), {}, None)
            assert seen.certificates[-1]["subject"] == ((("commonName", "robot"),),)
            values.values["secret://local/c#key"] = pem(certificate("another"))[1]
            with pytest.raises(AdapterProblem) as caught:
                await http.execute(await target(adapters, body, values), {}, None)
            assert caught.value.code == "adapter.bad_credential"
            del body["auth"]
            with pytest.raises(AdapterProblem):
                await http.execute(await target(adapters, body, values), {}, None)
        finally:
            await http.close()
    assert not any("PRIVATE KEY" in path.read_text() for path in tmp_path.glob("*") if path.name != "server.pem")
