"""Who fills `Secrets` in the broker process: asks who may have a secret, then its provider, and keeps both for seconds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Final

from stanchion.base import Problem, Unavailable
from stanchion.context import Env
from stanchion.secrets.holding import rules, store
from stanchion.secrets.holding.local import version_ended
from stanchion.secrets.holding.store import Issued
from stanchion.secrets.providers import Provider, Values, provider_off, unknown_field
from stanchion.secrets.references import SecretRef
from stanchion.secrets.types import Finding, Secret, Wanted

_KEPT_MAX: Final = 4096
# Whoever waits behind a read that failed gets its problem, and does not try in turn for the provider's whole timeout.
_FAILED_S: Final = 1.0
_Key = tuple[str, str, str, int | None]


@dataclass(slots=True)
class _Kept:
    """What is known of one secret, or of one version of it: read once by whoever comes first, while others wait."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    issued: Issued | None = None
    issued_at: float = float("-inf")
    values: Values | None = None
    values_at: float = float("-inf")
    failed: Unavailable | None = None
    failed_at: float = float("-inf")
    previous: Values | None = None
    previous_at: float = float("-inf")


class Resolver:
    """Fills `Secrets`.

    Args:
        env: the process's Env, its database open.
        providers: by name; one that is not there is off.
        cache_s: how long what was read is used again. A rotation, a grant, its end and a removal are seen within it.
    """

    def __init__(self, env: Env, providers: Mapping[str, Provider], *, cache_s: float) -> None:
        self._env = env
        self._providers = providers
        self._cache_s = cache_s
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    async def resolve(self, tenant: str, ref: SecretRef, *, environment: str, connector: str) -> Secret:
        """As `Secrets.resolve`."""
        kept = await self._permitted(tenant, ref, environment, connector)
        async with kept.lock:
            values = await self._values(kept, tenant, ref)
        return self._secret(ref, values)

    async def previous(self, tenant: str, ref: SecretRef, *, environment: str, connector: str) -> Secret | None:
        """As `Secrets.previous`."""
        if ref.version is not None:
            return None
        kept = await self._permitted(tenant, ref, environment, connector)
        async with kept.lock:
            if not self._fresh(kept.previous_at, self._cache_s):
                read_at = self._now()
                kept.previous = await self._provider(ref).previous(tenant, ref.path)
                kept.previous_at = read_at
            values = kept.previous
        if values is None or self._over(values) or ref.field not in values.fields:
            return None
        return self._secret(ref, values)

    async def check(self, tenant: str, environment: str, wanted: Sequence[Wanted]) -> Sequence[Finding]:
        """Whether each resolves now; nothing that was kept of them is believed."""
        for one in wanted:
            self._kept.pop(_key(tenant, one.ref), None)
        return [await self._found(tenant, environment, one) for one in wanted]

    def forget(self) -> None:
        """Drop everything that is kept."""
        self._kept.clear()

    async def close(self) -> None:
        """Close the providers and drop what is kept."""
        self.forget()
        for provider in self._providers.values():
            await provider.close()

    async def _permitted(self, tenant: str, ref: SecretRef, environment: str, connector: str) -> _Kept:
        kept = self._place(tenant, ref)
        async with kept.lock:
            if not self._fresh(kept.issued_at, self._cache_s):
                read_at = self._now()
                async with self._env.db.tenant_tx(tenant) as tx:
                    kept.issued = await store.issued(tx, tenant, ref.provider, ref.path)
                kept.issued_at = read_at
            issued = kept.issued
        if issued is None:
            raise rules.unknown(ref)
        rules.permit(
            ref, issued_to=issued.environment, granted=issued.connectors, environment=environment, connector=connector
        )
        return kept

    async def _values(self, kept: _Kept, tenant: str, ref: SecretRef) -> Values:
        held = kept.values
        keep_s = self._cache_s if held is None or held.lease_s is None else min(self._cache_s, held.lease_s)
        if held is None or not self._fresh(kept.values_at, keep_s):
            if kept.failed is not None and self._fresh(kept.failed_at, _FAILED_S):
                raise copy(kept.failed)
            read_at = self._now()
            try:
                held = await self._provider(ref).read(tenant, ref.path, ref.version)
            except Unavailable as problem:
                kept.failed, kept.failed_at = problem, self._now()
                raise
            kept.values, kept.values_at, kept.failed = held, read_at, None
        if self._over(held):
            raise version_ended(f"secret {ref.name}@{held.version}")
        return held

    def _provider(self, ref: SecretRef) -> Provider:
        found = self._providers.get(ref.provider)
        if found is None:
            raise provider_off(ref)
        return found

    def _secret(self, ref: SecretRef, values: Values) -> Secret:
        value = values.fields.get(ref.field)
        if value is None:
            raise unknown_field(ref, values.fields)
        return Secret(value, ref=ref, version=values.version)

    async def _found(self, tenant: str, environment: str, wanted: Wanted) -> Finding:
        try:
            secret = await self.resolve(tenant, wanted.ref, environment=environment, connector=wanted.connector)
        except Problem as problem:
            return Finding(
                wanted=wanted,
                environment=environment,
                version=None,
                code=problem.code,
                detail=problem.message,
                hint=problem.hint,
            )
        return Finding(wanted=wanted, environment=environment, version=secret.version)

    def _place(self, tenant: str, ref: SecretRef) -> _Kept:
        key = _key(tenant, ref)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept()
            if len(self._kept) > _KEPT_MAX:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return kept

    def _now(self) -> float:
        return self._env.clock.monotonic()

    def _fresh(self, read_at: float, keep_s: float) -> bool:
        return self._now() - read_at < keep_s

    def _over(self, values: Values) -> bool:
        return values.valid_until is not None and values.valid_until <= self._env.clock.now()


def _key(tenant: str, ref: SecretRef) -> _Key:
    return (tenant, ref.provider, ref.path, ref.version)
