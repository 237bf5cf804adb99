"""Our numbers say what prometheus_client's own metrics would have said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stanchion.telemetry import CATALOGUE, Telemetry
from stanchion.telemetry.catalogue import EventSpec

COUNTED = "step.ended"
TIMED = "step.duration"
SIZED = "claim.size"
LEVEL = "worker.running"
LABELS = {COUNTED: ("transform", "SUCCEEDED"), TIMED: ("push",), SIZED: (), LEVEL: ()}

# On a bound, beside it, below all and above all.
values = st.sampled_from([0.0, 0.001, 0.0010001, 1.0, 2.0, 3.0, 512.0, 3600.0, 4000.0]) | st.floats(0, 1e6)


def theirs(said: list[tuple[str, float]]) -> set[str]:
    """The lines that prometheus_client's own objects give for these events."""
    registry = CollectorRegistry()
    kept = {name: _metric(CATALOGUE[name], registry) for name in LABELS}
    for name, value in said:
        child = kept[name].labels(*LABELS[name]) if LABELS[name] else kept[name]
        if isinstance(child, Counter):
            child.inc(value)
        elif isinstance(child, Gauge):
            child.set(value)
        else:
            child.observe(value)
    return {line for line in generate_latest(registry).decode().splitlines() if "_created" not in line}


def _metric(spec: EventSpec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    name = f"stanchion_{spec.metric}"
    if spec.type == "histogram":
        return Histogram(name, spec.help, spec.labels, buckets=spec.buckets, registry=registry)
    return (Gauge if spec.type == "gauge" else Counter)(name, spec.help, spec.labels, registry=registry)


@given(st.lists(st.tuples(st.sampled_from(sorted(LABELS)), values), max_size=30))
def test_the_exposition_is_the_one_of_the_library(said):
    telemetry = Telemetry(process="test")
    for name, value in said:
        telemetry.emit(name, value, *LABELS[name])
    ours = set(telemetry.expose().decode().splitlines())
    assert theirs(said) <= ours
    assert not [line for line in ours if "_created" in line]


def test_a_metric_without_labels_is_there_before_its_first_event():
    samples = Telemetry(process="test").registry.get_sample_value
    assert samples("stanchion_claim_batch_size_count") == 0
    assert samples("stanchion_runs_running") == 0
    assert samples("stanchion_steps_ended_total", {"verb": "transform", "status": "SUCCEEDED"}) is None


def test_labels_that_are_not_the_events_are_a_defect():
    with pytest.raises(ValueError, match=r"step\.ended has the labels"):
        Telemetry(process="test").emit(COUNTED, 1.0, "transform")
    with pytest.raises(KeyError):
        Telemetry(process="test").emit("no.such_event")
