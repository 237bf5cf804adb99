"""From settings to who resolves and who holds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stanchion.base.settings import SecretsSettings, Settings
from stanchion.context import Env
from stanchion.secrets.holding.holder import LocalHolder
from stanchion.secrets.holding.keyfile import KeyFile
from stanchion.secrets.holding.keyring import Keyring
from stanchion.secrets.holding.local import LocalProvider
from stanchion.secrets.holding.resolver import Resolver
from stanchion.secrets.holding.tokens import KeptTokens
from stanchion.secrets.providers import EnvProvider, FileProvider, Provider
from stanchion.secrets.providers.vault import VaultProvider, vault_access
from stanchion.secrets.types import SecretHolder, Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """`secrets` turns references into values, `holder` is asked by other processes. `derived`: keys for a purpose, one of
    each key-encryption key, newest first; raises as `Keyring.keks`. `tokens` keeps what servers exchange."""

    secrets: Secrets
    tokens: KeptTokens
    holder: SecretHolder
    derived: Callable[[bytes], Awaitable[Sequence[bytes]]]


@asynccontextmanager
async def holding(env: Env, settings: Settings, environ: Mapping[str, str]) -> AsyncGenerator[Holding]:
    """What the broker process has of secrets; connections are closed and values dropped after the block.

    Args:
        env: the process's Env, its database open.
        settings: `secrets.*` and the data folder.
        environ: the process's variables (`base.config.read_environment`); those without the prefix are not kept.

    Raises Invalid `secret.vault_incomplete`.
    """
    keyring = Keyring(env, KeyFile(settings.secrets_key_file, data=settings.data))
    local = LocalProvider(env, keyring)
    resolver = Resolver(env, _providers(env, settings.secrets, environ, local), cache_s=settings.secrets.cache_s)

    async def derived(purpose: bytes) -> Sequence[bytes]:
        return [kek.derived(purpose) for kek in await keyring.keks()]

    holder = LocalHolder(keyring=keyring, local=local, resolver=resolver)
    try:
        yield Holding(secrets=resolver, holder=holder, derived=derived, tokens=KeptTokens(env, keyring))
    finally:
        await resolver.close()


def _providers(
    env: Env, settings: SecretsSettings, environ: Mapping[str, str], local: LocalProvider
) -> Mapping[str, Provider]:
    found: list[Provider] = [local]
    if settings.env_prefix is not None:
        found.append(EnvProvider(environ, settings.env_prefix))
    if settings.files is not None:
        found.append(FileProvider(settings.files))
    if settings.vault_url is not None:
        found.append(VaultProvider(vault_access(settings, settings.vault_url), env.clock))
    return {provider.name: provider for provider in found}
