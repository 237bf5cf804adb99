"""The checker that watches: told of every row that a commit changes, and of every step that begins."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final
from uuid import UUID

from stanchion.runs import StepCall
from stanchion.runs.engine.worker import LEASE_S
from stanchion.runs.rules import STEP_TRANSITIONS, TRANSITIONS
from tests.simulation.checkers import Row, Violation
from tests.simulation.work import Executed

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_RUN_CHANGES: Final = frozenset((old.value, new.value) for old, news in TRANSITIONS.items() for new in news)
_STEP_CHANGES: Final = frozenset((old.value, new.value) for old, news in STEP_TRANSITIONS.items() for new in news)


class Transitions:
    """Told of every row that a commit changed: counts state transitions, refuses impossible ones, keeps what is
    committed for the look before each step (I1)."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self.counts: Counter[str] = Counter()
        self.found: list[Violation] = []
        self.runs: dict[UUID, Row] = {}
        self.steps: dict[tuple[UUID, str], Row] = {}
        # Audit records in the order in which they were committed, with the common sequence number.
        self.audit: list[tuple[int, Row]] = []
        sim.log.on_begin.append(self._begins)

    def changed(self, table: str, old: Row | None, new: Row | None) -> None:
        if table == "step_runs" and new is not None:
            self._step_changed(old, new)
        elif table == "runs" and new is not None:
            self._run_changed(old, new)
        elif table == "audit_records":
            if new is not None and old is None:
                self.audit.append((self._sim.log.next(), new))
            else:
                self._wrong(None, f"an audit record was changed: {old}")
        elif table == "effects" and new is not None:
            self._effect_changed(old, new)
        elif table == "workers" and new is not None:
            self._worker_changed(old, new)
        elif table in ("runs", "step_runs"):
            self._wrong(None, f"a row of {table} was deleted: {old}")

    def _run_changed(self, old: Row | None, new: Row) -> None:
        self.runs[new["id"]] = new
        if old is None:
            return
        if new["epoch"] < old["epoch"]:
            self._wrong(new["id"], f"the epoch went from {old['epoch']} to {new['epoch']}")
        before, after = old["status"], new["status"]
        if before == after:
            return
        self.counts[f"run {before} → {after}"] += 1
        if (before, after) not in _RUN_CHANGES:
            self._wrong(new["id"], f"the run went from {before} to {after}")
        if self._sim.trace is not None:
            self._sim.note("run", new["id"], before, after, new["path"], new["epoch"])

    def _worker_changed(self, old: Row | None, new: Row) -> None:
        """T: a worker is taken for dead by its lease only when it has not been heard for as long as that."""
        if new["state"] == "lost" and old is not None and old["state"] in ("live", "draining"):
            now = self._sim.server.clock.now()
            silent_s = (now - new["beat_at"]).total_seconds()
            if new["lease_until"] < now and silent_s < LEASE_S - 0.5:
                self.found.append(
                    Violation("leases", None, f"{new['name']} was taken for dead after {silent_s:.1f} s of silence")
                )

    def _effect_changed(self, old: Row | None, new: Row) -> None:
        """An attempt is recorded only under the claim that owns its run (I3), and only what did not happen as FAILED (I5)."""
        if new["state"] == "FAILED" and new["key"] in self._sim.bank.applied:
            reason = f"{new['path']} is called FAILED, and the bank has it"
            self.found.append(Violation("known effects", new["run_id"], reason))
        if new["state"] == "INTENT" and (old is None or old["intent_at"] != new["intent_at"]):
            run = self.runs[new["run_id"]]
            if run["status"] != "RUNNING" or run["epoch"] != new["epoch"]:
                self.found.append(
                    Violation(
                        "fenced effects", new["run_id"],
                        f"{new['path']} was attempted under epoch {new['epoch']} of a run that is {run['status']} at {run['epoch']}",
                    )
                )  # fmt: skip

    def _step_changed(self, old: Row | None, new: Row) -> None:
        self.steps[new["run_id"], new["path"]] = new
        if self._sim.trace is not None:
            was = None if old is None else old["status"]
            self._sim.note("step", new["run_id"], new["path"], was, new["status"], new["attempt"])
        if old is None:
            return
        before, after = old["status"], new["status"]
        if before == after:
            return
        self.counts[f"step {before} → {after}"] += 1
        if (before, after) not in _STEP_CHANGES:
            self._wrong(new["run_id"], f"step {new['path']} went from {before} to {after}")

    def _wrong(self, run_id: UUID | None, reason: str) -> None:
        self.found.append(Violation("transitions", run_id, reason))

    def _begins(self, entry: Executed, call: StepCall) -> None:
        """I1: a step is executed only once its run and its own row are committed."""
        run, step = self.runs.get(entry.run_id), self.steps.get((entry.run_id, entry.path))
        if self._sim.trace is not None:
            self._sim.note("executes", entry.process, entry.run_id, entry.path, entry.attempt, entry.epoch)
        if run is None or step is None or run["epoch"] < entry.epoch:
            self.found.append(
                Violation("pre-flight", entry.run_id, f"{entry.path} was executed before its rows were committed")
            )
        elif run["epoch"] == entry.epoch and step["attempt"] < entry.attempt:
            self.found.append(
                Violation("pre-flight", entry.run_id, f"attempt {entry.attempt} of {entry.path} was not committed")
            )
