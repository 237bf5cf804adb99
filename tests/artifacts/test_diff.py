from __future__ import annotations

import random

import pytest

from stanchion.artifacts import Document, diff_of
from stanchion.artifacts.diff import EDITS_MAX, changes, words_between
from stanchion.artifacts.types import ArtifactVersion
from stanchion.base import digest
from stanchion.base.clock import SystemClock
from stanchion.blueprints import read_document


def version(number: int, source: str) -> ArtifactVersion:
    document = Document(path="policies/x.yaml", source=source)
    body = read_document(document).body
    assert isinstance(body, dict)
    return ArtifactVersion(
        tenant="acme",
        kind="policy",
        name="x",
        version=number,
        digest=digest(body),
        body=body,
        refs=[],
        source=source,
        source_path=document.path,
        owner="casework",
        author="ada",
        changelog="",
        created_at=SystemClock().now(),
    )


def said(before, after) -> list[tuple]:
    return [(e.op, e.path, e.before, e.after) for e in changes(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "edits"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        ({"a": 1}, {"a": 2}, [("changed", "a", 1, 2)]),
        ({"a": 1}, {"a": True}, [("changed", "a", 1, True)]),
        ({"a": {"b": 1}}, {"a": {"c": 1}}, [("removed", "a.b", 1, None), ("added", "a.c", None, 1)]),
        ({"a": None}, {}, [("removed", "a", None, None)]),
        ({"a b": 1}, {"a b": 2}, [("changed", '["a b"]', 1, 2)]),
        ({"a": [1, 2, 3]}, {"a": [1, 3]}, [("removed", "a[1]", 2, None)]),
        ({"a": [1, 3]}, {"a": [1, 2, 3]}, [("added", "a[1]", None, 2)]),
        ({"a": [{"x": 1}]}, {"a": [{"x": 2}]}, [("changed", "a[0].x", 1, 2)]),
        ({"a": [1]}, {"a": {"b": 1}}, [("changed", "a", [1], {"b": 1})]),
        (
            {"steps": [{"id": "one", "wait": "1s"}, {"id": "two"}]},
            {"steps": [{"id": "zero"}, {"id": "one", "wait": "2s"}, {"id": "two"}]},
            [("changed", "steps[one].wait", "1s", "2s"), ("added", "steps[zero]", None, {"id": "zero"})],
        ),
        (
            {"steps": [{"id": "one"}, {"id": "two"}, {"id": "three"}]},
            {"steps": [{"id": "three"}, {"id": "one"}, {"id": "two"}]},
            [("moved", "steps[three]", 3, 1)],
        ),
    ],
)
def test_changes_are_told_by_path(before, after, edits) -> None:
    assert said(before, after) == edits


def test_a_step_that_went_into_a_block_has_moved_and_its_changes_are_told_there() -> None:
    before = {"steps": [{"id": "gate", "logic_gate": {"if": "a", "then": []}}, {"id": "send", "push": {"to": "x"}}]}
    after = {"steps": [{"id": "gate", "logic_gate": {"if": "a", "then": [{"id": "send", "push": {"to": "y"}}]}}]}
    assert said(before, after) == [
        ("moved", "steps[gate].logic_gate.then[send]", "steps[send]", "steps[gate].logic_gate.then[send]"),
        ("changed", "steps[gate].logic_gate.then[send].push.to", "x", "y"),
    ]


def test_what_has_moved_is_as_little_as_can_be() -> None:
    rng = random.Random(4)
    for _ in range(200):
        names = [f"s{n}" for n in range(rng.randrange(1, 9))]
        mixed = rng.sample(names, len(names))
        moved = [e for e in changes([{"id": n} for n in names], [{"id": n} for n in mixed]) if e.op == "moved"]
        stayed = [name for name in mixed if f"[{name}]" not in {e.path for e in moved}]
        assert stayed == sorted(stayed)
        # No longer run than the one kept rises: by brute force over all subsets.
        best = max(
            len(run)
            for bits in range(2 ** len(mixed))
            for run in [[n for i, n in enumerate(mixed) if bits >> i & 1]]
            if run == sorted(run)
        )
        assert len(stayed) == best


