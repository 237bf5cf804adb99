"""Connectors and operations as labels of metrics: spelt as the effect ledger spells them, in bounded number."""

from __future__ import annotations

from typing import Final

# A series costs about 2 kB in each process and more where it is collected; what comes after so many is counted together.
CONNECTORS_MAX: Final = 200
OPERATIONS_MAX: Final = 1000
OTHER: Final = "other"


class Series:
    """Which connectors and operations a process tells apart: the first of each. One per owner of metrics."""

    def __init__(self, connectors_max: int = CONNECTORS_MAX, operations_max: int = OPERATIONS_MAX) -> None:
        self._connectors_max = connectors_max
        self._operations_max = operations_max
        self._connectors: set[str] = set()
        self._operations: set[tuple[str, str]] = set()

    def connector(self, name: str) -> str:
        """The connector's name as a label, or `other`."""
        if name not in self._connectors:
            if len(self._connectors) >= self._connectors_max:
                return OTHER
            self._connectors.add(name)
        return name

    def of(self, connector: str, operation: str) -> tuple[str, str]:
        """Both labels, each its own name or `other`. `operation`: `invoices.push`, `cancel.execute`, `test`."""
        if self.connector(connector) == OTHER:
            return OTHER, OTHER
        if (connector, operation) not in self._operations:
            if len(self._operations) >= self._operations_max:
                return connector, OTHER
            self._operations.add((connector, operation))
        return connector, operation
