"""Step verbs FETCH, LOOKUP, PUSH and EXECUTE: from a step's values to one adapter call, and from its envelope to the output."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import cast

from stanchion.base import Internal, Invalid, Json, LimitExceeded, NotFound, Problem, dumps
from stanchion.context import Env
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.runs import StepCall, StepResult
from stanchion.telemetry import current_traceparent
from stanchion.tools import store
from stanchion.tools.adapter import Adapter, AdapterRegistry, Target
from stanchion.tools.connectors import connector_of, resource_of
from stanchion.tools.effects import EffectPort
from stanchion.tools.held import held, waiting
from stanchion.tools.records import check_arguments, check_parameters, check_record, check_result
from stanchion.tools.series import Series
from stanchion.tools.simulated import was_real
from stanchion.tools.types import OUTPUT_BYTES_MAX, RECORDS_MAX, Asker, Connector, Envelope
from stanchion.tools.uses import NO_TOOLS, ToolGuard, ToolUse, limit_of, simulating

# Connectors parsed from their bodies, by digest: immutable, so kept until others are used more.
_PARSED_MAX = 256
# What a call leaves of its step's time, so that the outcome is recorded before the engine breaks the step off.
_ROOM_SHARE, _ROOM_S = 0.2, 1.0


class _ToolHandler:
    """What the four share: finding the target of the step, calling it under a span, measuring the call."""

    def __init__(self, adapters: AdapterRegistry, kills: Kills = NO_KILLS, tools: ToolGuard = NO_TOOLS) -> None:
        self._adapters = adapters
        self._kills = kills
        self._tools = tools
        self._parsed: OrderedDict[str, Connector] = OrderedDict()
        self._series = Series()

    async def _target(self, env: Env, call: StepCall, verb: str) -> tuple[Adapter, Target]:
        """Where the step goes. Raises Suspend while the connector is killed, and what `ToolGuard.admit` raises."""
        reference = ("connector", str(call.config["connector"]))
        body = call.bodies.get(reference)
        if body is None:
            raise Internal("connector.not_pinned", f"The run holds no version of the connector {reference[1]!r}.")
        digest = call.digests.get(reference, "")
        connector = self._connector(digest, body)
        named = call.config["operation" if verb == "execute" else "resource"]
        resource, operation = resource_of(connector, str(named), verb)
        if (wait := held(env, self._kills, call, reference[1], digest, writes=operation.effect != "read")) is not None:
            raise wait
        adapter = simulating(env, self._adapters.get(connector.adapter), call.config)
        used: ToolUse | None = None
        if "tool" in call.config:
            simulated = call.config.get("simulate") is True
            used = await self._tools.admit(env, call, connector, operation, simulated=simulated)
            operation = used.operation
        if call.config.get("simulate") is True and operation.effect != "read":
            # Nothing is sent, however often: an attempt that nobody saw the end of is repeated, and no person is asked (I5).
            operation = replace(operation, idempotency="natural")
        if call.attempt > 1:
            env.telemetry.emit("connector.retried", 1.0, *self._series.of(connector.name, f"{resource.name}.{verb}"))
        target = Target(
            connector=connector,
            resource=resource,
            operation=operation,
            timeout_s=_timeout_s(connector, call.timeout_s),
            traceparent=current_traceparent() or call.traceparent,
            asker=Asker(
                tenant=call.claim.tenant,
                run_id=call.claim.run_id,
                root_id=call.root_id,
                path=call.path,
                epoch=call.claim.epoch,
                principal=call.requested_by,
                tool="" if used is None else used.name,
                tool_digest="" if used is None else used.digest,
            ),
        )
        return adapter, target

    def _connector(self, digest: str, body: Mapping[str, Json]) -> Connector:
        found = self._parsed.get(digest)
        if found is None:
            found = self._parsed[digest] = connector_of(body, digest)
            if len(self._parsed) > _PARSED_MAX:
                self._parsed.popitem(last=False)
        self._parsed.move_to_end(digest)
        return found


def _timeout_s(connector: Connector, step_s: float | None) -> float:
    if step_s is None:
        return connector.timeout_s
    return min(connector.timeout_s, step_s - min(_ROOM_S, step_s * _ROOM_SHARE))


async def _check_bound(env: Env, call: StepCall, target: Target) -> None:
    """Return unless the write would be simulated now (I10) and a broker was asked to perform it for real before: the
    deployment or the connector got another environment meanwhile, and what may be at the target is not said to be simulated.

    Raises Denied `effect.was_real`.
    """
    here = env.environment
    if call.config.get("simulate") is True or here.production or target.connector.environment == here.name:
        return
    async with env.db.connection("engine") as tx:
        bound = await store.was_real(tx, call.claim.tenant, call.claim.run_id, call.path)
    if bound:
        raise was_real(target)


async def _measured(env: Env, target: Target, operation: str, made: Awaitable[Envelope]) -> Envelope:
    """Await a read, and report how long it took, whatever its end."""
    started = env.clock.monotonic()
    try:
        return await made
    except Problem as problem:
        if (wait := waiting(problem)) is not None:
            raise wait from None
        raise
    finally:
        env.telemetry.emit("adapter.called", env.clock.monotonic() - started, target.connector.adapter, operation)


def _bounded(output: dict[str, Json], target: Target) -> StepResult:
    size = len(dumps(output))
    if size > OUTPUT_BYTES_MAX:
        raise LimitExceeded(
            "tool.output_too_large",
            f"{target.name} returned {size} bytes; a step's output holds at most {OUTPUT_BYTES_MAX}.",
            hint="Narrow it: a `where`, a smaller `limit` and the `page` that continues it, or fewer fields in the connector.",
            retryable=False,
        )
    return StepResult(output=output)


class FetchHandler(_ToolHandler):
    """FETCH: many records, bounded."""

    verb = "fetch"

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        """Fetch at most `limit` records; without one, all of them, and more than 10,000 are a failure and not cut off.

        Raises Invalid `fetch.bad_where` or `fetch.bad_page`, LimitExceeded `fetch.too_many` or `tool.output_too_large`,
        AdapterProblem.
        """
        with env.telemetry.span("fetch", call.traceparent):
            adapter, target = await self._target(env, call, self.verb)
            where = cast("Mapping[str, Json]", call.config.get("where") or {})
            values = check_parameters(f"{target.name}.fetch", target.operation.parameters, where)
            limit, page = limit_of(call), call.config.get("page")
            if page is not None and not isinstance(page, str):
                raise Invalid("fetch.bad_page", "`page` is neither a text nor null.", hint="Pass on `page` of a fetch.")
            most = RECORDS_MAX if limit is None else limit
            envelope = await _measured(env, target, self.verb, adapter.fetch(target, values, most, page))
        if limit is None and envelope.metadata["truncated"]:
            raise LimitExceeded(
                "fetch.too_many",
                f"{target.name} has more than {RECORDS_MAX} records for this fetch.",
                hint="Narrow it by `where`, or give a `limit` and continue with `page`.",
                retryable=False,
            )
        records: list[Json] = [dict(record) for record in envelope.records]
        return _bounded(
            {
                "records": records,
                "count": len(records),
                "truncated": envelope.metadata["truncated"],
                "page": envelope.metadata["page"],
            },
            target,
        )


class LookupHandler(_ToolHandler):
    """LOOKUP: the one record of a key."""

    verb = "lookup"

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        """Look the record up. A missing one fails the step, unless it says `missing: null`.

        Raises NotFound `lookup.missing`, Invalid `lookup.bad_key`, AdapterProblem.
        """
        with env.telemetry.span("lookup", call.traceparent):
            adapter, target = await self._target(env, call, self.verb)
            key = call.config["key"]
            if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
                raise Invalid("lookup.bad_key", f"The key for {target.name} is neither a text nor a whole number.")
            envelope = await _measured(env, target, self.verb, adapter.lookup(target, key))
        if not envelope.records:
            if "missing" in call.config and call.config["missing"] is None:
                return StepResult(output={"record": None, "found": False})
            raise NotFound(
                "lookup.missing",
                f"{target.name} has no record whose {target.resource.key} is {str(key)[:200]!r}.",
                hint="Say `missing: null` in the step to go on without one.",
            )
        return _bounded({"record": dict(envelope.records[0]), "found": True}, target)


class PushHandler(_ToolHandler):
    """PUSH: one record, written at most once, through the effect port."""

    verb = "push"

    def __init__(
        self, adapters: AdapterRegistry, effects: EffectPort, kills: Kills = NO_KILLS, tools: ToolGuard = NO_TOOLS
    ) -> None:
        super().__init__(adapters, kills, tools)
        self._effects = effects

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        """Write the record. Raises Invalid `push.bad_record`, and what `EffectPort.perform` raises."""
        with env.telemetry.span("push", call.traceparent):
            adapter, target = await self._target(env, call, self.verb)
            raw = call.config["record"]
            record = check_record(target.name, target.resource.fields, raw)
            started = env.clock.monotonic()
            try:
                await _check_bound(env, call, target)
                receipt = await self._effects.perform(call, adapter, target, record, raw)
            finally:
                seconds = env.clock.monotonic() - started
                env.telemetry.emit("adapter.called", seconds, target.connector.adapter, self.verb)
        fields = cast("Mapping[str, Json]", target.operation.settings.get("receipt", {}))
        said = _told(receipt)
        if fields:
            # One that a person or the probe settled has none; expressions find each field all the same.
            known = cast("Mapping[str, Json]", receipt.get("fields") or {})
            said["fields"] = {name: known.get(name) for name in fields}
        return StepResult(output={"receipt": said, "applied": receipt["applied"]})


class ExecuteHandler(_ToolHandler):
    """EXECUTE: a declared operation. One that reads is called; one that writes goes through the effect port, as a PUSH."""

    verb = "execute"

    def __init__(
        self, adapters: AdapterRegistry, effects: EffectPort, kills: Kills = NO_KILLS, tools: ToolGuard = NO_TOOLS
    ) -> None:
        super().__init__(adapters, kills, tools)
        self._effects = effects

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        """Perform the operation.

        Raises Invalid `execute.bad_arguments` before anything is called, `execute.bad_result` after; LimitExceeded
        `tool.output_too_large`; and what `EffectPort.perform` raises.
        """
        with env.telemetry.span("execute", call.traceparent):
            adapter, target = await self._target(env, call, self.verb)
            raw = call.config.get("arguments", {})
            arguments = check_arguments(target.name, target.operation.parameters, raw)
            if target.operation.effect == "read":
                envelope = await _measured(env, target, self.verb, adapter.execute(target, arguments, None))
                result = check_result(target.name, target.operation.result, envelope.records[0]["result"])
                return _bounded({"result": result}, target)
            started = env.clock.monotonic()
            try:
                await _check_bound(env, call, target)
                receipt = _told(await self._effects.perform(call, adapter, target, arguments, raw))
            finally:
                seconds = env.clock.monotonic() - started
                env.telemetry.emit("adapter.called", seconds, target.connector.adapter, self.verb)
        return _bounded(_executed(target, receipt), target)


def _told(receipt: Mapping[str, Json]) -> dict[str, Json]:
    """The receipt as expressions read it: the ledger says `simulated` where it was, and a Blueprint may ask either way."""
    return {**receipt, "simulated": receipt.get("simulated") is True}


def _executed(target: Target, receipt: dict[str, Json]) -> dict[str, Json]:
    """The output of a write: its result is null where nobody saw the answer (a probe or a person said that it happened)."""
    seen = "result" in receipt
    result = receipt.pop("result", None)
    if receipt.pop("result_dropped", False):
        raise LimitExceeded(
            "tool.output_too_large",
            f"{target.name} was performed; its result is larger than a step's output may be.",
            hint="Let the connector's `result_at` name the part of the answer that is needed, such as the new record's id.",
            retryable=False,
        )
    if seen:
        check_result(target.name, target.operation.result, result)
    return {"result": result, "receipt": receipt, "applied": receipt["applied"]}
