"""Programs and what is refused: layout, scopes, approvals, and all issues of a document at once."""

from __future__ import annotations

import copy
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.blueprints.support import FIXTURES, KIND, VERBS, compiled, issues, lookup, program

from stanchion.base import Internal, digest
from stanchion.blueprints import Document, OpKind, program_from_body, read_document, with_defaults

SOURCES = {p.name: p.read_text() for p in sorted(FIXTURES.glob("*.yaml"))}
HEAD = "blueprint: b\nowner: o\ninput: {type: object, properties: {n: {type: integer}}}\nsteps:\n"


def one(source):
    found = issues(source)
    assert len(found) == 1, [(i.line, i.column, i.code, i.message) for i in found]
    return found[0]


def shape(block):
    return [(o.kind.value, o.path, o.target, dict(o.exits)) for o in block.ops]


def test_a_program_is_flat_with_jump_targets():
    made = program(SOURCES["case-triage.yaml"])
    gate = "triage/risk"
    assert shape(made.blocks["triage"]) == [
        ("step", "triage/found", -1, {}),
        ("step", "triage/tier", -1, {}),
        ("gate", gate, 8, {"skipped": 9}),
        ("step", f"{gate}/then/approval", -1, {"rejected": 7, "expired": 6}),
        ("step", f"{gate}/then/record_approved", -1, {}),
        ("jump", "", 7, {}),
        ("step", f"{gate}/then/approval/on_expire/lapsed", -1, {}),
        ("jump", "", 9, {}),
        ("step", f"{gate}/else/record_plain", -1, {}),
        ("end", "", -1, {}),
    ]
    assert [o.kind for o in made.blocks[""].ops] == [OpKind.STEP, OpKind.STEP, OpKind.FAN_OUT, OpKind.END]
    assert made.blocks["triage"].outer == {"limit"}
    assert made.references == (("connector", "casebook"), ("policy", "supervisor-approval"))


def test_a_block_reads_for_its_children_what_they_need_of_outer_blocks():
    made = program(SOURCES["every-corner.yaml"])
    assert made.blocks["outer/letters"].outer == {"outer/greeting"}
    assert made.blocks["outer"].outer == frozenset()
    ask = next(o for o in made.blocks["outer/letters"].ops if o.path.endswith("/ask"))
    assert ask.exits == {"expired": len(made.blocks["outer/letters"].ops) - 1}


def test_targets_lie_within_their_block_and_end_comes_last():
    for source in SOURCES.values():
        for block in program(source).blocks.values():
            assert [o.kind for o in block.ops].count(OpKind.END) == 1
            assert block.ops[-1].kind is OpKind.END
            for op in block.ops:
                targets = [*op.exits.values(), *([op.target] if op.kind in (OpKind.GATE, OpKind.JUMP) else [])]
                assert all(0 <= t < len(block.ops) for t in targets)


def test_step_fields_are_compiled():
    made = program(SOURCES["case-triage.yaml"])
    first = made.blocks[""].ops[0].step
    assert (first.retry.attempts, first.retry.initial_s, first.retry.max_s, first.timeout_s) == (3, 0.5, 10.0, 30.0)
    assert first.config["where"].render({"input": {"country": "NO"}}) == {"country": "NO"}
    assert first.config["connector"] == "casebook"
    fan_out = made.blocks[""].ops[2].step.for_each
    assert (fan_out.alias, fan_out.concurrency, fan_out.on_item_error, fan_out.max_failures) == (
        "row",
        8,
        "continue",
        5,
    )
    assert fan_out.block == "triage"
    rows = [{"fine_eur": 0}, {"fine_eur": 3}]
    assert fan_out.items.evaluate({"steps": {"open": {"records": rows}}}) == [{"fine_eur": 3}]


def test_a_blocks_output_and_types_flow_through():
    made = program(SOURCES["case-triage.yaml"])
    scope = {"item": {"case_id": "c1"}, "steps": {"tier": {"value": {"tier": "ordinary"}}}}
    assert made.blocks["triage"].output.render(scope) == {"case_id": "c1", "tier": "ordinary"}
    assert made.output_schema["properties"]["failed"] == {"type": "integer"}
    assert made.input_schema["additionalProperties"] is False


