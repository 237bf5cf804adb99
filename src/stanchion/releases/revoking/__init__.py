"""Revocation: a version that must not be used any more, by new runs or by those that are pinned to it (I14).

`revoke` marks a version by its digest. From then on no run begins on it, nobody can release it, and the runs that are pinned
to it stop before their next use of it, on every process within a second. One action gives all of them another version that
fits (`repin`), or cancels them; `reinstate` takes the revocation back.

    revoked → reinstated
"""

from stanchion.releases.revoking.naming import impact, named
from stanchion.releases.revoking.repinning import Means, repin
from stanchion.releases.revoking.service import (
    cancel_stopped,
    facts,
    foresee,
    list_bound,
    list_repins,
    list_revocations,
    reinstate,
    revoke,
    show_revocation,
)
from stanchion.releases.revoking.types import Fate, Impact, Named, Outcome, Outcomes, Repin, Shown

__all__ = [
    "Fate",
    "Impact",
    "Means",
    "Named",
    "Outcome",
    "Outcomes",
    "Repin",
    "Shown",
    "cancel_stopped",
    "facts",
    "foresee",
    "impact",
    "list_bound",
    "list_repins",
    "list_revocations",
    "named",
    "reinstate",
    "repin",
    "revoke",
    "show_revocation",
]
