"""The kind `config`: its document, the types it has, its values per environment, and expressions that read it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.blueprints.support import VERBS

from stanchion.base import digest
from stanchion.blueprints import (
    ConfigKind,
    Document,
    compile_document,
    config_schema,
    config_scope,
    config_set_here,
    config_values,
    program_from_body,
    validate_value,
)

KIND = ConfigKind()
LIMITS = """\
# What a person decides.
config: risk-limits
owner: casework
risk: high
labels: {team: casework}
values:
  fine_eur: 100000
  share: 1
  by_country: {DE: 1.5, FR: 2}
  countries: [DE, FR]
  nobody: []
environments:
  production:
    fine_eur: 50000
    share: 0.5
    by_country: {FR: 3.5}
    nobody: [NO]
  staging: {countries: []}
"""


def parsed(source: str = LIMITS):
    return KIND.parse(Document(path="limits.yaml", source=source), lambda kind, name: None)


def body(source: str = LIMITS):
    made = parsed(source)
    assert [i for i in made.issues if i.severity == "error"] == []
    return made.body


def said(source: str):
    return [(i.code, i.line, i.column, i.message, i.hint) for i in parsed(source).issues]


def test_a_config_is_read():
    made = parsed()
    assert (made.name, made.owner, made.references, made.issues) == ("risk-limits", "casework", (), ())
    assert made.body["risk"] == "high"
    # Comments and the order of keys make no new version.
    again = LIMITS.replace("# What a person decides.\n", "").replace(
        "owner: casework\nrisk: high", "risk: high\nowner: casework"
    )
    assert digest(dict(parsed(again).body)) == digest(dict(made.body))


def test_an_environment_overlays_the_values_key_by_key_and_lists_whole():
    base = {"fine_eur": 100000, "share": 1, "by_country": {"DE": 1.5, "FR": 2}, "countries": ["DE", "FR"], "nobody": []}
    assert config_values(body(), "local") == base
    assert config_values(body(), "production") == {
        **base,
        "fine_eur": 50000,
        "share": 0.5,
        "by_country": {"DE": 1.5, "FR": 3.5},
        "nobody": ["NO"],
    }
    assert config_values(body(), "staging") == {**base, "countries": []}
    assert config_set_here(body(), "production") == ["/fine_eur", "/share", "/by_country/FR", "/nobody"]
    assert config_set_here(body(), "local") == []


def test_types_are_told_from_the_values_of_all_environments():
    schema = config_schema(body())
    types = schema["properties"]
    assert types["fine_eur"] == {"type": "integer"}
    assert types["share"] == {"type": "number"}, "a whole number here and a fraction there"
    assert types["nobody"] == {"type": "array", "items": {"type": "string"}}, "a list that is empty here and not there"
    assert types["by_country"]["properties"] == {"DE": {"type": "number"}, "FR": {"type": "number"}}
    assert schema["additionalProperties"] is False
    for environment in ("local", "production", "staging"):
        assert validate_value(schema, config_values(body(), environment)) == []


def test_elements_of_a_list_have_the_type_that_all_of_them_fit():
    def items(text: str):
        return config_schema(body(f"config: c\nowner: o\nvalues: {{a: {text}}}\n"))["properties"]["a"]

    assert items("[1, 2.5]") == {"type": "array", "items": {"type": "number"}}
    assert items("[1, x]") == {"type": "array", "items": {}}
    assert items("[{a: 1, b: x}, {a: 2.5}]")["items"]["required"] == ["a"]
    assert items("[{a: 1, b: x}, {a: 2.5}]")["items"]["properties"] == {
        "a": {"type": "number"},
        "b": {"type": "string"},
    }
    assert items("[{a: 1}, {a: x}]") == {"type": "array", "items": {}}
    assert items("[[1], []]") == {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}


DECLARED = """\
config: c
owner: o
schema:
  type: object
  required: [fee]
  properties:
    fee: {type: string, format: decimal}
    days: {type: integer, minimum: 1, default: 30}
    note: {type: [string, 'null']}
    extra: {type: object, additionalProperties: {type: integer}}
values: {fee: "2.50", note: null, extra: {a: 1}}
environments:
  production: {days: 14, extra: {b: 2}}
