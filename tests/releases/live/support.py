"""Every kind's specimen live on one database, with real runs of all of them: web and scheduler on a clock that a test
turns, and a worker as a deployment builds it on the machine's."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from math import comb
from pathlib import Path
from uuid import UUID

import httpx
from psycopg.rows import dict_row

from stanchion import approvals, releases
from stanchion.artifacts import Document, KindSpec
from stanchion.base import SystemClock
from stanchion.base.settings import Settings, ToolsSettings
from stanchion.blueprints import Specimen, read_document
from stanchion.bootstrap.parts import Parts, build_parts
from stanchion.bootstrap.web import built_routers
from stanchion.bootstrap.worker import built_worker
from stanchion.context import Actor, Ctx, Env
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import Authenticator, CedarAuthorizer
from stanchion.queue import Notifier
from stanchion.releases import MAX_AGE_S, flags
from stanchion.releases.rollouts import Arm, Exposure, Plan, Step, Strategy, Target, Unit, UnitKind, assign, begin
from stanchion.runs import Starter
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.support.http import app_of, client_of
from tests.support.web import PEPPER

TENANT = "acme"
who: ContextVar[Ctx] = ContextVar("who")
WAIT_S = 60.0
# Asks whoever holds a run up: a run that began before a change and ends after it.
HOLD = Document(
    path="specimen-hold.yaml", source='policy: specimen-hold\ntype: approval\nowner: specimen\nwhen: "true"\n'
)


class TurnedClock(SystemClock):
    """The machine's clock, and as much later as the test says; or one that stands still."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.stopped_at: float | None = None

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return (super().monotonic() if self.stopped_at is None else self.stopped_at) + self.ahead_s


def registered() -> dict[str, KindSpec]:
    """The kinds of this deployment, as they register."""
    nowhere = make_env(Database(DatabaseUrls(app="", engine="")))
    return dict(build_parts(nowhere, Settings()).kinds)


def named_by_verbs() -> set[str]:
    """The kinds that some verb's step may name: what its runs depend on."""
    nowhere = make_env(Database(DatabaseUrls(app="", engine="")))
    found: set[str] = set()

    def look(value: object) -> None:
        if isinstance(value, Mapping):
            if isinstance(value.get("x-artifact"), str):
                found.add(value["x-artifact"])
            value = value.values()
        if not isinstance(value, str) and isinstance(value, Iterable):
            for item in value:
                look(item)

    for verb in build_parts(nowhere, Settings()).verbs.values():
        look(verb.config_schema)
    return found


