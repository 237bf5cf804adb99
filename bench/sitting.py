"""What the parts of a sitting share: the servers, Stanchion, and how much of everything to do."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from bench.machine import CORES
from bench.ours import Ours
from bench.running import named
from bench.server import Redis, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is done. `scale` shrinks what each round does, for a try-out; the figures of one mean little.

    Attributes:
        rounds: interleaved; figures are their medians.
    """

    rounds: int = 5
    scale: float = 1.0

    def of(self, full: int, least: int = 20) -> int:
        return max(least, round(full * self.scale))

    def seconds(self, full: int) -> int:
        return max(1, round(full * self.scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """Everything that is measured in it ran on this machine, one after the other."""

    server: Server
    redis: Redis | None
    stanchion: Ours
    sizes: Sizes

    @property
    def place(self) -> str:
        """Versions and cores, as a row says them."""
        python = f"Python {sys.version.split()[0]}"
        return f"{self.server.version}, {python}, {named('psycopg')}, {CORES} cores"
