"""Whether a step may use the tool that it names, asked where it is used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from stanchion.base import Denied, Internal, Invalid, Json
from stanchion.blueprints import Schema, validate_value
from stanchion.context import Env
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.runs import StepCall, Suspend, WaitingKind
from stanchion.tools.catalogue import derive
from stanchion.tools.catalogue.schema import tool_of
from stanchion.tools.catalogue.snapshot import States
from stanchion.tools.catalogue.types import Tool
from stanchion.tools.types import Connector, Operation
from stanchion.tools.uses import ToolUse

# Tools parsed from their bodies, by digest: immutable, so kept until others are used more.
_PARSED_MAX: Final = 256


class Guard:
    """Fills `ToolGuard` for one process.

    Args:
        states: which versions may be used, kept fresh in this process.
        kills: what is killed.
    """

    def __init__(self, states: States, kills: Kills = NO_KILLS) -> None:
        self._states = states
        self._kills = kills
        self._parsed: OrderedDict[str, Tool] = OrderedDict()
        self._inputs = Inputs()

    async def admit(
        self, env: Env, call: StepCall, connector: Connector, operation: Operation, *, simulated: bool
    ) -> ToolUse:
        """Return if the step may use its tool. Raises as `ToolGuard.admit`."""
        name = str(call.config["tool"])
        body = call.bodies.get(("tool", name))
        if body is None:
            raise Internal("tool.not_pinned", f"The run holds no version of the tool {name!r}.")
        tool = self._tool(call.digests.get(("tool", name), ""), body)
        blocked = self._kills.blocked(call.claim.tenant, "tool", name, tool.digest, strict=tool.effect != "read")
        if blocked is not None:
            env.telemetry.emit("kill.stopped", 1.0, "tool")
            raise Suspend(WaitingKind.KILLED, ref=blocked.ref, after_s=blocked.again_s)
        if not simulated:
            self._states.admit(call.claim.tenant, tool, connector.digest)
        if tool.connector != connector.name or derive.operation_of(tool, connector) != operation:
            raise Denied(
                "tool.other_operation",
                f"The pinned version of tool {name} is {tool.operation}, and step {call.path!r} does something else.",
                hint="Release a Blueprint whose step does what the tool is.",
            )
        self._inputs.check(tool, connector, derive.arguments_in(tool.verb, call.config))
        return ToolUse(name=name, digest=tool.digest, operation=replace(operation, effect=tool.effect))

    def _tool(self, digest: str, body: Mapping[str, Json]) -> Tool:
        found = self._parsed.get(digest)
        if found is None:
            found = self._parsed[digest] = tool_of(body, digest)
            if len(self._parsed) > _PARSED_MAX:
                self._parsed.popitem(last=False)
        self._parsed.move_to_end(digest)
        return found


class Inputs:
    """What tools take: derived once per version of a tool and of its connector, both of which are immutable."""

    def __init__(self) -> None:
        self._schemas: OrderedDict[tuple[str, str], Schema] = OrderedDict()

    def check(self, tool: Tool, connector: Connector, arguments: Mapping[str, Json]) -> None:
        """As `check_arguments`."""
        key = tool.digest, connector.digest
        schema = self._schemas.get(key)
        if schema is None:
            schema = self._schemas[key] = derive.input_schema(tool, connector)
            if len(self._schemas) > _PARSED_MAX:
                self._schemas.popitem(last=False)
        self._schemas.move_to_end(key)
        _check(tool, schema, arguments)


def check_arguments(tool: Tool, connector: Connector, arguments: Mapping[str, Json]) -> None:
    """Return if the arguments fit what the tool takes. Raises Invalid `tool.bad_arguments` with every complaint."""
    _check(tool, derive.input_schema(tool, connector), arguments)


def _check(tool: Tool, schema: Schema, arguments: Mapping[str, Json]) -> None:
    faults = validate_value(schema, dict(arguments))
    if faults:
        raise Invalid(
            "tool.bad_arguments",
            f"The arguments do not fit tool {tool.name}: {faults[0][0] or '/'}: {faults[0][1]}",
            hint=f"See `stanchion tool show {tool.name}` for what it takes.",
            errors=[{"pointer": pointer, "message": message} for pointer, message in faults],
        )
