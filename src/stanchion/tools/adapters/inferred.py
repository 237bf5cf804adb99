"""Fields of records whose types nobody declared, inferred from samples; and names that a document can hold.

What is inferred is a proposal for a person, who reads it before it stands in a connector: a sample shows what may be
there, never what must.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from stanchion.base import Json
from stanchion.blueprints import validate_value
from stanchion.tools.records import text_value

# Records and bytes of one sample; more would not change the proposal much, and it is a person who waits.
SAMPLE_RECORDS_MAX = 200
SAMPLE_BYTES_MAX = 65_536
FIELDS_MAX = 200
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")
_NULL: Json = "null"
# A text field gets one of these if every value has it.
_FORMATS = ("date", "date-time")
# What a cell of a CSV may be, the narrowest first.
_CELLS = ("integer", "number", "boolean")


def is_field(name: str) -> bool:
    """Whether a document can name this field."""
    return _FIELD.match(name) is not None


def resource_name(text: str, taken: Iterable[str]) -> str:
    """`text` as the name of a resource (lower case), unlike all in `taken`."""
    plain = re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_-")
    plain = (plain if plain[:1].isalpha() else f"r_{plain}").rstrip("_-")[:56]
    used, number, name = set(taken), 2, plain
    while name in used:
        name, number = f"{plain}_{number}", number + 1
    return name


def fields_of(records: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Name -> schema, of the fields that a document can name, in the order in which they first appear; at most 200.

    A field that is absent from a record, or null in one, may be null.
    """
    names = list(dict.fromkeys(name for record in records for name in record if is_field(name)))[:FIELDS_MAX]
    return {name: _schema([record.get(name) for record in records]) for name in names}


def _schema(values: Sequence[Json]) -> Json:
    types = list(dict.fromkeys(_type(value) for value in values if value is not None))
    if "number" in types and "integer" in types:
        types.remove("integer")
    schema: dict[str, Json] = {}
    texts = [value for value in values if isinstance(value, str)]
    if types == ["string"]:
        form = next((f for f in _FORMATS if all(not validate_value({"format": f}, text) for text in texts)), None)
        schema = {"format": form} if form else {}
    types = types or ["string"]
    nullable = any(value is None for value in values)
    return {"type": [*types, _NULL] if nullable else types[0] if len(types) == 1 else [*types], **schema}


def _type(value: Json) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def cells_of(rows: Sequence[Mapping[str, object]]) -> list[Mapping[str, Json]]:
    """Rows of texts as records: a column is of the narrowest type that all its cells fit, an empty cell is null."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([str(row.get(name, "")) for row in rows]) for name in names}
    return [{name: column[number] for name, column in columns.items()} for number in range(len(rows))]


def _column(cells: Sequence[str]) -> list[Json]:
    for kind in _CELLS:
        # A leading zero is part of a code (a postcode, a number of an account), not of a number.
        if kind != "boolean" and any(re.match(r"\s*[+-]?0[0-9]", cell) for cell in cells):
            continue
        try:
            return [text_value({"type": [kind, "null"]}, cell) for cell in cells]
        except ValueError:
            continue
    return [cell or None for cell in cells]


def key_of(records: Sequence[Mapping[str, Json]], fields: Mapping[str, Json]) -> str:
    """The field that names a record in every sample, or nothing: unique, never null, called `id`, `key` or `…_id`, or
    else the first field. One record alone shows nothing, so then only the name counts."""
    named = [n for n in fields if n.lower() in {"id", "key", "uuid"} or n.lower().endswith(("_id", "_key"))]
    for name in [*named, *([next(iter(fields))] if fields and len(records) > 1 else [])]:
        values = [record.get(name) for record in records]
        texts = [v for v in values if isinstance(v, str | int) and not isinstance(v, bool) and v != ""]
        if len(texts) == len(values) == len({str(v) for v in texts}):
            return name
    return ""
