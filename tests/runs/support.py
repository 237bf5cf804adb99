"""Helpers for tests of the engine: Blueprints written as YAML, a verb whose behaviour a test scripts, a worker to hand."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from textwrap import dedent
from uuid import UUID

import psycopg

from stanchion.base import NotFound, digest
from stanchion.blueprints import Document, compile_document
from stanchion.context import Actor, Ctx, Env
from stanchion.queue import Notifier
from stanchion.runs import Pin, Pinned, PinSet, Resolved, Starter, StepCall, StepResult, TransformHandler, Worker

TENANT = "acme"


class Probe:
    """Verb `probe` (no effect) or, by another name, one that writes. `script[name]` says what a step named so does."""

    def __init__(self, verb: str = "probe", effect: str = "none", *, suspends: bool = True) -> None:
        self.suspends = suspends
        self.verb = verb
        self.effect = effect
        self.script: dict[str, Callable] = {}
        self.calls: list[StepCall] = []
        self.config_schema = {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}, "value": {"x-template": True}},
        }

    def check(self, config, lookup):
        return ()

    def output_schema(self, config, lookup, types):
        return {}

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        self.calls.append(call)
        behaviour = self.script.get(call.config["name"])
        if behaviour is None:
            return StepResult(output={"value": call.config.get("value")})
        result = behaviour(call)
        if inspect.isawaitable(result):
            result = await result
        return result if isinstance(result, StepResult) else StepResult(output=result)

    def called(self, name: str) -> list[StepCall]:
        return [c for c in self.calls if c.config["name"] == name]


class Resolver:
    """Serves Blueprints compiled from a test's own text."""

    def __init__(self, verbs) -> None:
        self.verbs = verbs
        self.live: dict[str, Resolved] = {}
        self.pinned: dict[str, Pinned] = {}

    def add(self, source: str, version: int = 1) -> str:
        program, issues = compile_document(
            Document(path="test.yaml", source=dedent(source)), verbs=self.verbs, lookup=lambda kind, name: None
        )
        assert program is not None, issues
        pin = Pin(kind="blueprint", name=program.name, version=version, digest=digest(dedent(source)))
        pins = PinSet(digest=digest([pin.digest]), pins=(pin,))
        self.live[program.name] = Resolved(blueprint=pin, pins=pins, program=program)
        self.pinned[pins.digest] = Pinned(pins=pins, program=program, bodies={})
        return program.name

    async def resolve(self, ctx: Ctx, blueprint: str) -> Resolved:
        if blueprint not in self.live:
            raise NotFound("blueprint.unknown", f"No Blueprint {blueprint!r}.")
        return self.live[blueprint]

    async def load(self, tenant: str, pins: str) -> Pinned:
        if pins not in self.pinned:
            raise NotFound("pins.unknown", f"No pin set {pins}.")
        return self.pinned[pins]


class World:
    """One database, one tenant, Blueprints, and workers."""

    def __init__(self, env: Env, owner_url: str) -> None:
        self.env = env
        self.owner_url = owner_url
        self.probe = Probe()
        self.writer = Probe("record", "write")
        self.call = Probe("call", suspends=False)
        self.specs = (self.probe, self.writer, self.call)
        self.handlers = {"transform": TransformHandler(), **{spec.verb: spec for spec in self.specs}}
        self.resolver = Resolver({spec.verb: spec for spec in self.specs})
        self.notifier = Notifier(env, role="app")
        self.starter = Starter(env, self.resolver, self.notifier)
        self.ctx = self.as_principal("alice")
        with psycopg.connect(owner_url, autocommit=True) as connection:
            connection.execute("set row_security = off")
            connection.execute("alter table tenants no force row level security")
            connection.execute(
                "insert into tenants (name, display_name) values ('acme', 'Acme'), ('beta', 'Beta') on conflict do nothing"
            )
            connection.execute("alter table tenants force row level security")

    def as_principal(self, name: str, tenant: str = TENANT) -> Ctx:
        actor = Actor(
            tenant=tenant,
            principal=name,
            principal_id=name,
            kind="user",
            roles=frozenset({"admin"}),
            credential="api_key:test",
        )
        return Ctx(env=self.env, actor=actor)

    async def start(self, source_or_name: str, value=None, **kwargs) -> UUID:
        name = source_or_name
        if "\n" in name:
            name = self.resolver.add(name)
        started = await self.starter.start(self.ctx, name, {} if value is None else value, **kwargs)
        return started.run_id

    @asynccontextmanager
    async def worker(self, grace_s: float = 5.0, **kwargs) -> AsyncIterator[Worker]:
        worker = Worker(self.env, self.handlers, self.resolver, specs=self.specs, **kwargs)
        task = asyncio.create_task(worker.run())
        await self.wait_for(worker.registered.wait(), task)
        try:
            yield worker
        finally:
            if not task.done():
                await worker.drain(grace_s)
            await task

    async def wait_for(self, waited: Awaitable, task: asyncio.Task) -> None:
        """Await `waited`, or fail with what ended `task`."""
        waiting = asyncio.ensure_future(waited)
        await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED, timeout=60)
        if not waiting.done():
            waiting.cancel()
            if task.done():
                task.result()
            raise TimeoutError

    async def rows(self, query: str, *params) -> list[dict]:
        async with self.env.db.connection("engine") as tx, tx.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            await cursor.execute(query, params)
            return await cursor.fetchall() if cursor.description else []

    async def run_row(self, run_id: UUID) -> dict:
        return (await self.rows("select * from runs where id = %s", run_id))[0]

    async def steps(self, run_id: UUID) -> dict[str, dict]:
        rows = await self.rows(
            "select * from step_runs where run_id = %s order by position, item_no nulls first", run_id
        )
        return {row["path"]: row for row in rows}

    async def until(self, run_id: UUID, *statuses: str, timeout_s: float = 60.0) -> dict:
        """The run's row once it has one of these states."""

        async def poll() -> dict:
            while (row := await self.run_row(run_id))["status"] not in statuses:
                await asyncio.sleep(0.01)
            return row

        try:
            return await asyncio.wait_for(poll(), timeout_s)
        except TimeoutError:
            raise AssertionError((await self.run_row(run_id), await self.steps(run_id))) from None

    async def ended(self, run_id: UUID, timeout_s: float = 60.0) -> dict:
        return await self.until(run_id, "SUCCEEDED", "FAILED", "CANCELLED", timeout_s=timeout_s)

    async def eventually(self, condition: Callable, timeout_s: float = 60.0) -> None:
        """Wait until `condition()` (plain or async) holds."""

        async def poll() -> None:
            while True:
                held = condition()
                if inspect.isawaitable(held):
                    held = await held
                if held:
                    return
                await asyncio.sleep(0.01)

        await asyncio.wait_for(poll(), timeout_s)