def binomial_bounds(count: int, share: float, alpha: float = 1e-3) -> tuple[int, int]:
    """The narrowest counts outside of which a binomial variable falls with at most alpha / 2 on each side, exactly."""
    likely = [comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    low, below = 0, likely[0]
    while below <= alpha / 2:
        low += 1
        below += likely[low]
    high, above = count, likely[count]
    while above <= alpha / 2:
        high -= 1
        above += likely[high]
    return low, high


def arms(rollout, principals: Iterable[str]) -> list[Arm]:
    """What the rollout deals them, computed from its recorded facts alone."""
    exposure = Exposure(share=rollout.share * 100)
    units = (Unit(kind=UnitKind.PRINCIPAL, tenant=TENANT, value=name) for name in principals)
    return [assign(str(rollout.id), rollout.salt, unit, exposure).arm for unit in units]


class Tried:
    """A kind's specimen, with a Blueprint that can also hold a run up (`hold`) and fail where the second version shows
    itself (`strict`): a regression of any kind."""

    def __init__(self, kind: str, specimen: Specimen) -> None:
        self.kind = kind
        self.first, self.second = _prepared(specimen.first), _prepared(specimen.second)
        self.others = tuple(_prepared(other) for other in specimen.others)
        self.files = specimen.files
        self.asked = specimen.asked
        bodies = [read_document(document).body for document in (self.first, *self.others)]
        self.name = str(bodies[0][kind])
        blueprints = [str(body["blueprint"]) for body in bodies if "blueprint" in body]
        assert len(blueprints) == (0 if self.asked else 1), (
            f"the specimen of {kind} has a Blueprint, or else a question"
        )
        self.blueprint = "".join(blueprints)
        self.target = Target(kind=kind, name=self.name)


def _prepared(document: Document) -> Document:
    body = dict(read_document(document).body)
    if "blueprint" not in body:
        return document
    flags = {"hold": {"type": "boolean"}, "strict": {"type": "boolean"}}
    body["input"] = {"type": "object", "properties": flags}
    body["steps"] = [
        {"id": "held", "if": "has(input.hold)", "govern": {"policy": "specimen-hold", "show": ["${input}"]}},
        *body["steps"],
        {"id": "said", "transform": {"value": body["output"]}},
        {
            "id": "strict",
            "if": "has(input.strict) && steps.said.value == 'second'",
            "transform": {"value": "${1 / (size(steps.said.value) - size('second'))}"},
        },
    ]
    body["output"] = "${steps.said.value}"
    return Document(path=document.path, source=json.dumps(body))


def tried(kinds: Mapping[str, KindSpec]) -> dict[str, Tried]:
    return {name: Tried(name, kind.specimen) for name, kind in kinds.items() if kind.specimen is not None}


def actor(name: str, *roles: str) -> Actor:
    return Actor(
        tenant=TENANT, principal=name, principal_id="", kind="user", roles=frozenset(roles), credential="api_key:test"
    )


def canary(*shares: int, salt: str, unit: str = "principal", hold_s: int | None = None) -> Plan:
    steps = tuple(Step(share=share, hold_s=hold_s) for share in shares)
    return Plan(strategy=Strategy.CANARY, steps=steps, unit=unit, salt=salt)


def deployed(env: Env, settings: Settings):
    """The worker of a deployment."""
    return built_worker(
        env, settings, name="worker", spawn=None, probation_of=None, adapters=build_parts(env, settings).adapters
    )


class Scene:
    """One tenant in which every specimen is live at its first version."""

    def __init__(self, env: Env, clock: TurnedClock, settings: Settings, parts: Parts, only: Sequence[str]) -> None:
        self.env = env
        self.clock = clock
        self.settings = settings
        self.parts = parts
        self.kinds = parts.kinds
        self.tried = {name: one for name, one in tried(self.kinds).items() if name in (only or self.kinds)}
        self.ctx = self.as_("ada", "admin")
        self.supervisor = self.as_("supervisor", "approver")
        self.client: httpx.AsyncClient
        self.flags: flags.Snapshot
        self.notifier = Notifier(env, role="app")
        self.starter = Starter(env, parts.resolver, self.notifier)

    def as_(self, name: str, *roles: str) -> Ctx:
        return Ctx(env=self.env, actor=actor(name, *roles))

    async def apply(self, *documents: Document) -> None:
        await releases.apply(self.ctx, documents, kinds=self.kinds, changelog="by apply")

    async def begin(self, one: Tried, plan: Plan, *documents: Document):
        found = documents or (one.second,)
        return await begin(self.ctx, plan, documents=found, kinds=self.kinds, reason="try the second")

    async def later(self, seconds: float = MAX_AGE_S) -> None:
        """So much time passes for web and scheduler, by default enough for a release to be seen."""
        self.clock.ahead_s += seconds
        await self.flags.refresh()

    # --- whoever uses a version

    async def words(self, one: Tried, people: Sequence[str]) -> list[str]:
        """What the version says that each of them gets: in the order of the people."""
        if one.asked:
            return [await self._answer(one.asked, name) for name in people]
        runs = await self.start(one.blueprint, people)
        said = await self.said(runs)
        pinned = [pins[one.target.key] for pins in await self.pins(runs)]
        assert pinned == [{"first": 1, "second": 2}[word] for word in said], "a run says what it is not pinned to"
        return said

    async def _answer(self, path: str, name: str) -> str:
        who.set(self.as_(name, "analyst"))
        answer = await self.client.post(path, json={})
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    async def held(self, one: Tried, people: Sequence[str]) -> list[UUID]:
        """A run each that has begun and waits to be let go; none of a kind that no run is pinned to."""
        if one.asked:
            return []
        runs = await self.start(one.blueprint, people, hold=True)
        await self.until(runs, "SUSPENDED")
        return runs

    # --- runs

    async def start(self, blueprint: str, principals: Sequence[str], **value: bool) -> list[UUID]:
        """A run each, in the order of who started it."""

        async def one(name: str) -> UUID:
            return (await self.starter.start(self.as_(name, "analyst"), blueprint, value)).run_id

        return list(await asyncio.gather(*(one(name) for name in principals)))

    async def rows(self, query: str, *params) -> list[dict]:
        async with self.env.db.connection("engine") as tx, tx.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, params)
            return await cursor.fetchall()

    async def of(self, runs: Sequence[UUID], column: str) -> list:
        found = await self.rows(f"select id, {column} as value from runs where id = any(%s)", list(runs))
        by_id = {row["id"]: row["value"] for row in found}
        return [by_id[run] for run in runs]

    async def until(self, runs: Sequence[UUID], *statuses: str) -> None:
        """Until each of these runs is in one of these states; whoever asks for an approval meanwhile gets it, unless it
        is held."""
        give_up = self.env.clock.monotonic() + WAIT_S
        while left := set(await self.of(runs, "status")) - set(statuses):
            assert left <= {"PENDING", "RUNNING", "SUSPENDED"}, await self._odd(runs)
            assert self.env.clock.monotonic() < give_up, await self._odd(runs)
            if not await self._approve("policy <> 'specimen-hold'"):
                await asyncio.sleep(0.02)

    async def said(self, runs: Sequence[UUID]) -> list[str]:
        """What each run says at its end."""
        await self.until(runs, "SUCCEEDED")
        return await self.of(runs, "output")

    async def let_go(self, runs: Sequence[UUID]) -> None:
        """Approve what holds these runs up."""
        assert await self._approve("policy = 'specimen-hold' and run_id = any(%s)", list(runs)) == len(runs)

    async def _approve(self, which: str, *params) -> int:
        query = f"select id, args_digest from approvals where status = 'PENDING' and {which} limit 200"
        rows = await self.rows(query, *params)
        for batch in range(0, len(rows), 8):
            await asyncio.gather(*(self._approve_one(row) for row in rows[batch : batch + 8]))
        return len(rows)

    async def _approve_one(self, row: dict) -> None:
        await approvals.decide(
            self.supervisor,
            row["id"],
            approvals.Verdict.APPROVE,
            reason="as it should be",
            args_digest=row["args_digest"],
            notifier=self.notifier,
        )

    async def _odd(self, runs: Sequence[UUID]) -> list[dict]:
        return await self.rows(
            "select blueprint, status, waiting_kind, error, count(*) from runs where id = any(%s) group by 1, 2, 3, 4",
            list(runs),
        )

    async def pins(self, runs: Sequence[UUID]) -> list[dict[tuple[str, str], int]]:
        """What each run is pinned to: (kind, name) -> version."""
        found = await self.rows(
            "select r.id, s.pins from runs r join pin_sets s on s.tenant = r.tenant and s.digest = r.pins"
            " where r.id = any(%s)", list(runs),
        )  # fmt: skip
        by_id = {row["id"]: {(pin["kind"], pin["name"]): pin["version"] for pin in row["pins"]} for row in found}
        return [by_id[run] for run in runs]

    # --- everything else

    async def standing(self) -> dict[str, dict]:
        """Every artifact version, release and step of the history, whole, by the artifact that it is of."""
        found: dict[str, dict] = {}
        for table, key in (("artifacts", "version"), ("releases", "kind"), ("release_history", "no")):
            rows = await self.rows(f"select * from {table} where tenant = %s order by {key}", TENANT)
            for row in rows:
                found.setdefault(f"{row['kind']}/{row['name']}", {}).setdefault(table, []).append(row)
        return found

    async def records(self, *events: str) -> list[dict]:
        rows = await self.rows(
            "select record from audit_records where tenant = %s and event_type = any(%s) order by id",
            TENANT, list(events),
        )  # fmt: skip
        return [json.loads(row["record"]) for row in rows]


