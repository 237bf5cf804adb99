"""What /api/secrets sends and is sent. No body of it has a member for a value in plain text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from stanchion.http import Model, Reply, example
from stanchion.secrets.keeping.rules import CONNECTORS_MAX, GRACE_S_DEFAULT, GRACE_S_MAX

KEPT: dict[str, Any] = {
    "name": "local/erp/api-key",
    "provider": "local",
    "path": "erp/api-key",
    "environment": "production",
    "connectors": ["erp"],
    "version": 2,
    "fields": ["value"],
    "set_by": "olga",
    "set_at": "2026-11-22T04:52:04.800823Z",
    "previous": [1],
    "previous_until": "2026-11-22T05:52:04.800823Z",
}
CHECKED: dict[str, Any] = {
    "connector": "erp",
    "place": "/auth/token",
    "reference": "secret://local/erp/api-key",
    "resolves": False,
    "version": None,
    "issued_to": "production",
    "granted": ["ledger"],
    "code": "secret.not_granted",
    "detail": "The secret local/erp/api-key is not granted to connector erp.",
    "hint": "stanchion secret grant local/erp/api-key --connector erp",
}
_KEY: dict[str, Any] = {
    "id": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "public": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo",
    "tenant": "default",
    "environment": "production",
}
_SEALED: dict[str, Any] = {"key_id": _KEY["id"], "sealed": "AQhSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}
_REKEYED: dict[str, Any] = {"key_id": "9f86d081884c7d659a2feaa0c55ad015", "data_keys": 3, "dropped": 1}
# `provider/path`, a path alone, or a whole reference.
_NAME = Field(min_length=1, max_length=260, pattern=r"^[\x21-\x7e]+$")
_CONNECTORS = Field(default_factory=list[str], max_length=CONNECTORS_MAX)
_ENVIRONMENT = Field(default=None, max_length=63)


def _asking(body: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [body]}, hide_input_in_errors=True)


class SecretReply(Reply):
    """A secret without its values. `version`, `fields`, `previous` are those of a local one."""

    model_config = example(KEPT)

    name: str
    provider: str
    path: str
    environment: str
    connectors: list[str]
    version: int | None
    fields: list[str]
    set_by: str
    set_at: datetime
    previous: list[int]
    previous_until: datetime | None


class SealingKeyReply(Reply):
    """What new values are sealed to: `public` is a key of X25519 in base64url, `id` its fingerprint; and for whom."""

    model_config = example(_KEY)

    id: str
    public: str
    tenant: str
    environment: str


class CheckedReply(Reply):
    """A reference of a live connector, and whether it resolves; if not, why and what to do."""

    model_config = example(CHECKED)

    connector: str
    place: str
    reference: str
    resolves: bool
    version: int | None
    issued_to: str | None
    granted: list[str]
    code: str
    detail: str
    hint: str


class CheckReply(Reply):
    """All of them."""

    model_config = example({"items": [CHECKED], "unresolved": 1})

    items: list[CheckedReply]
    unresolved: int


class RekeyReply(Reply):
    """The key-encryption key that is used now, how many data keys were encrypted under it, how many old ones are gone."""

    model_config = example(_REKEYED)

    key_id: str
    data_keys: int
    dropped: int


class SealedRequest(Model):
    """A value, sealed to the key `key_id`."""

    key_id: str = Field(max_length=100)
    sealed: str = Field(max_length=600_000, pattern=r"^[A-Za-z0-9_-]+$")


class SetRequest(SealedRequest):
    """A new secret. `environment` null: this deployment's."""

    model_config = _asking({"name": "erp/api-key", "connectors": ["erp"], "environment": None, **_SEALED})

    name: str = _NAME
    environment: str | None = _ENVIRONMENT
    connectors: list[str] = _CONNECTORS


class RotateRequest(SealedRequest):
    """A new value; the one before stays valid for `grace_s` seconds."""

    model_config = _asking({"name": "erp/api-key", "grace_s": GRACE_S_DEFAULT, **_SEALED})

    name: str = _NAME
    grace_s: int = Field(default=GRACE_S_DEFAULT, ge=0, le=GRACE_S_MAX)


class GrantRequest(Model):
    """Who may have it too. `environment` of one that is made known by it; null: this deployment's."""

    model_config = _asking({"name": "vault/erp/api-key", "connectors": ["erp"], "environment": None})

    name: str = _NAME
    connectors: list[str] = _CONNECTORS
    environment: str | None = _ENVIRONMENT


class UngrantRequest(Model):
    """Who may have it no more."""

    model_config = _asking({"name": "erp/api-key", "connectors": ["erp"]})

    name: str = _NAME
    connectors: list[str] = _CONNECTORS


class RemoveRequest(Model):
    """What to remove: a secret, or with `@N` a previous version. `force`: though live connectors refer to it."""

    model_config = _asking({"name": "erp/api-key", "force": False})

    name: str = _NAME
    force: bool = False


class RekeyRequest(Model):
    """Whether to make a new key-encryption key, or to use the first one of the file."""

    model_config = _asking({"fresh": True})

    fresh: bool = False
