"""The keys of the process that holds secrets: key-encryption keys from their file, data keys from the database."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from uuid import UUID

from stanchion.base import NotFound, Unavailable
from stanchion.context import Env
from stanchion.db import Tx
from stanchion.secrets.holding import store
from stanchion.secrets.holding.envelope import KEY_BYTES, data_key_context, decrypted, encrypted
from stanchion.secrets.holding.keyfile import Kek, KeyFile, key_missing
from stanchion.secrets.holding.store import DataKey
from stanchion.secrets.types import Rekeyed

_OPEN_KEYS_MAX: Final = 1024
_BATCH: Final = 100


class Keyring:
    """Gives data keys in the open, makes those that are missing, and encrypts them anew.

    Args:
        env: the process's Env, its database open.
        file: with the key-encryption keys; made at its first use if nothing was ever encrypted.
    """

    def __init__(self, env: Env, file: KeyFile) -> None:
        self._env = env
        self._file = file
        self._open: OrderedDict[tuple[str, UUID], bytes] = OrderedDict()
        self._told = ""

    async def keks(self) -> tuple[Kek, ...]:
        """The key-encryption keys, newest first. Raises as `KeyFile.read`; Unavailable `secret.key_missing`.

        Whoever runs the broker finds the fingerprint of the key that values are sealed to in its log, each time it is
        another: a way to know it that does not lead through the web process.
        """
        found = await self._read()
        if found[0].sealing_id != self._told:
            self._told = found[0].sealing_id
            self._env.telemetry.emit("secret.sealing_key", 1.0, fingerprint=self._told)
        return found

    async def _read(self) -> tuple[Kek, ...]:
        try:
            return self._file.read()
        except NotFound as error:
            async with self._env.db.engine_tx() as tx:
                if await store.kek_ids(tx):
                    raise key_missing(self._file.path, error) from error
            self._file.make(self._env.ids)
            return self._file.read()

    async def writing(self, tenant: str) -> tuple[UUID, bytes]:
        """The data key that the tenant's new versions are encrypted under, with its id. Makes the first one."""
        async with self._env.db.tenant_tx(tenant) as tx:
            found = await store.data_key(tx, tenant)
            if found is None:
                found = await self._made(tx, tenant)
        return found.id, await self.reading(found)

    async def reading(self, stored: DataKey) -> bytes:
        """A data key in the open. Raises Unavailable `secret.key_unknown`, `secret.damaged`."""
        where = (stored.tenant, stored.id)
        if (known := self._open.get(where)) is not None:
            self._open.move_to_end(where)
            return known
        key = _unwrapped(await self._kek(stored.kek_id), stored)
        self._open[where] = key
        if len(self._open) > _OPEN_KEYS_MAX:
            self._open.popitem(last=False)
        return key

    async def rekey(self, *, fresh: bool) -> Rekeyed:
        """As `SecretHolder.rekey`. What is interrupted is taken up by the next call: no key leaves the file that is in use.

        Of several at the same time each reads the file anew under the lock, so all end with the newest key of any.
        """
        await self.keks()  # there is a file from here on
        if fresh:
            await self._renewed()
        count = 0
        while moved := await self._rewrap_batch():
            count += moved
        dropped = await self._dropped() if fresh else 0
        return Rekeyed(key_id=(await self.keks())[0].id, data_keys=count, dropped=dropped)

    async def _renewed(self) -> None:
        """Put a new key before those of the file."""
        async with self._env.db.engine_tx() as tx:
            await store.lock_data_keys(tx)
            self._file.write((Kek(self._env.ids.secret(KEY_BYTES)), *self._file.read()), self._env.ids)

    async def _made(self, tx: Tx, tenant: str) -> DataKey:
        await store.lock_data_keys(tx)
        found = await store.data_key(tx, tenant)  # perhaps made while this waited
        if found is None:
            newest = (await self.keks())[0]  # under the lock: a change of keys is over, and its file is read
            key_id = self._env.ids.new()
            wrapped = encrypted(
                newest.key, self._env.ids.secret(KEY_BYTES), data_key_context(tenant, key_id, newest.id), self._env.ids
            )
            found = DataKey(tenant=tenant, id=key_id, kek_id=newest.id, wrapped=wrapped)
            await store.insert_data_key(tx, found)
        return found

    async def _kek(self, kek_id: str) -> Kek:
        for kek in await self.keks():
            if kek.id == kek_id:
                return kek
        raise Unavailable(
            "secret.key_unknown",
            f"The key file {self._file.path} does not hold the key {kek_id}, under which a data key is encrypted.",
            hint="Add that key to the line, after the newest; several hosts need the same file.",
            retryable=False,
        )

    async def _rewrap_batch(self) -> int:
        async with self._env.db.engine_tx() as tx:
            await store.lock_data_keys(tx)
            newest = self._file.read()[0]
            found = await store.data_keys_under_others(tx, newest.id, _BATCH)
            for stored in found:
                key = _unwrapped(await self._kek(stored.kek_id), stored)
                context = data_key_context(stored.tenant, stored.id, newest.id)
                wrapped = encrypted(newest.key, key, context, self._env.ids)
                await store.rewrap(tx, DataKey(tenant=stored.tenant, id=stored.id, kek_id=newest.id, wrapped=wrapped))
        return len(found)

    async def _dropped(self) -> int:
        """Write the file without the keys that nothing is encrypted under any more."""
        async with self._env.db.engine_tx() as tx:
            await store.lock_data_keys(tx)
            keks, used = self._file.read(), await store.kek_ids(tx)
            kept = (keks[0], *(kek for kek in keks[1:] if kek.id in used))
            self._file.write(kept, self._env.ids)
        return len(keks) - len(kept)


def _unwrapped(kek: Kek, stored: DataKey) -> bytes:
    context = data_key_context(stored.tenant, stored.id, stored.kek_id)
    return decrypted(kek.key, stored.wrapped, context, what=f"the data key of tenant {stored.tenant}")
