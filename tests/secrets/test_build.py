"""From settings to providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from stanchion.base import Problem
from stanchion.base.config import load_settings
from stanchion.base.settings import Settings
from stanchion.secrets import SecretRef
from stanchion.secrets.holding import holding
from stanchion.secrets.keeping import grant_secret


def settings(tmp_path: Path, **variables: str) -> Settings:
    named = {f"STANCHION_SECRETS_{name.upper()}": value for name, value in variables.items()}
    return load_settings({"STANCHION_DATA": str(tmp_path / "data"), **named}, file=None).settings


async def test_the_key_file_lies_beside_the_data_folder_unless_said(safe, tmp_path):
    async with holding(safe.ctx.env, settings(tmp_path), {}) as held:
        key = await held.holder.sealing_key()
    assert (tmp_path / "data.keys" / "secrets.key").exists()
    said = settings(tmp_path, key_file=str(tmp_path / "own" / "keys"))
    async with holding(safe.ctx.env, said, {}) as held:
        assert (await held.holder.sealing_key()).id != key.id
    inside = settings(tmp_path, key_file=str(tmp_path / "data" / "keys"))
    async with holding(safe.ctx.env, inside, {}) as held:
        with pytest.raises(Problem) as caught:
            await held.holder.sealing_key()
    assert caught.value.code == "secret.key_inside_data"


async def test_providers_are_those_that_are_set_up(safe, tmp_path):
    (tmp_path / "mounted" / "default").mkdir(parents=True)
    (tmp_path / "mounted" / "default" / "x").write_text("from a file")
    for name in ("env/x", "file/x", "vault/x"):
        await grant_secret(safe.ctx, name, ["erp"])
    said = settings(tmp_path, env_prefix="APP_", files=str(tmp_path / "mounted"))
    async with holding(safe.ctx.env, said, {"APP_DEFAULT__X": "from a variable"}) as held:
        found = {}
        for provider in ("env", "file", "vault"):
            ref = SecretRef(provider=provider, path="x")
            try:
                secret = await held.secrets.resolve("default", ref, environment="local", connector="erp")
                found[provider] = secret.reveal()
            except Problem as problem:
                found[provider] = problem.code
    assert found == {"env": "from a variable", "file": "from a file", "vault": "secret.provider_off"}


async def test_a_vault_without_a_way_to_log_in_is_told_at_the_start(safe, tmp_path):
    with pytest.raises(Problem) as caught:
        async with holding(safe.ctx.env, settings(tmp_path, vault_url="https://vault.example"), {}):
            pass
    assert caught.value.code == "secret.vault_incomplete"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vault_url", "http://vault.example:8200"),
        ("vault_url", "https://user:pw@vault.example"),
        ("vault_url", "ftp://vault.example"),
        ("vault_mount", "../x"),
        ("env_prefix", "STANCHION_SECRETS_"),
        ("env_prefix", "app_"),
        ("env_prefix", "APP"),
        ("cache_s", "61"),
    ],
)
def test_settings_that_are_refused(tmp_path, name, value):
    with pytest.raises(Problem) as caught:
        settings(tmp_path, **{name: value})
    assert f"secrets.{name}" in str(caught.value)


@pytest.mark.parametrize("url", ["https://vault.example:8200/", "http://127.0.0.1:8200", "http://localhost:8200"])
def test_a_vault_over_tls_or_on_this_machine(tmp_path, url):
    assert settings(tmp_path, vault_url=url).secrets.vault_url == url.rstrip("/")
