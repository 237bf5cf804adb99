"""Pages that an adapter gave out, so that it can tell its own from others: sealed with a key that callers do not have.

A `page` travels through a step's output and config and comes back from whoever asks next. What it says is then where a
request goes, with the connector's credentials: a forged one would reach any path of the origin. So each is signed together
with whose it is; it is not secret, and what it says can be read.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from stanchion.base import Clock, SystemIds, dumps
from stanchion.tools.adapter import AdapterProblem, Target

# The keys, newest first: the first one seals, each of them opens.
PageKeys = Callable[[], Awaitable[Sequence[bytes]]]
KEY_BYTES: Final = 32
# What the key that seals is derived for, from another key.
PURPOSE: Final = b"stanchion page key v1"


class Pages:
    """Seals and opens. `keys`: where they come from."""

    def __init__(self, keys: PageKeys) -> None:
        self._keys = keys

    @classmethod
    def of_this_process(cls, clock: Clock) -> Pages:
        """With a key that this process alone has and nobody after it."""
        key = SystemIds(clock).secret(KEY_BYTES)

        async def keys() -> Sequence[bytes]:
            return (key,)

        return cls(keys)

    async def sealed(self, target: Target, text: str) -> str:
        """`text` with its seal, for the `page` of an envelope. `text` has no dot."""
        key = (await self._keys())[0]
        return f"{text}.{_seal(key, target, text)}"

    async def opened(self, target: Target, page: str) -> str:
        """What was sealed for the same tenant, connector version, resource and operation. Raises AdapterProblem
        `adapter.bad_page`."""
        text, _, seal = page.rpartition(".")
        if seal.isascii():
            for key in await self._keys():
                if hmac.compare_digest(_seal(key, target, text), seal):
                    return text
        raise bad_page(target)


def bad_page(target: Target) -> AdapterProblem:
    """The problem of a page that is none of ours, or none any more."""
    return target.problem(
        "adapter.bad_page",
        "was given a page that it never returned, or that is good no more.",
        hint="A page is for the same tenant, connector version and resource, until the key-encryption keys are replaced."
        " Fetch from the beginning.",
    )


def _seal(key: bytes, target: Target, text: str) -> str:
    tenant = target.asker.tenant if target.asker is not None else ""
    bound = dumps([tenant, target.connector.digest, target.resource.name, target.operation.verb, text])
    return base64.urlsafe_b64encode(hmac.digest(key, bound, hashlib.sha256)).decode().rstrip("=")
