"""Provider `vault`: HashiCorp Vault or OpenBao, secrets engine KV version 2, login by AppRole.

Sources: the HTTP API documentation of both, "KV secrets engine - version 2", "AppRole auth method", "Token auth method" and the
list of status codes (400 invalid, 403 permission denied, 404 nothing there or deleted, 429 and 5xx away, 503 sealed).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

import aiohttp

from stanchion.base import Clock, Denied, Invalid, Json, NotFound, Unavailable, loads
from stanchion.base.settings import SecretsSettings
from stanchion.secrets.files import read_private
from stanchion.secrets.providers.plain import unknown
from stanchion.secrets.providers.types import Values

_ANSWER_BYTES_MAX: Final = 1 << 20
# A token is renewed when a third of its time is left, as the documentation of both agents describes.
_RENEW_AT: Final = 2 / 3
# A token that is refused sooner was not revoked: it is the policy, and a login for each refusal would only add load.
_YOUNG_S: Final = 5.0
# Whoever waits behind a login or a renewal that failed gets its problem, and does not try in turn for the whole time-out.
_FAILED_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAccess:
    """How a Vault is reached.

    Attributes:
        url: its address, with scheme.
        mount, prefix: secrets are `<mount>/data/<prefix>/<tenant>/<path>`.
        role_id: of the AppRole.
        secret_id_file: 0600 file with the AppRole's secret id, read at each login.
        approle_mount: where the AppRole method is mounted.
        namespace: of Vault Enterprise or OpenBao; empty: none.
        ca_file: authority that its certificate must have; None: those of the system.
        timeout_s: longest time of one request.
    """

    url: str
    mount: str = "secret"
    prefix: str = "stanchion"
    role_id: str = field(repr=False)
    secret_id_file: Path
    approle_mount: str = "approle"
    namespace: str = ""
    ca_file: Path | None = None
    timeout_s: float = 5.0


def vault_access(settings: SecretsSettings, url: str) -> VaultAccess:
    """How the Vault at `url` is reached. Raises Invalid `secret.vault_incomplete`."""
    if settings.vault_role_id is None or settings.vault_secret_id_file is None:
        raise Invalid(
            "secret.vault_incomplete",
            "secrets.vault_url is set, but not how to log in there.",
            hint="Set secrets.vault_role_id and secrets.vault_secret_id_file too.",
        )
    return VaultAccess(
        url=url,
        mount=settings.vault_mount,
        prefix=settings.vault_prefix,
        role_id=settings.vault_role_id,
        secret_id_file=settings.vault_secret_id_file,
        namespace=settings.vault_namespace or "",
        ca_file=settings.vault_ca_file,
        timeout_s=settings.vault_timeout_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    text: str = field(repr=False)
    got_at: float
    lease_s: float
    renewable: bool

    def age_share(self, now: float) -> float:
        """How much of its time is over; 0 for one that has no end."""
        return 0.0 if self.lease_s <= 0 else (now - self.got_at) / self.lease_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: Mapping[str, Json] = field(repr=False)


class VaultProvider:
    """Reads secrets of a Vault. Holds one token, renews it while it may be, and logs in again when it may not."""

    name = "vault"

    def __init__(self, access: VaultAccess, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._token: _Token | None = None
        self._token_lock = asyncio.Lock()
        self._failed: Unavailable | None = None
        self._failed_at = 0.0
        self._session: aiohttp.ClientSession | None = None

    async def read(self, tenant: str, path: str, version: int | None) -> Values:
        """The texts of the secret's data; what is not a text is left out."""
        where = "/".join(filter(None, (self._access.mount, "data", self._access.prefix, tenant, path)))
        query = "" if version is None else f"?version={version}"
        token = await self._ready_token()
        answer = await self._call("GET", where + query, token)
        if answer.status == 403 and self._clock.monotonic() - token.got_at >= _YOUNG_S:  # perhaps it was revoked
            token = await self._login_again(token)
            answer = await self._call("GET", where + query, token)
        if answer.status == 404:
            raise _missing(path, version, answer)
        self._good(answer, f"reading vault/{path}")
        return _values(path, answer)

    async def previous(self, tenant: str, path: str) -> None:
        """A Vault keeps versions, but does not say which of them are still valid."""
        del tenant, path

    async def close(self) -> None:
        """Close the connections. The token ends by itself."""
        if self._session is not None:
            await self._session.close()

    async def _ready_token(self) -> _Token:
        async with self._token_lock:
            now = self._clock.monotonic()
            if self._token is None or self._token.age_share(now) >= _RENEW_AT:
                if self._failed is not None and now - self._failed_at < _FAILED_S:
                    raise copy(self._failed)
                self._token = await self._fresh_token(self._token, now)
            return self._token

    async def _fresh_token(self, token: _Token | None, now: float) -> _Token:
        try:
            if token is None or token.age_share(now) >= 1:
                return await self._login()
            return await self._renewed(token) or await self._login()
        except Unavailable as problem:
            self._failed, self._failed_at = problem, self._clock.monotonic()
            raise

    async def _login_again(self, refused: _Token) -> _Token:
        async with self._token_lock:
            if self._token is refused or self._token is None:  # else somebody has done so meanwhile
                self._token = await self._login()
            return self._token

    async def _login(self) -> _Token:
        secret_id = read_private(self._access.secret_id_file)
        answer = await self._call(
            "POST",
            f"auth/{self._access.approle_mount}/login",
            None,
            {"role_id": self._access.role_id, "secret_id": secret_id},
        )
        if answer.status == 400:
            raise Denied(
                "secret.provider_denied",
                f"The Vault at {self._access.url} does not accept the AppRole's role id and secret id.",
                hint=f"Write a valid secret id to {self._access.secret_id_file}, and see secrets.vault_role_id.",
            )
        self._good(answer, "the login by AppRole")
        return self._token_of(answer)

    async def _renewed(self, token: _Token) -> _Token | None:
        """The token with a new lease, or None if it can have none."""
        if not token.renewable:
            return None
        answer = await self._call("POST", "auth/token/renew-self", token, {})
        if answer.status in {400, 403}:
            return None
        self._good(answer, "the renewal of the token")
        return self._token_of(answer)

    def _token_of(self, answer: _Answer) -> _Token:
        auth = answer.body.get("auth")
        if isinstance(auth, dict) and isinstance(text := auth.get("client_token"), str) and text:
            lease = auth.get("lease_duration")
            return _Token(
                text=text,
                got_at=self._clock.monotonic(),
                lease_s=float(lease) if isinstance(lease, int | float) else 0.0,
                renewable=auth.get("renewable") is True,
            )
        raise self._away("it answered a login without a token")

    async def _call(
        self, method: Literal["GET", "POST"], where: str, token: _Token | None, body: Mapping[str, str] | None = None
    ) -> _Answer:
        headers = {"X-Vault-Request": "true"}
        if token is not None:
            headers["X-Vault-Token"] = token.text
        if self._access.namespace:
            headers["X-Vault-Namespace"] = self._access.namespace
        path, _, query = where.partition("?")
        url = f"{self._access.url}/v1/{quote(path)}" + (f"?{query}" if query else "")
        try:
            session = self._opened()
            async with session.request(method, url, headers=headers, json=body, allow_redirects=False) as response:
                data = await response.content.read(_ANSWER_BYTES_MAX + 1)
                while len(data) <= _ANSWER_BYTES_MAX and (part := await response.content.read(_ANSWER_BYTES_MAX)):
                    data += part
                return self._answer(response.status, data)
        except TimeoutError:
            raise self._away(f"it did not answer within {self._access.timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # Without the cause: its text may hold headers.
            raise self._away(f"it cannot be reached ({type(error).__name__})") from None

    def _answer(self, status: int, data: bytes) -> _Answer:
        if len(data) > _ANSWER_BYTES_MAX:
            raise self._away(f"its answer is larger than {_ANSWER_BYTES_MAX} bytes")
        try:
            found = loads(data) if data else {}
        except Invalid:
            found = None
        if not isinstance(found, dict):
            if status < 300:
                raise self._away("its answer is not a JSON object")
            found = {}
        return _Answer(status=status, body=found)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context(cafile=self._access.ca_file)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=8),
                timeout=aiohttp.ClientTimeout(total=self._access.timeout_s),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _good(self, answer: _Answer, what: str) -> None:
        if answer.status < 300:
            return
        if answer.status == 403:
            raise Denied(
                "secret.provider_denied",
                f"The Vault at {self._access.url} refused {what}: permission denied.",
                hint="Its policy for our AppRole must permit `read` on that path.",
            )
        reasons = {503: "it is sealed or in maintenance", 429: "it limits the rate", 307: "it is a standby"}
        raise self._away(f"{reasons.get(answer.status, f'it answered {answer.status}')} ({what})")

    def _away(self, why: str) -> Unavailable:
        return Unavailable(
            "secret.provider_away",
            f"The Vault at {self._access.url} gives nothing: {why}.",
            hint="Look at its status; the call may be tried again.",
            provider="vault",
        )


