"""One object per process: events in, metrics, logs and spans out."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import structlog
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stanchion.telemetry.catalogue import CATALOGUE

_PROPAGATOR = TraceContextTextMapPropagator()
_ODD = frozenset("13579bdf")


class Telemetry:
    """Subscribers of events for one process. `emit` costs one dict look-up and one metric update."""

    def __init__(self, *, process: str, sample: float = 0.1) -> None:
        self.registry = CollectorRegistry()
        self.process = process
        self._metrics: dict[str, Counter | Gauge | Histogram] = {}
        # What takes a value of an event with these labels: looking a series up in its metric costs more than counting.
        self._sinks: dict[tuple[str, ...], Callable[[float], None]] = {}
        self._log = structlog.get_logger("stanchion").bind(process=process)
        # There is no exporter yet: whoever embeds a process adds a span processor to `provider`. Without one a sampled
        # span costs 27 µs and leads nowhere, which is what the benchmark pays.
        self.provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sample)), resource=Resource({"service.name": f"stanchion-{process}"})
        )
        self.tracer = self.provider.get_tracer("stanchion")
        for spec in CATALOGUE.values():
            name = f"stanchion_{spec.metric}"
            if spec.type == "counter":
                self._metrics[spec.name] = Counter(name, spec.help, spec.labels, registry=self.registry)
            elif spec.type == "gauge":
                self._metrics[spec.name] = Gauge(name, spec.help, spec.labels, registry=self.registry)
            elif spec.type == "histogram":
                self._metrics[spec.name] = Histogram(
                    name, spec.help, spec.labels, buckets=spec.buckets, registry=self.registry
                )

    def emit(self, event: str, value: float = 1.0, /, *labels: str, **facts: object) -> None:
        """Report `event` of the catalogue.

        Args:
            event: a name in CATALOGUE (KeyError otherwise: a defect, found by the tests).
            value: what to add, set or observe.
            labels: values of the event's labels, in its order.
            facts: ids and details for the log line only.
        """
        series = (event, *labels)
        sink = self._sinks.get(series)
        if sink is None:
            sink = self._sinks[series] = self._sink(event, labels)
        sink(value)
        spec = CATALOGUE[event]
        if spec.log != "none":
            getattr(self._log, spec.log)(event, **dict(zip(spec.labels, labels, strict=True)), **facts)

    def _sink(self, event: str, labels: tuple[str, ...]) -> Callable[[float], None]:
        metric = self._metrics.get(event)
        if metric is None:
            return _nothing
        child = metric.labels(*labels) if labels else metric
        if isinstance(child, Counter):
            return child.inc
        return child.set if isinstance(child, Gauge) else child.observe

    def expose(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)

    @contextmanager
    def span(self, name: str, traceparent: str | None = None, **attributes: str | int) -> Generator[trace.Span]:
        """A span named `name` under `traceparent` (W3C), or under the current span where that is None."""
        context = _PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
        with self.tracer.start_as_current_span(name, context=context, attributes=attributes) as span:
            yield span


def _nothing(_: float) -> None:
    """The sink of an event that is only logged."""


def current_traceparent() -> str | None:
    """The W3C traceparent of the current span, or None outside one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def is_sampled(traceparent: str | None) -> bool:
    """Whether a W3C traceparent asks for its spans: the lowest bit of its flags. Others may be set beside it (`03`: of a
    trace id that is random)."""
    return traceparent is not None and traceparent[-1:] in _ODD
