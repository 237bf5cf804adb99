"""The bodies of identity's routes, each with one example."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AwareDatetime, BeforeValidator, Field

from stanchion.http import Model, Reply, example
from stanchion.identity.types import PrincipalKind

_TEXT: Final = r"^[^\x00-\x1f\x7f]*$"
_KEY_ID: Final = "0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11"
_KEY_TEXT: Final = "stn_local_0199c1f05c7e7d319a546f1f0a4f5d11_" + "0" * 43 + "_6a1f02c3"
_PRINCIPAL: Final[dict[str, Any]] = {
    "tenant": "default",
    "id": "0199c1e0-0000-7000-8000-000000000001",
    "kind": "user",
    "name": "ada@example.org",
    "display_name": "Ada",
    "roles": ["approver"],
    "created_at": "2026-11-18T09:00:00Z",
    "disabled_at": None,
}
_KEY: Final[dict[str, Any]] = {
    "id": _KEY_ID,
    "principal": "ci",
    "label": "nightly build",
    "scopes": ["runs.read", "runs.start"],
    "created_at": "2026-11-18T09:00:00Z",
    "created_by": "admin",
    "expires_at": "2027-11-18T09:00:00Z",
    "revoked_at": None,
}
# What the routes that end something answer.
_NONE: Final[list[str]] = []
REVOKED_ROLE: Final = _PRINCIPAL | {"roles": _NONE}
DISABLED: Final = _PRINCIPAL | {"disabled_at": "2026-11-20T17:30:00Z"}
REVOKED_KEY: Final = _KEY | {"revoked_at": "2026-11-20T17:30:00Z"}
_TENANT: Final[dict[str, Any]] = {"name": "acme", "display_name": "Acme", "created_at": "2026-11-18T09:00:00Z"}


Label = Annotated[str, Field(max_length=200, pattern=_TEXT)]
Names = Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=64)]


def _only_text(value: object) -> object:
    # A bare number would be read as seconds since 1970, which nobody means.
    if not isinstance(value, str):
        raise ValueError("a time is RFC 3339 text")  # noqa: TRY004 - pydantic reads ValueError
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_only_text)]


class PrincipalReply(Reply):
    """A principal."""

    model_config = example(_PRINCIPAL)

    tenant: str
    id: UUID
    kind: PrincipalKind
    name: str
    display_name: str
    roles: list[str]
    created_at: datetime
    disabled_at: datetime | None


class WhoamiReply(Reply):
    """Who this request is made by, and what its credential is permitted."""

    model_config = example(
        {
            "tenant": "default",
            "principal": _PRINCIPAL,
            "credential": f"api_key:{_KEY_ID}",
            "environment": "local",
            "production": False,
            "scopes": [],
            "actions": [
                "approvals.decide",
                "approvals.read",
                "artifacts.read",
                "effects.read",
                "identity.whoami",
                "releases.read",
                "runs.read",
                "tasks.read",
            ],
        }
    )

    tenant: str
    principal: PrincipalReply
    credential: str
    environment: str
    production: bool
    scopes: list[str]
    actions: list[str]


class NewPrincipalBody(Model):
    """A principal to make."""

    model_config = example({"name": "ada@example.org", "kind": "user", "display_name": "Ada", "roles": ["approver"]})

    name: Annotated[str, Field(min_length=1, max_length=127)]
    kind: PrincipalKind
    display_name: Label = ""
    roles: Names = Field(default_factory=list)


class RoleBody(Model):
    """A role to grant or revoke."""

    model_config = example({"role": "approver"})

    role: Annotated[str, Field(max_length=64)]


class KeyReply(Reply):
    """An API key without its secret."""

    model_config = example(_KEY)

    id: UUID
    principal: str
    label: str
    scopes: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyBody(Model):
    """An API key to make."""

    model_config = example(
        {
            "principal": "ci",
            "label": "nightly build",
            "scopes": ["runs.start", "runs.read"],
            "expires_at": "2027-11-18T09:00:00Z",
        }
    )

    principal: Annotated[str, Field(min_length=1, max_length=127)]
    label: Label
    scopes: Names = Field(default_factory=list)
    expires_at: Instant | None = None


class NewKeyReply(Reply):
    """A key just made; `text` is shown this once."""

    model_config = example({"key": _KEY, "text": _KEY_TEXT})

    key: KeyReply
    text: str


class TenantReply(Reply):
    """A tenant."""

    model_config = example(_TENANT)

    name: str
    display_name: str
    created_at: datetime


class TenantsReply(Reply):
    """The tenants that the caller may see."""

    model_config = example({"items": [_TENANT], "next": None})

    items: list[TenantReply]
    next: str | None = None


class NewTenantBody(Model):
    """A tenant to make, and its first admin's name."""

    model_config = example({"name": "acme", "display_name": "Acme", "admin": "admin"})

    name: Annotated[str, Field(min_length=1, max_length=63)]
    display_name: Label = ""
    admin: Annotated[str, Field(min_length=1, max_length=127)] = "admin"


class NewTenantReply(Reply):
    """A tenant just made, its first admin, and the admin's key, shown this once."""

    model_config = example(
        {
            "tenant": _TENANT,
            "admin": _PRINCIPAL | {"tenant": "acme", "name": "admin", "display_name": "", "roles": ["admin"]},
            "key": {
                "key": _KEY | {"principal": "admin", "label": "first admin key", "scopes": _NONE},
                "text": _KEY_TEXT,
            },
        }
    )

    tenant: TenantReply
    admin: PrincipalReply
    key: NewKeyReply


class SignInLinkBody(Model):
    """Whom the link shall sign in."""

    model_config = example({"principal": "ada@example.org"})

    principal: Annotated[str, Field(min_length=1, max_length=127)]


class SignInLinkReply(Reply):
    """A one-time link. Whoever has it can sign in once until `expires_at`: send it to that person alone."""

    model_config = example(
        {
            "principal": "ada@example.org",
            "url": "https://stanchion.example.org/sign-in?token=0199c1f05c7e7d319a546f1f0a4f5d11." + "0" * 43,
            "expires_at": "2026-11-18T09:15:00Z",
        }
    )

    principal: str
    url: str
    expires_at: datetime


class SignOutReply(Reply):
    """Whether there was a session to end."""

    model_config = example({"signed_out": True})

    signed_out: bool