"""


def test_a_declared_schema_gives_types_defaults_and_open_objects():
    assert config_values(body(DECLARED), "local") == {"fee": "2.50", "note": None, "extra": {"a": 1}, "days": 30}
    assert config_values(body(DECLARED), "production")["extra"] == {"a": 1, "b": 2}
    assert config_values(body(DECLARED), "production")["days"] == 14
    assert config_schema(body(DECLARED))["properties"]["fee"] == {"type": "string", "format": "decimal"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("config: c\nowner: o\nvalue: {a: 1}\n", [("document.missing_field", 1, 1), ("document.unknown_field", 3, 1)]),
        ("config: Risk\nowner: o\nvalues: {a: 1}\n", [("document.pattern", 1, 9)]),
        ("config: in\nowner: o\nvalues: {a: 1}\n", [("config.reserved", 1, 9)]),
        ("config: c\nowner: o\nvalues: {}\n", [("document.range", 3, 9)]),
        ("config: c\nowner: o\nvalues: {a: null}\n", [("config.untyped", 3, 13)]),
        ("config: c\nowner: o\nvalues: [1]\n", [("document.type", 3, 9)]),
        ("config: c\nowner: o\nvalues: {a: 1}\nenvironments: {qa: {b: 1}}\n", [("config.unknown_key", 4, 21)]),
        ("config: c\nowner: o\nvalues: {a: 1}\nenvironments: {qa: {a: x}}\n", [("config.type", 4, 24)]),
        ("config: c\nowner: o\nvalues: {a: {b: 1}}\nenvironments: {qa: {a: 1}}\n", [("config.type", 4, 24)]),
        ("config: c\nowner: o\nvalues: {a: 1}\nenvironments: {qa: 1}\n", [("document.type", 4, 20)]),
        (DECLARED.replace("2.50", "cheap"), [("config.misfit", 11, 15)]),
        (DECLARED.replace("days: 14", "days: 0"), [("config.misfit", 13, 22)]),
        (DECLARED.replace("days: 14", "dais: 1"), [("config.misfit", 13, 16)]),
        (DECLARED.replace('fee: "2.50", ', ""), [("config.misfit", 11, 1)]),
        (DECLARED.replace("[fee]", "[fees]"), [("document.schema", 5, 14)]),
        (DECLARED.replace("default: 30", "default: 0"), [("document.schema", 8, 48)]),
        (DECLARED.replace("format: decimal", "sensitive: true"), [("config.sensitive", 7, 25)]),
        (DECLARED.replace("type: object\n  required", "type: array\n  required"), [("document.schema", 4, 9)]),
    ],
)
def test_what_is_wrong_is_said_at_its_place(source, expected):
    found = said(source)
    assert [one[:3] for one in found] == expected
    assert all(message for *_, message, _ in found)
    assert all(hint for code, *_, hint in found if code.startswith("config."))


def test_doubtful_things_are_warned_of_and_refuse_nothing():
    source = "config: c\nowner: o\nvalues: {a: 'Dear ${name}'}\nenvironments: {prodution: {a: x}, pilots: {a: y}}\n"
    issues = parsed(source).issues
    assert [(i.code, i.severity, i.pointer) for i in issues] == [
        ("config.literal", "warning", "/values/a"),
        ("config.environment", "warning", "/environments/prodution"),
    ]
    assert issues[1].hint == "Did you mean production?"


BLUEPRINT = """\
blueprint: b
owner: o
input: {type: object, required: [fine], properties: {fine: {type: integer}, country: {type: string, default: DE}}}
steps:
  - id: high
    if: input.fine > config.risk_limits.fine_eur
    transform: {value: {limit: "${config.risk_limits.fine_eur}", text: "over ${config.risk_limits.fine_eur}"}}
  - id: each
    for_each:
      in: config.risk_limits.countries
      as: country
      steps:
        - id: factor
          transform: {value: "${config.risk_limits.by_country[country]}"}
      output: ${steps.factor.value}
  - id: gate
    logic_gate:
      if: config.risk_limits.share < 1.0
      then: [{id: low, transform: {value: low}}]
