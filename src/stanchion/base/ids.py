"""Identifiers: UUID version 7 (RFC 9562 §5.7), so that keys made in order are stored in order."""

from __future__ import annotations

import os
from typing import Protocol
from uuid import UUID

from stanchion.base.clock import Clock


class Ids(Protocol):
    """A source of unique ids and of unpredictable bytes."""

    def new(self) -> UUID:
        """A new UUIDv7; ids from one process sort in the order they were made."""
        ...

    def secret(self, n: int) -> bytes:
        """`n` unpredictable bytes, fit for keys and nonces."""
        ...


class SystemIds:
    """UUIDv7 with a 12-bit counter within the millisecond (RFC 9562 §6.2, method 1)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_ms = 0
        self._counter = 0

    def new(self) -> UUID:
        """A new UUIDv7; strictly increasing within this process, also when the clock steps back."""
        ms = int(self._clock.now().timestamp() * 1000)
        if ms > self._last_ms:
            self._last_ms, self._counter = ms, int.from_bytes(os.urandom(1)) & 0x7F
        else:
            self._counter += 1
            if self._counter > 0xFFF:
                self._last_ms, self._counter = self._last_ms + 1, 0
        tail = int.from_bytes(os.urandom(8)) & ((1 << 62) - 1)
        return UUID(int=(self._last_ms << 80) | (0x7 << 76) | (self._counter << 64) | (0b10 << 62) | tail)

    def secret(self, n: int) -> bytes:
        """`n` bytes of the operating system's randomness."""
        return os.urandom(n)
