"""Verb WORK of the simulation, and the log of what was executed by whom: written by the handlers, not by the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from stanchion.base import Invalid, Json, LimitExceeded, Unavailable
from stanchion.blueprints import ConfigIssue, Lookup, Schema
from stanchion.context import Env
from stanchion.runs import LostClaim, StepCall, StepHandler, StepResult, Suspend, WaitingKind


class WorkVerb:
    """Fills `blueprints.VerbSpec`: some work that takes a while and may fail."""

    verb = "work"
    effect: Literal["none", "read", "write"] = "none"
    suspends = False

    @property
    def config_schema(self) -> Schema:
        return {
            "type": "object",
            "required": ["name", "value"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string"},
                "value": {"x-template": True},
                "fails": {"x-template": True},
                "fatal": {"x-template": True},
                "order": {"x-template": True},
            },
        }

    def check(self, config: Mapping[str, Json], lookup: Lookup) -> Iterable[ConfigIssue]:
        return ()

    def output_schema(self, config: Mapping[str, Json], lookup: Lookup, types: Callable[[str], Schema]) -> Schema:
        return {
            "type": "object",
            "required": ["value"],
            "additionalProperties": False,
            "properties": {"value": {"type": "integer"}},
        }


WORK = WorkVerb()


class SignalVerb:
    """Fills `blueprints.VerbSpec`: waits until somebody outside says so."""

    verb = "signal"
    effect: Literal["none", "read", "write"] = "none"
    suspends = True

    @property
    def config_schema(self) -> Schema:
        return {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string"}},
        }

    def check(self, config: Mapping[str, Json], lookup: Lookup) -> Iterable[ConfigIssue]:
        return ()

    def output_schema(self, config: Mapping[str, Json], lookup: Lookup, types: Callable[[str], Schema]) -> Schema:
        return {"type": "object", "properties": {}, "additionalProperties": False}


SIGNAL = SignalVerb()


class Signals:
    """Who waits for a sign, and who got it. The sign may come before the run waits: its wake-up must not be lost."""

    def __init__(self) -> None:
        self.given: dict[tuple[UUID, str], None] = {}
        self._asked: dict[tuple[UUID, str], None] = {}
        self.on_ask: list[Callable[[StepCall, str], None]] = []

    def ask(self, call: StepCall, ref: str) -> None:
        key = (call.claim.run_id, call.path)
        if key not in self._asked:
            self._asked[key] = None
            for told in self.on_ask:
                told(call, ref)


class SignalHandler:
    """Suspends until its sign is given, under a reference of its own."""

    verb = "signal"
    effect = "none"

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        ref = f"signal {call.path}"
        self._signals.ask(call, ref)
        await env.clock.sleep(env.rng.random() * 0.02)
        if (call.claim.run_id, call.path) in self._signals.given:
            return StepResult(output={})
        raise Suspend(WaitingKind.APPROVAL, ref=ref)


def worked(value: int) -> int:
    """What WORK makes of a value."""
    return value + 7


class WorkHandler:
    """Takes a little while; its first `fails` attempts fail retryably, and every attempt if it is `fatal`.

    `kills` is asked whether the step kills its process; if it says so, the process is dead already.
    """

    verb = "work"
    effect = "none"

    def __init__(self, kills: Callable[[StepCall], bool]) -> None:
        self._kills = kills

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        draw = env.rng.random()
        if draw < 0.5:
            await env.clock.sleep(draw * 0.1 if draw > 0.06 else draw * 40)
        config = call.config
        if config.get("order") is not None and self._kills(call):
            await asyncio.get_running_loop().create_future()
        if config.get("fatal"):
            raise Invalid("work.fatal", f"Step {call.path} cannot be done.")
        fails = config.get("fails", 0)
        assert isinstance(fails, int)
        if call.attempt <= fails:
            if draw < 0.1:
                raise LimitExceeded("work.busy", "Later, please.", retry_after_s=1)
            raise Unavailable("work.failed", f"Step {call.path} failed for the {call.attempt}. time.")
        value = config["value"]
        assert isinstance(value, int)
        return StepResult(output={"value": worked(value)})


@dataclass(slots=True)
class Executed:
    """One call of a handler. `ended` is how it came back; "" while it has not."""

    seq: int
    at: float
    process: str
    tenant: str
    run_id: UUID
    root_id: UUID
    blueprint: str
    path: str
    attempt: int
    epoch: int
    verb: str
    ended: str = ""
    ended_seq: int = -1


class Log:
    """Everything that was executed, in the order of its beginning."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._seq = 0
        self.entries: list[Executed] = []
        self.open: dict[tuple[UUID, str], list[Executed]] = {}
        # Told at each beginning: looks whether the step's rows were committed before.
        self.on_begin: list[Callable[[Executed, StepCall], None]] = []

    def next(self) -> int:
        """The next number of the one sequence that everything outside the engine is ordered by."""
        self._seq += 1
        return self._seq

    def begin(self, process: str, verb: str, call: StepCall) -> Executed:
        claim = call.claim
        entry = Executed(
            self.next(), self._time(), process, claim.tenant, claim.run_id, call.root_id, call.blueprint, call.path,
            call.attempt, claim.epoch, verb,
        )  # fmt: skip
        self.entries.append(entry)
        self.open.setdefault((claim.run_id, call.path), []).append(entry)
        for told in self.on_begin:
            told(entry, call)
        return entry

    def end(self, entry: Executed, how: str) -> None:
        entry.ended, entry.ended_seq = how, self.next()
        self.open[entry.run_id, entry.path].remove(entry)


class Watched:
    """A handler whose calls are logged."""

    def __init__(self, inner: StepHandler, log: Log, process: str) -> None:
        self.verb = inner.verb
        effect: Any = getattr(inner, "effect", "none")
        self.effect = effect
        self._inner = inner
        self._log = log
        self._process = process

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        entry = self._log.begin(self._process, self.verb, call)
        how = "broken off"
        try:
            result = await self._inner.execute(env, call)
            how = "done"
        except Suspend:
            how = "suspended"
            raise
        except LostClaim:
            how = "lost claim"
            raise
        except Exception as error:
            how = f"failed: {getattr(error, 'code', type(error).__name__)}"
            raise
        else:
            return result
        finally:
            self._log.end(entry, how)
