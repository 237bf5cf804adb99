"""Verbs of triggers: take a webhook or an event in, list, show, try, forget what is old.

A message that is believed goes through filter and mapping. Then the id of its run is claimed for the message's dedupe value,
the run is started by that id, under an idempotency key made of trigger and value, and the delivery is noted. Whatever breaks
off in between, the sender's next attempt gets the run that there is: of two at once the key knows, later the claim.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, Denied, Invalid, Json, NotFound, Problem, Unauthenticated, Unavailable, loads
from stanchion.base.paging import PageParams, Slice, decode_cursor, id_after, slice_of
from stanchion.blueprints import validate_value, with_defaults
from stanchion.context import Ctx, Env
from stanchion.controls import RateLimit, RateLimiter, address_key
from stanchion.controls.kills import Kills
from stanchion.db import Tx
from stanchion.identity import trigger_actor
from stanchion.runs import PinResolver, Starter
from stanchion.secrets import references_in
from stanchion.tools.triggers import rules, store
from stanchion.tools.triggers.types import (
    Delivery,
    LiveTrigger,
    Message,
    Outcome,
    Receipt,
    SourceKind,
    Trigger,
    Verdict,
)
from stanchion.tools.triggers.verifying import Verify, grantee_of

BODY_BYTES_MAX: Final = 256 * 1024
# What one address may send before anything is looked at, and what one trigger takes of what was verified.
PER_ADDRESS: Final = RateLimit(per_s=50.0, burst=200)
PER_TRIGGER: Final = RateLimit(per_s=100.0, burst=500)
# How long what came of a delivery is kept, and of how many of one trigger: longer than senders try again (Standard Webhooks
# recommends attempts over about three days).
KEPT_DAYS: Final = 7
KEPT_MAX: Final = 50_000
_BATCH: Final = 5_000
_PAGE: Final = 100
_REASON_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What deliveries go through. `resolver` tells `try_message` what a Blueprint takes."""

    starter: Starter
    resolver: PinResolver
    kills: Kills
    verify: Verify
    per_address: RateLimiter
    per_trigger: RateLimiter


def means_of(env: Env, *, starter: Starter, resolver: PinResolver, kills: Kills, verify: Verify) -> Means:
    """Means with limiters of their own."""
    return Means(
        starter=starter,
        resolver=resolver,
        kills=kills,
        verify=verify,
        per_address=RateLimiter(env.clock, PER_ADDRESS, scope="address"),
        per_trigger=RateLimiter(env.clock, PER_TRIGGER, scope="trigger"),
    )


def refused() -> Unauthenticated:
    """The one answer to whoever is not believed: it does not tell whether there is such a trigger, or what was wrong."""
    return Unauthenticated(
        "hook.refused",
        "There is no such hook, or the request is not signed as it wants.",
        hint="Sign the exact bytes that are sent, with the secret and at the time of sending (Standard Webhooks).",
    )


def paused() -> Unavailable:
    """The answer to a sender whose message is believed while its run may not start: the delivery log says why."""
    return Unavailable(
        "hook.paused",
        "This hook starts nothing at the moment.",
        hint="Send the message again later.",
        retry_after_s=60,
    )


async def receive(
    env: Env,
    means: Means,
    tenant: str,
    name: str,
    *,
    headers: Mapping[str, str],
    body: bytes,
    address: str,
    traceparent: str | None = None,
    request_id: str = "",
) -> Receipt:
    """Take in a webhook that nobody is signed in for.

    Args:
        env: of this process.
        means: what it goes through.
        tenant: from the path, as `name`: that either exists is not believed yet.
        name: of the trigger.
        headers: by name in lower case; one that came twice is not among them.
        body: exactly the bytes received.
        address: of the client, for its limit.
        traceparent: of the request.
        request_id: of the request.

    Raises Unauthenticated `hook.refused` for all that is not believed; LimitExceeded `limit.rate`; Unavailable if the broker
    is away, and `hook.paused` if it is believed while a kill, a drain or what is missing keeps its run from starting; Invalid as
    `rules.judge`, and for an input that the Blueprint does not take.
    """
    means.per_address.take(address_key(address))
    reason = await means.verify(tenant, name, headers, body)
    if reason:
        env.telemetry.emit("trigger.refused", 1.0, reason)
        raise refused()
    ctx = Ctx(env=env, actor=trigger_actor(tenant, name), request_id=request_id, traceparent=traceparent)
    live = await _live(ctx, name)
    if live is None:  # gone since it was verified
        raise refused()
    means.per_trigger.take(f"{tenant}/{name}")
    try:
        return await _deliver(ctx, means, rules.trigger_of(live), "webhook", body, headers)
    except (Denied, Conflict, NotFound) as problem:  # who stopped what and why is no business of the sender's
        raise paused() from problem


