"""What all adapters share about one call: its envelope and its clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from stanchion.base import Clock, Json
from stanchion.tools.adapter import Target
from stanchion.tools.credentials import Credentials
from stanchion.tools.types import Connector, Envelope, Record


@dataclass(slots=True, kw_only=True)
class Call:
    """One call in the making: counts what it costs, and makes its envelope."""

    target: Target
    clock: Clock
    started: float = field(init=False)
    calls: int = 0
    bytes: int = 0

    def __post_init__(self) -> None:
        self.started = self.clock.monotonic()

    def left_s(self) -> float:
        """Seconds left of the call's time, at least a hundredth."""
        return max(0.01, self.target.timeout_s - (self.clock.monotonic() - self.started))

    def envelope(
        self,
        operation: Literal["fetch", "lookup", "push", "execute"],
        records: Sequence[Record],
        narrative: str,
        **metadata: Json,
    ) -> Envelope:
        """The envelope of the finished call."""
        connector = self.target.connector
        return Envelope(
            records=tuple(records),
            metrics={
                "duration_ms": round((self.clock.monotonic() - self.started) * 1000),
                "calls": self.calls,
                "bytes": self.bytes,
            },
            trace={"traceparent": self.target.traceparent} if self.target.traceparent else {},
            narrative=narrative,
            metadata={
                "adapter": connector.adapter,
                "connector": connector.name,
                "resource": self.target.resource.name,
                "operation": operation,
                **metadata,
            },
        )

    def fetched(self, records: Sequence[Record], page: str | None) -> Envelope:
        """The envelope of a fetch."""
        more = "; there are more" if page else ""
        text = f"Fetched {len(records)} records of {self.target.name}{more}."
        return self.envelope("fetch", records, text, truncated=page is not None, page=page)

    def looked_up(self, record: Record | None) -> Envelope:
        """The envelope of a lookup."""
        text = f"Looked up one record of {self.target.name}: {'found' if record is not None else 'there is none'}."
        return self.envelope("lookup", [] if record is None else [record], text, found=record is not None)

    def pushed(self, *, applied: bool, rows: int, idempotency_key: str, **metadata: Json) -> Envelope:
        """The envelope of a push. `metadata`: `fields`, what the answer said of the declared receipt."""
        done = f"wrote {rows} rows" if applied else "wrote nothing: the target already has this write"
        text = f"Pushed one record to {self.target.name}: {done}."
        return self.envelope("push", [], text, applied=applied, rows=rows, idempotency_key=idempotency_key, **metadata)

    def executed(self, result: Json, *, applied: bool, idempotency_key: str | None) -> Envelope:
        """The envelope of an EXECUTE. `applied` is False too where the operation only reads."""
        there = "" if idempotency_key is None or applied else ": the target already had it"
        text = f"Executed {self.target.name}{there}."
        rows = int(applied)
        return self.envelope(
            "execute", [{"result": result}], text, applied=applied, rows=rows, idempotency_key=idempotency_key
        )


def any_target(connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> Target:
    """A target for what concerns the connector as a whole (a test, a discovery): its first operation."""
    resource = next(iter(connector.resources.values()))
    operation = next(iter(resource.operations.values()))
    return Target(
        connector=connector, resource=resource, operation=operation, timeout_s=timeout_s, credentials=credentials
    )


def offset_of(target: Target, page: str | None) -> int:
    """The position that a page token of ours names. Raises AdapterProblem `adapter.bad_page`."""
    if page is None:
        return 0
    if page.isascii() and page.isdigit() and len(page) <= 12:
        return int(page)
    raise target.problem(
        "adapter.bad_page",
        "was given a page that it never returned.",
        hint="Pass on the `page` of an earlier fetch unchanged, or none.",
    )