output: {share: "${config.risk_limits.share}", all: "${config.risk_limits}", other: "${config.mail_texts.greeting}"}
"""


def lookup(**configs):
    bodies = {
        "risk-limits": body(),
        "mail-texts": body("config: mail-texts\nowner: o\nvalues: {greeting: Good day}\n"),
        **{name.replace("_", "-"): value for name, value in configs.items()},
    }
    return lambda kind, name: bodies.get(name) if kind == "config" else None


def compiled(source=BLUEPRINT, look=None):
    return compile_document(Document(path="b.yaml", source=source), verbs=VERBS, lookup=look or lookup())


def test_every_position_of_an_expression_reads_config_and_the_references_say_so():
    program, issues = compiled()
    assert issues == ()
    assert program.references == (("config", "mail-texts"), ("config", "risk-limits"))
    properties = program.output_schema["properties"]
    assert properties["share"] == {"type": "number"}
    assert properties["other"] == {"type": "string"}
    scope = {
        "input": {"fine": 70000, "country": "FR"},
        "config": config_scope({n: lookup()("config", n) for n in ("risk-limits", "mail-texts")}, "production"),
        "steps": {},
    }
    ops = {op.path: op for op in program.blocks[""].ops if op.path}
    assert ops["high"].step.guard.evaluate(scope) is True
    assert ops["high"].step.config["value"].render(scope) == {"limit": 50000, "text": "over 50000"}
    assert ops["each"].step.for_each.items.evaluate(scope) == ["DE", "FR"]
    assert ops["gate"].condition.evaluate(scope) is True
    factor = program.blocks["each"].ops[0].step.config["value"]
    assert factor.render({**scope, "country": "FR"}) == 3.5
    assert program.blocks[""].output.render(scope)["other"] == "Good day"


def test_a_published_body_compiles_beside_its_pinned_configs():
    document = {
        "blueprint": "b",
        "owner": "o",
        "steps": [{"id": "a", "transform": {"value": "${config.risk_limits.fine_eur}"}}],
    }
    made = program_from_body(document, VERBS, lookup())
    assert made.references == (("config", "risk-limits"),)


def wrong(replaced: str, by: str, look=None):
    assert replaced in BLUEPRINT
    _, issues = compiled(BLUEPRINT.replace(replaced, by), look)
    return [(i.code, i.line, i.column, i.hint) for i in issues]


def test_what_a_config_does_not_have_is_refused_with_the_way_out():
    assert wrong("config.risk_limits.share < 1.0", "config.risk_limits.shar < 1.0") == [
        ("expression.invalid", 18, 30, "Did you mean share?")
    ]
    found = wrong("config.risk_limits.share < 1.0", "config.risk_limits.fine_eur < 'x'")
    assert [one[0] for one in found] == ["expression.invalid"]
    assert wrong("${config.mail_texts.greeting}", "hm ${config.mail_txts.greeting}") == [
        (
            "config.unknown_artifact",
            20,
            91,
            "Apply the config mail-txts together with this document, or correct the name.",
        )
    ]
    assert wrong("config.risk_limits.countries", "config.no_such.countries")[0][:3] == (
        "config.unknown_artifact",
        10,
        11,
    )


@pytest.mark.parametrize("text", ["${config}", "${config['risk-limits'].share}", "${size(config)}"])
def test_config_alone_is_no_value_because_what_is_read_must_be_known(text):
    for source in (
        BLUEPRINT.replace("${config.mail_texts.greeting}", text),
        f'blueprint: b\nowner: o\nsteps: [{{id: a, transform: {{value: "{text}"}}}}]\n',
    ):
        _, issues = compiled(source)
        assert [(i.code, i.message) for i in issues] == [("expression.invalid", "config alone is no value.")]
        assert "config.risk_limits.fine_eur" in issues[0].hint


def test_what_only_looks_like_a_config_is_none():
    source = """\
blueprint: b
owner: o
steps:
  - {id: a, transform: {value: {config: {x: 1}}}}
  - {id: b, transform: {value: "${steps.a.value.config.x} config.nope.x ${'config.nope.x'}"}}
"""
    program, issues = compiled(source)
    assert issues == ()
    assert program.references == ()
    assert program.blocks[""].ops[1].step.config["value"].render({"steps": {"a": {"value": {"config": {"x": 1}}}}}) == (
        "1 config.nope.x config.nope.x"
    )


VALUES = st.recursive(
    st.booleans() | st.integers(-100, 100) | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1), st.dictionaries(st.sampled_from("abcd"), VALUES))
def test_whatever_is_accepted_fits_its_types_in_every_environment(values, overlay):
    document = {"config": "c", "owner": "o", "values": values, "environments": {"production": overlay}}
    made = KIND.parse(Document(path="c.json", source=json.dumps(document)), lambda kind, name: None)
    if any(i.severity == "error" for i in made.issues):
        return
    schema = config_schema(made.body)
    for environment in ("local", "production"):
        assert validate_value(schema, config_values(made.body, environment)) == []
