"""What a simulated write answers has the form of a real answer, whatever the connector declares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stanchion.blueprints import validate_value
from stanchion.tools.simulated import example_of

LEAF = st.one_of(
    st.just({"type": "string"}),
    st.builds(lambda n: {"type": "string", "minLength": n, "maxLength": n + 5}, st.integers(0, 30)),
    st.builds(lambda f: {"type": "string", "format": f}, st.sampled_from(["decimal", "date", "date-time", "uuid"])),
    st.builds(lambda n: {"type": "integer", "minimum": n}, st.integers(-5, 5)),
    st.builds(lambda n: {"type": "number", "maximum": n}, st.integers(-5, 5)),
    st.just({"type": "boolean"}),
    st.just({"type": ["integer", "null"]}),
    st.just({"type": "string", "enum": ["open", "closed"]}),
    st.just({"const": 7}),
    st.just({}),
)


def _object(properties: dict) -> dict:
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties)[:2],
        "additionalProperties": False,
    }


SCHEMAS = st.recursive(
    LEAF,
    lambda inner: (
        st.builds(_object, st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=4))
        | st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 3))
    ),
    max_leaves=8,
)


@given(SCHEMAS)
def test_an_invented_result_fits_its_schema(schema) -> None:
    assert validate_value(schema, example_of(schema)) == []


def test_a_schema_without_end_ends() -> None:
    schema: dict = {"type": "object", "required": ["next"]}
    schema["properties"] = {"next": schema}
    assert example_of(schema) is not None