def _values(path: str, answer: _Answer) -> Values:
    outer = answer.body.get("data")
    inner = outer.get("data") if isinstance(outer, dict) else None
    if not isinstance(outer, dict) or not isinstance(inner, dict):
        raise Unavailable(
            "secret.provider_away",
            f"What the Vault answered for vault/{path} is no secret of KV version 2.",
            hint="secrets.vault_mount must name an engine of that kind.",
            retryable=False,
        )
    about = outer.get("metadata")
    version = about.get("version") if isinstance(about, dict) else None
    lease = answer.body.get("lease_duration")
    return Values(
        fields={name: value for name, value in inner.items() if isinstance(value, str) and value},
        version=version if isinstance(version, int) else None,
        lease_s=float(lease) if isinstance(lease, int | float) and lease > 0 else None,
    )


def _missing(path: str, version: int | None, answer: _Answer) -> NotFound:
    """404 of KV version 2: with metadata, the version was deleted or destroyed; without, there never was one."""
    data = answer.body.get("data")
    if isinstance(data, dict) and isinstance(data.get("metadata"), dict):
        which = "" if version is None else f"@{version}"
        return NotFound(
            "secret.unknown_version",
            f"secret://vault/{path}{which} was deleted in the Vault.",
            hint="`vault kv undelete`, or refer to another version.",
        )
    return unknown(f"vault/{path}", "the Vault has none at that path", "`vault kv put` it, or correct the reference.")
