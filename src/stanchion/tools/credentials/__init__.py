"""Credentials at their sites: a connector's document names them by `secret://` references, and one call gets their values.

`resolve` turns the references of a connector into `Credentials`, in the one process that may; `authorised` puts them where
`auth` says in a request. Nothing here keeps a value between calls but `Tokens`, the access tokens of OAuth 2.
"""

from stanchion.tools.credentials.certificates import load_client_certificate
from stanchion.tools.credentials.document import AUTH_SCHEMA, REFERENCE, check_auth, check_reference
from stanchion.tools.credentials.oauth import (
    Granted,
    Tokens,
    declared_grant,
    granted_of,
    refusal_of,
    token_key,
    token_request,
)
from stanchion.tools.credentials.outgoing import Outgoing, form_of, text_of
from stanchion.tools.credentials.resolving import references, resolve
from stanchion.tools.credentials.sites import authorised
from stanchion.tools.credentials.types import NO_CREDENTIALS, Credentials, KeptGrants

__all__ = [
    "AUTH_SCHEMA",
    "NO_CREDENTIALS",
    "REFERENCE",
    "Credentials",
    "Granted",
    "KeptGrants",
    "Outgoing",
    "Tokens",
    "authorised",
    "check_auth",
    "check_reference",
    "declared_grant",
    "form_of",
    "granted_of",
    "load_client_certificate",
    "references",
    "refusal_of",
    "resolve",
    "text_of",
    "token_key",
    "token_request",
]
