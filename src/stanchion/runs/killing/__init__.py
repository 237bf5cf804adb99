"""Kill switches and runs: which runs a kill concerns, and letting those that waited for it go on.

A run of a killed Blueprint waits before its next step as SUSPENDED `killed`, with the kill's id as what it waits on (as a
step of a killed connector does), and not as a retry: it uses up no attempt, is not claimed again until it may go on, and
says why. The duty `wake_lifted` lets it go on within a second of the lifting; a lifting that the run's worker did not
yet know of is found by the next look, so no wake-up is lost.
"""

from stanchion.runs.killing.service import PinnedKind, TenantKind, wake_lifted

__all__ = ["PinnedKind", "TenantKind", "wake_lifted"]
