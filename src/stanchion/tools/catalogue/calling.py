"""Calls of tools: each is a run of its own, of the program that is derived from the tool.

So a call has what every step has: the commit before it is performed, the ledger, approvals, kill switches, revocations, the
broker, and its records. What is refused here is refused early, with a better answer; the point of use asks all of it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from stanchion.base import Conflict, Invalid, Json, LimitExceeded
from stanchion.blueprints import VerbSpec
from stanchion.context import Ctx
from stanchion.controls.kills import Kills
from stanchion.controls.withdrawals import Withdrawals
from stanchion.identity import CallAuthorizer
from stanchion.runs import Pin, Pinned, PinResolver, Resolved, Started, Starter, Watcher
from stanchion.tools.catalogue import rules, store
from stanchion.tools.catalogue.guard import check_arguments
from stanchion.tools.catalogue.kind import program_of
from stanchion.tools.catalogue.loading import Loaded, load
from stanchion.tools.catalogue.snapshot import States
from stanchion.tools.catalogue.types import ToolVersion, Trial

# The name under which runs of tools are listed: no Blueprint can have a dot in its name.
PREFIX: Final = "tool."
_AT: Final = "@"


class ToolResolver:
    """Fills `runs.PinResolver` for the starts of tool calls: `name@version`, or `name` for the live version."""

    def __init__(self, inner: PinResolver, verbs: Mapping[str, VerbSpec]) -> None:
        """`inner` loads stored pin sets; `verbs` compile the program of a call."""
        self._inner = inner
        self._verbs = verbs

    async def resolve(self, ctx: Ctx, blueprint: str) -> Resolved:
        """The version with what it refers to, as a pin set. Raises NotFound `tool.unknown`, Conflict `release.incomplete`."""
        name, _, version = blueprint.partition(_AT)
        async with ctx.tx() as tx:
            found = await load(tx, ctx, name, int(version) if version else None)
        pins = found.pins(ctx.env.environment.name)
        program = program_of(found.body, self._verbs, found.lookup)
        tool = found.version.tool
        pin = Pin(kind="tool", name=f"{PREFIX}{name}", version=found.version.version, digest=tool.digest)
        return Resolved(blueprint=pin, pins=pins, program=program)

    async def load(self, tenant: str, pins: str) -> Pinned:
        """The program and bodies of a stored pin set."""
        return await self._inner.load(tenant, pins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the verbs of tools are done with, in one process.

    Attributes:
        starter: starts runs by a ToolResolver. watcher: knows when they end.
        states: which versions may be used. kills, withdrawn: what is killed, what is revoked.
        calls: decides by the live authorization policies.
        verbs: compile programs, to look at a document again.
    """

    starter: Starter
    watcher: Watcher
    states: States
    kills: Kills
    withdrawn: Withdrawals
    calls: CallAuthorizer
    verbs: Mapping[str, VerbSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A call that was accepted: its run, and the version that it is of. `repeated`: an earlier request made it."""

    run_id: UUID
    version: ToolVersion
    dry_run: bool
    repeated: bool


async def call(
    ctx: Ctx,
    means: Means,
    name: str,
    arguments: Mapping[str, Json],
    *,
    version: int | None = None,
    dry_run: bool = False,
    idempotency_key: str | None = None,
) -> Called:
    """Start a call of the live version; `version` says another one, for a dry run. Durable when this returns.

    Raises:
        Denied: `tools.call` or `runs.start` is not permitted; `tool.disabled`, `tool.connector_changed`; `kill.active`;
            `auth.denied` where policy says no. Invalid `tool.bad_arguments`. NotFound `tool.unknown`. Conflict
            `release.incomplete`, `tool.not_live`, `run.idempotency_mismatch`. Unavailable where it cannot be known.
    """
    ctx.require("tools.call", name=name)
    async with ctx.tx() as tx:
        found = await load(tx, ctx, name, version)
    tool = found.version.tool
    means.kills.admit(ctx.tenant, "tool", name, tool.digest)
    if not dry_run:
        _check_live(found.version)
    pins = found.pins(ctx.env.environment.name)
    means.withdrawn.admit(ctx.tenant, pins.pins)
    if found.connector is None or found.version.input_schema is None:
        raise Conflict(
            "release.incomplete",
            f"The live connector {tool.connector} has no {tool.verb} of {tool.called} any more.",
            hint=f"stanchion tool check {name} says what does not fit.",
        )
    if not dry_run:
        means.states.admit(ctx.tenant, tool, found.connector.digest)
    check_arguments(tool, found.connector, arguments)
    if not dry_run or tool.effect == "read":  # a dry run of a write sends nothing
        means.calls.authorize_call(
            rules.question_of(
                found.version,
                ctx.actor,
                ctx.tenant,
                environment=ctx.env.environment,
                arguments=arguments,
                connector_environment=found.connector.environment,
            )
        )
    started = await _start(ctx, means, found, arguments, dry_run=dry_run, key=idempotency_key)
    if dry_run and not started.repeated:
        await _tried(ctx, found, started)
    return Called(run_id=started.run_id, version=found.version, dry_run=dry_run, repeated=started.repeated)


def _check_live(version: ToolVersion) -> None:
    if not version.live:
        name = version.tool.name
        raise Conflict(
            "tool.not_live",
            f"Version {version.version} of tool {name} is not live here; only a dry run calls it.",
            hint=f"Roll tool/{name} to it, or call it with --dry-run.",
        )


async def _start(
    ctx: Ctx, means: Means, found: Loaded, arguments: Mapping[str, Json], *, dry_run: bool, key: str | None
) -> Started:
    where = f"{found.version.tool.name}{_AT}{found.version.version}"
    value: Json = {"arguments": dict(arguments), "dry_run": dry_run}
    try:
        return await means.starter.start(ctx, where, value, idempotency_key=key)
    except (Invalid, LimitExceeded) as problem:
        if problem.code not in ("run.input_invalid", "run.input_too_large"):
            raise
        raise Invalid(
            "tool.bad_arguments",
            problem.message,
            hint=f"See `stanchion tool show {found.version.tool.name}` for what it takes.",
            errors=problem.fields.get("errors", []),
        ) from None


async def _tried(ctx: Ctx, found: Loaded, started: Started) -> None:
    """Note the run as a dry run of this content through this connector: the gate looks at what it left."""
    trial = Trial(
        id=ctx.env.ids.new(),
        name=found.version.tool.name,
        version=found.version.version,
        digest=found.version.tool.digest,
        connector_digest=found.version.connector_digest or "",
        point="dry_run",
        run_id=started.run_id,
        detail="a dry run was started",
        by=ctx.actor.principal,
        at=ctx.now,
    )
    async with ctx.tx() as tx:
        await store.add_trial(tx, ctx.tenant, ctx.env.environment.name, trial)
