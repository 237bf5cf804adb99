"""Paths against the JSON Schemas of a scope: which variable a path binds, and of which CEL type.

JSON objects have no struct type in CEL, so every path that an expression names is declared as a variable of its own
(`steps.case.record.fine_eur`: int) and only that value is converted. A CEL type is written here as a short text, the
key of the compile cache: `int double string bool dyn decimal map list<...>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from cel_expr_python import cel

from stanchion.base import Json, did_you_mean
from stanchion.expressions.faults import Fault
from stanchion.expressions.scanner import Path, Scan, Token, pairs

Schema = Mapping[str, Json]

ANY: Schema = {}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SIMPLE = {"integer": "int", "number": "double", "boolean": "bool", "string": "string", "object": "map"}
# `decimal` is a type of its own while checking, so that "9.5" < "10" cannot be written by mistake; it runs as text.
_DECIMAL = cel.Type.AbstractType("decimal", [])
_TYPES = {
    "int": cel.Type.INT,
    "double": cel.Type.DOUBLE,
    "string": cel.Type.STRING,
    "bool": cel.Type.BOOL,
    "dyn": cel.Type.DYN,
    "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
}


@dataclass(frozen=True, slots=True)
class Binding:
    """One variable of an expression: its dotted name, the keys that lead to it in the scope, its type and schema.

    `whole` is true if the path ends here; else the rest of it is CEL's business (a member of an open object).
    """

    name: str
    keys: tuple[str, ...]
    type: str
    schema: Schema
    whole: bool


def cel_type(text: str, *, checking: bool) -> cel.Type:
    """The library's type for a type text; decimals are opaque while checking and texts while running."""
    if text.startswith("list<"):
        return cel.Type.List(cel_type(text[5:-1], checking=checking))
    if text == "decimal":
        return _DECIMAL if checking else cel.Type.STRING
    return _TYPES[text]


def type_of(schema: Schema) -> str:
    """The type text of values that fit `schema`; `dyn` where null or several types are possible."""
    kind = schema.get("type")
    if kind is None and isinstance(schema.get("enum"), list):
        values = cast("list[Json]", schema["enum"])
        return "string" if values and all(isinstance(v, str) for v in values) else "dyn"
    if not isinstance(kind, str):
        return "dyn"
    if kind == "string" and schema.get("format") == "decimal":
        return "decimal"
    if kind == "array":
        return f"list<{type_of(items_of(schema))}>"
    return _SIMPLE.get(kind, "dyn")


def items_of(schema: Schema) -> Schema:
    """The schema of an array's elements; anything if it says nothing."""
    items = solid(schema).get("items")
    return cast("Schema", items) if isinstance(items, dict) else ANY


def solid(schema: Schema) -> Schema:
    """`schema` without its null: `type: [object, null]` and `anyOf: [X, {type: null}]` become X."""
    kind = schema.get("type")
    if isinstance(kind, list):
        rest = [k for k in kind if k != "null"]
        return {**schema, "type": rest[0]} if len(rest) == 1 else schema
    for union in ("anyOf", "oneOf"):
        options = schema.get(union)
        if isinstance(options, list):
            rest = [o for o in options if isinstance(o, dict) and o.get("type") != "null"]
            if len(rest) == 1:
                return rest[0]
    return schema


def properties_of(schema: Schema) -> Mapping[str, Schema] | None:
    """The declared properties of an object schema, or None for anything else."""
    schema = solid(schema)
    declared = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(declared, dict):
        return None
    if not declared and schema.get("additionalProperties") is not False:
        return None
    return {k: cast("Schema", v) if isinstance(v, dict) else ANY for k, v in declared.items()}


def is_open(schema: Schema) -> bool:
    """Whether an object may have properties its schema does not declare, because the schema says so itself."""
    extra = solid(schema).get("additionalProperties")
    return extra is True or isinstance(extra, dict)


def bind(path: Path, scope: Schema, hidden: Mapping[str, str]) -> Binding | Fault:
    """The longest part of `path` that the scope declares, or the fault of a path that leaves its schema.

    `hidden` maps dotted names that exist but may not be read here to the reason why.
    """
    schema = scope
    for depth, name in enumerate(path.names):
        properties = properties_of(schema)
        if properties is None:
            return _stop(path, depth, schema)
        if name not in properties:
            if depth and is_open(schema):
                return Binding(".".join(path.names[:depth]), path.names[:depth], "map", solid(schema), whole=False)
            return _unknown(path, depth, properties, hidden)
        if depth and not _NAME.match(name):
            return Binding(".".join(path.names[:depth]), path.names[:depth], "map", solid(schema), whole=False)
        schema = properties[name]
    if path.names in _ALONE:
        return _alone(path)
    return Binding(path.dotted, path.names, type_of(schema), schema, whole=True)


