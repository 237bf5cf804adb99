"""Where a process has its password of the database from: a file, a variable, a Vault; asked for each new connection.

A file is also how an identity of the platform comes in: whoever keeps a short-lived token in a file (a sidecar, an agent, the
node) renews it there, and the next connection takes the new one. Sessions that stand go on with what they began with, until
they are `database.connection_lifetime_s` old.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stanchion.base import SystemClock
from stanchion.base.config import read_environment
from stanchion.base.kept import DEPLOYMENT
from stanchion.base.settings import Settings
from stanchion.db import Password, ProcessType
from stanchion.secrets import SecretRef
from stanchion.secrets.providers import EnvProvider, FileProvider, Provider, provider_off, unknown_field

# Stands for the process type, so that one settings file serves all.
PROCESS: Final = "{process}"


def password_of(settings: Settings, process: ProcessType) -> Password | None:
    """What gives the password of a process of this type; None where the URL has it, or none is needed.

    What that raises is of `secrets.Provider`. Raises Invalid `secret.bad_reference`, `secret.vault_incomplete`; Unavailable
    `secret.provider_off`.
    """
    said = settings.database
    if said.password_file is not None:
        return _of_file(Path(str(said.password_file).replace(PROCESS, process)))
    if said.password is None:
        return None
    ref = SecretRef.parse(said.password.replace(PROCESS, process), place="database.password")
    provider = _provider(settings, ref)

    async def read() -> str:
        values = await provider.read(DEPLOYMENT, ref.path, ref.version)
        if ref.field not in values.fields:
            raise unknown_field(ref, values.fields)
        return values.fields[ref.field]

    return read


def _of_file(file: Path) -> Password:
    # The folder's name is the provider's first part: links out of it are refused, those within it (`..data`) followed.
    provider = FileProvider(file.parent.parent)

    async def read() -> str:
        return (await provider.read(file.parent.name, file.name, None)).fields["value"]

    return read


def _provider(settings: Settings, ref: SecretRef) -> Provider:
    own = settings.secrets
    if ref.provider == "env" and own.env_prefix is not None:
        return EnvProvider(read_environment(), own.env_prefix)
    if ref.provider == "file" and own.files is not None:
        return FileProvider(own.files)
    if ref.provider == "vault" and own.vault_url is not None:
        # Its HTTP client is imported where a Vault has the password, before anything is connected to.
        from stanchion.secrets.providers.vault import VaultProvider, vault_access  # noqa: PLC0415

        return VaultProvider(vault_access(own, own.vault_url), SystemClock())
    raise provider_off(ref)
