"""What each Blueprint of the workload gives for an input, computed by hand and from the bank's ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.blueprints import LIMIT
from tests.simulation.work import worked

if TYPE_CHECKING:
    from tests.simulation.checkers import Facts

Row = Mapping[str, Any]


def expected(facts: Facts, run: Row) -> str:
    """What is wrong with the output of a run that SUCCEEDED; nothing if it is right."""
    if run["parent_id"] is not None:
        return _line(facts, run)
    order = facts.order_of(run)
    if run["input"] != order.input:
        return f"its input is {run['input']}, not {order.input}"
    return _OF[run["blueprint"]](facts, run)


def _compare(run: Row, wanted: object) -> str:
    return "" if run["output"] == wanted else f"its output is {run['output']}, not {wanted}"


def _errand(facts: Facts, run: Row) -> str:
    value = run["input"]
    if value["fatal"]:
        return "it succeeded though it cannot"
    return _compare(run, {"order": value["order"], "value": worked(worked(2 * value["n"]))})


def _payment(facts: Facts, run: Row) -> str:
    order = facts.order_of(run)
    amount = order.amounts[order.name]
    paid = len(facts.applied.get((order.name, "payment"), ()))
    decision = _decision(facts, run, "size/then/consent") if amount > LIMIT else "not_required"
    if paid != int(decision in ("approved", "not_required")):
        return f"it was paid {paid} times after {decision}"
    return _compare(run, {"order": order.name, "amount": worked(amount)})


def _decision(facts: Facts, run: Row, path: str) -> str:
    """What became of the approval, by what people were answered; `expired` where nobody was heard."""
    found = next((row for row in reversed(facts.approvals) if row["run_id"] == run["id"] and row["path"] == path), None)
    if found is None:
        return "not asked"
    said = [d for d in facts.sim.clients.decisions if d.approval_id == found["id"]]
    ok = [d for d in said if d.outcome == "ok"]
    if ok:
        return "approved" if ok[0].verdict.value == "approve" else "rejected"
    status = str(found["status"]).lower()
    if status in ("approved", "rejected") and not any(d.outcome == "info" for d in said):
        return f"{status} by nobody"
    return status


def _parcel(facts: Facts, run: Row) -> str:
    """Parts that may fail may be packed after all, when the run is requeued; all others are packed once."""
    value = run["input"]
    parts, name = value["parts"], value["order"]
    good = {worked(part["n"]) for part in parts if not part["fatal"] and part["fails"] < 3}
    doubtful = {worked(part["n"]) for part in parts if not part["fatal"] and part["fails"] >= 3}
    sent = {about[2] for about in facts.applied if about[:2] == (name, "parcel")}
    if not _even(good) <= sent <= _even(good | doubtful):
        return f"it sent {sorted(sent)}, not {sorted(_even(good))} and perhaps {sorted(_even(doubtful))}"
    lost = run["output"]["lost"]
    if not len(parts) - len(good) - len(doubtful) <= lost <= len(parts) - len(good):
        return f"it lost {lost} of {len(parts)} parts, of which {len(good)} are good and {len(doubtful)} doubtful"
    return _compare(run, {"order": name, "sent": len(sent), "lost": lost})


def _even(values: set[int]) -> set[int]:
    return {value for value in values if value % 4 == 0}


def _batch(facts: Facts, run: Row) -> str:
    value = run["input"]
    children = sorted(facts.children[run["id"]], key=lambda child: child["item_no"])
    if [child["input"] for child in children] != value["lines"]:
        return "its items are not its lines, each once"
    good = sum(child["status"] == "SUCCEEDED" for child in children)
    # Items that were cancelled before they began are in neither list.
    dropped = sum(child["status"] == "CANCELLED" and child["started_at"] is None for child in children)
    return _compare(run, {"order": value["order"], "value": worked(good), "failed": len(children) - good - dropped})


def _line(facts: Facts, run: Row) -> str:
    value = run["input"]
    if value["fatal"]:
        return "it succeeded though it cannot"
    decision = _decision(facts, run, "each/agreed") if value["amount"] > LIMIT else "not_required"
    posted = len(facts.applied.get((value["line"], "batch"), ()))
    if posted != int(decision in ("approved", "not_required")):
        return f"it was posted {posted} times after {decision}"
    return _compare(run, {"line": value["line"], "amount": worked(value["amount"])})


def _letter(facts: Facts, run: Row) -> str:
    value = run["input"]
    posted = facts.applied.get((value["order"], "letter"), ())
    if [received.record["amount"] for received in posted] != [worked(value["pages"])]:
        return f"its letters are {[dict(received.record) for received in posted]}"
    return _compare(run, {"order": value["order"], "value": worked(value["pages"]) + 1})


_OF: Final[Mapping[str, Callable[[Any, Row], str]]] = {
    "errand": _errand,
    "payment": _payment,
    "parcel": _parcel,
    "batch": _batch,
    "letter": _letter,
}
