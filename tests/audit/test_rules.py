"""A record is canonical by construction, holds no content, and its leaf commits to every byte of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from stanchion.audit import Outcome, build, digest_of, leaf_of, rows, trace_id_of
from stanchion.audit.rules import stamp
from stanchion.base import Internal, dumps
from stanchion.context import Actor, system_actor

AT = datetime(2026, 11, 18, 9, 0, 0, 120, tzinfo=UTC)
ID = UUID("0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11")
ACTOR = Actor(
    tenant="acme",
    principal="ada@example.org",
    principal_id="0199c1e0-0000-7000-8000-000000000001",
    kind="user",
    roles=frozenset({"admin"}),
    credential="api_key:1",
)


class At:
    def now(self):
        return AT


class One:
    def new(self):
        return ID

    def secret(self, n):
        return b"\0" * n


def made(**more):
    facts = {"event_type": "run.started", "target": ("run", "r1"), "actor": ACTOR} | more
    return build(clock=At(), ids=One(), tenant="acme", environment="local", **facts)


@given(
    target=st.text(min_size=1, max_size=200),
    extra=st.dictionaries(
        st.text(st.characters(max_codepoint=127), max_size=20),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=100),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        max_size=6,
    ),
)
def test_the_record_is_rfc_8785(target, extra):
    record = made(target=("run", target), extra=extra)
    assert record.record.encode() == rfc8785.dumps(json.loads(record.record))
    assert record.leaf == hashlib.sha256(b"\x00" + record.record.encode()).digest() == leaf_of(record.record.encode())


def test_the_record_says_who_what_when_and_nothing_personal():
    record = made(
        before={"note": "Ada is ill"},
        after={"note": "Ada is well"},
        reason="she told me so",
        run_id=ID,
        trace_id="ab" * 16,
        outcome=Outcome(status="SUCCEEDED", receipt={"row": 7}),
        extra={"count": 3},
    )
    body = json.loads(record.record)
    assert body == {
        "schema_version": 1,
        "id": str(ID),
        "ts": "2026-11-18T09:00:00.000120Z",
        "event_type": "run.started",
        "actor": {"kind": "user", "id": ACTOR.principal_id, "credential": "api_key:1"},
        "tenant": "acme",
        "env": "local",
        "target": {"kind": "run", "id": "r1"},
        "before": "sha256:" + hashlib.sha256(b'{"note":"Ada is ill"}').hexdigest(),
        "after": "sha256:" + hashlib.sha256(b'{"note":"Ada is well"}').hexdigest(),
        "reason": "sha256:" + hashlib.sha256(b'"she told me so"').hexdigest(),
        "run_id": str(ID),
        "trace_id": "ab" * 16,
        "outcome": {
            "status": "SUCCEEDED",
            "error_class": None,
            "receipt": "sha256:" + hashlib.sha256(b'{"row":7}').hexdigest(),
        },
        "extra": {"count": 3},
    }
    for content in ("ill", "well", "told", "ada@example.org"):
        assert content not in record.record


def test_a_system_actor_has_no_principal_id_and_is_named():
    record = made(actor=system_actor("engine", "acme"))
    assert record.actor == "system:engine"
    assert json.loads(record.record)["actor"] == {"kind": "system", "id": "system:engine", "credential": "system"}


@pytest.mark.parametrize(
    "extra",
    [{"rate": 0.5}, {"größe": 1}, {"n": 2**53}, {"text": "x" * 513}, {"deep": [{"x": {"y": 1.0}}]}, {"o": object()}],
)
def test_what_is_not_canonical_is_refused(extra):
    with pytest.raises(Internal) as refused:
        made(extra=extra)
    assert refused.value.code == "audit.not_canonical"


@pytest.mark.parametrize("event", ["started", "Run.started", "run.gestärtet", "run started"])
def test_an_event_type_is_noun_dot_past(event):
    with pytest.raises(Internal):
        made(event_type=event)


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    roles: frozenset[str]
    mac: bytes
    amount: Decimal
    at: datetime


def test_digests_are_of_the_value_and_stable():
    one = Row("a", frozenset({"x", "y", "z"}), b"\x01", Decimal("1.10"), AT)
    same = {"roles": ["x", "y", "z"], "name": "a", "mac": "01", "amount": "1.10", "at": "2026-11-18T09:00:00.000120Z"}
    assert digest_of(one) == digest_of(same)
    assert digest_of(one) != digest_of(same | {"amount": "1.1"})
    assert digest_of(None) is None
    known = "sha256:" + "0" * 64
    assert digest_of(known) == known
    assert digest_of(known[:-1]) != known[:-1]


def test_rows_are_what_the_records_say():
    record = made(run_id=ID)
    [row] = json.loads(dumps(rows([record])))
    assert (row["id"], row["run_id"]) == (str(record.id), str(ID))
    assert datetime.fromisoformat(row["recorded_at"]) == record.recorded_at
    assert json.loads(row["record"])["ts"] == stamp(record.recorded_at)
    assert bytes.fromhex(row["leaf"]) == leaf_of(row["record"].encode()) == record.leaf


@pytest.mark.parametrize(
    ("traceparent", "expected"), [("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "a" * 32), (None, None), ("junk", None)]
)
def test_the_trace_id_is_that_of_the_traceparent(traceparent, expected):
    assert trace_id_of(traceparent) == expected