def test_own_fields_of_a_push_are_those_that_its_approval_gives():
    block = program(SOURCES["case-triage.yaml"]).blocks["triage"]
    push = next(o for o in block.ops if o.path.endswith("record_approved"))
    assert push.approvals == ("triage/risk/then/approval",)
    assert push.own_fields == {"by"}
    plain = next(o for o in block.ops if o.path.endswith("record_plain"))
    assert (plain.approvals, plain.own_fields) == ((), frozenset())
    lapsed = next(o for o in block.ops if o.path.endswith("lapsed"))
    assert lapsed.approvals == ()


@pytest.mark.parametrize("name", SOURCES)
def test_the_body_compiles_to_the_same_program(name):
    source = SOURCES[name]
    parsed = KIND.parse(Document(path=name, source=source), lookup)
    assert not parsed.issues
    stored = json.loads(json.dumps(parsed.body))
    again = program_from_body(stored, VERBS, lookup)
    first = program(source)
    assert {p: shape(b) for p, b in again.blocks.items()} == {p: shape(b) for p, b in first.blocks.items()}
    assert (again.input_schema, again.output_schema) == (first.input_schema, first.output_schema)
    assert (parsed.name, parsed.owner, parsed.references) == (again.name, again.owner, again.references)


def test_comments_and_quotes_make_no_new_version():
    source = SOURCES["case-triage.yaml"]
    other = "# another comment\n" + source.replace('"${input.country}"', "'${input.country}'")
    one_body, other_body = (KIND.parse(Document(path="b", source=s), lookup).body for s in (source, other))
    assert digest(one_body) == digest(other_body)


def test_a_body_that_no_longer_compiles_says_why():
    with pytest.raises(Internal, match="no_such") as caught:
        program_from_body({"blueprint": "b", "owner": "o", "steps": [{"id": "a", "no_such": {}}]}, VERBS, lookup)
    assert caught.value.code == "blueprint.unreadable"


def test_all_issues_come_at_once_in_document_order():
    found = issues(
        "blueprint: Bad Name\n"
        "owner: o\n"
        "stepz: []\n"
        "steps:\n"
        "  - id: a\n"
        "    lokup: {connector: casebook}\n"
        "  - id: a\n"
        "    transform: {value: '${steps.nope.x + 1}'}\n"
        "    retry: {attempts: three}\n"
        "    timeout: 60\n"
        "  - transform: {value: 1}\n"
        "    if: steps.a.valu\n"
    )
    assert [(i.line, i.column, i.code, i.step) for i in found] == [
        (1, 12, "document.pattern", None),
        (3, 1, "document.unknown_field", None),
        (6, 5, "document.unknown_field", "a"),
        (7, 9, "blueprint.duplicate_id", "a"),
        (8, 33, "expression.invalid", "a"),
        (9, 23, "document.type", "a"),
        (10, 14, "document.type", "a"),
        (11, 5, "document.missing_field", None),
        (12, 17, "expression.invalid", None),
    ]
    assert found[2].hint == "Did you mean lookup?"
    assert "three" in found[5].message
    assert all(i.file == "blueprint.yaml" for i in found)


