"""The provider for Vault and OpenBao, against a stand-in that checks what it receives."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stanchion.base import Problem
from stanchion.secrets.keeping import grant_secret
from stanchion.secrets.providers.vault import VaultAccess, VaultProvider
from tests.secrets.conftest import HandClock, holder_of
from tests.secrets.vault import Vault

VALUE = "pl4nted-vault"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def vault(clock) -> Vault:
    return Vault(clock=clock)


@pytest.fixture
def secret_id(tmp_path: Path) -> Path:
    file = tmp_path / "secret-id"
    file.write_text("sid-1\n")
    file.chmod(0o600)
    return file


@pytest.fixture
async def url(vault):
    async with vault.serving() as address:
        yield address


@pytest.fixture
async def provider(url, clock, secret_id):
    made = VaultProvider(VaultAccess(url=url, role_id="role-1", secret_id_file=secret_id, timeout_s=2), clock)
    yield made
    await made.close()


async def refused(awaitable) -> Problem:
    with pytest.raises(Problem) as caught:
        await awaitable
    said = repr(caught.value.__dict__) + str(caught.value) + repr(caught.value.__cause__)
    assert not [word for word in ("pl4nted", "sid-1", "hvs.") if word in said]
    return caught.value


async def test_it_logs_in_once_and_reads_versions(vault, provider):
    vault.put("stanchion/default/erp", user="erp", password="old", port=5432, note="")
    vault.put("stanchion/default/erp", user="erp", password=VALUE)
    now = await provider.read("default", "erp", None)
    assert (now.version, dict(now.fields), now.lease_s) == (2, {"user": "erp", "password": VALUE}, None)
    first = await provider.read("default", "erp", 1)
    assert (first.version, dict(first.fields)) == (1, {"user": "erp", "password": "old"})
    assert vault.calls == [
        "POST /v1/auth/approle/login",
        "GET /v1/secret/data/stanchion/default/erp",
        "GET /v1/secret/data/stanchion/default/erp?version=1",
    ]
    assert vault.faults == []
    assert await provider.previous("default", "erp") is None


async def test_the_token_is_renewed_at_two_thirds_and_taken_anew_at_the_end(vault, provider, clock):
    vault.put("stanchion/default/erp", value=VALUE)
    for _ in range(3):
        await provider.read("default", "erp", None)
    clock.pass_s(39)
    await provider.read("default", "erp", None)
    assert [call for call in vault.calls if "auth" in call] == ["POST /v1/auth/approle/login"]
    clock.pass_s(2)  # 41 of 60 s
    await provider.read("default", "erp", None)
    assert vault.calls[-2:] == ["POST /v1/auth/token/renew-self", "GET /v1/secret/data/stanchion/default/erp"]
    clock.pass_s(61)  # over: it is not even tried
    await provider.read("default", "erp", None)
    assert vault.calls[-2:] == ["POST /v1/auth/approle/login", "GET /v1/secret/data/stanchion/default/erp"]
    assert {status for *_, status in vault.log} == {200}


async def test_a_token_that_may_live_no_longer_or_not_be_renewed_is_replaced(vault, provider, clock):
    vault.put("stanchion/default/erp", value=VALUE)
    vault.token_max_ttl_s = 41
    await provider.read("default", "erp", None)
    clock.pass_s(42)
    await provider.read("default", "erp", None)
    assert vault.calls[-3:-1] == ["POST /v1/auth/token/renew-self", "POST /v1/auth/approle/login"]
    vault.renewable = False
    clock.pass_s(100)
    await provider.read("default", "erp", None)
    clock.pass_s(50)
    await provider.read("default", "erp", None)
    assert vault.calls[-2] == "POST /v1/auth/approle/login"


async def test_a_revoked_token_is_replaced_once(vault, provider, clock):
    vault.put("stanchion/default/erp", value=VALUE)
    await provider.read("default", "erp", None)
    clock.pass_s(5)
    vault.revoke_all()
    assert (await provider.read("default", "erp", None)).fields["value"] == VALUE
    assert [status for *_, status in vault.log[-3:]] == [403, 200, 200]


async def test_many_at_once_log_in_once(vault, provider, clock):
    vault.put("stanchion/default/erp", value=VALUE)
    await asyncio.gather(*(provider.read("default", "erp", None) for _ in range(20)))
    assert vault.calls.count("POST /v1/auth/approle/login") == 1
    clock.pass_s(5)
    vault.revoke_all()
    await asyncio.gather(*(provider.read("default", "erp", None) for _ in range(20)))
    assert vault.calls.count("POST /v1/auth/approle/login") == 2


async def test_tenants_have_folders_of_their_own(vault, provider):
    vault.put("stanchion/default/erp", value=VALUE)
    assert (await refused(provider.read("acme", "erp", None))).code == "secret.unknown"
    assert vault.calls[-1] == "GET /v1/secret/data/stanchion/acme/erp"


async def test_what_is_not_there_or_deleted(vault, provider):
    vault.put("stanchion/default/erp", value="one")
    vault.put("stanchion/default/erp", value="two")
    vault.secrets["stanchion/default/erp"][0].destroyed = True
    assert (await refused(provider.read("default", "nothing", None))).code == "secret.unknown"
    destroyed = await refused(provider.read("default", "erp", 1))
    assert (destroyed.kind, destroyed.code) == ("not_found", "secret.unknown_version")
    vault.secrets["stanchion/default/erp"][1].deletion_time = "2026-11-22T05:00:00Z"
    assert (await refused(provider.read("default", "erp", None))).code == "secret.unknown_version"


async def test_what_its_policy_does_not_permit(vault, provider):
    vault.put("stanchion/default/erp", value=VALUE)
    vault.readable = "elsewhere/"
    problem = await refused(provider.read("default", "erp", None))
    assert (problem.kind, problem.code) == ("denied", "secret.provider_denied")
    assert vault.calls.count("POST /v1/auth/approle/login") == 1


async def test_a_wrong_secret_id_is_told_and_a_new_one_is_taken_without_a_restart(vault, provider, secret_id, clock):
    vault.put("stanchion/default/erp", value=VALUE)
    vault.secret_ids = {"sid-2"}
    problem = await refused(provider.read("default", "erp", None))
    assert problem.code == "secret.provider_denied"
    assert str(secret_id) in problem.hint
    secret_id.write_text("sid-2")
    assert (await provider.read("default", "erp", None)).fields["value"] == VALUE
    secret_id.chmod(0o644)
    clock.pass_s(5)
    vault.revoke_all()
    assert (await refused(provider.read("default", "erp", None))).code == "secret.too_open"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, b'{"errors":["Vault is sealed"]}', "sealed"),
        (429, b'{"errors":["rate limited"]}', "rate"),
        (500, b"pl4nted", "500"),
        (307, b"", "standby"),
        (502, b"<html>pl4nted</html>", "502"),
        (200, b"pl4nted", "not a JSON object"),
        (200, b"[]", "not a JSON object"),
        (200, b"", "token"),
        (200, b'{"auth": {"client_token": 7}}', "token"),
        (200, b'{"auth":"' + b"x" * (1 << 20) + b'"}', "larger"),
    ],
)
async def test_a_vault_that_is_away_or_talks_nonsense(vault, provider, status, body, said):
    vault.answer_with = (status, body)
    problem = await refused(provider.read("default", "erp", None))
    assert (problem.kind, problem.code, problem.retryable) == ("unavailable", "secret.provider_away", True)
    assert said in problem.message


async def test_those_who_wait_for_a_vault_that_is_away_do_not_each_try_in_turn(vault, provider, clock):
    """Each would wait for its whole time-out, after all before it."""
    vault.put("stanchion/default/erp", value=VALUE)
    vault.sealed = True
    reads = (provider.read("default", name, None) for name in ("erp", "crm", "mail", "erp"))
    problems = await asyncio.gather(*reads, return_exceptions=True)
    assert {problem.code for problem in problems} == {"secret.provider_away"}
    assert vault.calls == ["POST /v1/auth/approle/login"]
    vault.sealed = False
    clock.pass_s(1)
    assert (await provider.read("default", "erp", None)).fields["value"] == VALUE


async def test_sealed_after_login_and_unsealed_again(vault, provider):
    vault.put("stanchion/default/erp", value=VALUE)
    await provider.read("default", "erp", None)
    vault.sealed = True
    assert (await refused(provider.read("default", "erp", None))).code == "secret.provider_away"
    vault.sealed = False
    assert (await provider.read("default", "erp", None)).fields["value"] == VALUE
    assert vault.calls.count("POST /v1/auth/approle/login") == 1


async def test_an_engine_of_another_kind_is_told(vault, provider):
    vault.put("stanchion/default/erp", value=VALUE)
    await provider.read("default", "erp", None)
    vault.answer_with = (200, b'{"data": {"value": "pl4nted"}}')
    problem = await refused(provider.read("default", "erp", None))
    assert (problem.code, problem.retryable) == ("secret.provider_away", False)
    assert "KV version 2" in problem.message


async def test_nobody_listens(clock, secret_id):
    provider = VaultProvider(VaultAccess(url="http://127.0.0.1:9", role_id="r", secret_id_file=secret_id), clock)
    assert (await refused(provider.read("default", "erp", None))).code == "secret.provider_away"
    await provider.close()


async def test_a_namespace_and_mounts_of_ones_own(vault, url, clock, secret_id):
    vault.namespace, vault.mount, vault.readable = "team/a", "kv/own", ""
    vault.put("apps/default/erp", value=VALUE)
    access = VaultAccess(
        url=url, role_id="role-1", secret_id_file=secret_id, namespace="team/a", mount="kv/own", prefix="apps"
    )
    provider = VaultProvider(access, clock)
    assert (await provider.read("default", "erp", None)).fields["value"] == VALUE
    assert vault.calls[-1] == "GET /v1/kv/own/data/apps/default/erp"
    await provider.close()
    assert "role-1" not in repr(access)


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vault")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, secret


async def test_tls_is_verified(vault, clock, secret_id, tmp_path):
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    vault.put("stanchion/default/erp", value=VALUE)
    async with vault.serving(ssl_context=context) as url:
        for ca_file in (None, cert):
            access = VaultAccess(url=url, role_id="role-1", secret_id_file=secret_id, ca_file=ca_file)
            provider = VaultProvider(access, clock)
            if ca_file is None:
                assert "Certificate" in (await refused(provider.read("default", "erp", None))).message
                assert vault.log == []
            else:
                assert (await provider.read("default", "erp", None)).fields["value"] == VALUE
            await provider.close()


async def test_over_the_resolver_a_grant_comes_first_and_values_are_kept_for_seconds(safe, secret_id):
    vault = Vault(clock=safe.clock)
    vault.put("stanchion/default/erp", value=VALUE)
    async with vault.serving() as url:
        provider = VaultProvider(VaultAccess(url=url, role_id="role-1", secret_id_file=secret_id), safe.clock)
        safe.resolver = holder_of(safe.ctx.env, safe.file, vault=provider).resolver
        assert (await refused(safe.get("secret://vault/erp"))).code == "secret.unknown"
        assert vault.log == []  # a Vault is not asked for what nobody granted
        await grant_secret(safe.ctx, "vault/erp", ["erp"])
        safe.clock.pass_s(2)
        for _ in range(5):
            assert (await safe.get("secret://vault/erp")).reveal() == VALUE
        assert len(vault.log) == 2
        vault.put("stanchion/default/erp", value="pl4nted-2")
        safe.clock.pass_s(2)
        found = await safe.get("secret://vault/erp")
        assert (found.reveal(), found.version) == ("pl4nted-2", 2)
        assert (await safe.get("secret://vault/erp@1")).reveal() == VALUE
        vault.sealed = True
        assert (await safe.get("secret://vault/erp")).reveal() == "pl4nted-2"
        safe.clock.pass_s(2)
        asked = len(vault.log)
        problems = await asyncio.gather(*(refused(safe.get("secret://vault/erp")) for _ in range(10)))
        assert {problem.code for problem in problems} == {"secret.provider_away"}
        assert len(vault.log) == asked + 1  # who waits behind a read that fails does not try in turn
        vault.sealed = False
        safe.clock.pass_s(1)
        assert (await safe.get("secret://vault/erp")).reveal() == "pl4nted-2"
        await provider.close()
