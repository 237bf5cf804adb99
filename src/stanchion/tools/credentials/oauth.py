"""Access tokens of OAuth 2 (RFC 6749): client credentials and refresh token, fetched once for all calls that wait for one.

In the broker a refresh token that its server exchanged is kept by `stanchion.secrets` (`Credentials.kept`), for all brokers and
after a restart; elsewhere by this process alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from yarl import URL

from stanchion.base import Json
from stanchion.secrets import Granted
from stanchion.tools.credentials.outgoing import Outgoing
from stanchion.tools.credentials.sites import basic_header, secret_or_text
from stanchion.tools.credentials.types import Credentials

# A token is not used in the last of its seconds, so that none ends on its way: a tenth of its life, at most a minute.
_EARLY_SHARE, _EARLY_S = 0.1, 60.0
# The life of a token whose server does not say (RFC 6749 §5.1 leaves it to the server).
LIFE_S_DEFAULT = 300.0
_KEPT_MAX = 1000
# The error codes of RFC 6749 §5.2; anything else that a server says is not repeated.
_ERRORS = {
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
}


@dataclass(slots=True)
class _Kept:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    token: str = ""
    until: float = 0.0
    refresh_token: str | None = None


class Tokens:
    """The access tokens of one process, by connector and credentials."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()

    async def token(
        self, key: bytes, fetch: Callable[[str | None], Awaitable[Granted]], *, wait_s: float, not_this: str = ""
    ) -> str:
        """The token of `key`, fetched if there is none, if it ends soon, or if the target refused it (`not_this`).

        `fetch` is given the refresh token that replaced the declared one, if any. Those who wait share one fetch, and wait for
        it `wait_s` seconds at most; the fetch itself is not broken off, lest a new refresh token be lost.

        Raises TimeoutError, and what `fetch` raises.
        """
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT_MAX:
            self._kept.popitem(last=False)
        async with asyncio.timeout(wait_s):
            await kept.lock.acquire()
        try:
            if not kept.token or kept.token == not_this or self._monotonic() >= kept.until:
                granted = await fetch(kept.refresh_token)
                early = min(_EARLY_S, granted.life_s * _EARLY_SHARE)
                kept.token, kept.until = granted.access_token, self._monotonic() + granted.life_s - early
                kept.refresh_token = granted.refresh_token or kept.refresh_token
            return kept.token
        finally:
            kept.lock.release()


def token_key(connector: str, tenant: str, auth: Mapping[str, Json], credentials: Credentials) -> bytes:
    """What a token belongs to: another value of a credential means another token."""
    hashed = hashlib.sha256()
    for part in (connector, tenant, str(auth.get("token_url")), *sorted(credentials.plain_values_of("/auth/oauth2"))):
        hashed.update(part.encode() + b"\x00")
    return hashed.digest()


def declared_grant(auth: Mapping[str, Json], credentials: Credentials) -> tuple[str, ...]:
    """What a kept refresh token stands for: a client's secret may be rotated under it, another refresh token is another
    grant."""
    return (str(auth.get("token_url")), credentials.value("/auth/oauth2/refresh_token"))


def token_request(auth: Mapping[str, Json], credentials: Credentials, refresh_token: str | None) -> Outgoing:
    """The request for a token, by the grant that the connector declares."""
    at = "/auth/oauth2"
    grant = str(auth["grant"])
    form: dict[str, Json] = {"grant_type": grant}
    if grant == "refresh_token":
        form["refresh_token"] = refresh_token or credentials.value(f"{at}/refresh_token")
    form |= {name: auth[name] for name in ("scope", "audience", "resource") if name in auth}
    client_id = secret_or_text(auth, "client_id", at, credentials)
    headers = {"Accept": "application/json"}
    if "client_secret" not in auth:
        form["client_id"] = client_id
    elif auth.get("client_auth", "basic") == "basic":
        headers["Authorization"] = basic_header(client_id, credentials.value(f"{at}/client_secret"), credentials)
    else:
        form |= {"client_id": client_id, "client_secret": credentials.value(f"{at}/client_secret")}
    return Outgoing(
        method="POST",
        url=URL(str(auth["token_url"])),
        headers=headers,
        payload=form,
        has_body=True,
        encoding="form",
    )


def granted_of(answer: Json) -> Granted:
    """The token in an answer. Raises ValueError if there is none of the kind that goes into a header."""
    if not isinstance(answer, dict):
        raise ValueError("is no object")  # noqa: TRY004 - of an answer, not of a caller
    token, kind = answer.get("access_token"), answer.get("token_type", "bearer")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("has no usable access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise ValueError("has a token that is not of the type bearer")
    life = answer.get("expires_in")
    if isinstance(life, str) and life.isdigit():
        life = int(life[:9])
    known = isinstance(life, int | float) and not isinstance(life, bool) and life > 0
    refresh = answer.get("refresh_token")
    return Granted(
        access_token=token,
        life_s=float(cast("float", life)) if known else LIFE_S_DEFAULT,
        refresh_token=refresh if isinstance(refresh, str) and refresh else None,
    )


def refusal_of(answer: Json) -> str:
    """The error code of RFC 6749 in a refusal, or an empty text."""
    code = answer.get("error") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and code in _ERRORS else ""