SCOPE_CASES = {
    "later": ("  - {id: a, transform: {value: '${steps.b.value}'}}\n  - {id: b, transform: {value: 1}}\n", "later"),
    "itself": ("  - {id: a, transform: {value: '${steps.a.value}'}}\n", "itself"),
    "unknown": (
        "  - {id: abc, transform: {value: 1}}\n  - {id: b, transform: {value: '${steps.abd.value}'}}\n",
        "no such step",
    ),
    "branch": (
        (
            "  - {id: g, logic_gate: {if: 'input.n > 1', then: [{id: t, transform: {value: 1}}]}}\n"
            "  - {id: b, transform: {value: '${steps.t.value}'}}\n"
        ),
        "then of g",
    ),
    "other branch": (
        (
            "  - {id: g, logic_gate: {if: 'input.n > 1', then: [{id: t, transform: {value: 1}}],"
            " else: [{id: e, transform: {value: '${steps.t.value}'}}]}}\n"
        ),
        "then of g",
    ),
    "items": (
        (
            "  - {id: f, for_each: {in: '[1]', steps: [{id: t, transform: {value: 1}}]}}\n"
            "  - {id: b, transform: {value: '${steps.t.value}'}}\n"
        ),
        "steps.f.succeeded",
    ),
    "item outside": ("  - {id: a, transform: {value: '${item.x}'}}\n", "only inside a for_each"),
    "outer item": (
        (
            "  - {id: f, for_each: {in: '[1]', as: one, steps: [{id: h, for_each: {in: '[2]', as: two, steps: "
            "[{id: t, transform: {value: '${one}'}}]}}]}}\n"
        ),
        "outer for_each",
    ),
    "exit block": (
        (
            "  - {id: g, govern: {policy: supervisor-approval, show: ['x'], on_reject: [{id: r, transform: {value: 1}}]}}\n"
            "  - {id: b, transform: {value: '${steps.r.value}'}}\n"
        ),
        "on_reject of g",
    ),
    "config": ("  - {id: a, transform: {value: '${config}'}}\n", "config alone is no value"),
}


@pytest.mark.parametrize("name", SCOPE_CASES)
def test_a_reference_out_of_scope_says_why(name):
    steps, reason = SCOPE_CASES[name]
    issue = one(HEAD + steps)
    assert reason in issue.message
    line = (HEAD + steps).split("\n")[issue.line - 1][issue.column - 1 :]
    assert line.startswith(("a.", "abd.", "b.", "t.", "r.", "item.", "one}", "config}"))


