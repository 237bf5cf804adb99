"""A step that names a tool: what is checked of it when its Blueprint is published, and the port that admits it when it runs.

The step says connector and resource besides, so that it reads by itself; the tool narrows what it may do, and is asked each
time whether it may be used (its kind, its gate and the port's implementation are in `catalogue`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from stanchion.base import Denied, Internal, Json
from stanchion.blueprints import ConfigIssue, Lookup
from stanchion.context import Env
from stanchion.runs import StepCall
from stanchion.tools.adapter import Adapter, Target
from stanchion.tools.simulated import envelope_of
from stanchion.tools.types import Connector, Envelope, Operation, Record

TOOL: Final[Json] = {
    "type": "string",
    "x-artifact": "tool",
    "description": "the tool that this step uses: it must be enabled, and narrows what the step may do",
}
SIMULATE: Final[Json] = {
    "type": "boolean",
    "description": "true: intent and outcome are recorded and nothing is sent",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """A tool as a step uses it: its pinned version, and what it makes of the connector's operation."""

    name: str
    digest: str
    operation: Operation


class ToolGuard(Protocol):
    """Filled by `catalogue`: whether a step may use the tool that it names."""

    async def admit(
        self, env: Env, call: StepCall, connector: Connector, operation: Operation, *, simulated: bool
    ) -> ToolUse:
        """Return if it may. `simulated`: nothing will be sent, so that a disabled version may be tried.

        Raises Suspend while the tool is killed; Denied `tool.disabled`, `tool.connector_changed`; Invalid
        `tool.bad_arguments`; Unavailable `tool.unread`.
        """
        ...


class NoTools:
    """No tool is known: whoever names one is refused (I11)."""

    async def admit(
        self, env: Env, call: StepCall, connector: Connector, operation: Operation, *, simulated: bool
    ) -> ToolUse:
        """Nothing may be used."""
        del env, connector, operation, simulated
        raise Denied(
            "tool.disabled",
            f"This process knows of no tools, and step {call.path!r} uses {call.config['tool']!r}.",
            hint="Let a worker that serves tools execute it.",
        )


NO_TOOLS: Final[ToolGuard] = NoTools()


def use_issues(verb: str, config: Mapping[str, Json], lookup: Lookup) -> Iterator[ConfigIssue]:
    """Complaints about a step whose tool is another operation than the step's."""
    name = config.get("tool")
    body = lookup("tool", name) if isinstance(name, str) else None
    called = body.get("call") if body is not None else None
    if not isinstance(called, dict):
        return
    place = "operation" if verb == "execute" else "resource"
    for field, said in (("connector", config.get("connector")), (place, config.get(place))):
        if called.get("verb") != verb or called.get(field) != said:
            target = f"{called.get('connector')}.{called.get('operation', called.get('resource'))}"
            yield ConfigIssue(
                pointer="/tool",
                code="blueprint.other_tool",
                message=f"The tool {name} is the {called.get('verb')} of {target}, and not what this step does.",
                hint="Name its connector and its operation in the step, or another tool.",
            )
            return


def limit_of(call: StepCall) -> int | None:
    """How many records a fetch takes at most: what the step says, else what its tool says, else None."""
    said = call.config.get("limit")
    if isinstance(said, int):
        return said
    name = call.config.get("tool")
    if not isinstance(name, str):
        return None
    body = cast("Mapping[str, Any] | None", call.bodies.get(("tool", name)))
    if body is None:
        raise Internal("tool.not_pinned", f"The run holds no version of the tool {name!r}.")
    return int(body["call"].get("limit", 100))


class Simulating:
    """An adapter's writes, not performed: each answers as `simulated` says. For a step that says `simulate: true`."""

    def __init__(self, env: Env) -> None:
        self._env = env

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """What the push would have answered."""
        return envelope_of(target, record, idempotency_key, environment=self._env.environment)

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:
        """What the operation would have answered."""
        return envelope_of(target, arguments, idempotency_key or "", environment=self._env.environment)

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:
        """Nothing was ever sent under the key."""
        del target, record, idempotency_key
        return False


def simulating(env: Env, adapter: Adapter, config: Mapping[str, Json]) -> Adapter:
    """The adapter, or for a step that only simulates one that sends nothing."""
    return cast("Adapter", Simulating(env)) if config.get("simulate") is True else adapter
