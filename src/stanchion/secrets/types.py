"""The nouns of secrets: a value that does not show itself, and who gives and holds values."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol, SupportsIndex

from stanchion.secrets.references import SecretRef

VersionState = Literal["current", "previous", "ended"]


class Secret:
    """A value that shows itself to nobody who does not ask for it by `reveal()`.

    It has no text, no JSON and no pickle, so that no log line, problem, trace or answer takes it along unseen.
    `ref` is what it was resolved from, `version` the version that it is where the provider has versions.
    """

    __slots__ = ("_value", "ref", "version")

    def __init__(self, value: str, *, ref: SecretRef, version: int | None = None) -> None:
        self._value = value
        self.ref = ref
        self.version = version

    def reveal(self) -> str:
        """The value. Only where it is put into a call, or looked for to be scrubbed."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.ref}, version={self.version}, value=<hidden>)"

    def __str__(self) -> str:
        return "<hidden>"

    def __format__(self, spec: str) -> str:
        return format("<hidden>", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment] - a digest of a secret is a hint of it

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("A Secret is not written anywhere: no pickle, no copy.")


class Secrets(Protocol):
    """Who turns references into values: inside the broker process alone (I9)."""

    async def resolve(self, tenant: str, ref: SecretRef, *, environment: str, connector: str) -> Secret:
        """The value of `ref`, for that connector in that environment.

        A secret is issued to one environment (the second lock of I10) and granted to the connectors that are named (least
        privilege). What was read is kept for a few seconds, so a rotation is seen within those.

        Raises:
            NotFound: `secret.unknown`, `secret.unknown_field`, `secret.unknown_version`.
            Denied: `secret.wrong_environment`, `secret.not_granted`, `secret.version_ended`.
            Unavailable: `secret.provider_away`, `secret.provider_off` and the like: nothing is known of the value.
        """
        ...

    async def previous(self, tenant: str, ref: SecretRef, *, environment: str, connector: str) -> Secret | None:
        """The version before the current one while its grace lasts, else None: for a target that refuses the new value
        because it does not know it yet. None too where `ref` names a version. Raises as `resolve`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a token endpoint of OAuth 2 gave. `refresh_token`: the next one, where the server changes it with each use."""

    access_token: str
    life_s: float
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return f"Granted(life_s={self.life_s:g})"


# Asks the token endpoint once, with the refresh token that was kept in place of the declared one, if any.
Exchange = Callable[[str | None], Awaitable[Granted]]


class TokenKeeping(Protocol):
    """Who keeps refresh tokens that a server exchanges at each use: inside the broker process alone."""

    async def use(self, tenant: str, declared: Sequence[str], exchange: Exchange, *, not_this: str = "") -> Granted:
        """An access token: the kept one if it still lives, else what `exchange` brings, which is stored before it is used.

        Args:
            tenant: whose.
            declared: what the connector declares of the grant: the token endpoint, the refresh token. Another value is another
                grant.
            exchange: called by one of all processes at a time, and brought to its end also if the caller goes.
            not_this: an access token that the target refused.

        Raises what `exchange` raises, Unavailable `secret.damaged`, and as `Secrets.resolve` of a key file.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SealingKey:
    """The broker's public key. `id` is its fingerprint, `public` the 32 bytes of X25519 in base64url."""

    id: str
    public: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptRequest:
    """What the holder is asked to open and to encrypt.

    Attributes:
        tenant, path: whose secret, which one: what the text was sealed to and what it is encrypted to.
        environment: the one it is issued to; encrypted to as well.
        version: the version that the text becomes; encrypted to as well.
        key_id: the sealing key that was used.
        sealed: the sealed text, base64url.
    """

    tenant: str
    path: str
    environment: str
    version: int
    key_id: str
    sealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypted:
    """A version as it is stored. `ciphertext` is nonce, text and tag; `fields` are the names of its fields, sorted."""

    data_key: str
    ciphertext: bytes
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A reference that a connector makes, to be checked. `place` is a JSON pointer into its document."""

    connector: str
    place: str
    ref: SecretRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether a reference resolves. `code` is empty if it does, else the problem's, with its words and way out."""

    wanted: Wanted
    environment: str
    version: int | None
    code: str = ""
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rekeyed:
    """What a change of the key-encryption key did. `data_keys` were encrypted again; `dropped` old keys left the file."""

    key_id: str
    data_keys: int
    dropped: int


class SecretHolder(Protocol):
    """The process that holds keys and values: the broker. It can be asked to take a value in, never to give one out."""

    async def sealing_key(self) -> SealingKey:
        """The public key that texts are sealed to. Raises Unavailable `secret.holder_away`."""
        ...

    async def encrypt(self, request: EncryptRequest) -> Encrypted:
        """Open a sealed text and encrypt it under the tenant's data key; nothing is stored but a new data key.

        Raises Invalid `secret.not_opened`, `secret.bad_value`; Conflict `secret.other_sealing_key`; Unavailable.
        """
        ...

    async def check(self, tenant: str, environment: str, wanted: Sequence[Wanted]) -> Sequence[Finding]:
        """Whether each of them resolves now, in that order. No value leaves the holder."""
        ...

    async def rekey(self, *, fresh: bool) -> Rekeyed:
        """Encrypt every data key under the newest key-encryption key; with `fresh`, under one that is made now.

        Raises Unavailable `secret.key_file_unwritable`, `secret.key_missing`, `secret.key_unknown`, and what else the key file
        says.
        """
        ...
