"""What a run notes between two checkpoints: the StepRuns to write, and every ended one's line for the digest at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from stanchion.base import Json, raw
from stanchion.runs import rules
from stanchion.runs.engine.plan import OpPlan
from stanchion.runs.types import StepRun, StepStatus
from stanchion.telemetry import Telemetry

# A StepRun as `store.checkpoint` takes it.
Row = dict[str, Any]


class Notes:
    """Of one claimed run.

    Args:
        run_id: the run's id.
        path: where it stands; that StepRun has not ended.
        steps: its stored StepRuns, by path.
        telemetry: told of each step that ends.

    Attributes:
        rows: StepRuns that the next checkpoint writes, in the order in which they happened.
        weight: about the size of their outputs, in bytes.
    """

    __slots__ = ("_entries", "_run_id", "_telemetry", "rows", "weight")

    def __init__(self, run_id: UUID, path: str, steps: Mapping[str, StepRun], telemetry: Telemetry) -> None:
        self._run_id = run_id
        self._telemetry = telemetry
        self._entries: dict[str, tuple[int, int, list[str]]] = {
            s.path: (s.position, _rank(s.item_no), rules.entry_of(s)) for s in steps.values() if s.path != path
        }
        self.rows: list[Row] = []
        self.weight = 0

    def row(
        self,
        op: OpPlan,
        status: StepStatus,
        *,
        path: str | None = None,
        item_no: int | None = None,
        attempt: int = 1,
        first: int = 1,
        started: bool = False,
    ) -> Row:
        """A StepRun without output or error; it is not noted."""
        row: Row = {
            "run_id": self._run_id,
            "path": path or op.path,
            "position": op.position,
            "verb": op.verb,
            "status": status,
            "attempt": attempt,
            "first_attempt": first,
        }
        if item_no is not None:
            row["item_no"] = item_no
        if started:
            row["started"] = True
        return row

    def add(self, row: Row) -> None:
        """Note a StepRun for the next checkpoint alone: one that goes on, or whose line the digest has."""
        self.rows.append(row)

    def carry(self, output: bytes) -> None:
        """The next checkpoint carries this output too."""
        self.weight += len(output)

    def ended(
        self,
        op: OpPlan,
        status: StepStatus,
        *,
        output: bytes | None = None,
        error: dict[str, Json] | None = None,
        attempt: int = 1,
        first: int = 1,
        errors: list[Json] | None = None,
    ) -> None:
        """Note a StepRun that ended, for the next checkpoint and for the digest. `output` is canonical JSON."""
        row = self.row(op, status, attempt=attempt, first=first)
        row["ended"] = True
        if output is not None:
            row["output"] = raw(output)
            self.carry(output)
        if error is not None:
            row["error"] = error
        if errors is not None:
            row["errors"] = errors
        self.add(row)
        code = str(error["code"]) if error is not None else None
        self.enter(op, op.path, None, status, attempt, output, code)
        self._telemetry.emit("step.ended", 1.0, op.verb, status)

    def enter(
        self,
        op: OpPlan,
        path: str,
        item_no: int | None,
        status: StepStatus,
        attempt: int,
        output: bytes | None,
        code: str | None,
    ) -> None:
        """Note a StepRun that ended for the digest alone."""
        entry = rules.step_entry(path, op.verb, status, attempt, output, code)
        self._entries[path] = (op.position, _rank(item_no), entry)

    def take(self) -> tuple[list[Row], int]:
        """The rows to write now, and their weight; none are left."""
        taken = self.rows, self.weight
        self.rows, self.weight = [], 0
        return taken

    def drop(self, path: str) -> None:
        """Write no row of this step: it ends otherwise than was noted."""
        self.rows = [row for row in self.rows if row["path"] != path]

    def reopen(self, *paths: str) -> None:
        """These StepRuns have not ended: no line of the digest is theirs until they have."""
        for path in paths:
            self._entries.pop(path, None)

    @property
    def count(self) -> int:
        """How many StepRuns have ended."""
        return len(self._entries)

    def digest(self) -> str:
        """The digest over the ended StepRuns, in the order of the Blueprint (I6)."""
        return rules.run_digest(entry for _, _, entry in sorted(self._entries.values()))


def _rank(item_no: int | None) -> int:
    return -1 if item_no is None else item_no
