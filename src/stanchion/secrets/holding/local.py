"""Provider `local`: versions in our own tables, encrypted under the tenant's data key."""

from __future__ import annotations

from typing import Final

from stanchion.base import Denied, Invalid, NotFound, Unavailable, dumps, loads
from stanchion.context import Env
from stanchion.secrets.holding import store
from stanchion.secrets.holding.envelope import decrypted, encrypted, secret_context
from stanchion.secrets.holding.keyring import Keyring
from stanchion.secrets.holding.store import DataKey, StoredVersion
from stanchion.secrets.providers import Values
from stanchion.secrets.sealing import check_fields, opened
from stanchion.secrets.types import Encrypted, EncryptRequest

_HINT: Final = "See `stanchion secret list`; `stanchion secret rotate` makes a new version."


class LocalProvider:
    """Reads and encrypts versions of local secrets."""

    name = "local"

    def __init__(self, env: Env, keyring: Keyring) -> None:
        self._env = env
        self._keyring = keyring

    async def read(self, tenant: str, path: str, version: int | None) -> Values:
        """The fields of that version, or of the current one."""
        async with self._env.db.tenant_tx(tenant) as tx:
            found = await store.version(tx, tenant, path, version)
        if found is None:
            raise NotFound(
                "secret.unknown_version",
                f"The secret local/{path} has no " + ("current version." if version is None else f"version {version}."),
                hint=_HINT,
            )
        return await self._opened(tenant, path, found)

    async def previous(self, tenant: str, path: str) -> Values | None:
        """The newest version before the current one whose grace lasts."""
        async with self._env.db.tenant_tx(tenant) as tx:
            number = await store.previous(tx, tenant, path, self._env.clock.now())
            found = None if number is None else await store.version(tx, tenant, path, number)
        return None if found is None else await self._opened(tenant, path, found)

    async def close(self) -> None:
        """There is nothing to give back."""

    async def encrypt(self, request: EncryptRequest, sealing_secret: bytes) -> Encrypted:
        """Open a sealed text and encrypt it. Raises Invalid `secret.not_opened`, `secret.bad_value`, and as `Keyring`."""
        fields = check_fields(opened(sealing_secret, request.sealed, tenant=request.tenant, path=request.path))
        key_id, key = await self._keyring.writing(request.tenant)
        context = secret_context(request.tenant, request.path, request.version, request.environment)
        return Encrypted(
            data_key=str(key_id),
            ciphertext=encrypted(key, dumps(fields), context, self._env.ids),
            fields=tuple(sorted(fields)),
        )

    async def _opened(self, tenant: str, path: str, found: StoredVersion) -> Values:
        name = f"secret local/{path}@{found.version}"
        over = found.ends_at is not None and found.ends_at <= self._env.clock.now()
        if found.ciphertext is None or over:
            raise version_ended(name)
        stored = DataKey(tenant=tenant, id=found.data_key, kek_id=found.kek_id, wrapped=found.wrapped)
        key = await self._keyring.reading(stored)
        context = secret_context(tenant, path, found.version, found.environment)
        text = decrypted(key, found.ciphertext, context, what=name)
        try:
            fields = check_fields(loads(text))
        except Invalid:
            # Without the cause, which may quote the text.
            raise Unavailable("secret.damaged", f"What is stored of {name} are no fields.", retryable=False) from None
        return Values(fields=fields, version=found.version, valid_until=found.ends_at)


def version_ended(name: str) -> Denied:
    """The problem of a version whose grace is over."""
    return Denied(
        "secret.version_ended",
        f"The {name} was rotated and its grace is over.",
        hint="Refer to the secret without @version, or to the current one.",
    )
