"""Our span is OpenTelemetry's own, entered and left."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stanchion.telemetry import Telemetry, current_traceparent

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


class Left(BaseException):
    """Control flow, as the engine's."""


@pytest.fixture
def seen() -> tuple[Telemetry, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(process="test", sample=1.0)
    telemetry.provider.add_span_processor(SimpleSpanProcessor(exporter))
    return telemetry, exporter


def told(span: ReadableSpan) -> tuple:
    events = [(event.name, event.attributes["exception.type"]) for event in span.events]
    return span.name, dict(span.attributes), span.status.status_code, span.status.description, events


@pytest.mark.parametrize("error", [None, ValueError("bad"), Left(), asyncio.CancelledError()], ids=repr)
def test_it_tells_what_the_librarys_own_tells(seen, error):
    telemetry, exporter = seen

    def work() -> None:
        if error is not None:
            raise error

    with suppress(BaseException), telemetry.span("work", path="a", attempt=2):
        work()
    with (
        suppress(BaseException),
        telemetry.tracer.start_as_current_span("work", attributes={"path": "a", "attempt": 2}),
    ):
        work()
    ours, theirs = exporter.get_finished_spans()
    assert told(ours) == told(theirs)


def test_it_is_under_the_traceparent_or_under_the_current_span_and_current_while_it_is_entered(seen):
    telemetry, exporter = seen
    before = trace.get_current_span()
    assert current_traceparent() is None
    with telemetry.span("outer", PARENT) as outer:
        assert trace.get_current_span() is outer
        with telemetry.span("inner") as inner:
            assert current_traceparent() == f"00-{'a' * 32}-{inner.get_span_context().span_id:016x}-01"
        assert trace.get_current_span() is outer
    assert trace.get_current_span() is before
    by_name = {span.name: span for span in exporter.get_finished_spans()}
    assert by_name["outer"].parent.span_id == int("b" * 16, 16)
    assert by_name["outer"].parent.is_remote
    assert by_name["inner"].parent.span_id == by_name["outer"].context.span_id


def test_what_is_not_sampled_goes_nowhere(seen):
    telemetry, exporter = seen
    with telemetry.span("quiet", PARENT[:-2] + "00") as span:
        assert not span.is_recording()
        assert current_traceparent().endswith("-00")
    assert not exporter.get_finished_spans()