REFUSED = {
    "suspends in a step's for_each": (
        "  - {id: a, for_each: {in: '[1]'}, govern: {policy: supervisor-approval, show: ['x']}}\n",
        ("blueprint.needs_block", "for_each"),
    ),
    "two verbs": (
        "  - {id: a, transform: {value: 1}, lookup: {connector: casebook, resource: cases, key: x}}\n",
        ("blueprint.two_verbs", "lookup"),
    ),
    "block and verb": (
        "  - {id: a, for_each: {in: '[1]', steps: [{id: b, transform: {value: 1}}]}, transform: {value: 1}}\n",
        ("blueprint.two_verbs", "transform"),
    ),
    "no verb": ("  - {id: a, timeout: 5s}\n", ("blueprint.no_verb", "{id: a")),
    "retry on a gate": (
        "  - {id: a, retry: {attempts: 2}, logic_gate: {if: 'true', then: [{id: b, transform: {value: 1}}]}}\n",
        ("blueprint.misplaced", "retry"),
    ),
    "for_each on a gate": (
        "  - {id: a, for_each: {in: '[1]'}, logic_gate: {if: 'true', then: [{id: b, transform: {value: 1}}]}}\n",
        ("blueprint.needs_block", "for_each"),
    ),
    "max_failures alone": (
        "  - {id: a, for_each: {in: '[1]', max_failures: 1}, transform: {value: 1}}\n",
        ("blueprint.misplaced", "max_failures"),
    ),
    "output without steps": (
        "  - {id: a, for_each: {in: '[1]', output: 1}, transform: {value: 1}}\n",
        ("blueprint.misplaced", "output"),
    ),
    "reserved id": ("  - {id: in, transform: {value: 1}}\n", ("blueprint.reserved", "in,")),
    "reserved alias": (
        "  - {id: a, for_each: {in: '[1]', as: input}, transform: {value: 1}}\n",
        ("blueprint.reserved", "input}"),
    ),
    "guard of no boolean": (
        "  - {id: a, if: input.n + 1, transform: {value: 1}}\n",
        ("blueprint.expression_type", "input.n + 1"),
    ),
    "items of no list": (
        "  - {id: a, for_each: {in: input.n}, transform: {value: 1}}\n",
        ("blueprint.expression_type", "input.n}"),
    ),
    "expression where it is bare": (
        "  - {id: a, if: '${input.n > 1}', transform: {value: 1}}\n",
        ("document.bare_expression", "'${input.n > 1"),
    ),
    "unknown resource": (
        "  - {id: a, lookup: {connector: casebook, resource: casez, key: x}}\n",
        ("connector.unknown_resource", "casez"),
    ),
    "unknown artifact": (
        "  - {id: a, lookup: {connector: casebok, resource: cases, key: x}}\n",
        ("blueprint.unknown_artifact", "casebok"),
    ),
    "expression as artifact": (
        "  - {id: a, lookup: {connector: '${input.n}', resource: cases, key: x}}\n",
        ("document.literal", "'${input.n}', resource"),
    ),
    "expression as resource": (
        "  - {id: a, lookup: {connector: casebook, resource: '${input.n}', key: x}}\n",
        ("document.literal", "'${input.n}', key"),
    ),
    "key of a wrong type": (
        "  - {id: a, lookup: {connector: casebook, resource: cases, key: '${input}'}}\n",
        ("blueprint.expression_type", "'${input}'"),
    ),
    "record that is not shown": (
        (
            "  - {id: g, govern: {policy: supervisor-approval, show: ['${input.n}']}}\n"
            "  - {id: p, push: {connector: casebook, resource: outcomes, record: {n: '${input.n}'}}}\n"
        ),
        ("blueprint.not_shown", "record"),
    ),
    "list in a text": ("  - {id: a, transform: {value: 'x ${[1]}'}}\n", ("expression.invalid", "[1]}")),
    "bad schema": ("  - {id: a, transform: {value: 1, schema: {type: strin}}}\n", ("document.choice", "strin")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_at_its_place(name):
    steps, (code, place) = REFUSED[name]
    found = issues(HEAD + steps)
    lines = (HEAD + steps).split("\n")
    assert any(i.code == code and lines[i.line - 1][i.column - 1 :].startswith(place) for i in found), found
    assert all(i.message.endswith(".") for i in found)


def test_a_guarded_approval_dominates_nothing():
    made = program(
        HEAD + "  - {id: g, if: input.n > 1, govern: {policy: supervisor-approval, show: ['x']}}\n"
        "  - {id: p, push: {connector: casebook, resource: outcomes, record: {n: '${input.n}'}}}\n"
    )
    assert made.blocks[""].ops[1].approvals == ()


def test_skip_leaves_the_enclosing_block_only():
    made = program(
        HEAD + "  - id: g\n    logic_gate:\n      if: input.n > 1\n      then:\n"
        "        - {id: a, govern: {policy: supervisor-approval, show: ['x'], on_reject: skip}}\n"
        "        - {id: b, transform: {value: 1}}\n"
        "  - {id: c, transform: {value: 2}}\n"
    )
    ops = made.blocks[""].ops
    assert ops[ops[1].exits["rejected"]].path == "c"
    assert ops[ops[0].exits["skipped"]].path == "c"
    assert ops[ops[0].target].path == "c"


def test_an_expression_in_a_block_scalar_is_found_on_its_line():
    source = (
        HEAD + "  - id: a\n    transform:\n      value: >-\n        some text ${input.n}\n        and ${input.m} more\n"
    )
    issue = one(source)
    assert source.split("\n")[issue.line - 1][issue.column - 1 :].startswith("m} more")


def test_where_an_expression_fails_is_told_at_run_time():
    made = program(HEAD + "  - {id: a, transform: {value: {x: ['${10 / input.n}']}}}\n")
    with pytest.raises(Exception, match=r"step a, /steps/0/transform/value/x/0: `10 / input.n` failed: divide by zero"):
        made.blocks[""].ops[0].step.config["value"].render({"input": {"n": 0}})


RANDOM = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["", "${", "${}", "${x", "a", "$${", "steps.x", "[", "'"])
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "in", "steps", "type", "if", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def _nodes(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _nodes(item, (*path, key))


BODIES = {name: read_document(Document(path=name, source=s)).body for name, s in SOURCES.items()}
PLACES = {name: [p for p in _nodes(body) if p] for name, body in BODIES.items()}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(BODIES)), data=st.data())
def test_no_document_makes_the_compiler_raise(name, data):
    body = copy.deepcopy(BODIES[name])
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(PLACES[name]))
        node = body
        try:
            for key in path:
                node = node[key]
            node[last] = data.draw(RANDOM)
        except (KeyError, IndexError, TypeError):
            continue  # the first change took the place of the second away
    source = json.dumps(body, ensure_ascii=False)
    made, found = compiled(source)
    assert (made is None) == bool(found)


