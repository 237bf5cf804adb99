"""Gates: what a set of versions needs before it moves, who said what about it, and what happens when it moves without.

Each move (an apply, a rollout's begin and every going on) is judged by the live policy `release-gates` in its own
transaction. Evidence is bound to exact digests; a gate answers PASS, FAIL or INCONCLUSIVE, and only PASS lets the set
move. Where no policy is live, production needs another person and the rest needs nothing (I11).
"""

from stanchion.releases.gates.checks import STANDARD
from stanchion.releases.gates.judging import (
    GATES,
    Gates,
    admit,
    announce,
    asked_of,
    audit_facts,
    current,
    kept,
    refuse_forward,
)
from stanchion.releases.gates.policies import GateType, schema_of
from stanchion.releases.gates.service import (
    Which,
    approve,
    list_broken_glass,
    list_evidence,
    list_prepared,
    measure,
    report_eval,
    review,
    withdraw,
)
from stanchion.releases.gates.store import Said
from stanchion.releases.gates.types import (
    POLICY_NAME,
    Asked,
    BrokenGlass,
    EvalReport,
    Evidence,
    EvidenceRecord,
    Finding,
    Move,
    Moving,
    Prepared,
    PreparedMember,
    Review,
    Ruling,
    Subject,
    Verdict,
)

__all__ = [
    "GATES",
    "POLICY_NAME",
    "STANDARD",
    "Asked",
    "BrokenGlass",
    "EvalReport",
    "Evidence",
    "EvidenceRecord",
    "Finding",
    "GateType",
    "Gates",
    "Move",
    "Moving",
    "Prepared",
    "PreparedMember",
    "Review",
    "Ruling",
    "Said",
    "Subject",
    "Verdict",
    "Which",
    "admit",
    "announce",
    "approve",
    "asked_of",
    "audit_facts",
    "current",
    "kept",
    "list_broken_glass",
    "list_evidence",
    "list_prepared",
    "measure",
    "refuse_forward",
    "report_eval",
    "review",
    "schema_of",
    "withdraw",
]
