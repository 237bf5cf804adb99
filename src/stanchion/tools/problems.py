"""How a call of an external system fails: below everything that makes one."""

from __future__ import annotations

from stanchion.base import Unavailable


class AdapterProblem(Unavailable):
    """A call of an external system failed. `sent`: whether its write may have been applied all the same."""

    @property
    def sent(self) -> bool:
        """False only where it is certain that nothing was written."""
        return bool(self.fields.get("sent", False))