@asynccontextmanager
async def scene_on(
    urls: DatabaseUrls, folder: Path, *, working: Callable = deployed, only: Sequence[str] = ()
) -> AsyncIterator[Scene]:
    """A scene with its worker working; with `only` the specimens of these kinds."""
    settings = Settings(data=folder, tools=ToolsSettings(connectors_root=folder / "connectors"))
    clock = TurnedClock()
    async with Database(urls) as db, Database(urls) as workers_db:
        env = make_env(db, clock=clock, authorizer=CedarAuthorizer())
        await add_tenants(env, TENANT)
        parts = build_parts(env, settings)
        scene = Scene(env, clock, settings, parts, only)
        for one in scene.tried.values():
            for path, text in one.files.items():
                file = settings.connectors_root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        try:
            await scene.apply(HOLD, *(d for one in scene.tried.values() for d in (one.first, *one.others)))
            workers_env = dataclasses.replace(make_env(workers_db), authorizer=CedarAuthorizer())
            scene.flags = flags.Snapshot(env)
            await scene.flags.refresh()
            routers = built_routers(env, settings, Authenticator(env, PEPPER), live_flags=scene.flags)
            async with (
                working(workers_env, settings) as worker,
                routers as built,
                client_of(app_of(who.get, *built)) as scene.client,
            ):
                task = asyncio.create_task(worker.run())
                try:
                    yield scene
                finally:
                    await worker.drain(5)
                    await task
        finally:
            await parts.adapters.close()
