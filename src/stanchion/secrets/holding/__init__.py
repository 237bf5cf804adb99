"""What the process that holds secrets has of them: keys, values, and who may have which. The broker alone builds this (I9).

A tenant's secrets are encrypted under its data key, data keys under the key-encryption key of a file outside the data folder
(adr/0020). Values are in this process's memory for seconds after they were read, and leave it inside a call alone.
"""

from stanchion.secrets.holding.build import Holding, holding
from stanchion.secrets.holding.holder import LocalHolder
from stanchion.secrets.holding.keyfile import KeyFile
from stanchion.secrets.holding.keyring import Keyring
from stanchion.secrets.holding.local import LocalProvider
from stanchion.secrets.holding.resolver import Resolver
from stanchion.secrets.holding.tokens import KeptTokens

__all__ = [
    "Holding",
    "KeptTokens",
    "KeyFile",
    "Keyring",
    "LocalHolder",
    "LocalProvider",
    "Resolver",
    "holding",
]