def _stop(path: Path, depth: int, schema: Schema) -> Binding | Fault:
    """The path goes on below something without declared properties: a map or unknown value, or a plain fault."""
    kind = type_of(solid(schema))
    if kind in ("map", "dyn"):
        return Binding(".".join(path.names[:depth]), path.names[:depth], type_of(schema), schema, whole=False)
    owner, name = ".".join(path.names[:depth]), path.names[depth]
    word = "list" if kind.startswith("list") else {"int": "number", "double": "number"}.get(kind, kind)
    hint = "Take one element ([0]) or use .map(x, ...), .filter(x, ...)." if word == "list" else ""
    return Fault(path.offsets[depth], f"{owner} is a {word} and has no property {name}.", hint)


# Names that hold others, of which an expression must name one: how to.
_ALONE: Mapping[tuple[str, ...], str] = {
    ("steps",): "Name the step: steps.<id>.",
    ("config",): "Name the config, with underscores for the dashes of its name: config.risk_limits.fine_eur.",
}


def _alone(path: Path) -> Fault:
    return Fault(path.offsets[0], f"{path.dotted} alone is no value.", _ALONE[path.names])


def _unknown(path: Path, depth: int, properties: Mapping[str, Schema], hidden: Mapping[str, str]) -> Fault:
    dotted = ".".join(path.names[: depth + 1])
    hint = did_you_mean(path.names[depth], properties)
    if dotted in hidden:
        return Fault(path.offsets[depth], f"{dotted}: {hidden[dotted]}", hint if hint.startswith("Did") else "")
    if path.names == ("config",):  # no config is named, so none is in the scope
        return _alone(path)
    if depth == 0:
        return Fault(path.offsets[0], f"{dotted}: nothing of this name can be read here.", hint)
    if path.names[0] == "steps" and depth == 1:
        return Fault(path.offsets[1], f"{dotted}: there is no such step before this one.", hint)
    return Fault(path.offsets[depth], f"{dotted}: no such property.", hint)


def comprehension_faults(found: Scan, bindings: Mapping[Path, Binding], roots: frozenset[str]) -> Iterator[Fault]:
    """Faults that CEL cannot see: a comprehension variable with a scope's name, and a member its list does not have."""
    ends = {path.end: binding for path, binding in bindings.items() if binding.whole}
    for macro in found.macros:
        variable = macro.variable
        if variable is None:
            continue
        if variable.text in roots:
            yield Fault(variable.offset, f"{variable.text} is a name of the scope.", "Give the variable another name.")
            continue
        receiver = ends.get(found.tokens[macro.start].offset)
        properties = properties_of(items_of(receiver.schema)) if receiver else None
        if receiver is None or properties is None or is_open(items_of(receiver.schema)):
            continue
        if sum(m.variable is not None and m.variable.text == variable.text for m in found.macros) > 1:
            continue
        body = found.tokens[macro.open + 2 : macro.close]
        for before, name, dot, member in zip(body, body[1:], body[2:], body[3:], strict=False):
            if name.text != variable.text or before.text == "." or dot.text != "." or member.kind != "name":
                continue
            if member.text not in properties:
                message = f"{variable.text}.{member.text}: the elements of {receiver.name} have no such property."
                yield Fault(member.offset, message, did_you_mean(member.text, properties))


def field_faults(found: Scan, bindings: Mapping[Path, Binding]) -> Iterator[Fault]:
    """Fields named as a text in `sort_by(x, 'f')` and `group_by(x, 'f')` that the elements of x do not have."""
    known = _known(bindings)
    words = found.tokens
    closing = pairs(words)
    for opening, close in closing.items():
        named = opening and words[opening - 1].text in ("sort_by", "group_by") and words[opening].text == "("
        inside = words[opening + 1 : close]
        if not named or len(inside) < 3 or inside[-2].text != "," or inside[-1].kind != "string":
            continue
        listed = _schema_of(inside[:-2], known)
        field = _PLAIN.match(inside[-1].text)
        properties = properties_of(items_of(listed)) if listed is not None else None
        if listed is None or properties is None or field is None or is_open(items_of(listed)):
            continue
        name = field[2].removeprefix("-") if words[opening - 1].text == "sort_by" else field[2]
        if name not in properties:
            message = f"{words[opening - 1].text}: the elements have no field {name[:60]!r}."
            yield Fault(inside[-1].offset, message, did_you_mean(name, properties))


def index_faults(found: Scan, bindings: Mapping[Path, Binding]) -> Iterator[Fault]:
    """Members read behind an index of a path (`x[0].member`) that the elements of its list do not have."""
    ends = {path.end: binding for path, binding in bindings.items() if binding.whole and not path.presence}
    words = found.tokens
    for at in range(len(words) - 5):
        listed = ends.get(words[at].end)
        if listed is not None and words[at + 1].text == "[" and words[at + 3].text == "]":
            yield from _member_faults(words[at + 4 :], listed)


