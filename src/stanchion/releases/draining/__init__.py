"""Drains: a version on which no new run begins, while those that began on it finish.

A drain says how many runs are left and, once there is none, when the last was seen to have ended (audited, and reported as
the event `drain.emptied`). Draining the live version refuses starts until another one is live.

    draining → empty;  either → undrained
"""

from stanchion.releases.draining.service import drain, list_drains, show_drain, undrain, watch
from stanchion.releases.draining.types import Drain

__all__ = ["Drain", "drain", "list_drains", "show_drain", "undrain", "watch"]
