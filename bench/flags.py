"""Part `flags`: what one evaluation costs in a process that serves flags, and how long a change takes to be served.

Evaluated is what a web process evaluates: a snapshot of released flags, targeting in both forms, a version dealt by an open
rollout, the count of the reason. Beside it one round trip to the same database, which is what a flag service without a
snapshot pays at the least.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import Any

from bench.ours import Ours
from bench.rows import Row, row
from bench.sitting import Sitting
from stanchion import releases
from stanchion.artifacts import Document
from stanchion.releases.flags import FlagKind, Snapshot, kept
from stanchion.releases.rollouts import Plan, Step, Strategy, begin

EVALUATIONS = 50_000
CHANGES = 40
_HEAD = "flag: {0}\nowner: bench\ntype: boolean\nvariants: {{on: true, off: false}}\ndefault: {1}\n"
_TARGETING = "targeting: {if: [{ends_with: [{var: email}, '@example.com']}, 'on', 'off']}\n"
_RULES = "rules: [{when: '${context.plan == \"gold\" && context.age >= 18}', serve: on}]\n"
_SPLIT = "rules: [{split: {on: 10, off: 90}}]\n"
_CONTEXT: Mapping[str, Any] = {"targetingKey": "case-4711", "email": "ada@example.com", "plan": "gold", "age": 42}
KINDS = {"flag": FlagKind()}


def _document(name: str, rest: str = "", default: str = "off") -> Document:
    return Document(path=f"{name}.yaml", source=_HEAD.format(name, default) + rest)


SHAPES = {
    "static": _document("static"),
    "targeting": _document("targeting", _TARGETING),
    "rule": _document("rule", _RULES),
    "split": _document("split", _SPLIT),
    "rollout": _document("rollout", _TARGETING),
}


async def measure(sitting: Sitting) -> list[Row]:
    """The median of single evaluations, each timed by itself, and of changes until they are served."""
    ours = sitting.stanchion
    await releases.apply(ours.ctx, list(SHAPES.values()), kinds=KINDS)
    plan = Plan(strategy=Strategy.CANARY, steps=(Step(share=50), Step(share=100)))
    moved = _document("rollout", _TARGETING, default="on")
    await begin(ours.ctx, plan, documents=[moved], kinds=KINDS, reason="bench")
    flags = Snapshot(ours.env)
    await flags.refresh()
    trip = await _round_trip_us(ours)
    count = sitting.sizes.of(EVALUATIONS)
    rows: list[Row] = []
    for name in SHAPES:
        took = _timed_us(flags, ours.ctx.tenant, name, count)
        rows.append(
            row("flags", f"evaluate_{name}_p50", statistics.median(took), "one round trip to the database", trip, "µs")
        )
        rows.append(row("flags", f"evaluate_{name}_p99", statistics.quantiles(took, n=100)[98], "-", None, "µs"))
    served = await _served_ms(ours, max(5, sitting.sizes.of(CHANGES, 5)))
    rows.append(row("flags", "change_served_p50", statistics.median(served), f"-; {sitting.place}", None, "ms"))
    rows.append(row("flags", "change_served_max", max(served), "the promise", 1000.0, "ms"))
    return rows


def _timed_us(flags: Snapshot, tenant: str, name: str, count: int) -> list[float]:
    answer = flags.evaluate(tenant, name, False, _CONTEXT)
    if answer.resolution.error_code is not None:
        raise RuntimeError(answer.resolution.message)
    took: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        flags.evaluate(tenant, name, False, _CONTEXT)
        took.append((time.perf_counter() - began) * 1e6)
    return took


async def _round_trip_us(ours: Ours) -> float:
    took: list[float] = []
    async with ours.env.db.connection("app") as tx:
        for _ in range(500):
            began = time.perf_counter()
            await tx.execute("select 1")
            took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took)


async def _served_ms(ours: Ours, count: int) -> list[float]:
    """From the commit of an apply to the first evaluation that follows it."""
    took: list[float] = []
    async with kept(ours.env) as flags:
        await asyncio.sleep(0.5)  # the listener's connection
        for n in range(count):
            default = ("on", "off")[n % 2]
            await releases.apply(ours.ctx, [_document("static", default=default)], kinds=KINDS)
            began = time.perf_counter()
            while flags.evaluate(ours.ctx.tenant, "static").resolution.variant != default:
                await asyncio.sleep(0.0005)
            took.append((time.perf_counter() - began) * 1000)
    return took
