"""What a database offers: its tables and views as resources of a connector's document.

The drivers ask the catalogue (not `information_schema`: that shows the primary keys of a table to its owner alone, and
the role of a connector owns nothing); here columns become fields, and statements are written that read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stanchion.base import Json
from stanchion.tools.adapters.inferred import FIELDS_MAX, is_field, resource_name
from stanchion.tools.adapters.statements import Driver
from stanchion.tools.types import DISCOVERED_MAX, Discovery

# Columns that are read from a catalogue at most.
COLUMNS_MAX = 20_000

# PostgreSQL's names of types (pg_type.typname) as fields.
_POSTGRES: Mapping[str, Mapping[str, Json]] = {
    **{name: {"type": "integer"} for name in ("int2", "int4", "int8")},
    **{name: {"type": "number"} for name in ("float4", "float8")},
    **{name: {"type": "string"} for name in ("text", "varchar", "bpchar", "name", "citext")},
    "numeric": {"type": "string", "format": "decimal"},
    "bool": {"type": "boolean"},
    "uuid": {"type": "string", "format": "uuid"},
    "date": {"type": "string", "format": "date"},
    "timestamptz": {"type": "string", "format": "date-time"},
    "timestamp": {"type": "string"},
    "time": {"type": "string"},
    "json": {"type": ["object", "array"]},
    "jsonb": {"type": ["object", "array"]},
}
# SQLite has no types of columns, only names by convention; the first that the declared type holds decides.
_SQLITE: Sequence[tuple[str, Mapping[str, Json]]] = (
    ("BOOL", {"type": "boolean"}),
    ("INT", {"type": "integer"}),
    ("JSON", {"type": ["object", "array"]}),
    ("CHAR", {"type": "string"}),
    ("CLOB", {"type": "string"}),
    ("TEXT", {"type": "string"}),
    ("DATE", {"type": "string"}),
    ("TIME", {"type": "string"}),
    ("REAL", {"type": "number"}),
    ("FLOA", {"type": "number"}),
    ("DOUB", {"type": "number"}),
    ("NUM", {"type": "number"}),
    ("DEC", {"type": "number"}),
)
_BINARY = re.compile(r"blob|bytea", re.IGNORECASE)
# Reserved words with an underscore, and frequent names of columns that are no reserved word: read better unquoted.
_WORDS = frozenset(
    [
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "session_user",
        "system_user",
    ]
)
_NO_WORDS = frozenset(
    [
        "id",
        "name",
        "email",
        "status",
        "amount",
        "country",
        "title",
        "city",
        "code",
        "note",
        "kind",
        "body",
        "owner",
        "state",
    ]
)
_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: `type` as the database calls it, `choices` of an enumerated type."""

    table: str
    written: str
    kind: str
    name: str
    type: str
    nullable: bool
    key: int
    choices: tuple[str, ...] = ()


def discovery_of(columns: Sequence[Column], driver: Driver, *, truncated: bool) -> Discovery:
    """`columns` come in order, those of a table together. `written`: the table as a statement names it."""
    tables: dict[str, list[Column]] = {}
    for column in columns:
        tables.setdefault(column.written, []).append(column)
    resources: dict[str, Mapping[str, Json]] = {}
    left_out = list[str]()
    for written, held in list(tables.items())[:DISCOVERED_MAX]:
        name = resource_name(held[0].table, resources)
        body, unreadable = _resource(written, held, driver)
        left_out += [f"{held[0].table}.{column}" for column in unreadable]
        if body is not None:
            resources[name] = body
    more = truncated or len(tables) > DISCOVERED_MAX
    said = f"Found {len(resources)} tables and views that can be read{', and there are more' if more else ''}."
    if left_out:
        said += f" Left out, as they are binary: {', '.join(left_out[:20])}."
    return Discovery(
        resources=resources,
        capabilities={
            "fetch": {"paging": "by position: the statement orders"},
            "lookup": {"needs": "a key that is a text or a whole number"},
            "push": {
                "idempotency": ["key", "natural", "probe", "none"],
                "effects": ["write", "destructive"],
                "needs": "a statement that you write; nothing is proposed",
            },
        },
        narrative=said,
        truncated=more,
    )


