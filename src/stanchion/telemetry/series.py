"""The numbers behind the metrics. A worker counts several times for every step, so counting is one addition here;
prometheus_client writes them down when somebody asks.

Its own metric objects take a lock, look for their bucket from the front and ask themselves twice whether they may be
observed: 0.9 µs for a count and 1.4 µs for a duration, where these take 0.2 and 0.3 (measured in a loop).

A count is complete where it is made from one thread, as a process's event loop does. CPython before 3.13 does not switch
threads within such an addition either.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stanchion.telemetry.catalogue import EventSpec

Sink = Callable[[float], None]


class _Number:
    """A counter's or a gauge's value."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float) -> None:
        self.value += amount

    def set(self, value: float) -> None:
        self.value = value


class _Distribution:
    """A histogram's buckets. `counts`: of each bucket alone, the last one above all bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.total += value
        self.counts[bisect_left(self.bounds, value)] += 1


class Series:
    """All series of one process, by event and labels. A metric without labels is there from the beginning."""

    def __init__(self, specs: Iterable[EventSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs if spec.type != "none"}
        self._numbers: dict[str, dict[tuple[str, ...], _Number]] = {}
        self._distributions: dict[str, dict[tuple[str, ...], _Distribution]] = {}
        for spec in self._specs.values():
            if spec.type == "histogram":
                self._distributions[spec.name] = {}
            else:
                self._numbers[spec.name] = {}
            if not spec.labels:
                self.sink(spec, ())

    def sink(self, spec: EventSpec, labels: tuple[str, ...]) -> Sink:
        """What takes the values of this series. Raises ValueError if the labels are not those of the event."""
        if len(labels) != len(spec.labels):
            raise ValueError(f"{spec.name} has the labels {spec.labels}, not {labels}")
        labels = tuple(map(str, labels))
        if spec.type == "none":
            return _nothing
        if spec.type == "histogram":
            return self._distributions[spec.name].setdefault(labels, _Distribution(spec.buckets)).observe
        number = self._numbers[spec.name].setdefault(labels, _Number())
        return number.set if spec.type == "gauge" else number.add

    def families(self) -> Iterable[Metric]:
        """Everything as prometheus_client writes it."""
        for spec in self._specs.values():
            name = f"stanchion_{spec.metric}"
            if spec.type == "histogram":
                yield self._histogram(spec, name)
            elif spec.type == "gauge":
                gauge = GaugeMetricFamily(name, spec.help, labels=spec.labels)
                for labels, number in list(self._numbers[spec.name].items()):
                    gauge.add_metric(labels, number.value)
                yield gauge
            else:
                counter = CounterMetricFamily(name, spec.help, labels=spec.labels)
                for labels, number in list(self._numbers[spec.name].items()):
                    counter.add_metric(labels, number.value)
                yield counter

    def _histogram(self, spec: EventSpec, name: str) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, spec.help, labels=spec.labels)
        bounds = [*map(repr, spec.buckets), "+Inf"]
        for labels, seen in list(self._distributions[spec.name].items()):
            family.add_metric(labels, list(zip(bounds, accumulate(seen.counts), strict=True)), seen.total)
        return family


class Collected(Collector):
    """Series for a registry of prometheus_client, which asks for them at each exposition."""

    def __init__(self, series: Series) -> None:
        self._series = series

    def collect(self) -> Iterable[Metric]:
        """What the registry writes down."""
        return self._series.families()


def _nothing(_: float) -> None:
    """The sink of an event that is only logged."""
