"""Tools: one operation of a connector each, under a name and a description that models are told, released like anything else.

A version may be used where it is enabled. `write` and `destructive` versions are born disabled, in production every one is;
enabling takes the eight points of the gate, each machine-checked and printed with its evidence (docs/adr/0027). A call is a
run of its own, of a program that is derived from the tool: nothing goes round the ledger, the approvals or the audit log.
"""

from stanchion.tools.catalogue.calling import Called, Means, ToolResolver, call
from stanchion.tools.catalogue.derive import operation_of
from stanchion.tools.catalogue.gate import attempt, check
from stanchion.tools.catalogue.guard import Guard, Inputs
from stanchion.tools.catalogue.kind import ToolKind, program_of
from stanchion.tools.catalogue.schema import tool_of
from stanchion.tools.catalogue.service import approve, disable, enable, list_tools, show_tool
from stanchion.tools.catalogue.snapshot import States, flag_of, kept
from stanchion.tools.catalogue.types import Point, PointName, Tool, ToolState, ToolVersion

__all__ = [
    "Called",
    "Guard",
    "Inputs",
    "Means",
    "Point",
    "PointName",
    "States",
    "Tool",
    "ToolKind",
    "ToolResolver",
    "ToolState",
    "ToolVersion",
    "approve",
    "attempt",
    "call",
    "check",
    "disable",
    "enable",
    "flag_of",
    "kept",
    "list_tools",
    "operation_of",
    "program_of",
    "show_tool",
    "tool_of",
]
