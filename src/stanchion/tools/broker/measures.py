"""What the broker measures of its calls: by connector and operation, in bounded number."""

from __future__ import annotations

from typing import Final

from stanchion.base import Problem
from stanchion.context import Env
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker.types import BrokerCall

# A series costs about 2 kB in each process and more where it is collected; what comes after so many names is counted together.
CONNECTORS_MAX: Final = 200
OTHER: Final = "other"


class Measures:
    """Counts calls, refusals, latency and simulated effects. One per broker process."""

    def __init__(self, env: Env, connectors_max: int = CONNECTORS_MAX) -> None:
        self._env = env
        self._connectors_max = connectors_max
        self._connectors: set[str] = set()

    def label(self, connector: str) -> str:
        """The connector's name as a label: its own for the first of them, else `other`."""
        if connector in self._connectors:
            return connector
        if len(self._connectors) >= self._connectors_max:
            return OTHER
        self._connectors.add(connector)
        return connector

    def ended(self, call: BrokerCall, seconds: float, problem: Problem | None) -> None:
        """A call came to its end. Only calls that a checked connector exists for are told apart by its name."""
        connector = self.label(call.connector) if problem is None or _is_known(problem) else OTHER
        outcome = "ok" if problem is None else "failed" if isinstance(problem, AdapterProblem) else "refused"
        self._env.telemetry.emit("connector.called", 1.0, connector, call.op, outcome)
        self._env.telemetry.emit("connector.duration", seconds, connector, call.op)
        if problem is not None:
            self._env.telemetry.emit("connector.failed", 1.0, connector, call.op, problem.kind.value, problem.code)

    def simulated(self, call: BrokerCall) -> None:
        """A write was answered without being performed."""
        self._env.telemetry.emit("connector.simulated", 1.0, self.label(call.connector), call.op)


def _is_known(problem: Problem) -> bool:
    """Whether the call came as far as its connector: before that, its name is whatever a peer sent."""
    return problem.code not in {"broker.bad_token", "broker.token_expired", "broker.unknown_connector"}
