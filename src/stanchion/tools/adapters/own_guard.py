"""Around an adapter that a team brings: what its code raises becomes a problem with the adapter's name, never a crash of
the process it runs in, and of a failed write nothing is claimed but what its problem says: without `sent=False` it is
unknown whether it happened."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from stanchion.base import Json, Problem
from stanchion.blueprints import ConfigIssue
from stanchion.tools.adapter import Adapter, AdapterProblem, Target
from stanchion.tools.credentials import Credentials
from stanchion.tools.problems import is_certain
from stanchion.tools.types import Connector, Discovery, Envelope, Record

T = TypeVar("T")


class GuardedAdapter:
    """Fills `Adapter` by another one. Problems and cancellation pass, those of a write with what they say of `sent`;
    everything else is `adapter.broken`."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self.name = adapter.name
        self.settings_schema = adapter.settings_schema
        self.settings_required = tuple(adapter.settings_required)
        self.resource_schema = adapter.resource_schema
        self.resource_required = tuple(adapter.resource_required)
        self.operation_schemas = adapter.operation_schemas
        self.refused = adapter.refused

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """The adapter's complaints, or the one that it could not look."""
        try:
            return list(self._adapter.check(body))
        except Exception as error:  # noqa: BLE001 - the code of others may raise anything
            return [
                ConfigIssue(
                    pointer="/adapter",
                    code="connector.broken_adapter",
                    message=f"The adapter {self.name!r} failed to check the document: {_said(error)}.",
                    hint="Correct the adapter; its own tests can run the suite of stanchion.testing.",
                )
            ]

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:
        """See `Adapter`."""
        return await self._envelope(lambda: self._adapter.fetch(target, where, limit, page), target.name)

    async def lookup(self, target: Target, key: Json) -> Envelope:
        """See `Adapter`."""
        return await self._envelope(lambda: self._adapter.lookup(target, key), target.name)

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """See `Adapter`."""
        return await self._envelope(
            lambda: self._adapter.push(target, record, idempotency_key), target.name, writes=True
        )

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:
        """See `Adapter`."""
        return await self._held(lambda: self._adapter.probe(target, record, idempotency_key), target.name, bool)

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:
        """See `Adapter`."""
        writes = target.operation.effect != "read"
        return await self._envelope(
            lambda: self._adapter.execute(target, arguments, idempotency_key), target.name, writes=writes
        )

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """See `Adapter`."""
        return await self._held(lambda: self._adapter.test(connector, timeout_s, credentials), connector.name, str)

    async def discover(
        self, connector: Connector, timeout_s: float, credentials: Credentials | None = None
    ) -> Discovery:
        """See `Adapter`."""
        return await self._held(
            lambda: self._adapter.discover(connector, timeout_s, credentials), connector.name, Discovery
        )

    async def close(self) -> None:
        """See `Adapter`. That it fails changes nothing of the others' closing."""
        with contextlib.suppress(Exception):
            await self._adapter.close()

    async def _envelope(self, call: Callable[[], Awaitable[Envelope]], where: str, *, writes: bool = False) -> Envelope:
        return await self._held(call, where, Envelope, writes=writes)

    async def _held(self, call: Callable[[], Awaitable[T]], where: str, wanted: type[T], *, writes: bool = False) -> T:
        try:
            found = await call()
        except Problem as problem:
            if writes and not is_certain(problem):
                raise _unsure(problem) from None
            raise
        except Exception as error:  # noqa: BLE001 - the code of others may raise anything
            raise self._broken(where, f"raised {_said(error)}", writes=writes) from None
        if not isinstance(found, wanted):
            reason = f"returned a {type(found).__name__}, not a {wanted.__name__}"
            raise self._broken(where, reason, writes=writes)
        return found

    def _broken(self, where: str, reason: str, *, writes: bool) -> AdapterProblem:
        return AdapterProblem(
            "adapter.broken",
            f"{where} was called through the adapter {self.name!r}, which {reason}.",
            hint="An adapter raises `target.problem(…)` for what may go wrong; its own tests can run the suite of stanchion.testing.",
            retryable=False,
            sent=writes,
            resource=where,
        )


def _unsure(problem: Problem) -> AdapterProblem:
    """The same problem of a write about which it does not say whether it was sent: then nobody knows (I5)."""
    fields = {**problem.fields, "sent": True}
    return AdapterProblem(problem.code, problem.message, hint=problem.hint, retryable=problem.retryable, **fields)


def _said(error: Exception) -> str:
    """What was raised, by its class and place alone: its text may quote a URL or a credential (I9)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{place}"