def _resource(
    written: str, columns: Sequence[Column], driver: Driver
) -> tuple[Mapping[str, Json] | None, Sequence[str]]:
    fields: dict[str, Json] = {}
    selected: dict[str, str] = {}
    unreadable = list[str]()
    for column in columns:
        schema = _field(column, driver)
        if schema is None or len(fields) == FIELDS_MAX:
            unreadable.append(column.name)
            continue
        name = column.name if is_field(column.name) else resource_name(column.name, fields).replace("-", "_")
        fields[name] = schema
        selected[name] = _selected(column, name, driver)
    if not fields:
        return None, unreadable
    keys = [column for column in columns if column.key]
    only = keys[0].name if len(keys) == 1 and keys[0].name in fields else ""
    key = only if _can_be_key(fields.get(only)) else ""
    reading = f"select {', '.join(selected.values())} from {written}"  # noqa: S608 - a proposal for a document; every name is quoted
    order = [quoted(k.name) for k in sorted(keys, key=lambda k: k.key)]
    order = order or [quoted(c.name) for c in columns if c.name in fields and c.type != "json"]
    body: dict[str, Json] = {"description": f"{columns[0].kind} {columns[0].table}"}
    if key:
        body["key"] = key
    body["fields"] = fields
    body["fetch"] = {"statement": f"{reading} order by {', '.join(order)}" if order else reading}
    if key:
        body["lookup"] = {"statement": f"{reading} where {quoted(key)} = :key"}
    return body, unreadable


def _can_be_key(schema: Json) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") in {"string", "integer"} and "format" not in schema


def _field(column: Column, driver: Driver) -> dict[str, Json] | None:
    if _BINARY.search(column.type):
        return None
    schema: dict[str, Json]
    if column.choices:
        schema = {"type": "string", "enum": list(column.choices)}
    elif driver == "postgresql":
        schema = (
            {"type": "array"} if column.type.startswith("_") else {**_POSTGRES.get(column.type, {"type": "string"})}
        )
    else:
        declared = column.type.upper()
        schema = {**next((found for word, found in _SQLITE if word in declared), {"type": "string"})}
    if column.nullable:
        types = schema["type"]
        schema["type"] = [*types, "null"] if isinstance(types, list) else [types, "null"]
        if column.choices:
            schema["enum"] = [*column.choices, None]
    return schema


def _selected(column: Column, name: str, driver: Driver) -> str:
    """The column as the statement reads it: as text where the driver's own value has no JSON form."""
    written = quoted(column.name)
    known = column.type in _POSTGRES or column.type.startswith("_") or column.choices
    if driver == "postgresql" and not known:
        return f"{written}::text as {quoted(name)}"
    return written if name == column.name else f"{written} as {quoted(name)}"


def quoted(name: str) -> str:
    """`name` as an identifier; without quotes where no reserved word of either database looks like it."""
    plain = _PLAIN_NAME.match(name) and ("_" in name or name in _NO_WORDS)
    return name if plain and name not in _WORDS else '"' + name.replace('"', '""') + '"'


def columns_of(rows: Iterable[Mapping[str, object]]) -> list[Column]:
    """Columns from the rows of a driver's catalogue query."""
    return [
        Column(
            table=str(row["table_name"]),
            written=str(row["written"]),
            kind=str(row["kind"]),
            name=str(row["column_name"]),
            type=str(row["type"]),
            nullable=bool(row["nullable"]),
            key=int(str(row["key"] or 0)),
            choices=tuple(str(choice) for choice in choices) if isinstance(choices := row.get("choices"), list) else (),  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        )
        for row in rows
    ]
