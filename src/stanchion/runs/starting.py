"""Starting runs: concurrent starts share a transaction, one per tenant and batch."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from stanchion.audit import AuditRecord, build, trace_id_of
from stanchion.audit import rows as audit_rows
from stanchion.base import Conflict, Invalid, Json, LimitExceeded, canonical, digest_bytes, dumps, raw
from stanchion.blueprints import OpKind, validate_value, with_defaults
from stanchion.context import Ctx, Env
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.db import GroupWriter
from stanchion.queue import Notifier
from stanchion.runs import store
from stanchion.runs.types import ENGINE_V, Begins, PinResolver, Resolved
from stanchion.telemetry import current_traceparent

# A run's input, as canonical JSON. Larger data travels by reference (a file, a connector's resource).
INPUT_MAX: Final = 1 << 20
PRIORITY_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run that was accepted: what it executes, and whether an earlier request with the same idempotency key made it
    (then `version` and `digest` are those of today's request, not of that run)."""

    run_id: UUID
    repeated: bool
    blueprint: str
    version: int
    digest: str
    queue: str


@dataclass(slots=True, kw_only=True)
class _Start:
    tenant: str
    row: dict[str, Any]
    pin_set: dict[str, Any]
    audit: AuditRecord
    queue: str
    digest: str


class Starter:
    """Starts runs for one process; holds the group writer of its starts."""

    def __init__(
        self,
        env: Env,
        resolver: PinResolver,
        notifier: Notifier,
        kills: Kills = NO_KILLS,
        withdrawals: Withdrawals = NO_WITHDRAWALS,
    ) -> None:
        self._env = env
        self.kills = kills
        self._withdrawals = withdrawals
        self._resolver = resolver
        self._notifier = notifier
        self._group = GroupWriter[_Start, Started | Conflict](self._commit, clock=env.clock, lanes=2, batch_max=256)

    async def start(
        self,
        ctx: Ctx,
        blueprint: str,
        value: Json,
        *,
        queue: str = "default",
        priority: int = 0,
        idempotency_key: str | None = None,
        run_id: UUID | None = None,
    ) -> Started:
        """Accept a run of the live version of `blueprint`; it is durable when this returns (I1, I2).

        Args:
            ctx: who starts it; action `runs.start`.
            blueprint: its name.
            value: the input, checked against the Blueprint's schema.
            queue: which workers may execute it.
            priority: -100 to 100; higher goes first within a queue.
            idempotency_key: 1 to 255 characters; a second request with the same key and the same content is answered
                with the first one's run.
            run_id: the id that the run gets if this starts it, one of `env.ids` that is used for no other; None for a new one.

        Raises:
            Invalid `run.input_invalid` with `errors` [{pointer, message}], Invalid `run.bad_argument`,
            Conflict `run.idempotency_mismatch`, `release.revoked` or `release.drained` (a version that the run would get
            is withdrawn), NotFound `blueprint.unknown`, Denied (also `kill.active`), Unavailable `kill.unread` or
            `release.unread`, LimitExceeded `run.input_too_large`.
        """
        ctx.require("runs.start", blueprint=blueprint, queue=queue)
        _check_arguments(queue, priority, idempotency_key)
        resolved = await self._resolver.resolve(ctx, blueprint)
        run_id = run_id or self._env.ids.new()
        if resolved.choose is not None:
            begins = Begins(tenant=ctx.tenant, run_id=run_id, principal=ctx.actor.principal, value=value)
            resolved = resolved.choose(begins)
        self.kills.admit(ctx.tenant, "blueprint", blueprint, resolved.blueprint.digest)
        self._withdrawals.admit(ctx.tenant, resolved.pins.pins)
        data = _checked_input(resolved, value)
        with self._env.telemetry.span("run.start", ctx.traceparent, blueprint=blueprint):
            start = self._start(ctx, run_id, resolved, data, queue, priority, idempotency_key)
        started = await self._group.submit(start, key=start.row["id"], weight=len(data) + 2000)
        if isinstance(started, Conflict):
            raise started
        if not started.repeated:
            self._env.telemetry.emit("run.started", 1.0, queue)
        return started

    def _start(
        self, ctx: Ctx, run_id: UUID, resolved: Resolved, data: bytes, queue: str, priority: int, key: str | None
    ) -> _Start:
        env, first = self._env, resolved.program.blocks[""].ops[0]
        traceparent = current_traceparent()
        empty = first.kind is OpKind.END or first.step is None
        input_digest = digest_bytes(data)
        audit = build(
            clock=env.clock,
            ids=env.ids,
            tenant=ctx.tenant,
            environment=env.environment.name,
            actor=ctx.actor,
            event_type="run.started",
            target=("run", run_id),
            run_id=run_id,
            after=input_digest,
            trace_id=trace_id_of(traceparent),
            extra={
                "blueprint": resolved.blueprint.name,
                "version": resolved.blueprint.version,
                "digest": resolved.blueprint.digest,
                "pins": resolved.pins.digest,
                "queue": queue,
                **({"assigned": resolved.assigned} if resolved.assigned else {}),
            },
        )
        row = {
            "tenant": ctx.tenant,
            "id": run_id,
            "blueprint": resolved.blueprint.name,
            "version": resolved.blueprint.version,
            "pins": resolved.pins.digest,
            "environment": env.environment.name,
            "engine_v": ENGINE_V,
            "queue": queue,
            "priority": priority,
            "path": "" if empty else first.path,
            "verb": first.step.verb if first.step is not None else "",
            "input": raw(data),
            "requested_by": ctx.actor.principal,
            "traceparent": traceparent,
        }
        if key is not None:
            # What makes two requests the same: not the Blueprint's version, which may move between them.
            request = f"{resolved.blueprint.name}\n{queue}\n{priority}\n{input_digest}"
            row |= {"key": key, "request_digest": digest_bytes(request.encode())}
        pin_set = {
            "tenant": ctx.tenant,
            "digest": resolved.pins.digest,
            "pins": [
                {"kind": p.kind, "name": p.name, "version": p.version, "digest": p.digest} for p in resolved.pins.pins
            ],
        }
        return _Start(
            tenant=ctx.tenant, row=row, pin_set=pin_set, audit=audit, queue=queue, digest=resolved.blueprint.digest
        )

    async def _commit(self, batch: Sequence[_Start]) -> list[Started | Conflict]:
        by_tenant: dict[str, list[_Start]] = defaultdict(list)
        for start in batch:
            by_tenant[start.tenant].append(start)
        taken: dict[tuple[str, str], store.KeyUse] = {}
        # A start that is alone tells the workers with its own commit; several tell them once, after it.
        told = len(batch) == 1 and self._notifier.within()
        for tenant, starts in by_tenant.items():
            await self._insert(tenant, starts, tell=told)
            if not told:
                for queue in {start.queue: None for start in starts}:
                    self._notifier.ready(queue)
            keys = [start.row["key"] for start in starts if "key" in start.row]
            if keys:
                async with self._env.db.tenant_tx(tenant) as tx:
                    for use in await store.select_keys(tx, tenant, keys):
                        taken[tenant, use.key] = use
        return [_answer(start, taken) for start in batch]

    async def _insert(self, tenant: str, starts: list[_Start], *, tell: bool) -> None:
        pin_sets = {start.pin_set["digest"]: start.pin_set for start in starts}
        async with self._env.db.connection("app") as tx:
            await store.insert_starts(
                tx,
                tenant,
                starts=dumps([start.row for start in starts]),
                pin_sets=dumps(list(pin_sets.values())),
                audits=dumps(audit_rows([start.audit for start in starts])),
                tell=tell,
            )


