"""Frames, and that calls, envelopes and problems cross them unchanged."""

from __future__ import annotations

from dataclasses import fields, replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Conflict, Denied, Internal, Invalid, LimitExceeded, NotFound, Problem, Unavailable, loads
from stanchion.tools import AdapterProblem, Envelope
from stanchion.tools.broker import wire
from stanchion.tools.types import Asker
from tests.tools.broker.calls import a_call, asker

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=5)


def crossed(message: object) -> dict:
    ((got, _),) = wire.Frames().feed(wire.frame(message))
    return got


@given(OBJECTS, st.sampled_from(["fetch", "lookup", "push", "probe", "execute", "test", "discover"]))
def test_a_call_crosses_unchanged(arguments, op):
    who = asker(tool="close-case", tool_digest="sha256:00")
    call = a_call(op=op, arguments=arguments, token="1.2.3", traceparent="00-aa-bb-01", asker=who)
    got = crossed(wire.call_said(7, call))
    assert got["id"] == 7
    assert wire.call_of(got) == call


def test_everything_there_is_of_an_asker_crosses():
    assert {field.name for field in fields(Asker)} == set(wire._AskerSaid.model_fields)


def test_a_call_of_no_run_crosses_unchanged():
    call = a_call(op="test", asker=None, arguments={}, resource="", operation="", key="")
    assert wire.call_of(crossed(wire.call_said(0, call))) == call


@given(st.lists(OBJECTS, max_size=4), OBJECTS, TEXTS)
def test_an_envelope_crosses_unchanged(records, metadata, narrative):
    envelope = Envelope(
        records=tuple(records),
        metrics={"duration_ms": 3, "calls": 1, "bytes": 0},
        trace={"traceparent": "00-aa-bb-01"},
        narrative=narrative,
        metadata=metadata,
    )
    assert wire.answer_of(crossed(wire.answer_said(1, envelope))) == envelope


def test_a_result_crosses_unchanged():
    assert wire.answer_of(crossed(wire.answer_said(1, {"applied": True}))) == {"applied": True}


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("retryable", [True, False])
def test_an_adapters_problem_crosses_unchanged(sent, retryable):
    problem = AdapterProblem(
        "adapter.timeout", "casebook.outcomes timed out.", hint="Wait.", retryable=retryable, sent=sent, status=503
    )
    got = wire.answer_of(crossed(wire.problem_said(1, problem)))
    assert isinstance(got, AdapterProblem)
    assert got.sent is sent
    assert _facts(got) == _facts(problem)


@pytest.mark.parametrize("cls", [Invalid, Denied, NotFound, Conflict, LimitExceeded, Unavailable, Internal])
def test_any_problem_crosses_unchanged(cls):
    problem = cls("some.code", "Something.", hint="Do that.", retryable=True, retry_after_s=2.5, errors=[{"a": 1}])
    got = wire.answer_of(crossed(wire.problem_said(1, problem)))
    assert type(got) is cls
    assert _facts(got) == _facts(problem)


def _facts(problem: Problem) -> tuple:
    return problem.code, problem.message, problem.hint, problem.retryable, dict(problem.fields)


def test_a_field_that_is_no_json_is_said_as_text():
    problem = Unavailable("some.code", "Something.", run_id=UUID(int=7), odd={1, 2}.__class__)
    got = wire.answer_of(crossed(wire.problem_said(1, problem)))
    assert isinstance(got, Unavailable)
    assert got.fields["run_id"] == str(UUID(int=7))
    assert got.fields["odd"] == "<class 'set'>"


def test_a_kind_of_a_later_release_is_a_problem_all_the_same():
    message = wire.problem_said(1, Denied("some.code", "Something."))
    message["problem"]["kind"] = "tired"
    message["problem"]["fields"] = {"code": "planted", "x": 1}
    got = wire.answer_of(crossed(message))
    assert isinstance(got, Internal)
    assert (got.code, dict(got.fields)) == ("some.code", {"x": 1})


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.integers(1, 9))
def test_frames_come_whole_however_the_bytes_come(messages, step):
    data = b"".join(wire.frame(message) for message in messages)
    frames, got = wire.Frames(), []
    for start in range(0, len(data), step):
        got += [message for message, _ in frames.feed(data[start : start + step])]
    assert got == messages


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\0\0\0\x02[]", b"\0\0\0\x03{,}"], ids=str
)
def test_what_is_no_frame_is_refused_before_it_is_read(data):
    with pytest.raises(Invalid):
        list(wire.Frames().feed(data))


def test_nothing_larger_than_a_frame_is_sent():
    with pytest.raises(LimitExceeded) as caught:
        wire.frame({"x": "y" * wire.FRAME_BYTES_MAX})
    assert caught.value.code == "broker.frame_too_large"
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"op": "drop"}, "op"),
        ({"body": {}}, "body"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": "NaN"}, "timeout_s"),
        ({"tenant": ""}, "tenant"),
        ({"arguments": []}, "arguments"),
        ({"asker": {"tenant": "acme"}}, "asker.run_id"),
        ({"id": -1}, "id"),
    ],
    ids=str,
)
def test_a_call_that_is_none_is_refused_with_its_place(change, place):
    with pytest.raises(Invalid, match=f"wrong {place}"):
        wire.call_of({**crossed(wire.call_said(1, a_call())), **change})


def test_an_answer_that_is_none_is_refused():
    for message in ({"id": 1}, {"id": 1, "envelope": {}}, {"id": 1, "problem": []}, {"id": 1, "problem": {"kind": []}}):
        with pytest.raises(Invalid):
            wire.answer_of(message)


def test_a_token_crosses_with_its_call():
    call = replace(a_call(), token="1.99.abc")
    assert loads(wire.frame(wire.call_said(1, call))[4:])["token"] == "1.99.abc"  # type: ignore[index,call-overload]
