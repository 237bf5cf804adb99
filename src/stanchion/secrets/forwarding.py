"""A `SecretHolder` in another process: its calls as JSON, for whatever carries them (the broker's socket).

`RemoteHolder` writes calls and reads answers, `answer` reads calls and writes answers; problems travel as the carrier has them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, cast

from stanchion.base import Invalid, Json, Unavailable
from stanchion.secrets.references import SecretRef
from stanchion.secrets.types import Encrypted, EncryptRequest, Finding, Rekeyed, SealingKey, SecretHolder, Wanted

# What a carrier is given: the operation and its arguments. It returns the answer, or raises the problem of the other side.
Ask = Callable[[str, Mapping[str, Json]], Awaitable[Mapping[str, Json]]]

SEALING_KEY: Final = "secrets.sealing_key"
ENCRYPT: Final = "secrets.encrypt"
CHECK: Final = "secrets.check"
REKEY: Final = "secrets.rekey"
OPERATIONS: Final = (SEALING_KEY, ENCRYPT, CHECK, REKEY)


class RemoteHolder:
    """Fills `SecretHolder` over `ask`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def sealing_key(self) -> SealingKey:
        """As `SecretHolder.sealing_key`."""
        said = await self._ask(SEALING_KEY, {})
        return SealingKey(id=_text(said, "id"), public=_text(said, "public"))

    async def encrypt(self, request: EncryptRequest) -> Encrypted:
        """As `SecretHolder.encrypt`."""
        said = await self._ask(
            ENCRYPT,
            {
                "tenant": request.tenant,
                "path": request.path,
                "environment": request.environment,
                "version": request.version,
                "key_id": request.key_id,
                "sealed": request.sealed,
            },
        )
        try:
            ciphertext = base64.b64decode(_text(said, "ciphertext"), validate=True)
        except binascii.Error:
            raise _malformed("ciphertext") from None
        return Encrypted(data_key=_text(said, "data_key"), ciphertext=ciphertext, fields=_texts(said, "fields"))

    async def check(self, tenant: str, environment: str, wanted: Sequence[Wanted]) -> Sequence[Finding]:
        """As `SecretHolder.check`."""
        asked: list[Json] = [{"connector": one.connector, "place": one.place, "ref": str(one.ref)} for one in wanted]
        said = await self._ask(CHECK, {"tenant": tenant, "environment": environment, "wanted": asked})
        rows = _objects(said, "findings")
        if len(rows) != len(wanted):
            raise _malformed("findings")
        return [
            Finding(
                wanted=one,
                environment=environment,
                version=None if row.get("version") is None else _number(row, "version"),
                code=_text(row, "code"),
                detail=_text(row, "detail"),
                hint=_text(row, "hint"),
            )
            for one, row in zip(wanted, rows, strict=True)
        ]

    async def rekey(self, *, fresh: bool) -> Rekeyed:
        """As `SecretHolder.rekey`."""
        said = await self._ask(REKEY, {"fresh": fresh})
        return Rekeyed(
            key_id=_text(said, "key_id"), data_keys=_number(said, "data_keys"), dropped=_number(said, "dropped")
        )


async def _nobody(operation: str, said: Mapping[str, Json]) -> Mapping[str, Json]:
    del operation, said
    raise Unavailable(
        "secret.holder_away",
        "This process is connected to no broker, which alone has the keys of secrets.",
        hint="Start `stanchion serve broker`, or see its log.",
    )


AWAY: Final[SecretHolder] = RemoteHolder(_nobody)


async def answer(holder: SecretHolder, operation: str, said: Mapping[str, Json]) -> Mapping[str, Json]:
    """Do what a RemoteHolder asks, and return what it reads.

    Raises Invalid `secret.bad_call` for what no RemoteHolder sends, and what the holder raises.
    """
    if operation == SEALING_KEY:
        key = await holder.sealing_key()
        return {"id": key.id, "public": key.public}
    if operation == ENCRYPT:
        return await _encrypt(holder, said)
    if operation == CHECK:
        return await _check(holder, said)
    if operation == REKEY:
        done = await holder.rekey(fresh=said.get("fresh") is True)
        return {"key_id": done.key_id, "data_keys": done.data_keys, "dropped": done.dropped}
    raise Invalid("secret.bad_call", f"There is no operation {operation!r}; there are {', '.join(OPERATIONS)}.")


async def _encrypt(holder: SecretHolder, said: Mapping[str, Json]) -> Mapping[str, Json]:
    made = await holder.encrypt(
        EncryptRequest(
            tenant=_text(said, "tenant"),
            path=SecretRef.parse(f"secret://local/{_text(said, 'path')}", place="path").path,
            environment=_text(said, "environment"),
            version=_number(said, "version"),
            key_id=_text(said, "key_id"),
            sealed=_text(said, "sealed"),
        )
    )
    return {
        "data_key": made.data_key,
        "ciphertext": base64.b64encode(made.ciphertext).decode(),
        "fields": list(made.fields),
    }


async def _check(holder: SecretHolder, said: Mapping[str, Json]) -> Mapping[str, Json]:
    wanted = [
        Wanted(
            connector=_text(row, "connector"),
            place=_text(row, "place"),
            ref=SecretRef.parse(row.get("ref"), place=f"wanted {number}"),
        )
        for number, row in enumerate(_objects(said, "wanted"))
    ]
    found = await holder.check(_text(said, "tenant"), _text(said, "environment"), wanted)
    rows: list[Json] = [
        {"version": one.version, "code": one.code, "detail": one.detail, "hint": one.hint} for one in found
    ]
    return {"findings": rows}


def _text(said: Mapping[str, Json], name: str) -> str:
    if not isinstance(value := said.get(name), str):
        raise _malformed(name)
    return value


def _number(said: Mapping[str, Json], name: str) -> int:
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _malformed(name)
    return value


def _texts(said: Mapping[str, Json], name: str) -> tuple[str, ...]:
    value = said.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _malformed(name)
    return tuple(cast("list[str]", value))


def _objects(said: Mapping[str, Json], name: str) -> list[Mapping[str, Json]]:
    value = said.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise _malformed(name)
    return cast("list[Mapping[str, Json]]", value)


def _malformed(name: str) -> Invalid:
    return Invalid("secret.bad_call", f"`{name}` of a call between processes is missing or of another type.")
