"""Health (I15): live touches nothing, ready asks what serving needs, dependencies shows each with its age."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter

from stanchion.base import Problem, Unavailable
from stanchion.context import Env
from stanchion.db import migrations
from stanchion.http import Reply, example
from stanchion.web import store

_TIMEOUT_S: Final = 2.0
# The probes are open to everyone, so that asking often must not ask the dependencies often.
_FRESH_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Something this process depends on.

    Attributes:
        name: shown in /health/dependencies.
        check: returns if it is well; raises a Problem (or anything) if not. Cut off after 2 s.
        serving: whether this process can serve nothing without it, so that it is not ready.
        age_s: for what is kept in memory: how old it is. None: the age of the finding.
    """

    name: str
    check: Callable[[Env], Awaitable[None]]
    serving: bool = False
    age_s: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    code: str
    latency_s: float
    at: float


class LiveReply(Reply):
    """The process answers."""

    model_config = example({"status": "live"})

    status: str = "live"


class DependencyReply(Reply):
    """One dependency: `up` or `down` with the reason's code, how long the check took, and how old it is."""

    model_config = example(
        {"name": "database", "state": "up", "serving": True, "code": "", "latency_ms": 1.2, "age_s": 0.0}
    )

    name: str
    state: str
    serving: bool
    code: str
    latency_ms: float
    age_s: float


class ReadyReply(Reply):
    """What serving needs is there."""

    model_config = example({"status": "ready"})

    status: str = "ready"


class DependenciesReply(Reply):
    """Every dependency of this process."""

    model_config = example(
        {
            "items": [
                {"name": "database", "state": "up", "serving": True, "code": "", "latency_ms": 1.2, "age_s": 0.0},
                {"name": "schema", "state": "up", "serving": True, "code": "", "latency_ms": 0.8, "age_s": 0.0},
            ]
        }
    )

    items: list[DependencyReply]


class Board:
    """The last finding of each dependency, asked again when older than a second, once for all who ask at a time."""

    def __init__(self, env: Env, dependencies: Sequence[Dependency]) -> None:
        self._env = env
        self._dependencies = (
            Dependency(name="database", check=_database, serving=True),
            Dependency(name="schema", check=_schema, serving=True),
            *dependencies,
        )
        self._found: dict[str, _Found] = {}
        self._locks = {d.name: asyncio.Lock() for d in self._dependencies}

    async def read(self, *, serving_only: bool = False) -> list[DependencyReply]:
        """The state of all dependencies, or of those that serving needs."""
        asked = [d for d in self._dependencies if d.serving or not serving_only]
        found = await asyncio.gather(*(self._check(d) for d in asked))
        now = self._env.clock.monotonic()
        return [
            DependencyReply(
                name=d.name,
                state="down" if f.code else "up",
                serving=d.serving,
                code=f.code,
                latency_ms=round(f.latency_s * 1000, 1),
                age_s=round(now - f.at if d.age_s is None else d.age_s(), 1),
            )
            for d, f in zip(asked, found, strict=True)
        ]

    async def _check(self, dependency: Dependency) -> _Found:
        async with self._locks[dependency.name]:
            clock = self._env.clock
            known = self._found.get(dependency.name)
            if known is not None and clock.monotonic() - known.at < _FRESH_S:
                return known
            started = clock.monotonic()
            code = ""
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await dependency.check(self._env)
            except Problem as problem:
                code = problem.code
            except TimeoutError:
                code = "health.timeout"
            except Exception as error:  # noqa: BLE001 - whatever a check raises, its dependency is down
                # The type alone: a driver's message may name hosts and users, and this page is open.
                code = f"health.{type(error).__name__}"
            found = _Found(code=code, latency_s=clock.monotonic() - started, at=clock.monotonic())
            self._found[dependency.name] = found
            return found


def build_router(board: Board) -> APIRouter:
    """GET /health/live, /health/ready, /health/dependencies; open without a credential."""
    router = APIRouter(prefix="/health", tags=["operations"])

    @router.get("/live", summary="Is the process alive")
    async def live() -> LiveReply:
        """Touches nothing outside the process."""
        return LiveReply()

    @router.get("/ready", summary="Can the process serve")
    async def ready() -> ReadyReply:
        """200 when the database answers and has the schema this version needs; else 503 with what is missing."""
        down = [d for d in await board.read(serving_only=True) if d.state == "down"]
        if down:
            raise Unavailable(
                "health.not_ready",
                f"Not ready: {', '.join(f'{d.name} ({d.code})' for d in down)}.",
                hint="`stanchion doctor` on this machine says more.",
                checks=[d.model_dump() for d in down],
            )
        return ReadyReply()

    @router.get("/dependencies", summary="How is everything the process depends on")
    async def dependencies() -> DependenciesReply:
        """Always 200; each dependency with its state, how long its check took, and how old the finding is."""
        return DependenciesReply(items=await board.read())

    return router


async def _database(env: Env) -> None:
    async with env.db.connection("app") as tx:
        await store.ping(tx)


async def _schema(env: Env) -> None:
    async with env.db.connection("app") as tx:
        applied = set(await store.applied_migrations(tx))
    missing = [m.name for m in migrations() if m.name not in applied]
    if missing:
        raise Unavailable(
            "schema.behind", f"The database lacks migration {missing[0]}.", hint="Run `stanchion migrate`."
        )
