"""What gates say, over HTTP: part of the answers of apply and of rollouts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stanchion.http import Reply, example
from stanchion.releases.gates.types import Ruling, Verdict

FINDING: dict[str, Any] = {
    "gate": "approval",
    "verdict": "INCONCLUSIVE",
    "why": "0 of 1 approvals.",
    "way_out": "Somebody else than ada (role approver) approves exactly this set: stanchion release approve"
    " policy/supervisor-approval@2 --reason …",
    "rule": "what people decide by",
    "about": ["policy/supervisor-approval@2"],
    "evidence": [],
}
RULING: dict[str, Any] = {
    "policy": "policy/release-gates@3",
    "policy_digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "subject": "sha256:4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce",
    "verdict": "INCONCLUSIVE",
    "findings": [FINDING],
    "broken_glass": None,
}


class FindingReply(Reply):
    """What one gate says: why, and what to do."""

    gate: str
    verdict: Verdict
    why: str
    way_out: str
    rule: str
    about: list[str]
    evidence: list[UUID]


class RulingReply(Reply):
    """What all gates say of a move, and which policy asked. `broken_glass`: it moved although they say no."""

    model_config = example(RULING)

    policy: str
    policy_digest: str
    subject: str
    verdict: Verdict
    findings: list[FindingReply]
    broken_glass: UUID | None

    @classmethod
    def of(cls, ruling: Ruling | None) -> RulingReply | None:
        """A ruling on the wire."""
        return None if ruling is None else cls.model_validate(ruling)
