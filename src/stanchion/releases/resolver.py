"""Which versions a run gets, from memory: fills `runs.PinResolver`.

A tenant's live versions and open rollouts have a revision, read at most every half second and only while somebody asks.
While it stays, a resolution is a look-up in a dict; when it moves, what was resolved under the old one is forgotten. So
a release is effective on every process within `MAX_AGE_S` and the time of one query, on the one that made it at once
(`look_again`), and starting a run adds no query of its own: what a Blueprint's runs could get under any assignment is read
at once, and each start is dealt from memory. Pin sets are immutable and cached without expiry, in bounded number.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, cast

from stanchion.base import Conflict, Json, NotFound, digest
from stanchion.blueprints import Lookup, Program
from stanchion.context import Ctx, Env
from stanchion.releases import rules, store
from stanchion.releases.rollouts import rules as rollout_rules
from stanchion.releases.rollouts import store as rollout_store
from stanchion.releases.rollouts.states import Rollout
from stanchion.releases.rollouts.store import Offer
from stanchion.releases.rollouts.types import Arm, Assignment
from stanchion.releases.service import nearest_blueprint, unknown_blueprint
from stanchion.releases.types import Live
from stanchion.runs import Begins, Pin, Pinned, PinSet, Resolved

# How old the known revision may be when a run is started: half of the second that I14 allows.
MAX_AGE_S: Final = 0.5
# Tenants and pin sets kept per process. A pin set is some tens of kilobytes: documents and their compiled programs.
_TENANTS_MAX: Final = 1024
_PIN_SETS_MAX: Final = 512
_BLUEPRINTS_MAX: Final = 1024

# Compiles a published body: the body of a Blueprint, and a look-up of the bodies pinned with it.
Compile = Callable[[Mapping[str, Json], Lookup], Program]
T = TypeVar("T")


@dataclass(slots=True)
class _View:
    """What this process knows of one tenant: the revision, when its reading began (monotonic), and after how many changes that
    this process made, what was resolved."""

    revision: str
    read_at: float
    changes: int
    resolved: OrderedDict[str, Resolved] = field(default_factory=OrderedDict[str, Resolved])


class Resolver:
    """The live versions of each tenant's Blueprints, and the content of pin sets."""

    def __init__(self, env: Env, compile_body: Compile) -> None:
        self._env = env
        self._compile = compile_body
        self._views: OrderedDict[str, _View] = OrderedDict()
        self._pinned: OrderedDict[tuple[str, str], Pinned] = OrderedDict()
        self._flights: dict[tuple[str, ...], asyncio.Task[Any]] = {}
        self._changes = 0

    async def resolve(self, ctx: Ctx, blueprint: str) -> Resolved:
        """The live version of `blueprint` in this environment with everything it refers to, as a pin set.

        While a rollout touches any of it, `choose` of what is returned says what a given run gets of it.
        Nothing is written: whoever starts a run stores the set in the transaction of the run.

        Raises NotFound `blueprint.unknown`; Conflict `release.incomplete` if something it refers to is not live.
        """
        view = await self._fresh_view(ctx.tenant)
        hit = view.resolved.get(blueprint)
        if hit is not None:
            return hit
        try:
            resolved = await self._once(
                ("resolve", ctx.tenant, view.revision, blueprint), lambda: self._resolve(ctx.tenant, blueprint)
            )
        except NotFound as problem:
            if problem.code != "blueprint.unknown":
                raise
            raise unknown_blueprint(f"Blueprint {blueprint}", await nearest_blueprint(ctx, blueprint)) from problem
        _remember(view.resolved, blueprint, resolved, _BLUEPRINTS_MAX)
        return resolved

    async def load(self, tenant: str, pins: str) -> Pinned:
        """The program and bodies of a stored pin set. Raises NotFound `pins.unknown`."""
        hit = self._pinned.get((tenant, pins))
        if hit is not None:
            self._pinned.move_to_end((tenant, pins))
            return hit
        return await self._once(("load", tenant, pins), lambda: self._load(tenant, pins))

    def look_again(self) -> None:
        """This process may have released something: what was read before is believed no more, of any tenant."""
        self._changes += 1

    def age_s(self, tenant: str) -> float | None:
        """Seconds since the revision that this process resolves `tenant`'s runs by was read; None if it never was."""
        view = self._views.get(tenant)
        return None if view is None else self._env.clock.monotonic() - view.read_at

    async def version_of(self, tenant: str, kind: str, name: str) -> int | None:
        """The version of an artifact that runs started here get, leaving rollouts aside; None if this process resolved no
        Blueprint that refers to it since something was released."""
        view = await self._fresh_view(tenant)
        pins = (resolved.pins.of(kind, name) for resolved in view.resolved.values())
        return next((pin.version for pin in pins if pin is not None), None)

    async def _fresh_view(self, tenant: str) -> _View:
        view = self._views.get(tenant)
        fresh = view is not None and view.changes == self._changes
        if view is not None and fresh and self._env.clock.monotonic() - view.read_at < MAX_AGE_S:
            return view
        # A look that began before the last change is not shared by who asks after it.
        return await self._once(("revision", tenant, str(self._changes)), lambda: self._look(tenant))

    async def _look(self, tenant: str) -> _View:
        began, changes = self._env.clock.monotonic(), self._changes
        async with self._env.db.tenant_tx(tenant) as tx:
            revision = await rollout_store.revision(tx, tenant, self._env.environment.name)
        view = self._views.get(tenant)
        if view is not None and view.revision == revision:
            view.read_at, view.changes = began, changes
        else:
            view = _View(revision, began, changes)
        _remember(self._views, tenant, view, _TENANTS_MAX)
        return view

    async def _resolve(self, tenant: str, blueprint: str) -> Resolved:
        async with self._env.db.tenant_tx(tenant) as tx:
            offer = await rollout_store.offer(tx, tenant, self._env.environment.name, blueprint)
        return _Dealer(self, tenant, blueprint, offer).resolved()

    def pin(self, tenant: str, blueprint: str, rows: Sequence[Live]) -> Resolved:
        """The pin set of a closure, compiled once however often it is met.

        Raises NotFound `blueprint.unknown`; Conflict `release.incomplete`.
        """
        root = ("blueprint", blueprint)
        _check_complete(rows, root, self._env.environment.name)
        pins = rules.pins_json(rows, root)
        pinned = self._pinned.get((tenant, digest(pins)))
        if pinned is None:
            bodies = {(row.kind, row.name): row.body for row in rows}
            pinned = self._keep(tenant, _pin_set(pins), bodies)
        return Resolved(blueprint=pinned.pins.pins[0], pins=pinned.pins, program=pinned.program)

    async def _load(self, tenant: str, pins: str) -> Pinned:
        async with self._env.db.engine_tx() as tx:
            rows = await store.pinned(tx, tenant, pins)
        if not rows:
            raise NotFound("pins.unknown", f"There is no pin set {pins}.", hint="Was the store restored in part?")
        members = tuple(Pin(kind=row.kind, name=row.name, version=row.version, digest=row.digest) for row in rows)
        bodies = {(row.kind, row.name): row.body for row in rows}
        return self._keep(tenant, PinSet(digest=pins, pins=members), bodies)

    def _keep(self, tenant: str, pins: PinSet, bodies: Mapping[tuple[str, str], Mapping[str, Json]]) -> Pinned:
        root = pins.pins[0]
        program = self._compile(bodies[root.kind, root.name], lambda kind, name: bodies.get((kind, name)))
        pinned = Pinned(pins=pins, program=program, bodies=bodies)
        _remember(self._pinned, (tenant, pins.digest), pinned, _PIN_SETS_MAX)
        return pinned

    async def _once(self, key: tuple[str, ...], make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """`make()`, shared by everyone who asks for `key` while it is under way. A caller's cancellation is its own."""
        task = self._flights.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(make())
            self._flights[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(cast("Awaitable[T]", task))

    def _landed(self, key: tuple[str, ...], task: asyncio.Task[Any]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, so that a failure whose callers are all gone is not reported as lost


class _Dealer:
    """Deals the runs of one Blueprint between the sides of the rollouts that touch it, as of one moment."""

    def __init__(self, resolver: Resolver, tenant: str, blueprint: str, offer: Offer) -> None:
        self._resolver = resolver
        self._tenant = tenant
        self._blueprint = blueprint
        self._live = {(row.kind, row.name): row for row in offer.live}
        self._candidates = {(row.kind, row.name, row.version): row for row in offer.candidates}
        reached = {(kind, name) for kind, name, _ in self._candidates}
        self._rollouts = tuple(r for r in offer.rollouts if any(m.key in reached for m in r.members))
        self._sets: dict[tuple[bool, ...], tuple[Resolved, tuple[int, ...]]] = {}

    def resolved(self) -> Resolved:
        """What runs get that no rollout touches; with `choose` if there are rollouts."""
        if not self._rollouts:
            return self._resolver.pin(self._tenant, self._blueprint, list(self._live.values()))
        stable, _ = self._set((False,) * len(self._rollouts))
        return replace(stable, choose=self.choose)

    def choose(self, begins: Begins) -> Resolved:
        """What this run gets, and the facts it was decided by: of the rollouts that move something it is pinned to."""
        made = [rollout_rules.dealt(rollout, begins) for rollout in self._rollouts]
        resolved, moving = self._set(tuple(_is_candidate(one) for one in made))
        assigned = tuple(rollout_rules.assignment_json(self._rollouts[n], made[n]) for n in moving)
        return replace(resolved, assigned=assigned)

    def _set(self, arms: tuple[bool, ...]) -> tuple[Resolved, tuple[int, ...]]:
        """The set of these arms, and which of the rollouts move one of its members."""
        hit = self._sets.get(arms)
        if hit is None:
            chosen = self._live
            for rollout, is_in in zip(self._rollouts, arms, strict=True):
                chosen = rollout_rules.overlaid(chosen, rollout.members, self._candidates) if is_in else chosen
            rows = rollout_rules.assemble(("blueprint", self._blueprint), chosen)
            resolved = self._resolver.pin(self._tenant, self._blueprint, rows)
            moving = tuple(n for n, rollout in enumerate(self._rollouts) if _moves(rollout, resolved.pins))
            hit = self._sets[arms] = (resolved, moving)
        return hit


def _is_candidate(made: Assignment | None) -> bool:
    return made is not None and made.arm is Arm.CANDIDATE


def _moves(rollout: Rollout, pins: PinSet) -> bool:
    return any(pins.of(member.kind, member.name) is not None for member in rollout.members)


def _pin_set(pins: Sequence[Json]) -> PinSet:
    members = tuple(
        Pin(
            kind=cast("str", pin["kind"]),
            name=cast("str", pin["name"]),
            version=cast("int", pin["version"]),
            digest=cast("str", pin["digest"]),
        )
        for pin in cast("Sequence[dict[str, Json]]", pins)
    )
    return PinSet(digest=digest(list(pins)), pins=members)


def _check_complete(rows: Sequence[Live], root: tuple[str, str], environment: str) -> None:
    """Raise if the root is not live, or something that the closure refers to is not."""
    found = {(row.kind, row.name) for row in rows}
    if root not in found:
        raise unknown_blueprint(f"Blueprint {root[1]}")
    missing = sorted(rules.references_of(rows) - found)
    if missing:
        names = ", ".join(f"{kind} {name}" for kind, name in missing)
        raise Conflict(
            "release.incomplete",
            f"Blueprint {root[1]} cannot start in {environment}: {names} is not live there.",
            hint="Apply what is missing.",
        )


K = TypeVar("K")
V = TypeVar("V")


def _remember(cache: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    """Keep `value` as the most recently used one, and at most `most` of them."""
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > most:
        cache.popitem(last=False)