def _put(value, path: str, new, *, remove: bool = False):
    """A value with one edit applied: an independent reading of paths, for objects only."""
    keys = path.split(".")
    inner = value
    for key in keys[:-1]:
        inner = inner[key]
    if remove:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = new


def test_the_edits_of_objects_turn_one_into_the_other() -> None:
    rng = random.Random(8)

    def made(depth: int):
        if depth == 0 or rng.random() < 0.3:
            return rng.choice([1, 2, True, None, "x", "y", 1.5])
        return {key: made(depth - 1) for key in "abcd" if rng.random() < 0.7}

    for _ in range(500):
        before, after = {"r": made(3)}, {"r": made(3)}
        edits = changes(before, after)
        assert bool(edits) == (digest(before) != digest(after))
        for edit in edits:
            _put(before, edit.path, edit.after, remove=edit.op == "removed")
        assert digest(before) == digest(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("You are a careful analyst.\nCite the law.", "You are a careful, honest analyst.\nCite the law in force."),
        ("a b c", "c b a"),
        ("same " * 50, "same " * 50 + "end"),
        ("Ä ö\t\nß", "Ä ü\t\nß"),
    ],
)
def test_words_make_both_texts(before: str, after: str) -> None:
    words = words_between(before, after)
    assert "".join(w.text for w in words if w.op != "added") == before
    assert "".join(w.text for w in words if w.op != "removed") == after


def test_a_long_text_is_compared_word_by_word_and_a_short_one_is_not() -> None:
    long = "Recommend an outcome for the case. Cite every article that you rely on, and no other."
    (edit,) = changes({"description": long}, {"description": long.replace("every", "each")})
    assert [(w.op, w.text) for w in edit.words if w.op != "same"] == [("removed", "every"), ("added", "each")]
    (edit,) = changes({"owner": "casework"}, {"owner": "fieldwork"})
    assert edit.words == ()


def test_a_very_long_text_is_compared_by_lines_and_in_bounded_time() -> None:
    before = "".join(f"line {n} of the prompt\n" for n in range(1500))
    after = before.replace("line 700 of", "line 700 out of")
    changed = [w for w in words_between(before, after) if w.op != "same"]
    assert [w.text for w in changed] == ["line 700 of the prompt\n", "line 700 out of the prompt\n"]


FIRST = """\
# Who asks.
policy: x
owner: casework
facts:
  type: object
  properties: {a: {type: integer}, b: {type: integer}}
when: facts.a > 1  # for now
"""
SECOND = """\
policy: x
# Who asks.
owner: casework
facts:
  properties: {b: {type: integer}, a: {type: integer}}
  type: object
when: facts.a > 2  # agreed with the board
"""


def test_order_and_comments_are_told_apart_from_meaning() -> None:
    found = diff_of(version(1, FIRST), version(2, SECOND))
    assert [(e.op, e.path, e.before, e.after) for e in found.changes] == [
        ("changed", "when", "facts.a > 1", "facts.a > 2")
    ]
    assert found.order == ("facts", "facts.properties")
    assert [c.text for c in found.comments_removed] == ["for now"]
    assert [(c.text, c.line, c.column) for c in found.comments_added] == [("agreed with the board", 7, 20)]
    assert (found.before.version, found.after.version, found.cut) == (1, 2, False)


def test_only_comments_and_order_are_no_change_of_meaning() -> None:
    found = diff_of(version(1, FIRST), version(2, SECOND.replace("> 2", "> 1")))
    assert found.changes == ()
    assert found.order
    assert found.comments_added


def test_a_first_version_is_all_added() -> None:
    found = diff_of(None, version(1, FIRST))
    assert found.before is None
    assert [(e.op, e.path) for e in found.changes] == [
        ("added", "policy"),
        ("added", "owner"),
        ("added", "facts"),
        ("added", "when"),
    ]


def test_the_answer_is_bounded() -> None:
    many = "".join(f"k{n}: {n}\n" for n in range(EDITS_MAX + 5))
    found = diff_of(version(1, "policy: x\n"), version(2, "policy: x\n" + many))
    assert (len(found.changes), found.cut) == (EDITS_MAX, True)