def test_no_text_makes_the_reader_raise():
    rng = random.Random(20261122)
    for _ in range(300):
        source = SOURCES[rng.choice(sorted(SOURCES))]
        for _ in range(rng.randint(1, 3)):
            at, width = rng.randrange(len(source)), rng.randint(1, 6)
            source = (
                source[:at]
                + "".join(rng.choices("{}[]:,-'\"$ \n\t#&*!|>abc1", k=rng.randint(0, 3)))
                + source[at + width :]
            )
        made, found = compiled(source)
        assert (made is None) == bool(found)


DEFAULTS = """blueprint: b
owner: o
input:
  type: object
  properties:
    n: {type: integer, default: 3}
    deep: {type: object, properties: {unit: {type: string, default: EUR}, free: {type: string}}}
    made: {type: object, default: {}, properties: {unit: {type: string, default: USD}}}
steps:
  - {id: a, transform: {value: "${input.n + 1}"}}
"""


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        ({}, {"n": 3, "made": {"unit": "USD"}}),
        ({"n": 4, "deep": {}}, {"n": 4, "deep": {"unit": "EUR"}, "made": {"unit": "USD"}}),
        ({"n": None, "made": {"unit": "x"}}, {"n": None, "made": {"unit": "x"}}),
        ([1], [1]),
    ],
)
def test_defaults_complete_an_input_and_leave_what_was_given(given, completed):
    schema = program(DEFAULTS).input_schema
    before = copy.deepcopy((schema, given))
    assert with_defaults(schema, given) == completed
    assert (schema, given) == before


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ("n: {type: integer, default: three}", "/input/properties/n/default"),
        ("d: {type: string, format: decimal, default: '1,5'}", "/input/properties/d/default"),
        ("o: {type: object, default: {m: 1}, properties: {n: {type: integer}}}", "/input/properties/o/default/m"),
        ("o: {type: object, properties: {n: {type: integer, default: x}}}", "/input/properties/o/properties/n/default"),
    ],
)
def test_a_default_must_fit_its_own_schema(wrong, pointer):
    found = one(
        f"blueprint: b\nowner: o\ninput:\n  properties:\n    {wrong}\nsteps:\n  - {{id: a, transform: {{value: 1}}}}\n"
    )
    assert (found.code, found.pointer) == ("document.schema", pointer)
    assert found.message.startswith("The default does not fit its own schema: ")


PLAIN = "blueprint: b\nowner: o\ninput: {type: object, required: [n], properties: {n: {type: integer}}}\nsteps:\n"


@pytest.mark.parametrize(
    ("step", "code", "hint"),
    [
        ("{id: a, timeout: 10, transform: {value: 1}}", "document.type", "Write 10s, if these are seconds."),
        (
            "{id: a, transform: {value: 1, schema: {type: decimal}}}",
            "document.choice",
            "Write {type: string, format: decimal}.",
        ),
        (
            "{id: a, if: '${input.n > 1}', transform: {value: 1}}",
            "document.bare_expression",
            "Write the expression bare here, without ${ }.",
        ),
    ],
)
def test_a_common_slip_is_one_issue_with_its_way_out(step, code, hint):
    found = one(f"{PLAIN}  - {step}\n")
    assert (found.code, found.hint) == (code, hint)


def test_a_step_of_a_branch_says_how_to_get_at_its_value():
    gate = "  - {id: g, logic_gate: {if: input.n > 1, then: [{id: x, transform: {value: 1}}]}}\n"
    found = one(PLAIN + gate + "  - {id: b, transform: {value: '${steps.x.value}'}}\n")
    assert "put what needs it into the branch" in found.message
