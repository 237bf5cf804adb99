"""Providers beside our own tables: variables and files of a container, a Vault or OpenBao.

`vault.VaultProvider` is not imported here: it brings an HTTP client, which only those need who ask a Vault.
"""

from stanchion.secrets.providers.files import FileProvider
from stanchion.secrets.providers.problems import provider_off, unknown_field
from stanchion.secrets.providers.types import Provider, Values
from stanchion.secrets.providers.variables import EnvProvider

__all__ = ["EnvProvider", "FileProvider", "Provider", "Values", "provider_off", "unknown_field"]
