from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.artifacts import Document
from stanchion.base import digest
from stanchion.releases import rules
from stanchion.releases.types import Live
from tests.releases.support import KINDS, blueprint, policy


def live_of(*documents: Document) -> dict[tuple[str, str], Live]:
    """These documents as if they had been applied."""
    checked = rules.check(documents, KINDS, {})
    assert checked.issues == ()
    return {
        (item.kind, item.parsed.name): Live(
            kind=item.kind,
            name=item.parsed.name,
            version=4,
            digest=digest(item.parsed.body),
            body=item.parsed.body,
            refs=[list(r) for r in item.parsed.references],
            source=item.document.source,
            source_path=item.document.path,
        )
        for item in checked.items
    }


def errors(*documents: Document, live: dict[tuple[str, str], Live] | None = None) -> list[tuple[str, str, int, int]]:
    return [(i.code, i.file, i.line, i.column) for i in rules.check(documents, KINDS, live or {}).errors]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("blueprint: a-b\n", ("blueprint", "a-b", 1, 1)),
        ("# x\n\n---\npolicy:   p # why\n", ("policy", "p", 4, 1)),
        ("'connector': \"c\"\n", ("connector", "c", 1, 2)),
        ('{"blueprint": "x", "steps": []}', ("blueprint", "x", 1, 3)),
        ('{"blueprint":"x"}', ("blueprint", "x", 1, 3)),
        ("{blueprint: x, owner: o}", ("blueprint", "x", 1, 2)),
        ("%YAML 1.2\n---\nblueprint: x", ("blueprint", "x", 3, 1)),
        ("\ufeffblueprint: x\r\nowner: o\r\n", ("blueprint", "x", 1, 1)),
        ("blueprint:\n  name: x\n", ("blueprint", "", 1, 1)),
        ("", None),
        ("# nothing\n", None),
        ("- blueprint: x\n", None),
        ("just text\n", None),
        ("http://example.org\n", None),
    ],
)
def test_the_first_key_says_what_a_document_is(source: str, expected) -> None:
    found = rules.header(source)
    assert (found and (found.kind, found.name, found.line, found.column)) == expected


@given(st.text(max_size=200))
def test_no_text_breaks_the_check(source: str) -> None:
    checked = rules.check([Document(path="x.yaml", source=source)], KINDS, {})
    assert checked.errors


def test_a_document_sees_the_others_of_its_set_in_any_order() -> None:
    assert errors(policy(), blueprint()) == []
    assert errors(blueprint(), policy()) == []
    assert errors(blueprint())[0][0] == "blueprint.unknown_artifact"
    assert errors(blueprint(), live=live_of(policy())) == []


def test_the_set_goes_before_what_is_live() -> None:
    live = live_of(policy())
    renamed = ("fine_eur", "amount")
    assert errors(blueprint(), live=live) == []
    assert [e[0] for e in errors(policy("supervisor-approval", renamed), blueprint(), live=live)] != []


def test_every_error_of_every_file_is_said_at_once() -> None:
    found = errors(
        policy("supervisor-approval", ("when: facts.fine_eur >", "when: facts.fin >")),
        blueprint("one", ("show:", "shw:")),
        blueprint("two", ("owner: casework\n", "")),
    )
    assert {f[1] for f in found} == {"policies/supervisor-approval.yaml", "blueprints/one.yaml", "blueprints/two.yaml"}
    assert [f[1] for f in found] == sorted((f[1] for f in found), key=lambda p: ("policies" not in p, p))


def test_a_broken_document_is_not_missing_to_those_who_name_it() -> None:
    broken = policy("supervisor-approval", ("type: approval", "type: gate"))
    assert [e[:2] for e in errors(broken, blueprint())] == [("document.choice", broken.path)]
    assert [e[:2] for e in errors(broken, blueprint(), live=live_of(policy()))] == [("document.choice", broken.path)]
    unknown = blueprint("other", of="nobody")
    assert ("blueprint.unknown_artifact", unknown.path) in [e[:2] for e in errors(broken, unknown)]


def test_what_is_missing_is_told_with_the_nearest_name() -> None:
    [near] = rules.check([blueprint(of="supervisor-aproval"), policy()], KINDS, {}).errors
    assert (near.code, near.hint.partition("?")[0]) == (
        "blueprint.unknown_artifact",
        "Did you mean 'supervisor-approval'",
    )
    [live] = rules.check([blueprint(of="supervisor-aproval")], KINDS, live_of(policy())).errors
    assert live.hint == near.hint
    [far] = rules.check([blueprint(of="nobody"), policy()], KINDS, {}).errors
    assert far.hint == "Apply the policy nobody together with this document, or correct the name."


