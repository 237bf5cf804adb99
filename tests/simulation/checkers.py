"""The checkers: what must have held in a seed, by the bank's ledger, the clients' notes and the handlers' log.

The engine's own tables are read for what they claim in the end; they are never the only witness of what happened.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from stanchion.approvals import Verdict
from stanchion.base import loads
from stanchion.runs import StepRun
from stanchion.runs.rules import digest_of_steps
from tests.simulation.blueprints import LIMIT, ORDER
from tests.simulation.results import expected
from tests.simulation.work import Executed
from tests.simulation.workload import Order

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

Row = Mapping[str, Any]
ENDED: Final = ("SUCCEEDED", "FAILED", "CANCELLED")
# What a run may fail of. Anything else was done to it by the engine.
FAILURES: Final = frozenset(
    {
        "work.fatal", "work.failed", "work.busy", "step.timeout", "adapter.refused", "adapter.timeout",
        "effect.outcome_unknown", "for_each.item_failed", "approval.rejected", "poison",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be: which checker says so, of which run, and why."""

    checker: str
    run_id: UUID | None
    reason: str


class Facts:
    """What all checkers look at, gathered once."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.runs: dict[UUID, Row] = {row["id"]: row for row in sim.server.rows("runs")}
        self.steps: dict[UUID, list[Row]] = defaultdict(list)
        for row in sim.server.rows("step_runs"):
            self.steps[row["run_id"]].append(row)
        self.approvals = list(sim.server.rows("approvals"))
        self.effects = list(sim.server.rows("effects"))
        self.audit: list[tuple[int, Row, Any]] = [
            (seq, row, loads(row["record"])) for seq, row in sim.transitions.audit
        ]
        self.children: dict[UUID, list[Row]] = defaultdict(list)
        self.roots: dict[str, list[Row]] = defaultdict(list)
        for row in self.runs.values():
            if row["parent_id"] is None:
                self.roots[str(row["input"]["order"])].append(row)
            else:
                self.children[row["parent_id"]].append(row)
        # Applied effects by what they are logically about.
        self.applied: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
        for received in sim.bank.ledger:
            if received.applied:
                self.applied[logical(received.record)].append(received)

    def order_of(self, run: Row) -> Order:
        return self.sim.orders[str(self.runs[run["root_id"]]["input"]["order"])]


def logical(record: Row) -> tuple[Any, ...]:
    """What a record is about: of parcels, an order has one per amount; of all else, one."""
    if record["place"] == "parcel":
        return record["order"], "parcel", record["amount"]
    return record["order"], record["place"]


def check(sim: Simulation, stuck: str) -> list[Violation]:
    """All violations of a seed."""
    found = list(sim.transitions.found)
    found += [
        Violation("defects", None, text) for text in (*sim.defects, *sim.loop.errors, *([stuck] if stuck else ()))
    ]
    facts = Facts(sim)
    for checker in CHECKERS:
        found += checker(facts)
    return found


def _lost(facts: Facts) -> Iterator[Violation]:
    """L: no accepted run is lost; a key stands for one run."""
    for order in facts.sim.workload.orders:
        rows = facts.roots.get(order.name, [])
        if len(set(order.answers)) > 1 or len(rows) > 1:
            yield Violation(
                "lost", None, f"order {order.name} was started as {order.answers}, runs {[r['id'] for r in rows]}"
            )
        if order.answers and order.answers[0] not in {str(row["id"]) for row in rows}:
            yield Violation(
                "lost", UUID(order.answers[0]), f"order {order.name} was accepted, and there is no such run"
            )
        if not order.answers and not order.gives_up:
            yield Violation("lost", None, f"order {order.name} was never accepted")
    for run in facts.runs.values():
        if run["status"] not in ENDED:
            yield Violation(
                "lost", run["id"],
                f"still {run['status']} at {run['path']!r} ({run['waiting_kind']} {run['waiting_ref']}, wakes {run['wakes']})",
            )  # fmt: skip


def _drained(facts: Facts) -> Iterator[Violation]:
    """Everything drains: nobody waits for a person any more, no open step is left behind."""
    if not facts.sim.drained:
        yield Violation(
            "drained", None, f"not drained {facts.sim.loop.time() - facts.sim.chaos_s:.0f} s after the faults ended"
        )
    for approval in facts.approvals:
        if approval["status"] == "PENDING" and facts.runs[approval["run_id"]]["status"] in ENDED:
            yield Violation("drained", approval["run_id"], f"approval {approval['id']} is PENDING though its run ended")
    for run in facts.runs.values():
        if run["status"] == "SUCCEEDED":
            for step in facts.steps[run["id"]]:
                if step["status"] not in ("SUCCEEDED", "SKIPPED", "FAILED"):
                    yield Violation(
                        "drained", run["id"], f"step {step['path']} is {step['status']} in a run that SUCCEEDED"
                    )


def _effects(facts: Facts) -> Iterator[Violation]:
    """D: at most one effect per logical step; exactly one where the step is done."""
    for about, received in facts.applied.items():
        if len(received) > 1:
            told = [f"{r.at:.3f} s by {r.process} under {r.key[:12]}" for r in received]
            yield Violation("effects", _run_of(facts, about), f"{about} happened {len(received)} times: {told}")
    for run_id, steps in facts.steps.items():
        run = facts.runs[run_id]
        for step in steps:
            if step["verb"] == "push" and step["status"] == "SUCCEEDED":
                about = _about(facts, run, step)
                if about is not None and not facts.applied.get(about):
                    yield Violation("effects", run_id, f"{step['path']} is done and {about} never happened")


def _about(facts: Facts, run: Row, step: Row) -> tuple[Any, ...] | None:
    if run["blueprint"] == "batch":
        return run["input"]["line"], "batch"
    if run["blueprint"] == "parcel":
        return None  # counted by the result: which amounts, depends on what was packed
    return run["input"]["order"], run["blueprint"]


def _run_of(facts: Facts, about: tuple[Any, ...]) -> UUID | None:
    rows = facts.roots.get(str(about[0]).split(".", maxsplit=1)[0])
    if not rows:
        return None
    for child in facts.children.get(rows[0]["id"], ()):
        if child["input"] is not None and isinstance(child["input"], dict) and child["input"].get("line") == about[0]:
            return child["id"]
    return rows[0]["id"]


@cache
def _rank(blueprint: str, path: str) -> int:
    bare = path.split("[", maxsplit=1)[0]
    return ORDER[blueprint].index(bare) if bare in ORDER[blueprint] else -1


def _backwards(facts: Facts) -> Iterator[Violation]:
    """B: a run never goes backwards, and each epoch of it belongs to one process."""
    by_run: dict[UUID, list[Executed]] = defaultdict(list)
    for entry in facts.sim.log.entries:
        by_run[entry.run_id].append(entry)
    for run_id, entries in by_run.items():
        owner: dict[int, str] = {}
        reached: dict[int, int] = {}
        for entry in entries:
            rank = _rank(entry.blueprint, entry.path)
            if rank < 0:
                yield Violation("backwards", run_id, f"{entry.path} is no step of {entry.blueprint}")
            if owner.setdefault(entry.epoch, entry.process) != entry.process:
                yield Violation(
                    "one owner", run_id, f"epoch {entry.epoch} was held by {owner[entry.epoch]} and {entry.process}"
                )
            if rank < reached.get(entry.epoch, -1):
                yield Violation(
                    "backwards", run_id, f"{entry.path} was executed after a later step in epoch {entry.epoch}"
                )
            reached[entry.epoch] = max(rank, reached.get(entry.epoch, -1))
        lowest: dict[int, int] = {}
        for entry in entries:
            rank = _rank(entry.blueprint, entry.path)
            lowest[entry.epoch] = min(rank, lowest.get(entry.epoch, rank))
        highest = -1
        for epoch in sorted(lowest):
            if lowest[epoch] < highest:
                path = ORDER[entries[0].blueprint]
                yield Violation(
                    "backwards", run_id,
                    f"epoch {epoch} executed {path[lowest[epoch]]} after an earlier one had begun {path[highest]}",
                )  # fmt: skip
            highest = max(highest, reached[epoch])


def _approvals(facts: Facts) -> Iterator[Violation]:
    """A: no gated effect without an earlier approval of exactly this by somebody allowed; a decision stands."""
    decisions = facts.sim.clients.decisions
    rows = {row["id"]: row for row in facts.approvals}
    accepted: dict[UUID, list[Any]] = defaultdict(list)
    for said in decisions:
        row = rows.get(said.approval_id)
        if said.outcome == "ok":
            accepted[said.approval_id].append(said)
            if row is None or said.by.principal == row["requested_by"] or "approver" not in said.by.roles:
                yield Violation("approvals", said.run_id, f"{said.by.principal} was let decide {said.approval_id}")
            elif said.quoted != row["args_digest"]:
                yield Violation(
                    "approvals", said.run_id, f"a decision about other arguments was taken for {said.approval_id}"
                )
    for approval_id, said in accepted.items():
        if len(said) > 1:
            yield Violation("approvals", said[0].run_id, f"{approval_id} was decided {len(said)} times")
        if rows[approval_id]["status"] != ("APPROVED" if said[0].verdict is Verdict.APPROVE else "REJECTED"):
            yield Violation(
                "approvals", said[0].run_id, f"{approval_id} was {said[0].verdict} and is {rows[approval_id]['status']}"
            )
    # How far apart two machines may see an approval's expiry: offsets of both, and what drift adds in a seed.
    clocks = timedelta(seconds=2 * facts.sim.skew_s + 4)
    for received in facts.sim.bank.ledger:
        record = received.record
        if record["amount"] <= LIMIT or record["place"] not in ("payment", "batch"):
            continue
        run_id = _run_of(facts, logical(record))
        if not any(
            said.verdict is Verdict.APPROVE
            and said.outcome in ("ok", "info")
            and said.seq < received.seq
            and said.run_id == run_id
            and record in said.shown
            and rows[said.approval_id]["expires_at"] + clocks > _time(facts, said.at)
            and said.by.principal != rows[said.approval_id]["requested_by"]
            for said in decisions
        ):
            yield Violation(
                "approvals", run_id, f"{record} was written at {received.at:.3f} s without an approval of it"
            )


def _time(facts: Facts, at: float) -> Any:
    from tests.simulation.machine import EPOCH

    return EPOCH + timedelta(seconds=at)


def _audit(facts: Facts) -> Iterator[Violation]:
    """I6: starts, ends, decisions and effects stand in the audit log, an attempt before its effect."""
    by_type: dict[str, list[tuple[int, Row, Any]]] = defaultdict(list)
    for seq, row, record in facts.audit:
        by_type[row["event_type"]].append((seq, row, record))
    yield from _audit_of_runs(facts, by_type)
    yield from _audit_of_effects(facts, by_type)
    decided = Counter(row["target_id"] for _, row, _ in by_type["approval.decided"])
    for row in facts.approvals:
        wanted = int(row["status"] in ("APPROVED", "REJECTED"))
        if decided[str(row["id"])] != wanted:
            yield Violation(
                "audit",
                row["run_id"],
                f"approval {row['id']} is {row['status']} with {decided[str(row['id'])]} records",
            )
    asked = {
        "cancel": "run.cancel_requested",
        "requeue": "run.requeued",
        "retry": "run.retried",
        "discard": "run.discarded",
        "resolve": "effect.resolved",
    }
    for told in facts.sim.clients.told:
        if told.outcome == "ok" and told.what not in ("requeue", "discard"):
            recorded = any(row["target_id"] == str(told.target) for _, row, _ in by_type[asked[told.what]])
            if not recorded:
                yield Violation("audit", None, f"{told.what} of {told.target} is not recorded")


def _audit_of_runs(facts: Facts, by_type: Mapping[str, list[tuple[int, Row, Any]]]) -> Iterator[Violation]:
    started = Counter(row["run_id"] for _, row, _ in by_type["run.started"])
    ends: dict[Any, list[Any]] = defaultdict(list)
    for _, row, record in by_type["run.ended"]:
        ends[row["run_id"]].append(record)
    for run_id, run in facts.runs.items():
        if started[run_id] != 1:
            yield Violation("audit", run_id, f"{started[run_id]} start records")
        if run["status"] not in ENDED:
            continue
        told = ends.get(run_id)
        if not told or told[-1]["extra"]["status"] != run["status"]:
            yield Violation(
                "audit",
                run_id,
                f"{run['status']}, and the end records say {[r['extra']['status'] for r in told or ()]}",
            )
        elif told[-1]["after"] != _digest(facts.steps[run_id]):
            yield Violation(
                "audit",
                run_id,
                f"the end record's digest of {told[-1]['extra']['steps']} steps is not that of the stored ones",
            )
    for run_id in [*started, *ends]:
        if run_id not in facts.runs:
            yield Violation("audit", run_id, "recorded, and there is no such run")


def _digest(rows: list[Row]) -> str:
    def key(row: Row) -> tuple[Any, ...]:
        return row["position"], -1 if row["item_no"] is None else row["item_no"], row["path"]

    fields = StepRun.__dataclass_fields__
    return digest_of_steps(
        StepRun(**dict(zip(fields, map(row.__getitem__, fields), strict=True))) for row in sorted(rows, key=key)
    )


def _audit_of_effects(facts: Facts, by_type: Mapping[str, list[tuple[int, Row, Any]]]) -> Iterator[Violation]:
    attempted: dict[str, int] = {}
    for seq, _, record in by_type["effect.attempted"]:
        attempted.setdefault(record["extra"]["key"], seq)
    outcomes: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for kind in ("effect.completed", "effect.resolved"):
        for seq, row, record in by_type[kind]:
            outcomes[record["extra"]["key"]].append((seq, record["outcome"]["status"]))
            if attempted.get(record["extra"]["key"], seq) >= seq:
                yield Violation(
                    "audit",
                    row["run_id"],
                    f"the outcome of {record['extra']['key'][:12]} is recorded before its attempt",
                )
    keys = {row["key"]: row for row in facts.effects}
    for received in facts.sim.bank.ledger:
        first = attempted.get(received.key)
        if first is None or first > received.seq:
            yield Violation(
                "audit",
                _run_of(facts, logical(received.record)),
                f"{received.record} was written before an attempt of it was recorded",
            )
        if received.key not in keys:
            yield Violation(
                "audit",
                _run_of(facts, logical(received.record)),
                f"{received.record} was written under a key that no effect has",
            )
    for key, row in keys.items():
        said = [status for _, status in sorted(outcomes[key])]
        if row["state"] == "DONE" and "SUCCEEDED" not in said:
            yield Violation("audit", row["run_id"], f"effect {row['id']} is DONE and its outcome is not recorded")
        happened = any(r.key == key and r.applied for r in facts.sim.bank.ledger)
        if row["state"] == "DONE" and not happened and row["idempotency"] != "natural":
            yield Violation("audit", row["run_id"], f"effect {row['id']} is DONE and never happened")
        if row["state"] == "FAILED" and happened:
            yield Violation("audit", row["run_id"], f"effect {row['id']} is FAILED and happened")


def _tenants(facts: Facts) -> Iterator[Violation]:
    """I13: nothing of one tenant reaches another."""
    for run in facts.runs.values():
        tenant = facts.order_of(run).tenant
        rows = [run, *facts.steps[run["id"]]]
        if any(row["tenant"] != tenant for row in rows):
            yield Violation("tenants", run["id"], f"rows of {[row['tenant'] for row in rows]} in a run of {tenant}")
    for row in (*facts.approvals, *facts.effects, *(row for _, row, _ in facts.audit)):
        run = facts.runs.get(row["run_id"])
        if run is not None and run["tenant"] != row["tenant"]:
            yield Violation(
                "tenants", run["id"], f"{row['id']} of tenant {row['tenant']} belongs to a run of {run['tenant']}"
            )
    for received in facts.sim.bank.ledger:
        if received.record["place"] == "payment":
            order = facts.sim.orders[str(received.record["order"])]
            if received.record["tenant"] != order.tenant:
                yield Violation(
                    "tenants", _run_of(facts, logical(received.record)), f"{received.record} for {order.tenant}"
                )


def _results(facts: Facts) -> Iterator[Violation]:
    """A run's result is what its Blueprint says for its input; it fails only of what may fail."""
    cancelled = {told.target for told in facts.sim.clients.told if told.what == "cancel"}
    for run in facts.runs.values():
        if run["status"] == "SUCCEEDED":
            reason = expected(facts, run)
            if reason:
                yield Violation("results", run["id"], reason)
        elif run["status"] == "FAILED":
            code = (run["error"] or {}).get("code")
            if code not in FAILURES:
                yield Violation("results", run["id"], f"failed of {code}: {run['error']}")
            elif code == "poison" and facts.sim.deaths < 3:
                yield Violation("results", run["id"], f"called poison after {facts.sim.deaths} deaths of workers")
        elif run["status"] == "CANCELLED" and not _was_cancelled(facts, run, cancelled):
            yield Violation("results", run["id"], f"cancelled by nobody: {run['cancel_reason']}")


def _was_cancelled(facts: Facts, run: Row, cancelled: set[UUID]) -> bool:
    if run["cancel_reason"] == "for_each.stopped" and run["parent_id"] is not None:
        return True
    while run["id"] not in cancelled:
        if run["parent_id"] is None:
            return False
        run = facts.runs[run["parent_id"]]
    return True


CHECKERS: Final[tuple[Callable[[Facts], Iterator[Violation]], ...]] = (
    _lost, _drained, _effects, _backwards, _approvals, _audit, _tenants, _results,
)  # fmt: skip
