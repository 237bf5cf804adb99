"""Flag documents: everything wrong at once, each at its place, with the way out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Json
from stanchion.controls.flags import Finding, check, compile_flag

GOOD: dict[str, Json] = {
    "flag": "new-summary",
    "description": "The summary that names its sources.",
    "owner": "casework",
    "labels": {"team": "casework"},
    "risk": "low",
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "default": "off",
    "enabled": True,
    "rules": [
        {"when": '${has(context.plan) && context.plan == "gold"}', "serve": "on", "description": "Who pays first."},
        {"split": {"on": 10, "off": 90}, "by": "${context.account}", "seed": "summaries"},
    ],
    "metadata": {"ticket": "CASE-7", "order": 3, "beta": True},
}


def changed(**fields: Json) -> dict[str, Json]:
    """GOOD with other fields; None removes one."""
    return {name: value for name, value in {**GOOD, **fields}.items() if value is not None}


def targeted(targeting: Json, **fields: Json) -> dict[str, Json]:
    return changed(rules=None, targeting=targeting, **fields)


def test_a_good_document_has_no_findings() -> None:
    assert check(GOOD) == []
    assert compile_flag(GOOD).broken == ""


@pytest.mark.parametrize(
    ("document", "pointer", "words"),
    [
        ([], "", "A flag is a mapping"),
        (changed(flag=None), "/flag", "the flag's name"),
        (changed(flag="New Summary"), "/flag", "Lower-case letters"),
        (changed(owner=None), "/owner", "has an owner"),
        (changed(description=3), "/description", "is a text"),
        (changed(variant={}), "/variant", "Did you mean variants?"),
        (changed(**{"a/b": 1}), "/a~1b", "A flag has no `a/b`"),
        (changed(type="bool"), "/type", "Did you mean boolean?"),
        (changed(type=3), "/type", "boolean, string, number, object"),
        (changed(variants=None), "/variants", "variants: {on: true, off: false}"),
        (changed(variants={}), "/variants", "maps 1 to 100 names"),
        (changed(variants={"off": False, "": True}), "/variants/", "1 to 100 characters"),
        (changed(variants={"off": False, "x" * 101: True}), "/variants/" + "x" * 101, "1 to 100 characters"),
        (changed(variants={"on": True, "off": "false"}), "/variants/off", "has the value 'false', and the flag is of type boolean"),
        (changed(type="number"), "/variants/on", "value true, and the flag is of type number"),
        (changed(type="object"), "/variants/on", "the flag is of type object"),
        (changed(default="of"), "/default", "Did you mean off?"),
        (changed(default=False), "/default", "no variant 'false'"),
        (changed(enabled="yes"), "/enabled", "is true or false"),
        (changed(metadata=[]), "/metadata", "maps names to values"),
        (changed(metadata={"a": {}}), "/metadata/a", "a text, a number, true or false"),
        (changed(targeting={"if": [True, "on"]}), "/targeting", "either `rules` or `targeting`"),
        (changed(evaluators={}), "/evaluators", "Only `targeting`"),
        (targeted([]), "/targeting", "an operation of JsonLogic"),
        (targeted({"iff": []}), "/targeting/iff", "Did you mean if?"),
        (targeted({"if": [True, "on", "of"]}), "/targeting/if/2", "Did you mean off?"),
        (targeted({"if": [True, "on", 3]}), "/targeting/if/2", "no variant '3'"),
        (targeted({"fractional": [["on", 1], ["offf", 1]]}), "/targeting/fractional/1/0", "Did you mean off?"),
        (targeted({"fractional": [["on", 1.5], ["off", 1]]}), "/targeting/fractional/0/1", "1 beside 199"),
        (targeted({"fractional": [["on", 0]]}), "/targeting/fractional", "add up to 0"),
        (targeted({"if": [{"sem_ver": ["1.0", [], "1"]}, "on"]}), "/targeting/if/0/sem_ver/1", "compares no versions"),
        (targeted({"if": [{"starts_with": [{"var": "a"}, None]}, "on"]}), "/targeting/if/0/starts_with/1", "quotes"),
        (targeted({"if": [{"$ref": "staf"}, "on"]}, evaluators={"staff": {"!": 1}}), "/targeting/if/0/$ref", "Did you mean staff?"),
        (targeted({"if": [True, "on"]}, evaluators=[]), "/evaluators", "maps names to operations"),
        (targeted({"if": [True, "on"]}, evaluators={"a": {"$ref": "b"}}), "/evaluators/a/$ref", "cannot refer to another"),
        (targeted({"if": [True, "on"]}, evaluators={"a": {"nope": 1}}), "/evaluators/a/nope", "no operator"),
        (changed(rules=[]), "/rules", "1 to 100 rules"),
        (changed(rules={}), "/rules", "1 to 100 rules"),
        (changed(rules=["on"]), "/rules/0", "A rule is a mapping"),
        (changed(rules=[{"serve": "on", "split": {"on": 1}}]), "/rules/0", "either `serve` or `split`"),
        (changed(rules=[{"when": "${true}"}]), "/rules/0", "either `serve` or `split`"),
        (changed(rules=[{"serve": "one"}]), "/rules/0/serve", "Did you mean on?"),
        (changed(rules=[{"serve": True}]), "/rules/0/serve", "no variant 'true'"),
        (changed(rules=[{"serve": "on", "by": "x"}]), "/rules/0/by", "belongs to `split`"),
        (changed(rules=[{"serv": "on", "serve": "on"}]), "/rules/0/serv", "Did you mean serve?"),
        (changed(rules=[{"split": []}]), "/rules/0/split", "maps variants to shares"),
        (changed(rules=[{"split": {"onn": 1}}]), "/rules/0/split/onn", "Did you mean on?"),
        (changed(rules=[{"split": {"on": -1, "off": 2}}]), "/rules/0/split/on", "whole number from 0"),
        (changed(rules=[{"split": {"on": 0}}]), "/rules/0/split", "add up to 0"),
        (changed(rules=[{"split": {"on": 2**31}}]), "/rules/0/split", "add up to 2147483648"),
        (changed(rules=[{"split": {"on": 1}, "seed": 3}]), "/rules/0/seed", "is a text"),
        (changed(rules=[{"split": {"on": 1}, "by": "${context.}"}]), "/rules/0/by", "yntax"),
        (changed(rules=[{"when": True, "serve": "on"}]), "/rules/0/when", "one `${ }` that gives true or false"),
        (changed(rules=[{"when": "true", "serve": "on"}]), "/rules/0/when", "one `${ }`"),
        (changed(rules=[{"when": "${1 + 1}", "serve": "on"}]), "/rules/0/when", "true or false"),
        (changed(rules=[{"when": "a ${true}", "serve": "on"}]), "/rules/0/when", "true or false"),
        (changed(rules=[{"when": "${contexts.plan == 1}", "serve": "on"}]), "/rules/0/when", "Undeclared reference"),
        (changed(rules=[{"serve": "on"}, {"serve": "off"}]), "/rules/0", "those after it never apply"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_the_way_out(document: Json, pointer: str, words: str) -> None:
    told = [f"{f.message} {f.hint}" for f in check(document) if f.pointer == pointer]
    assert any(words in message for message in told), check(document)


def test_a_rule_of_true_and_false_needs_variants_of_these_names() -> None:
    found = check(targeted({"ends_with": [{"var": "email"}, "@example.com"]}))
    assert [f.pointer for f in found] == ["/targeting/ends_with"] * 2
    assert "use `if`" in found[0].hint
    named = targeted(
        {"ends_with": [{"var": "email"}, "@example.com"]}, variants={"true": True, "false": False}, default="false"
    )
    assert check(named) == []


def test_everything_is_told_at_once() -> None:
    document = changed(flag=None, owner=None, type="x", default="y", rules=[{"serve": "z"}, {"when": "${"}], colour=1)
    assert [f.pointer for f in check(document)] == [
        "/colour",
        "/flag",
        "/owner",
        "/type",
        "/default",
        "/rules/0/serve",
        "/rules/1/when",
        "/rules/1",
    ]


def test_a_fault_within_an_expression_has_its_character() -> None:
    [finding] = check(changed(rules=[{"when": "${context.plan == }", "serve": "on"}]))
    assert isinstance(finding, Finding)
    assert finding.text == "${context.plan == }"
    assert finding.text[finding.offset :] == "}"
    assert finding.fatal


@pytest.mark.parametrize(
    ("document", "broken"),
    [
        (changed(owner=None, colour=1), False),
        (changed(variants={"on": True, "off": "false"}), False),
        (changed(rules=[{"serve": "on"}, {"serve": "off"}]), False),
        (targeted({"fractional": [["on", -1], ["off", 2]]}), False),
        (targeted({"if": [True, "no-such"]}), False),
        (changed(variants=None), True),
        (changed(default="x"), True),
        (changed(enabled="yes"), True),
        (targeted({"nope": 1}), True),
        (changed(rules=[{"serve": "x"}]), True),
    ],
)
def test_only_what_cannot_be_evaluated_breaks_a_flag(document: dict[str, Json], broken: bool) -> None:
    findings = check(document)
    assert findings
    assert any(f.fatal for f in findings) is broken
    flag = compile_flag(document)
    assert bool(flag.broken) is broken
    if broken:
        first = next(f for f in findings if f.fatal)
        assert flag.broken == f"{first.pointer}: {first.message}"


OPERATORS = ["if", "==", "<", "var", "fractional", "sem_ver", "starts_with", "cat", "in", "map", "$ref", "and", "nope"]
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-5, 200)
    | st.floats()
    | st.sampled_from(["on", "off", "plan", "1.2", "${context.x}", "${"])
)
JSON = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*OPERATORS, "when", "serve", "split", "by", "on", "off"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["flag", "owner", "type", "variants", "default", "enabled", "rules", "targeting", "evaluators", "metadata"]),
        JSON,
    )
)  # fmt: skip
def test_no_document_makes_it_fail(document: dict[str, Json]) -> None:
    assert all(finding.message for finding in check(document))
    compile_flag(document)
