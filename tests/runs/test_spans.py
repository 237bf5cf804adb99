"""The spans of a run: one of the run and one of each step, under the request that started it, where that was sampled."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stanchion.telemetry import Telemetry, is_sampled
from tests.runs.support import World
from tests.runs.test_flow import one_probe


@pytest.mark.parametrize(("sample", "expected"), [(1.0, {"run.start", "run", "step probe"}), (0.0, set())])
async def test_a_sampled_run_has_a_span_of_itself_and_of_its_steps(env, database_urls, sample, expected):
    spans = InMemorySpanExporter()
    telemetry = Telemetry(process="test", sample=sample)
    telemetry.provider.add_span_processor(SimpleSpanProcessor(spans))
    world = World(replace(env, telemetry=telemetry), database_urls.owner)
    async with world.worker():
        await world.ended(await world.start(one_probe(f"spans-{sample:.0f}")))
    found = spans.get_finished_spans()
    assert expected <= {span.name for span in found}
    assert len({span.context.trace_id for span in found}) == bool(expected)
    if expected:
        by_name = {span.name: span for span in found}
        assert by_name["step probe"].parent.span_id == by_name["run"].context.span_id
        assert by_name["run"].parent.span_id == by_name["run.start"].context.span_id
    if not expected:
        assert not found


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("0b", True), ("ff", True)]
)
def test_the_lowest_bit_of_the_flags_says_it(flags, sampled):
    traceparent = f"00-{'a' * 32}-{'b' * 16}-{flags}"
    assert re.fullmatch("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", traceparent)
    assert is_sampled(traceparent) is sampled
    assert not is_sampled(None)
