"""How a call of an external system fails: below everything that makes one."""

from __future__ import annotations

from stanchion.base import Problem, Unavailable


class AdapterProblem(Unavailable):
    """A call of an external system failed. `sent`: whether its write may have been applied all the same."""

    @property
    def sent(self) -> bool:
        """False only where it is certain that nothing was written."""
        return bool(self.fields.get("sent", False))


def is_certain(problem: Problem) -> bool:
    """Whether it says itself that nothing was sent, or that something may have been."""
    return isinstance(problem.fields.get("sent"), bool)
