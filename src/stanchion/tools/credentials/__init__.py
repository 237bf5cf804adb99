"""Credentials at their sites: a connector's document names them by `secret://` references, and one call gets their values.

Nothing here keeps a value between calls but the cached tokens of OAuth 2, in the process that resolves credentials.
"""

from stanchion.tools.credentials.resolving import references, resolve
from stanchion.tools.credentials.types import NO_CREDENTIALS, Credentials

__all__ = ["NO_CREDENTIALS", "Credentials", "references", "resolve"]