def test_what_is_wrong_behind_a_wrong_step_is_told_in_the_same_round() -> None:
    behind = blueprint("case-triage", ("${steps.approval.decision}", "${steps.approval.decison}"), of="nobody")
    assert [e[0] for e in errors(behind, policy())] == ["blueprint.unknown_artifact", "expression.invalid"]
    facts = ("facts: {fine_eur:", "facts: {fine:")
    both = blueprint("case-triage", facts, ("${steps.approval.decision}", "${steps.approval.decison}"))
    assert {e[0] for e in errors(both, policy())} >= {"expression.invalid"}


def test_kinds_and_duplicates_are_told_at_their_key() -> None:
    first, second = blueprint(), Document(path="copy.yaml", source=blueprint().source)
    assert errors(policy(), first, second) == [("artifact.duplicate", "copy.yaml", 2, 1)]
    wrong = Document(path="w.yaml", source="\nbluprint: x\n")
    assert errors(wrong) == [("artifact.unknown_kind", "w.yaml", 2, 1)]
    assert rules.check([wrong], KINDS, {}).errors[0].hint == "Did you mean `blueprint`?"
    assert errors(Document(path="e.yaml", source="")) == [("artifact.no_kind", "e.yaml", 1, 1)]


def test_the_same_path_twice_is_told_apart_by_its_documents() -> None:
    assert [e[0] for e in errors(policy(), policy())] == ["artifact.duplicate"]


def test_what_the_store_cannot_keep_is_an_issue() -> None:
    nul = policy("supervisor-approval", ("owner: casework", 'owner: "case\\0work"'))
    assert [e[0] for e in errors(nul)] == ["artifact.unstorable"]
    huge = policy("supervisor-approval", ("when:", f"description: {'x' * 3000}\nwhen:"))
    assert errors(huge) == []


def test_a_change_that_a_live_blueprint_does_not_fit_names_it_and_the_way_out() -> None:
    live = live_of(policy(), blueprint(), blueprint("other"))
    stricter = policy(
        "supervisor-approval",
        ("required: [fine_eur]", "required: [fine_eur, country]"),
        ("fine_eur: {type: number}", "fine_eur: {type: number}\n    country: {type: string}"),
    )
    found = rules.check([stricter], KINDS, live).errors
    assert [(i.code, i.file, i.step) for i in found] == [
        ("release.incompatible", "blueprints/case-triage.yaml", "approval"),
        ("release.incompatible", "blueprints/other.yaml", "approval"),
    ]
    issue = found[0]
    assert "blueprint case-triage (version 4)" in issue.message
    assert "policy supervisor-approval" in issue.message
    assert "country" in issue.message
    assert issue.pointer in issue.message
    assert "same apply" in issue.hint
    fitting = [
        blueprint(name, ('facts: {fine_eur: "${input.fine_eur}"}', "facts: {fine_eur: 5.0, country: ES}"))
        for name in ("case-triage", "other")
    ]
    assert errors(stricter, *fitting, live=live) == []
    assert {e[1] for e in errors(stricter, fitting[0], live=live)} == {"blueprints/other.yaml"}


def test_a_change_that_fits_and_a_change_of_comments_trouble_nobody() -> None:
    live = live_of(policy(), blueprint())
    assert errors(policy("supervisor-approval", ("100000.0", "5.0")), live=live) == []
    assert errors(policy("supervisor-approval", ("owner:", "# a comment\nowner:")), live=live) == []


def test_a_live_blueprint_that_was_broken_before_blocks_nobody() -> None:
    live = live_of(policy(), blueprint())
    key = ("blueprint", "case-triage")
    row = live[key]
    live[key] = Live(
        kind=row.kind,
        name=row.name,
        version=row.version,
        digest=row.digest,
        body=row.body,
        refs=row.refs,
        source=row.source.replace("show:", "shw:"),
        source_path=row.source_path,
    )
    assert errors(policy("supervisor-approval", ("100000.0", "5.0")), live=live) == []


@given(st.permutations(["supervisor-approval", "b", "a", "c"]))
def test_a_pin_set_has_its_root_first_and_one_digest_in_any_order(names: list[str]) -> None:
    live = live_of(*(policy(n) for n in names), blueprint())
    rows = list(live.values())
    pins = rules.pins_json(rows, ("blueprint", "case-triage"))
    assert pins[0]["name"] == "case-triage"
    assert digest(pins) == digest(rules.pins_json(rows[::-1], ("blueprint", "case-triage")))
    assert len(pins) == 5