def _member_faults(words: Sequence[Token], listed: Binding) -> Iterator[Fault]:
    """The first member of a chain `.a.b` on an element of `listed` that does not exist."""
    schema = items_of(listed.schema)
    for at in range(0, len(words) - 1, 2):
        dot, member = words[at], words[at + 1]
        called = at + 2 < len(words) and words[at + 2].text == "("
        properties = properties_of(schema)
        if dot.text != "." or member.kind != "name" or called or properties is None or is_open(schema):
            return
        if member.text not in properties:
            message = f"The elements of {listed.name} have no such property: {member.text}."
            yield Fault(member.offset, message, did_you_mean(member.text, properties))
            return
        schema = properties[member.text]


# A text literal without escapes or a prefix, which is how a field is named.
_PLAIN = re.compile(r"""(['"])([^'"\\]*)\1\Z""")


_RESULTS: Mapping[str, Schema] = {
    "INT": {"type": "integer"},
    "UINT": {"type": "integer"},
    "DOUBLE": {"type": "number"},
    "STRING": {"type": "string"},
    "BOOL": {"type": "boolean"},
    "NULL": {"type": "null"},
    "decimal": {"type": "string", "format": "decimal"},
    "TIMESTAMP": {"type": "string", "format": "date-time"},
    "DURATION": {"type": "string"},
}


def schema_of_type(name: str) -> Schema | str:
    """The JSON Schema of values of a CEL type by its name (`LIST<INT>`), or why such a value is no JSON."""
    if name.startswith("LIST<"):
        items = schema_of_type(name[5:-1])
        return items if isinstance(items, str) else {"type": "array", "items": dict(items)}
    if name.startswith("MAP<"):
        key, _, value = name[4:-1].partition(", ")
        if key not in ("STRING", "DYN"):
            return "A map needs texts as keys to be JSON."
        inner = schema_of_type(value)
        return inner if isinstance(inner, str) else {"type": "object", "additionalProperties": dict(inner) or True}
    if name == "BYTES":
        return "Bytes are no JSON."
    if name.startswith("TYPE"):
        return "A type is no JSON."
    return _RESULTS.get(name, ANY)


def result_schema(found: Scan, bindings: Mapping[Path, Binding], by_type: Schema) -> Schema:
    """A closer schema than CEL's type knows, which forgets the properties of objects.

    It follows a path, `x[0]`, `x.filter(...)`, `sort_by(x, ...)`, `group_by(x, ...)`, parentheses, and a `? :` whose
    sides agree; for anything else the type has to do.
    """
    return _schema_of(found.tokens, _known(bindings)) or by_type


_Known = Mapping[int, tuple[int, Schema]]


def _known(bindings: Mapping[Path, Binding]) -> _Known:
    """Where each path that is a value starts -> where it ends, and its schema."""
    return {p.offsets[0]: (p.end, b.schema) for p, b in bindings.items() if b.whole and not p.presence}


def _schema_of(words: Sequence[Token], known: _Known) -> Schema | None:
    if not words:
        return None
    path = known.get(words[0].offset)
    if path is not None and path[0] == words[-1].end:
        return path[1]
    closing = pairs(words)
    choice = _sides(words, closing)
    if choice is not None:
        first, second = (_schema_of(side, known) for side in choice)
        return first if first == second else None
    opening = next((o for o, c in closing.items() if c == len(words) - 1), None)
    return None if opening is None else _schema_of_call(words, opening, known)


def _schema_of_call(words: Sequence[Token], opening: int, known: _Known) -> Schema | None:
    """Of what ends in a bracket: parentheses around a value, an index, or one of the functions that keep elements."""
    inside = words[opening + 1 : -1]
    if opening == 0 and words[0].text == "(":
        return _schema_of(inside, known)
    if words[opening].text == "[" and len(inside) == 1 and inside[0].kind == "number":
        listed = _schema_of(words[:opening], known)
        return None if listed is None else items_of(listed)
    if opening >= 2 and words[opening - 1].text == "filter" and words[opening - 2].text == ".":
        return _schema_of(words[: opening - 2], known)
    if opening == 1 and words[0].text in ("sort_by", "group_by") and len(inside) > 2 and inside[-2].text == ",":
        listed = _schema_of(inside[:-2], known)
        return listed if listed is None or words[0].text == "sort_by" else _groups(listed)
    return None


def _sides(words: Sequence[Token], closing: Mapping[int, int]) -> tuple[Sequence[Token], Sequence[Token]] | None:
    """The two sides of a `? :` that is not within brackets."""
    question = nested = 0
    index = 0
    while index < len(words):
        index = closing.get(index, index)
        mark = words[index].text if words[index].kind == "mark" else ""
        if mark == "?":
            question, nested = question or index, nested + 1
        elif mark == ":" and question:
            nested -= 1
            if nested == 0:
                return words[question + 1 : index], words[index + 1 :]
        index += 1
    return None


def _groups(schema: Schema) -> Schema:
    group: dict[str, Json] = {
        "type": "object",
        "required": ["key", "items"],
        "properties": {"key": {}, "items": dict(schema)},
    }
    return {"type": "array", "items": group}
