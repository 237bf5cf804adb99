"""Documents as text: YAML 1.2's core schema, what is refused, and where everything stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.blueprints import Document, read_document


def read(source, path="doc.yaml"):
    return read_document(Document(path=path, source=source))


def faults(source):
    return [(i.code, i.line, i.column) for i in read(source).issues]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ("1_000", "1_000"),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("+5", 5),
        ("-1.50", -1.5),
        ("1.", 1.0),
        (".5e3", 500.0),
        ("1e3", 1000.0),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("'null'", "null"),
        ('"1"', "1"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_a_plain_scalar_means_what_the_core_schema_says(text, value):
    made = read(f"a: {text}\n")
    assert not made.issues
    assert made.body == {"a": value}
    assert type(made.body["a"]) is type(value)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("a: 1\nb: !!python/object:os.system x\n", ("document.tag", 2, 4)),
        ("a: &x [1]\nb: *x\n", ("document.anchor", 1, 4)),
        ("a: *x\n", ("document.alias", 1, 4)),
        ("a: 1\nb: 2\na: 3\n", ("document.duplicate_key", 3, 1)),
        ("a: 1\n---\nb: 2\n", ("document.many", 2, 1)),
        ("? [1]\n: 2\n", ("document.key", 1, 3)),
        ("a: [1, 2\nb: 3\n", ("document.syntax", 2, 2)),
        ("a: .inf\n", ("document.number", 1, 4)),
        ("a: .nan\n", ("document.number", 1, 4)),
        ("a: 99999999999999999999\n", ("document.number", 1, 4)),
        ("a: " + "9" * 5000 + "\n", ("document.number", 1, 4)),
        ("a: 1e999\n", ("document.number", 1, 4)),
        ("", ("document.empty", 1, 1)),
        ("# nothing\n", ("document.empty", 1, 1)),
        ("a: \x07\n", ("document.syntax", 1, 4)),
        ("[" * 100 + "]" * 100, ("document.too_large", 1, 61)),
        ("a: " + "x" * (1024 * 1024), ("document.too_large", 1, 1)),
    ],
)
def test_what_is_refused_is_refused_at_its_place(source, fault):
    assert faults(source)[0] == fault


def test_all_faults_of_a_readable_document_are_told():
    assert [f[0] for f in faults("a: 1\na: 2\nb: .inf\nc: .nan\n")] == [
        "document.duplicate_key",
        "document.number",
        "document.number",
    ]


def test_an_expression_that_breaks_yaml_says_how_to_quote_it():
    (issue,) = read("a: ${x ? 'a b' : 'c'}\n").issues
    assert "quotes" in issue.hint


STYLES = {
    "plain": "k: one two target\n",
    "single": "k: 'it''s one target'\n",
    "double": 'k: "a\\tb \\u00e9 \\"x\\" target"\n',
    "literal": "k: |\n    one\n      two\n\n    target\n",
    "folded": "k: >-\n    one\n    two\n\n    three target\n",
    "plain folded": "k: one\n  two\n\n  three target\n",
    "double folded": 'k: "one\n  two \\\n  three target"\n',
    "flow": '{"j": [1, {"k": "one target"}]}',
}


@pytest.mark.parametrize("name", STYLES)
def test_a_character_of_a_text_is_found_in_the_file(name):
    source = STYLES[name]
    made = read(source)
    pointer = "/j/1/k" if name == "flow" else "/k"
    text = made.body["j"][1]["k"] if name == "flow" else made.body["k"]
    line, column = made.positions.of_character(pointer, text, text.index("target"))
    assert source.split("\n")[line - 1][column - 1 :].startswith("target")


@given(
    words=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=5), min_size=1
    ),
    data=st.data(),
)
def test_every_character_of_a_json_text_is_found_in_the_file(words, data):
    text = " ".join(words)
    source = json.dumps({"key": text}, ensure_ascii=False)
    made = read(source)
    assert made.body == {"key": text}
    offset = data.draw(st.integers(0, len(text) - 1).filter(lambda i: text[i] != " "))
    line, column = made.positions.of_character("/key", text, offset)
    found = source[column - 1 :]
    assert line == 1
    assert found[0] == text[offset] or found.startswith("\\")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(value=values)
def test_json_documents_are_read_as_json_reads_them(value):
    source = json.dumps({"v": value}, indent=1).replace("\n ", "\n\t")
    if "\\ud" in source:
        return  # JSON's surrogate escapes are no YAML
    made = read(source, "doc.json")
    assert not made.issues
    assert made.body == {"v": value}


def test_positions_of_keys_and_values_are_one_based_and_count_characters():
    made = read("ä: 1\nsteps:\n  - id: a\n    über: 'x'\n")
    assert made.positions.of_key("/ä") == (1, 1)
    assert made.positions.of_value("/ä") == (1, 4)
    assert made.positions.of_key("/steps/0/über") == (4, 5)
    assert made.positions.of_value("/steps/0/über") == (4, 11)
    assert made.positions.of_key("/steps/0") == (3, 5)
    assert made.positions.of_value("/steps/0/no/such") == (3, 5)
