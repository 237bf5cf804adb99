"""Tools: one operation of a connector each, under a name and a description that models are told, released like anything else.

A version may be used where it is enabled. `write` and `destructive` versions are born disabled, in production every one is;
enabling takes the eight points of the gate, each machine-checked and printed with its evidence (docs/adr/0027). A call is a
run of its own, of a program that is derived from the tool: nothing goes round the ledger, the approvals or the audit log.
"""

from stanchion.tools.catalogue.guard import Guard
from stanchion.tools.catalogue.kind import ToolKind, program_of
from stanchion.tools.catalogue.snapshot import States, flag_of, kept

__all__ = ["Guard", "States", "ToolKind", "flag_of", "kept", "program_of"]