async def fire(ctx: Ctx, means: Means, name: str, event: Json, message_id: str) -> Receipt:
    """Take in an event of somebody who is known; action `triggers.fire`. The run is the trigger's, not the caller's.

    Raises Denied; NotFound `trigger.unknown`; Conflict `trigger.wants_signature` for a trigger of webhooks; else as `receive`.
    """
    ctx.require("triggers.fire", name=name)
    trigger = rules.trigger_of(await _known(ctx, name))
    if trigger.webhook is not None:
        raise Conflict(
            "trigger.wants_signature",
            f"Trigger {name} takes signed webhooks, at /api/hooks/{ctx.tenant}/{name}.",
            hint="Publish a trigger with `source: {event: {}}` for events that come with an API key.",
        )
    means.per_trigger.take(f"{ctx.tenant}/{name}")
    as_trigger = replace(ctx, actor=trigger_actor(ctx.tenant, name))
    return await _deliver(as_trigger, means, trigger, "event", event, {"webhook-id": message_id}, by=ctx)


async def _deliver(
    ctx: Ctx,
    means: Means,
    trigger: Trigger,
    source: SourceKind,
    payload: Json | bytes,
    headers: Mapping[str, str],
    *,
    by: Ctx | None = None,
) -> Receipt:
    digest = ""
    try:
        means.kills.admit(ctx.tenant, "trigger", trigger.name, trigger.digest)
        event = _read(payload) if isinstance(payload, bytes) else payload
        verdict = rules.judge(trigger, rules.message_of(trigger, event, headers))
        if verdict.reason:
            await _note(ctx, trigger, source, "filtered", reason=verdict.reason)
            return Receipt(run_id=None, reason=verdict.reason)
        digest = rules.digest_of(verdict.dedupe)
        run_id, outcome = await _started(ctx, means, trigger, verdict, digest)
    except Unavailable:
        raise  # nothing was decided: the sender tries again
    except Problem as problem:
        await _note(ctx, trigger, source, "failed", digest=digest, reason=f"{problem.code}: {problem.message}")
        raise
    await _note(ctx, trigger, source, outcome, digest=digest, run_id=run_id, by=by)
    return Receipt(run_id=run_id)


async def _started(ctx: Ctx, means: Means, trigger: Trigger, verdict: Verdict, digest: str) -> tuple[UUID, Outcome]:
    """The run of a message: the one that an earlier delivery of it has, else one that is started now."""
    run_id, said = ctx.env.ids.new(), (ctx.tenant, ctx.env.environment.name, trigger.name, digest)
    async with ctx.tx() as tx:
        earlier = await store.earlier(tx, *said)
        there = earlier.run_id if earlier is not None else await store.claimed(tx, *said)
        if there is None:
            await store.claim(tx, *said, run_id)
    if there is not None:
        return there, "repeated"
    key = rules.key_of(trigger.name, digest)
    try:
        made = await means.starter.start(ctx, trigger.blueprint, verdict.input, idempotency_key=key, run_id=run_id)
    except Conflict as problem:
        # The same dedupe value with another input is a duplicate all the same: that is what the value says.
        if problem.code != "run.idempotency_mismatch":
            raise
        return UUID(str(problem.fields["run_id"])), "repeated"
    return made.run_id, "repeated" if made.repeated else "started"


def _read(body: bytes) -> Json:
    event = loads(body)
    if _holds_nul(event):
        raise Invalid(
            "request.nul_character",
            "The payload contains the character U+0000, which no text here can hold.",
            hint="Leave it out; binary data travels as base64.",
        )
    return event


def _holds_nul(value: Json) -> bool:
    left = [value]  # no recursion: a stranger's nesting is deeper than a stack
    while left:
        one = left.pop()
        if isinstance(one, str) and "\x00" in one:
            return True
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left += (*one.keys(), *one.values())
    return False


async def _note(
    ctx: Ctx,
    trigger: Trigger,
    source: SourceKind,
    outcome: Outcome,
    *,
    digest: str = "",
    reason: str = "",
    run_id: UUID | None = None,
    by: Ctx | None = None,
) -> None:
    """Write down what came of a delivery; with an audit record where it started a run."""
    made = Delivery(
        id=ctx.env.ids.new(),
        trigger=trigger.name,
        version=trigger.version,
        source=source,
        received_at=ctx.now,
        dedupe=digest,
        outcome=outcome,
        reason=reason.replace("\x00", "")[:_REASON_MAX],
        run_id=run_id,
    )
    async with ctx.tx() as tx:
        await store.add(tx, ctx.tenant, ctx.env.environment.name, made)
        if outcome == "started":
            await audit.record(
                tx,
                by or ctx,
                "trigger.delivered",
                target=("artifact", f"trigger/{trigger.name}"),
                run_id=run_id,
                extra={
                    "name": trigger.name,
                    "version": trigger.version,
                    "digest": trigger.digest,
                    "source": source,
                    "delivery": str(made.id),
                    "dedupe": digest,
                },
            )
    ctx.env.telemetry.emit("trigger.delivered", 1.0, outcome)


