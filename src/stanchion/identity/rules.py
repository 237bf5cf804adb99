"""Pure decisions of identity: the form of credentials, who may be changed, what a new key may be."""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from stanchion.base import Conflict, Denied, Invalid, Unauthenticated, nearest
from stanchion.context import Actor
from stanchion.identity.types import ACTIONS, KEY_TTL_MAX, ROLES, SYSTEM_ROLE, CredentialKind, CredentialRow, Principal

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET_BYTES: Final = 32
# ceil(256 / log2 62): every secret is written with the same number of digits.
_SECRET_DIGITS: Final = 43
_KEY: Final = re.compile(
    rf"stn_(?P<env>[a-z][a-z0-9-]{{0,62}})_(?P<id>[0-9a-f]{{32}})_(?P<secret>[0-9A-Za-z]{{{_SECRET_DIGITS}}})_(?P<crc>[0-9a-f]{{8}})"
)
_TOKEN: Final = re.compile(rf"(?P<id>[0-9a-f]{{32}})\.(?P<secret>[0-9A-Za-z]{{{_SECRET_DIGITS}}})")
_PRINCIPAL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,126}")
_TENANT_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")

ItemT = TypeVar("ItemT", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A credential as presented: which row it names and the secret that proves it."""

    id: UUID
    secret: str

    def __repr__(self) -> str:
        return f"Presented(id={self.id!r}, secret=<hidden>)"


def secret_text(secret: bytes) -> str:
    """32 bytes as 43 base-62 digits: one word for a double click, nothing to escape in a URL, header or shell."""
    number = int.from_bytes(secret)
    digits = ""
    for _ in range(_SECRET_DIGITS):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits


def key_text(environment: str, key_id: UUID, secret: str) -> str:
    """The text of an API key: `stn_<environment>_<id>_<secret>_<crc32>`.

    The environment tells a person where it belongs (I10), the checksum tells a typing mistake (and a secret
    scanner's false find) from a wrong key without asking the database.
    """
    head = f"stn_{environment}_{key_id.hex}_{secret}"
    return f"{head}_{zlib.crc32(head.encode()):08x}"


def read_key(text: str, environment: str) -> Presented:
    """Take an API key apart. Raises Unauthenticated `auth.malformed_key`, `auth.bad_checksum`, `auth.wrong_environment`."""
    match = _KEY.fullmatch(text)
    if match is None:
        raise Unauthenticated(
            "auth.malformed_key",
            "The credential is not an API key of Stanchion.",
            hint="A key looks like stn_<environment>_<id>_<secret>_<checksum>.",
        )
    if zlib.crc32(text.rpartition("_")[0].encode()) != int(match["crc"], 16):
        raise Unauthenticated(
            "auth.bad_checksum",
            "The API key does not match its own checksum: a character was lost or changed.",
            hint="Copy the whole key again.",
        )
    if match["env"] != environment:
        raise Unauthenticated(
            "auth.wrong_environment",
            f"The API key belongs to the environment {match['env']!r}; this is {environment!r}.",
            hint="Use a key made in this environment.",
        )
    return Presented(id=UUID(match["id"]), secret=match["secret"])


def token_text(row_id: UUID, secret: str) -> str:
    """The text of a session cookie or a sign-in token: `<id>.<secret>`."""
    return f"{row_id.hex}.{secret}"


def read_token(text: str) -> Presented:
    """Take a session cookie or sign-in token apart. Raises Unauthenticated `auth.malformed_token`."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise Unauthenticated("auth.malformed_token", "The credential is not one of Stanchion.", hint="Sign in again.")
    return Presented(id=UUID(match["id"]), secret=match["secret"])


def mac_of(pepper: bytes, kind: CredentialKind, row_id: UUID, secret: str) -> bytes:
    """What is stored of a credential: HMAC-SHA-256 under the pepper, bound to its kind and row.

    A secret has 256 random bits, so a slow password hash would buy nothing (2 µs against 183 ms, measured).
    """
    return hmac.digest(pepper, f"{kind}:{row_id.hex}:{secret}".encode(), hashlib.sha256)


def proves(pepper: bytes, kind: CredentialKind, row: CredentialRow | None, presented: Presented) -> bool:
    """Whether `presented` proves `row`. Takes the same time for a row that does not exist."""
    expected = mac_of(pepper, kind, presented.id, presented.secret)
    return hmac.compare_digest(expected, bytes(32) if row is None else row.mac) and row is not None


def refusal(
    kind: CredentialKind, row: CredentialRow, principal: Principal | None, now: datetime
) -> Unauthenticated | None:
    """Why a proven credential does not count any more, or None if it does."""
    if row.ended_at is not None:
        return _ENDED[kind]()
    if row.expires_at is not None and row.expires_at <= now:
        return Unauthenticated(
            "auth.expired",
            f"The {_WORDS[kind]} expired at {row.expires_at:%Y-%m-%dT%H:%M:%SZ}.",
            hint=_RENEW[kind],
        )
    if principal is None or principal.disabled_at is not None:
        return Unauthenticated("auth.disabled", "The principal is disabled.", hint="Ask an admin of the tenant.")
    return None


_WORDS: Final = {"api_key": "API key", "session": "session", "sign_in_link": "sign-in link"}
_RENEW: Final = {
    "api_key": "Ask an admin for a new key.",
    "session": "Sign in again.",
    "sign_in_link": "Ask for a new link.",
}
_ENDED: Final = {
    "api_key": lambda: Unauthenticated("auth.revoked", "The API key is revoked.", hint=_RENEW["api_key"]),
    "session": lambda: Unauthenticated("auth.signed_out", "The session has ended.", hint=_RENEW["session"]),
    "sign_in_link": lambda: Unauthenticated(
        "auth.link_used", "The sign-in link was used already; each works once.", hint=_RENEW["sign_in_link"]
    ),
}


def check_principal_name(name: str) -> str:
    """The name, if it is one. Raises Invalid `principal.bad_name`."""
    if not _PRINCIPAL_NAME.fullmatch(name):
        raise Invalid(
            "principal.bad_name",
            f"{name!r} is not a principal's name.",
            hint="Use 1 to 127 letters, digits and . _ @ + - , beginning with a letter or digit.",
        )
    return name


def check_tenant_name(name: str) -> str:
    """The name, if it is one. Raises Invalid `tenant.bad_name`."""
    if not _TENANT_NAME.fullmatch(name):
        raise Invalid(
            "tenant.bad_name",
            f"{name!r} is not a tenant's name.",
            hint="Use 1 to 63 small letters, digits and hyphens, beginning with a letter.",
        )
    return name


def check_roles(roles: Iterable[str]) -> tuple[str, ...]:
    """The roles, sorted, each once. Raises Invalid `role.unknown` with the nearest name; `system` is granted to nobody."""
    return _known(roles, ROLES, "role.unknown", "role")


def check_scopes(scopes: Iterable[str], actor: Actor) -> tuple[str, ...]:
    """The scopes of a new key, sorted.

    Raises Invalid `scope.unknown`, and Denied `keys.wider_than_own` if the key could do what the actor's own
    credential cannot: a scoped key must not beget an unscoped one.
    """
    known = _known(scopes, ACTIONS, "scope.unknown", "scope")
    if actor.scopes and (not known or not actor.scopes.issuperset(known)):
        raise Denied(
            "keys.wider_than_own",
            "The new key would be permitted more than the key that makes it.",
            hint=f"Name scopes among: {', '.join(sorted(actor.scopes))}.",
        )
    return known


def _known(given: Iterable[str], all_known: Sequence[str], code: str, word: str) -> tuple[str, ...]:
    found = tuple(sorted(set(given)))
    for name in found:
        if name not in all_known:
            near = nearest(name, all_known)
            hint = f"Did you mean {near!r}?" if near else f"There are: {', '.join(all_known)}."
            raise Invalid(code, f"There is no {word} {name!r}.", hint=hint)
    return found


def check_expiry(expires_at: datetime | None, now: datetime) -> datetime | None:
    """The expiry of a new key. Raises Invalid `key.bad_expiry` if it is past or more than ten years away."""
    if expires_at is None:
        return None
    if expires_at.tzinfo is None or not now < expires_at <= now + KEY_TTL_MAX:
        raise Invalid(
            "key.bad_expiry",
            "`expires_at` must be a time with zone, in the future, at most ten years from now.",
            hint="For example 2027-01-31T00:00:00Z.",
        )
    return expires_at


def keeps_an_admin(admins: Sequence[Principal], without: UUID) -> None:
    """Return if an enabled admin remains when `without` is none any more. Raises Conflict `principal.last_admin`."""
    if not any(a.id != without and a.disabled_at is None for a in admins):
        raise Conflict(
            "principal.last_admin",
            "This is the tenant's last admin; without one nobody could grant roles again.",
            hint="Grant `admin` to somebody else first.",
        )


def actor_of(principal: Principal, credential: str, scopes: Iterable[str] = ()) -> Actor:
    """The Actor that `principal` is with that credential. The role `system` is dropped wherever it came from."""
    return Actor(
        tenant=principal.tenant,
        principal=principal.name,
        principal_id=str(principal.id),
        kind=principal.kind,
        roles=frozenset(principal.roles) - {SYSTEM_ROLE},
        scopes=frozenset(scopes),
        credential=credential,
    )
