"""The nouns of identity. No row holds a secret: credentials are stored as HMACs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID

# Every role there is, as the shipped policy knows them. `system` is Stanchion's own and is granted to nobody.
ROLES: Final = ("viewer", "analyst", "author", "approver", "operator", "admin", "auditor", "service")
SYSTEM_ROLE: Final = "system"

# Every action there is; anything else is denied (I11). The shipped schema names the same ones, held by a test.
ACTIONS: Final = (
    "runs.start",
    "runs.read",
    "runs.cancel",
    "runs.retry",
    "runs.measure",
    "dlq.read",
    "dlq.requeue",
    "dlq.discard",
    "tasks.submit",
    "tasks.read",
    "workers.read",
    "approvals.read",
    "approvals.decide",
    "artifacts.read",
    "artifacts.publish",
    "releases.read",
    "releases.apply",
    "releases.begin",
    "releases.promote",
    "releases.pause",
    "releases.rollback",
    "releases.export",
    "releases.import",
    "releases.trust",
    "releases.revoke",
    "releases.reinstate",
    "releases.repin",
    "releases.drain",
    "releases.approve",
    "releases.report",
    "releases.break_glass",
    "releases.review",
    "blueprints.validate",
    "connectors.read",
    "connectors.test",
    "effects.read",
    "effects.resolve",
    "tools.read",
    "tools.call",
    "tools.approve",
    "tools.enable",
    "tools.disable",
    "triggers.read",
    "triggers.fire",
    "audit.read",
    "identity.whoami",
    "tenants.read",
    "tenants.create",
    "principals.read",
    "principals.create",
    "principals.grant",
    "principals.disable",
    "keys.read",
    "keys.create",
    "keys.revoke",
    "signin.create",
    "secrets.read",
    "secrets.write",
    "secrets.rekey",
    "flags.read",
    "flags.evaluate",
    "kills.read",
    "kills.set",
    "kills.lift",
    "operations.read",
)

SESSION_TTL: Final = timedelta(hours=12)
SIGN_IN_TTL: Final = timedelta(minutes=15)
KEY_TTL_MAX: Final = timedelta(days=3660)

PrincipalKind = Literal["user", "service", "schedule"]
CredentialKind = Literal["api_key", "session", "sign_in_link"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Whose data: the unit behind the wall (I13)."""

    name: str
    display_name: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who acts within a tenant. A disabled principal's credentials all fail, within a second."""

    tenant: str
    id: UUID
    kind: PrincipalKind
    name: str
    display_name: str
    roles: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None

    def __post_init__(self) -> None:
        # Arrays come from the database as lists; a frozen value holds none.
        object.__setattr__(self, "roles", tuple(self.roles))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key without its secret. Empty `scopes`: all that the principal's roles permit."""

    tenant: str
    id: UUID
    principal_id: UUID
    principal: str
    label: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scopes", tuple(self.scopes))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key just made, with `text`, the only time it is ever shown."""

    key: ApiKey
    text: str

    def __repr__(self) -> str:
        return f"NewKey(key={self.key!r}, text=<shown once>)"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSignIn:
    """A one-time sign-in link just made: `token` goes into `/sign-in?token=…`."""

    principal: str
    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"NewSignIn(principal={self.principal!r}, token=<shown once>, expires_at={self.expires_at!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session just begun: `token` is the cookie's value."""

    principal: Principal
    id: UUID
    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"NewSession(id={self.id!r}, token=<cookie>, expires_at={self.expires_at!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTenant:
    """A tenant just made, its first admin and that admin's key."""

    tenant: Tenant
    admin: Principal
    key: NewKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrapped:
    """What `bootstrap_admin` found or made.

    Attributes:
        created: True the first time. Only then is there a key.
        key: the first admin key as text, or None.
        sign_in: a fresh one-time link for the admin, or None if that principal has been disabled since.
    """

    tenant: str
    principal: str
    created: bool
    key: NewKey | None
    sign_in: NewSignIn | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRow:
    """What authentication reads of a stored credential, of any kind. `ended_at`: revoked, signed out or used."""

    tenant: str
    id: UUID
    principal_id: UUID
    mac: bytes
    scopes: tuple[str, ...]
    expires_at: datetime | None
    ended_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scopes", tuple(self.scopes))
