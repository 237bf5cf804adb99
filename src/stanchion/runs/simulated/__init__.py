"""Which runs made writes that were only simulated: their steps' outputs say so (`receipt.simulated`), and so do they.

The engine knows nothing of effects; what a step returned is all that is read here.
"""

from stanchion.runs.simulated.store import count_own, count_whole

__all__ = ["count_own", "count_whole"]
