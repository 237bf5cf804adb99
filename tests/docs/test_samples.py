"""The samples of the HTTP reference: each is an answer that could be given, and each tells what its call does."""

from __future__ import annotations

from typing import Any

import pytest
from docs.generator.http import document
from docs.generator.parts import deployment
from jsonschema import Draft202012Validator

from stanchion.artifacts import Document
from stanchion.audit.routes import RecordReply
from stanchion.audit.rules import leaf_of
from stanchion.base import canonical
from stanchion.web.openapi import operations

_JSON = "application/json"


def _samples():
    """(method and path, `request` or the status, the media type object) of every JSON body."""
    doc = dict(document())
    for path, method, operation in operations(doc):
        bodies = [("request", operation.get("requestBody", {}))]
        bodies += [(status, answer) for status, answer in operation["responses"].items() if status.startswith("2")]
        for which, body in bodies:
            if _JSON in body.get("content", {}):
                yield f"{method.upper()} {path}", which, body["content"][_JSON]


def _sample(call: str, which: str = "200") -> Any:
    return next(media["example"] for name, status, media in _samples() if (name, status) == (call, which))


def test_every_sample_fits_its_schema_and_leaves_nothing_out() -> None:
    components = document()["components"]
    wrong = [
        f"{call} {which} {fault.json_path}: {fault.message}"
        for call, which, media in _samples()
        for fault in Draft202012Validator({**media["schema"], "components": components}).iter_errors(media["example"])
    ]
    assert wrong == []
    assert len(list(_samples())) >= 60


def test_members_that_are_null_are_shown_in_the_order_of_the_answer() -> None:
    run = _sample("GET /api/runs/{run_id}")
    assert list(run)[:4] == ["id", "blueprint", "version", "status"]
    assert run["output"] is None
    assert run["waiting_on"]["until"] is None


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        ("GET /api/approvals/{approval_id}", {"status": "PENDING", "decided_by": None, "reason": None}),
        ("POST /api/approvals/{approval_id}/approve", {"status": "APPROVED", "decided_by": "lea"}),
        ("POST /api/approvals/{approval_id}/reject", {"status": "REJECTED", "decided_by": "lea"}),
        ("POST /api/blueprints/{name}/runs", {"status": "SUCCEEDED", "waiting_on": None}),
        ("POST /api/runs/{run_id}/cancel", {"status": "CANCELLED", "waiting_on": None}),
        ("POST /api/runs/{run_id}/retry", {"status": "PENDING", "attempt": 2, "ended_at": None}),
        ("POST /api/effects/{effect_id}/resolve", {"state": "DONE", "resolved_by": "ada"}),
        ("POST /api/principals/{name}/grant", {"roles": ["approver"]}),
        ("POST /api/principals/{name}/revoke", {"roles": []}),
        ("POST /api/principals/{name}/disable", {"disabled_at": "2026-11-20T17:30:00Z"}),
        ("POST /api/keys/{id}/revoke", {"revoked_at": "2026-11-20T17:30:00Z"}),
    ],
)
def test_a_sample_shows_what_its_call_did(call, shown) -> None:
    sample = _sample(call)
    assert {name: sample[name] for name in shown} == shown


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_decided_approval_has_the_reason_and_the_digest_that_were_sent(verdict) -> None:
    call = f"POST /api/approvals/{{approval_id}}/{verdict}"
    sent, answered = _sample(call, "request"), _sample(call)
    assert {name: answered[name] for name in sent} == sent
    assert answered["decided_at"] > answered["created_at"]


@pytest.mark.parametrize(
    ("call", "field"),
    [("POST /api/runs/{run_id}/cancel", "cancel_reason"), ("POST /api/effects/{effect_id}/resolve", "evidence")],
)
def test_an_answer_has_the_words_that_were_sent(call, field) -> None:
    assert _sample(call)[field] in _sample(call, "request").values()


def test_counts_of_items_add_up() -> None:
    for call, which, media in _samples():
        items = media["example"].get("items")
        if isinstance(items, dict):
            assert items["total"] == sum(count for name, count in items.items() if name != "total"), (call, which)


def test_items_belong_to_the_run_that_is_shown() -> None:
    [item] = _sample("GET /api/runs/{run_id}/items")["items"]
    run, approval = _sample("GET /api/runs/{run_id}"), _sample("GET /api/approvals/{approval_id}")
    assert item["parent_id"] == run["id"] == approval["root_id"]
    assert item["id"] == approval["run_id"]
    assert item["waiting_on"]["ref"] == approval["id"]


def _parsed(kind: str, path: str, source: str, bodies: dict[tuple[str, str], Any]):
    return deployment().kinds[kind].parse(Document(path=path, source=source), lambda k, n: bodies.get((k, n)))


def test_documents_of_the_samples_are_accepted_and_the_misspelt_one_gets_the_issue_shown() -> None:
    connector = _sample("GET /api/connectors/{name}")["source"]
    read = _parsed("connector", "casebook.yaml", connector, {})
    assert not read.issues
    bodies = {("connector", "casebook"): read.body}
    policy = _sample("GET /api/artifacts/{kind}/{name}")
    read = _parsed("policy", "policy.yaml", policy["source"], {})
    assert not read.issues
    assert read.body == policy["body"]
    [applied] = _sample("POST /api/artifacts/apply", "request")["documents"]
    read = _parsed("blueprint", applied["path"], applied["source"], bodies)
    assert not read.issues
    shown = _sample("GET /api/blueprints/{name}")
    assert (shown["source"], shown["document"]) == (applied["source"], read.body)
    [misspelt] = _sample("POST /api/blueprints/validate", "request")["documents"]
    [issue] = _parsed("blueprint", misspelt["path"], misspelt["source"], bodies).issues
    [said] = _sample("POST /api/blueprints/validate")["issues"]
    assert said == {name: getattr(issue, name) for name in said}


def test_the_input_of_the_samples_is_one_that_their_blueprint_takes() -> None:
    schema = _sample("GET /api/blueprints/{name}")["input_schema"]
    for call in ("POST /api/blueprints/{name}/runs", "POST /api/tasks/{blueprint}"):
        assert set(_sample(call, "request")["input"]) <= set(schema["properties"])


def test_the_leaf_of_the_audit_sample_is_that_of_its_record() -> None:
    # The model's own example: FastAPI leaves the nulls of a free object out of the document, and they count.
    [sample] = RecordReply.model_config["json_schema_extra"]["examples"]
    assert sample["leaf"] == leaf_of(canonical(sample["record"])).hex()
