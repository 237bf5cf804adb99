"""Who fills `SecretHolder` in the broker process."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from stanchion.base import Conflict
from stanchion.secrets.holding.keyring import Keyring
from stanchion.secrets.holding.local import LocalProvider
from stanchion.secrets.holding.resolver import Resolver
from stanchion.secrets.types import Encrypted, EncryptRequest, Finding, Rekeyed, SealingKey, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHolder:
    """Fills `SecretHolder` with what this process has: keys, our own tables, and who resolves."""

    keyring: Keyring
    local: LocalProvider
    resolver: Resolver

    async def sealing_key(self) -> SealingKey:
        """The public key derived from the newest key-encryption key. Raises as `Keyring.keks`."""
        newest = (await self.keyring.keks())[0]
        public = base64.urlsafe_b64encode(newest.sealing_public).rstrip(b"=").decode()
        return SealingKey(id=newest.sealing_id, public=public)

    async def encrypt(self, request: EncryptRequest) -> Encrypted:
        """As `SecretHolder.encrypt`: what was sealed to an older key opens while that is in the file."""
        for kek in await self.keyring.keks():
            if kek.sealing_id == request.key_id:
                return await self.local.encrypt(request, kek.sealing_secret)
        raise Conflict(
            "secret.other_sealing_key",
            "The text was sealed for a key that the broker does not have any more.",
            hint="Seal it again for the key that GET /api/secrets/sealing-key gives now.",
        )

    async def check(self, tenant: str, environment: str, wanted: Sequence[Wanted]) -> Sequence[Finding]:
        """As `SecretHolder.check`."""
        return await self.resolver.check(tenant, environment, wanted)

    async def rekey(self, *, fresh: bool) -> Rekeyed:
        """As `SecretHolder.rekey`."""
        return await self.keyring.rekey(fresh=fresh)
