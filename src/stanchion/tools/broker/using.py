"""Which tool a call goes through, looked at by the broker itself: its document by digest from the database, whether it is
enabled from what the process keeps in memory, and the class of effect that it declares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from stanchion.base import Denied, Json
from stanchion.context import Env
from stanchion.tools.adapter import Target
from stanchion.tools.broker import checks
from stanchion.tools.broker.published import Published
from stanchion.tools.broker.types import BrokerCall
from stanchion.tools.catalogue import Inputs, States, operation_of, tool_of


class ToolJudge(Protocol):
    """What judges the tool of a call: `ToolsNow`."""

    async def judged(self, call: BrokerCall, target: Target) -> Target:
        """The target with the class of effect that the call has through its tool; as it is where it names none.

        Raises Denied `broker.unknown_tool`, `tool.disabled`, `tool.connector_changed`, `tool.other_operation`; Invalid
        `tool.bad_arguments`; Unavailable `tool.unread`; Internal `broker.corrupt_tool`.
        """
        ...


class ToolsNow:
    """Fills `ToolJudge` for one broker process. `states`: which versions may be used, kept fresh in this process."""

    def __init__(self, env: Env, states: States) -> None:
        self._states = states
        self._tools = Published(env, "tool", tool_of)
        self._inputs = Inputs()

    async def judged(self, call: BrokerCall, target: Target) -> Target:
        """As `ToolJudge.judged`. Most calls cost no statement: tools are immutable, and states are in memory."""
        asker, connector = target.asker, target.connector
        if asker is None or not asker.tool:
            return target
        tool = await self._tools.load(call.tenant, asker.tool, asker.tool_digest)
        self._states.admit(call.tenant, tool, connector.digest)
        if tool.connector != connector.name or operation_of(tool, connector) != target.operation:
            raise Denied(
                "tool.other_operation",
                f"The tool {tool.name} is {tool.operation}, and not what is asked of {target.name}; nothing was sent.",
                hint="Release a Blueprint whose step does what the tool is.",
            )
        self._inputs.check(tool, connector, _arguments(call))
        # A tool says at least as much as the connector: what it calls a write is one, though the connector says it reads.
        return replace(target, operation=replace(target.operation, effect=tool.effect))


def _arguments(call: BrokerCall) -> Mapping[str, Json]:
    """The arguments as the tool's schema has them. What a fetch leaves out arrives as null, which says the same."""
    if call.op == "fetch":
        return {name: value for name, value in checks.asked_arguments(call).items() if value is not None}
    if call.op == "lookup":
        return {"key": call.arguments.get("key")}
    raw = checks.raw_of(call)
    return raw if isinstance(raw, Mapping) else {}