async def list_triggers(ctx: Ctx, page: PageParams) -> Slice[Trigger]:
    """The live triggers, by name; action `triggers.read`."""
    ctx.require("triggers.read")
    after = None if page.after is None else decode_cursor(page.after, 1)[0]
    async with ctx.tx() as tx:
        rows = await store.live(tx, ctx.tenant, ctx.env.environment.name, after=after, limit=page.limit + 1)
    return slice_of([rules.trigger_of(row) for row in rows], page.limit, lambda one: (one.name,))


async def show_trigger(ctx: Ctx, name: str) -> LiveTrigger:
    """The live version. Raises NotFound `trigger.unknown`."""
    ctx.require("triggers.read", name=name)
    return await _known(ctx, name)


async def list_deliveries(ctx: Ctx, name: str, page: PageParams, *, outcome: Outcome | None) -> Slice[Delivery]:
    """What came of the deliveries of a trigger, newest first. A trigger that is live no more keeps its own for as long."""
    ctx.require("triggers.read", name=name)
    after = id_after(page)
    async with ctx.tx() as tx:
        rows = await store.deliveries(
            tx, ctx.tenant, ctx.env.environment.name, name, outcome=outcome, after=after, limit=page.limit + 1
        )
    return slice_of(rows, page.limit, lambda one: (str(one.id),))


async def try_message(ctx: Ctx, means: Means, name: str, event: Json, headers: Mapping[str, str]) -> Verdict:
    """What the live version would make of a message; nothing is started or noted.

    Raises as `rules.judge`, and Invalid `run.input_invalid` for an input that the Blueprint does not take.
    """
    ctx.require("triggers.read", name=name)
    trigger = rules.trigger_of(await _known(ctx, name))
    given = {header.lower(): value for header, value in headers.items()}
    message = rules.message_of(trigger, event, {"webhook-id": "sample", **given})
    verdict = rules.judge(trigger, Message(event=event, headers=message.headers))
    if verdict.reason:
        return verdict
    schema = (await means.resolver.resolve(ctx, trigger.blueprint)).program.input_schema
    value = with_defaults(schema, verdict.input)
    faults = validate_value(schema, value)
    if faults:
        raise Invalid(
            "run.input_invalid",
            f"The mapping of trigger {name} gives what Blueprint {trigger.blueprint!r} does not take: {faults[0][1]}",
            hint=f"See `stanchion blueprint show {trigger.blueprint}` for its input schema.",
            errors=[{"pointer": f"/input{pointer}", "message": text} for pointer, text in faults[:20]],
        )
    return replace(verdict, input=value)


async def prune(env: Env) -> int:
    """The scheduler's duty: forget deliveries and claims of more than KEPT_DAYS ago, and of each trigger all beyond the newest
    KEPT_MAX. Returns how many deliveries."""
    old = await _forgotten(env, lambda tx: store.delete_old(tx, days=KEPT_DAYS, limit=_BATCH))
    old += await _forgotten(env, lambda tx: store.delete_beyond(tx, most=KEPT_MAX, limit=_BATCH))
    await _forgotten(env, lambda tx: store.delete_old_claims(tx, days=KEPT_DAYS, limit=_BATCH))
    await _forgotten(env, lambda tx: store.delete_claims_beyond(tx, most=KEPT_MAX, limit=_BATCH))
    return old


async def _forgotten(env: Env, forget: Callable[[Tx], Awaitable[int]]) -> int:
    gone = 0
    while True:
        async with env.db.engine_tx() as tx:
            count = await forget(tx)
        gone += count
        if count < _BATCH:
            return gone


async def secret_references(tx: Tx, tenant: str, environment: str) -> list[tuple[str, str, str]]:
    """The references to secrets of the live triggers: (by whom the secret is had, JSON pointer, text), by trigger."""
    found: list[tuple[str, str, str]] = []
    after: str | None = None
    while True:
        rows = await store.live(tx, tenant, environment, after=after, limit=_PAGE)
        for row in rows:
            found.extend((grantee_of(row.name), place, text) for place, text in sorted(references_in(row.body)))
        if len(rows) < _PAGE:
            return found
        after = rows[-1].name


async def _live(ctx: Ctx, name: str) -> LiveTrigger | None:
    async with ctx.tx() as tx:
        return await store.live_one(tx, ctx.tenant, ctx.env.environment.name, name)


async def _known(ctx: Ctx, name: str) -> LiveTrigger:
    found = await _live(ctx, name)
    if found is None:
        raise NotFound(
            "trigger.unknown",
            f"There is no live trigger {name}.",
            hint="`stanchion trigger list` shows them; `stanchion apply` publishes one.",
        )
    return found
