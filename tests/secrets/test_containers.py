"""Variables and mounted files of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stanchion.base import Problem
from stanchion.secrets.keeping import grant_secret
from stanchion.secrets.providers import EnvProvider, FileProvider
from tests.secrets.conftest import holder_of
from tests.support.root import needs_root

VALUE = "pl4nted-value"


async def refused(awaitable) -> Problem:
    with pytest.raises(Problem) as caught:
        await awaitable
    assert "pl4nted" not in str(caught.value) + repr(caught.value.__dict__) + repr(caught.value.__cause__)
    return caught.value


def env(**variables: str) -> EnvProvider:
    return EnvProvider(variables, "APP_")


async def test_a_variable_with_the_prefix_is_read():
    provider = env(
        APP_DEFAULT__ERP__API_KEY=VALUE, DEFAULT__ERP__API_KEY="other", APP_DEFAULT__JSON='{"user": "a", "n": 1}'
    )
    found = await provider.read("default", "erp/api-key", None)
    assert (dict(found.fields), found.version) == ({"value": VALUE}, None)
    assert (await provider.read("default", "json", None)).fields["user"] == "a"
    assert await provider.previous("default", "json") is None


async def test_what_has_not_the_prefix_is_not_even_kept():
    provider = env(HOME="pl4nted", APP_DEFAULT__X="x", PGPASSWORD="pl4nted")
    assert list(provider._environ) == ["APP_DEFAULT__X"]
    problem = await refused(provider.read("default", "home", None))
    assert problem.code == "secret.unknown"
    assert "APP_DEFAULT__HOME" in problem.message


@pytest.mark.parametrize(
    ("tenant", "path"),
    [("default", "Erp"), ("default", "a_b"), ("default", "a--b"), ("a--b", "x"), ("a-", "x"), ("default", "a.b")],
)
async def test_no_two_secrets_share_a_variable(tenant, path):
    assert (await refused(env().read(tenant, path, None))).code == "secret.bad_path"


async def test_variables_of_all_plain_paths_are_different():
    names = {
        env().variable(tenant, path)
        for tenant in ("a", "a-b", "a-b-c", "b")
        for path in ("c", "b/c", "b-c", "b/c-d", "b-c/d", "b-c-d", "c/d")
    }
    assert len(names) == 28


async def test_neither_has_versions(tmp_path):
    (tmp_path / "default").mkdir()
    for provider in (env(APP_DEFAULT__X="x"), FileProvider(tmp_path)):
        assert (await refused(provider.read("default", "x", 2))).code == "secret.unknown_version"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets" / "default" / "erp").mkdir(parents=True)
    return tmp_path / "secrets"


def put(folder: Path, text: str | bytes = VALUE, name: str = "default/erp/api-key", mode: int = 0o400) -> Path:
    file = folder / name
    file.unlink(missing_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return file


async def read(folder: Path | FileProvider, path: str = "erp/api-key", tenant: str = "default") -> str:
    provider = folder if isinstance(folder, FileProvider) else FileProvider(folder)
    return (await provider.read(tenant, path, None)).fields["value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [(VALUE, VALUE), (VALUE + "\n", VALUE), (VALUE + "\r\n", VALUE), (" a \n\n", " a \n"), ("a\nb\n", "a\nb")],
)
async def test_a_file_is_read_without_its_last_line_end(folder, text, value):
    put(folder, text)
    assert await read(folder) == value


async def test_a_file_that_changes_is_read_again(folder):
    provider = FileProvider(folder)
    file = put(folder)
    assert await read(provider) == VALUE
    put(folder, "pl4nted-other")
    assert await read(provider) == "pl4nted-other"
    file.chmod(0o600)
    file.write_text("third")
    assert await read(provider) == "third"
    file.unlink()
    assert (await refused(read(provider))).code == "secret.unknown"


async def test_links_are_followed_as_kubernetes_mounts_them_and_exchanged_at_once(folder):
    mounted = folder / "default" / "erp"
    for number in (1, 2):
        (mounted / f"..{number}").mkdir()
        (mounted / f"..{number}" / "api-key").write_text(f"v{number}")
        (mounted / f"..{number}" / "api-key").chmod(0o444)
    (mounted / "..data").symlink_to("..1")
    (mounted / "api-key").symlink_to("..data/api-key")
    provider = FileProvider(folder)
    assert await read(provider) == "v1"
    (mounted / "..new").symlink_to("..2")
    (mounted / "..new").replace(mounted / "..data")
    assert await read(provider) == "v2"


async def test_what_leads_out_or_may_be_written_by_others_is_refused(folder, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text(VALUE)
    outside.chmod(0o400)
    (folder / "default" / "erp" / "api-key").symlink_to(outside)
    assert (await refused(read(folder))).code == "secret.provider_denied"
    (folder / "acme").mkdir()
    (folder / "acme" / "x").symlink_to(folder / "default" / "own")
    put(folder, name="default/own")
    assert (await refused(read(folder, "x", "acme"))).code == "secret.provider_denied"
    for mode in (0o620, 0o602, 0o666):
        put(folder, mode=mode)
        assert (await refused(read(folder))).code == "secret.provider_denied"


async def test_what_is_no_file_of_text_is_refused(folder):
    assert (await refused(read(folder, "erp"))).code == "secret.provider_denied"
    assert (await refused(read(folder, "erp/none"))).code == "secret.unknown"
    assert (await refused(read(folder, "x", "acme"))).code == "secret.unknown"
    put(folder, b"pl4nted\xff")
    assert (await refused(read(folder))).code == "secret.provider_denied"
    put(folder, "p" * 65_537)
    assert (await refused(read(folder))).code == "secret.provider_denied"
    for half in ("", "\n", "pl4nted\0"):
        put(folder, half)
        problem = await refused(read(folder))
        assert (problem.code, problem.retryable) == ("secret.provider_away", True)
    assert (await refused(read(folder, "erp/api-key/x"))).code == "secret.unknown"


@needs_root("only root can give a file to somebody else")
async def test_a_file_of_somebody_else_is_refused(folder):
    os.chown(put(folder), 12345, 12345)
    assert (await refused(read(folder))).code == "secret.provider_denied"


async def test_they_are_bound_to_environment_and_connector_like_any_other(safe, folder):
    put(folder)
    safe.resolver = holder_of(
        safe.ctx.env, safe.file, env=env(APP_DEFAULT__ERP="pl4nted-env"), file=FileProvider(folder)
    ).resolver
    assert (await refused(safe.get("secret://env/erp"))).code == "secret.unknown"
    await grant_secret(safe.ctx, "env/erp", ["erp"])
    await grant_secret(safe.ctx, "file/erp/api-key", ["erp"], environment="production")
    safe.resolver.forget()
    assert (await safe.get("secret://env/erp")).reveal() == "pl4nted-env"
    assert (await refused(safe.get("secret://env/erp", connector="ledger"))).code == "secret.not_granted"
    assert (await refused(safe.get("secret://file/erp/api-key"))).code == "secret.wrong_environment"
    assert (await safe.get("secret://file/erp/api-key", environment="production")).reveal() == VALUE
    await grant_secret(safe.ctx, "vault/erp", ["erp"])
    assert (await refused(safe.get("secret://vault/erp"))).code == "secret.provider_off"