def _answer(start: _Start, taken: Mapping[tuple[str, str], store.KeyUse]) -> Started | Conflict:
    """The run of a start: its own, or the one its idempotency key already stands for."""
    run_id = start.row["id"]
    started = Started(
        run_id=run_id,
        repeated=False,
        blueprint=start.row["blueprint"],
        version=start.row["version"],
        digest=start.digest,
        queue=start.queue,
    )
    use = taken.get((start.tenant, start.row.get("key", "")))
    if use is None or use.run_id == run_id:
        return started
    if use.request_digest != start.row["request_digest"]:
        return Conflict(
            "run.idempotency_mismatch",
            f"Idempotency-Key {use.key!r} was used for another request: it started run {use.run_id}.",
            hint="Use a new key for a new request; repeat a request exactly to get its run again.",
            run_id=str(use.run_id),
        )
    return replace(started, run_id=use.run_id, repeated=True)


_QUEUE: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")


def _check_arguments(queue: str, priority: int, key: str | None) -> None:
    if not _QUEUE.fullmatch(queue):
        raise Invalid(
            "run.bad_argument",
            f"Queue {queue!r} is not a name.",
            hint="Use up to 63 lower-case letters, digits and dashes, beginning with a letter.",
        )
    if not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
        raise Invalid("run.bad_argument", f"Priority {priority} is not between -{PRIORITY_MAX} and {PRIORITY_MAX}.")
    if key is not None and not (1 <= len(key) <= 255 and key.isprintable()):
        raise Invalid("run.bad_argument", "An idempotency key has 1 to 255 printable characters.")


def _checked_input(resolved: Resolved, value: Json) -> bytes:
    """The completed input's canonical JSON, if the Blueprint takes it.

    The digests of the input and of an idempotent request are those of the completed value: the audit record names what
    the run stores, and writing a default out is the same request as leaving it to the Blueprint. If a default changed
    between two requests with one key, the second is a mismatch and starts nothing.
    """
    value = with_defaults(resolved.program.input_schema, value)
    data = canonical(value)
    if len(data) > INPUT_MAX:
        raise LimitExceeded(
            "run.input_too_large",
            f"The input has {len(data)} bytes; at most {INPUT_MAX} are accepted.",
            hint="Let the Blueprint fetch the data, and pass what it needs to find it.",
            retryable=False,
        )
    faults = validate_value(resolved.program.input_schema, value)
    if faults:
        raise Invalid(
            "run.input_invalid",
            f"The input does not fit Blueprint {resolved.program.name!r}: {faults[0][1]}",
            hint=f"See `stanchion blueprint show {resolved.program.name}` for its input schema, or GET /api/blueprints/{resolved.program.name}.",
            errors=[{"pointer": pointer, "message": message} for pointer, message in faults],
        )
    return data
