"""Guards of rollouts: while a candidate is out, what its runs did is compared with what the stable versions' runs did.

The scheduler's duty `collect` counts runs that have ended, by the arm that was recorded when they started, and what others
measured of them (`report`); `Guards` fills the port through which a rollout asks what it may do. What holds:

* Each run, and each value that was reported of one, counts once for a rollout: however many schedulers look, whenever
  one dies, and however late a start was committed.
* Only a proof of harmlessness lets a rollout go on by itself, and none can come without data of both arms.
* Nothing of this is on the way of a run: no query at a start, a step or an end.
"""

from stanchion.releases.guarding.collecting import collect
from stanchion.releases.guarding.judging import Guards
from stanchion.releases.guarding.service import report
from stanchion.releases.guarding.types import Measurement

__all__ = ["Guards", "Measurement", "collect", "report"]
