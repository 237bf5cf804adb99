"""What the broker measures of its calls: by connector and operation, in bounded number."""

from __future__ import annotations

from typing import Final

from stanchion.base import Problem
from stanchion.context import Env
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker.types import BrokerCall
from stanchion.tools.series import CONNECTORS_MAX, OTHER, Series

# Refusals before the call came as far as its connector, and as far as an operation of it: until then, both names are
# whatever a peer sent.
_NO_CONNECTOR: Final = {"broker.bad_token", "broker.token_expired", "broker.unknown_connector"}
_NO_OPERATION: Final = {
    "broker.no_asker",
    "broker.bad_call",
    "connector.unknown_resource",
    "connector.no_such_operation",
}


class Measures:
    """Counts calls, refusals and latency. One per broker process."""

    def __init__(self, env: Env, connectors_max: int = CONNECTORS_MAX) -> None:
        self._env = env
        self._series = Series(connectors_max)

    def label(self, connector: str) -> str:
        """The connector's name as a label: its own for the first of them, else `other`."""
        return self._series.connector(connector)

    def ended(self, call: BrokerCall, seconds: float, problem: Problem | None) -> None:
        """A call came to its end. Only calls that a checked connector exists for are told apart by its name."""
        if problem is not None and problem.code == "broker.failed":  # a defect ended it
            self.broken_off(call, seconds)
            return
        connector, operation = self._labels(call, problem)
        outcome = "ok" if problem is None else "failed" if isinstance(problem, AdapterProblem) else "refused"
        self._counted(connector, operation, outcome, seconds)
        if problem is not None:
            self._env.telemetry.emit("connector.failed", 1.0, connector, operation, problem.kind.value, problem.code)

    def broken_off(self, call: BrokerCall, seconds: float) -> None:
        """A call had no end of its own: its time was over, nobody waited for it any more, or a defect ended it. How far it
        came is not known, so neither is whether its names are those of anything."""
        self._counted(OTHER, call.op, "broken_off", seconds)

    def _counted(self, connector: str, operation: str, outcome: str, seconds: float) -> None:
        self._env.telemetry.emit("connector.called", 1.0, connector, operation, outcome)
        self._env.telemetry.emit("connector.duration", seconds, connector, operation)

    def _labels(self, call: BrokerCall, problem: Problem | None) -> tuple[str, str]:
        if problem is not None and problem.code in _NO_CONNECTOR:
            return OTHER, call.op
        if not call.resource or (problem is not None and problem.code in _NO_OPERATION):
            return self._series.of(call.connector, call.op)
        return self._series.of(call.connector, f"{call.resource}.{call.op}")
