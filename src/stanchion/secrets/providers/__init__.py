"""Providers beside our own tables: variables and files of a container, a Vault or OpenBao."""

from stanchion.secrets.providers.files import FileProvider
from stanchion.secrets.providers.types import Provider, Values
from stanchion.secrets.providers.variables import EnvProvider
from stanchion.secrets.providers.vault import VaultAccess, VaultProvider

__all__ = ["EnvProvider", "FileProvider", "Provider", "Values", "VaultAccess", "VaultProvider"]
