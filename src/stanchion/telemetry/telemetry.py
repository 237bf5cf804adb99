"""One object per process: events in, metrics, logs and spans out."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import Any

import structlog
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, generate_latest

from stanchion.telemetry.catalogue import CATALOGUE
from stanchion.telemetry.series import Collected, Series, Sink

_PROPAGATOR = TraceContextTextMapPropagator()
_ODD = frozenset("13579bdf")


class Telemetry:
    """Subscribers of events for one process. `emit` costs one dict look-up and one addition."""

    def __init__(self, *, process: str, sample: float = 0.1) -> None:
        self.registry = CollectorRegistry()
        self.process = process
        self._series = Series(CATALOGUE.values())
        self.registry.register(Collected(self._series))
        # What takes a value of an event with these labels, and what logs it.
        self._known: dict[tuple[str, ...], tuple[Sink, Callable[..., None] | None]] = {}
        self._log = structlog.get_logger("stanchion").bind(process=process)
        # There is no exporter yet: whoever embeds a process adds a span processor to `provider`. Without one a sampled
        # span costs 12 µs and leads nowhere, which is what the benchmark pays.
        self.provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample)), resource=Resource({"service.name": f"stanchion-{process}"})
        )
        self.tracer = self.provider.get_tracer("stanchion")

    def emit(self, event: str, value: float = 1.0, /, *labels: str, **facts: object) -> None:
        """Report `event` of the catalogue.

        Args:
            event: a name in CATALOGUE (KeyError otherwise: a defect, found by the tests).
            value: what to add, set or observe.
            labels: values of the event's labels, in its order.
            facts: ids and details for the log line only.
        """
        series = (event, *labels)
        known = self._known.get(series)
        if known is None:
            known = self._known[series] = self._subscribers(event, labels)
        sink, log = known
        sink(value)
        if log is not None:
            log(event, **dict(zip(CATALOGUE[event].labels, labels, strict=True)), **facts)

    def _subscribers(self, event: str, labels: tuple[str, ...]) -> tuple[Sink, Callable[..., None] | None]:
        spec = CATALOGUE[event]
        log = None if spec.log == "none" else getattr(self._log, spec.log)
        return self._series.sink(spec, labels), log

    def expose(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)

    def span(self, name: str, traceparent: str | None = None, **attributes: str | int) -> Span:
        """A span named `name` under `traceparent` (W3C), or under the current span where that is None; the current one
        itself for as long as it is entered."""
        parent = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
        return Span(self.tracer, name, parent, attributes)


class Span:
    """A span that begins where it is entered and ends where it is left, with the error that it was left by.

    OpenTelemetry's own `start_as_current_span` does the same through two generators, at more than twice the time
    (measured: 28 µs and 12 µs).
    """

    __slots__ = ("_attributes", "_name", "_parent", "_span", "_token", "_tracer")

    def __init__(
        self, tracer: trace.Tracer, name: str, parent: contexts.Context | None, attributes: dict[str, str | int]
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._parent = parent
        self._attributes: Any = attributes

    def __enter__(self) -> trace.Span:
        span = self._tracer.start_span(self._name, self._parent, attributes=self._attributes)
        self._span = span
        self._token: Token[contexts.Context] = contexts.attach(trace.set_span_in_context(span))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        contexts.detach(self._token)
        span = self._span
        # What is no Exception is control flow here (a run that suspends or has left), or the end of the task.
        if isinstance(error, Exception) and span.is_recording():
            span.record_exception(error)
            span.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}"))
        span.end()


def current_traceparent() -> str | None:
    """The W3C traceparent of the current span, or None outside one."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def is_sampled(traceparent: str | None) -> bool:
    """Whether a W3C traceparent asks for its spans: the lowest bit of its flags. Others may be set beside it (`03`: of a
    trace id that is random)."""
    return traceparent is not None and traceparent[-1:] in _ODD
