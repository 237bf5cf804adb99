"""A document against its JSON Schema: every fault at its own place, with the nearest right name.

The walker knows the part of JSON Schema 2020-12 that documents of Stanchion use (`KEYWORDS`) and these marks:

* `x-template`: takes literals and `${ }`; a text with `${` fits any type here and is checked when it is compiled.
* `x-expression`: a bare CEL expression. `x-artifact`: the literal name of an artifact of that kind.
* `x-duration`: `500ms`, `60s`, `15m`, `72h`, `7d`. `x-schema`: a JSON Schema. `x-block`: a list of steps.
* `x-label`: what to call the keys of this object in messages (`verb or field`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from stanchion.base import Json, did_you_mean, invariant, nearest
from stanchion.blueprints.durations import DURATION_HINT, duration_s
from stanchion.blueprints.json_schema import FORMATS, SCHEMA_OF_SCHEMAS, TYPES
from stanchion.blueprints.reader import Positions, read_document
from stanchion.blueprints.shapes import wanted_shape
from stanchion.blueprints.types import Document, Issue, Schema

KEYWORDS = frozenset(
    [
        "$ref",
        "$defs",
        "$schema",
        "$id",
        "title",
        "description",
        "examples",
        "default",
        "type",
        "const",
        "enum",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "minLength",
        "maxLength",
        "pattern",
        "anyOf",
        "oneOf",
        "format",
        "minProperties",
        "maxProperties",
        "propertyNames",
        "dependentRequired",
        "deprecated",
        "x-template",
        "x-expression",
        "x-artifact",
        "x-duration",
        "x-schema",
        "x-block",
        "x-label",
    ]
)
_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of a value. `at_key`: it is the key that is wrong. `offset`: which character of the text, if known.
    `unquoted`: a text was wanted, and quoting what is written makes it one."""

    pointer: str
    code: str
    message: str
    hint: str = ""
    at_key: bool = False
    text: str | None = None
    offset: int = 0
    unquoted: bool = False


def check_document(document: Document, schema: Schema) -> tuple[Json, tuple[Issue, ...], Positions]:
    """Read a YAML or JSON document and check it against `schema`.

    Returns its body (None if it cannot be read at all), all issues in document order, and its positions. Never raises
    for what the author wrote.
    """
    read = read_document(document)
    if read.issues and read.body is None:
        return None, read.issues, read.positions
    faults = list(faults_of(read.body, schema))
    issues = [*read.issues, *(to_issue(f, read.positions) for f in faults)]
    return read.body, in_order(issues), read.positions


def to_issue(fault: Fault, positions: Positions, *, step: str | None = None) -> Issue:
    """The fault with its place in the file."""
    if fault.at_key:
        line, column = positions.of_key(fault.pointer)
    elif fault.text is not None:
        line, column = positions.of_character(fault.pointer, fault.text, fault.offset)
    else:
        line, column = positions.of_value(fault.pointer)
    written = positions.plain_text(fault.pointer) if fault.unquoted else ""
    return Issue(
        code=fault.code,
        message=fault.message,
        hint=f"{fault.hint} Quote it: '{written}'.".strip() if written else fault.hint,
        file=positions.path,
        line=line,
        column=column,
        step=step,
        pointer=fault.pointer,
    )


def in_order(issues: list[Issue]) -> tuple[Issue, ...]:
    """Issues by place, each once."""
    return tuple(sorted(dict.fromkeys(issues), key=lambda i: (i.line, i.column, i.code)))


def faults_of(value: Json, schema: Schema, *, pointer: str = "", root: Schema | None = None) -> Iterator[Fault]:
    """All faults of `value` under `schema`; `root` is what `$ref: "#/$defs/x"` is looked up in."""
    yield from _Walk(root if root is not None else schema).node(value, schema, pointer, template=False)


def key_of(name: str) -> str:
    """A key as a JSON pointer token (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def type_name(value: Json) -> str:
    """The JSON Schema type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names: dict[type, str] = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def deref(schema: Schema, root: Schema) -> Schema:
    """`schema`, or what its `$ref` names in `root`."""
    ref = schema.get("$ref")
    if not isinstance(ref, str):
        return schema
    node: Json = cast("Json", root)
    for token in ref.removeprefix("#/").split("/"):
        invariant(isinstance(node, dict) and token in node, f"the document schema has no {ref}")
        node = cast("dict[str, Json]", node)[token]
    return cast("Schema", node)


@dataclass(frozen=True, slots=True)
class _Walk:
    root: Schema

    def node(self, value: Json, schema: Schema, pointer: str, *, template: bool) -> Iterator[Fault]:
        schema = deref(schema, self.root)
        invariant(KEYWORDS.issuperset(schema), f"the document schema uses {set(schema) - KEYWORDS}")
        template = template or schema.get("x-template") is True
        if template and isinstance(value, str) and "${" in value:
            return
        if schema.get("x-schema") is True:
            yield from _Walk(SCHEMA_OF_SCHEMAS).node(value, SCHEMA_OF_SCHEMAS, pointer, template=False)
            return
        if "anyOf" in schema or "oneOf" in schema:
            yield from self._any_of(value, schema, pointer, template=template)
            return
        kinds = _kinds(schema)
        kind = type_name(value)
        if kinds and kind not in kinds and not (kind == "integer" and "number" in kinds):
            yield _misfit(pointer, kinds, value, [self.resolved(schema)])
            return
        if isinstance(value, dict):
            yield from self._object(value, schema, pointer, template=template)
        elif isinstance(value, list):
            yield from self._list(value, schema, pointer, template=template)
        elif isinstance(value, str):
            yield from _text(value, schema, pointer, template=template)
        yield from _scalar(value, schema, pointer)

    def resolved(self, schema: Schema) -> Schema:
        """`schema` with what its elements or other fields are in place of the reference to it."""
        inner = {k: schema[k] for k in ("items", "additionalProperties") if isinstance(schema.get(k), dict)}
        return {**schema, **{k: cast("Json", deref(cast("Schema", v), self.root)) for k, v in inner.items()}}

    def _any_of(self, value: Json, schema: Schema, pointer: str, *, template: bool) -> Iterator[Fault]:
        options = [
            deref(cast("Schema", o), self.root) for o in cast("list[Json]", schema.get("anyOf", schema.get("oneOf")))
        ]
        kind = type_name(value)
        fitting = [
            o for o in options if not _kinds(o) or kind in _kinds(o) or (kind == "integer" and "number" in _kinds(o))
        ]
        if not fitting:
            kinds = [k for o in options for k in _kinds(o)]
            yield _misfit(pointer, kinds, value, [self.resolved(o) for o in options])
            return
        tried = [list(self.node(value, o, pointer, template=template)) for o in fitting]
        yield from min(tried, key=len)

    def _object(self, value: dict[str, Json], schema: Schema, pointer: str, *, template: bool) -> Iterator[Fault]:
        properties = cast("Mapping[str, Json]", schema.get("properties", {}))
        extra = schema.get("additionalProperties", True)
        label = str(schema.get("x-label", "field"))
        for name in cast("list[str]", schema.get("required", [])):
            if name not in value:
                yield Fault(
                    pointer=pointer,
                    code="document.missing_field",
                    message=f"{name} is missing{_inside(pointer)}.",
                    hint=_missing_hint(name, value, properties),
                    at_key=True,
                )
        for name, item in value.items():
            place = f"{pointer}/{key_of(name)}"
            if name in properties:
                yield from self.node(item, cast("Schema", properties[name]), place, template=template)
            elif extra is False:
                yield Fault(
                    pointer=place,
                    code="document.unknown_field",
                    message=f"{name} is no {label}{_inside(pointer)}.",
                    hint=did_you_mean(name, [p for p in properties if p not in value]),
                    at_key=True,
                )
            elif isinstance(extra, dict):
                yield from self.node(item, extra, place, template=template)
        for name, others in cast("Mapping[str, list[str]]", schema.get("dependentRequired", {})).items():
            for other in others if name in value else ():
                if other not in value:
                    yield Fault(
                        pointer=f"{pointer}/{key_of(name)}",
                        code="document.missing_field",
                        message=f"{name} goes with {other}, which is missing{_inside(pointer)}.",
                        hint=_missing_hint(other, value, properties),
                        at_key=True,
                    )
        yield from self._names(value, schema, pointer)

    def _names(self, value: dict[str, Json], schema: Schema, pointer: str) -> Iterator[Fault]:
        names = schema.get("propertyNames")
        for name in value if isinstance(names, dict) else ():
            for fault in self.node(name, cast("Schema", names), f"{pointer}/{key_of(name)}", template=False):
                yield Fault(pointer=fault.pointer, code=fault.code, message=fault.message, hint=fault.hint, at_key=True)
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", len(value))
        if isinstance(least, int) and len(value) < least:
            yield Fault(pointer=pointer, code="document.range", message=f"At least {least} field is needed here.")
        if isinstance(most, int) and len(value) > most:
            yield Fault(pointer=pointer, code="document.range", message=f"At most {most} fields are taken here.")

    def _list(self, value: list[Json], schema: Schema, pointer: str, *, template: bool) -> Iterator[Fault]:
        items = schema.get("items")
        if isinstance(items, dict):
            for index, item in enumerate(value):
                yield from self.node(item, items, f"{pointer}/{index}", template=template)
        least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
        if isinstance(least, int) and len(value) < least:
            yield Fault(pointer=pointer, code="document.range", message=f"At least {least} element is needed here.")
        if isinstance(most, int) and len(value) > most:
            yield Fault(pointer=pointer, code="document.range", message=f"At most {most} elements are taken here.")
        if schema.get("uniqueItems") is True and len({repr(v) for v in value}) < len(value):
            yield Fault(pointer=pointer, code="document.range", message="An element stands here twice.")


def _kinds(schema: Schema) -> list[str]:
    kind = schema.get("type")
    return [kind] if isinstance(kind, str) else cast("list[str]", kind) if isinstance(kind, list) else []


def _last(pointer: str) -> str:
    return pointer.rpartition("/")[2].replace("~1", "/").replace("~0", "~")


def _inside(pointer: str) -> str:
    name = _last(pointer)
    return "" if not name else f" of {name}" if not name.isdigit() else " here"


def _misfit(pointer: str, kinds: list[str], value: Json, options: list[Schema]) -> Fault:
    hint, unquoted = "", False
    if isinstance(value, int | float) and "string" in kinds:
        unquoted = not any(o.get("x-duration") is True for o in options)
        hint = "" if unquoted else f"Write {value}s, if these are seconds."
    elif not isinstance(value, int | float) or "object" in kinds:
        hint = wanted_shape(_last(pointer), options, value)
    message = _wrong_type(pointer, kinds, value)
    return Fault(pointer=pointer, code="document.type", message=message, hint=hint, unquoted=unquoted)


def _wrong_type(pointer: str, kinds: list[str], value: Json) -> str:
    wanted = " or ".join(dict.fromkeys(_WORDS[k] for k in kinds))
    said = str(value).lower() if isinstance(value, bool) else repr(str(value)[:40])
    shown = "" if isinstance(value, dict | list) or value is None else f" ({said})"
    name = _last(pointer)
    what = "The document" if not name else name if not name.isdigit() else "This element"
    return f"{what} must be {wanted}, and this is {_WORDS[type_name(value)]}{shown}."


def _missing_hint(name: str, value: Mapping[str, Json], properties: Mapping[str, Json]) -> str:
    if close := [k for k in value if k not in properties and nearest(k, [name])]:
        return f"Is {close[0]} meant to be {name}?"
    about = properties.get(name)
    text = about.get("description") if isinstance(about, dict) else None
    return f"Add {name}: {text}" if isinstance(text, str) else f"Add {name}."


def _text(value: str, schema: Schema, pointer: str, *, template: bool) -> Iterator[Fault]:
    if "${" in value and not template and "x-expression" in schema:
        hint = "Write the expression bare here, without ${ }."
        yield Fault(
            pointer=pointer, code="document.bare_expression", message=f"{_last(pointer)} is an expression.", hint=hint
        )
    elif "${" in value and not template and ("x-artifact" in schema or "enum" in schema or "pattern" in schema):
        message = f"{_last(pointer)} is literal; it takes no expression."
        yield Fault(pointer=pointer, code="document.literal", message=message, hint="Write the name itself.")
        return
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and not re.search(pattern, value):
        message = f"{value[:80]!r} is not allowed as {_last(pointer) or 'name'}."
        hint = str(schema.get("description", f"It must match {pattern}."))
        yield Fault(pointer=pointer, code="document.pattern", message=message, hint=hint)
    if schema.get("x-duration") is True and duration_s(value) is None:
        message = f"{value[:40]!r} is no duration."
        yield Fault(pointer=pointer, code="document.duration", message=message, hint=DURATION_HINT)
    least, most = schema.get("minLength", 0), schema.get("maxLength", len(value))
    if isinstance(least, int) and len(value) < least:
        yield Fault(pointer=pointer, code="document.range", message=f"{_last(pointer)} is empty.")
    if isinstance(most, int) and len(value) > most:
        yield Fault(
            pointer=pointer, code="document.range", message=f"{_last(pointer)} has more than {most} characters."
        )


def _scalar(value: Json, schema: Schema, pointer: str) -> Iterator[Fault]:
    allowed = schema.get("enum")
    if isinstance(allowed, list) and value not in allowed:
        names = [str(a) for a in allowed]
        hint = did_you_mean(str(value), names) or f"Allowed: {', '.join(names)}."
        if value in FORMATS and names == list(TYPES):
            hint = f"Write {{type: string, format: {value}}}."
        yield Fault(
            pointer=pointer,
            code="document.choice",
            message=f"{str(value)[:40]!r} is no choice for {_last(pointer)}.",
            hint=hint,
        )
    if "const" in schema and value != schema["const"]:
        yield Fault(pointer=pointer, code="document.choice", message=f"{_last(pointer)} must be {schema['const']!r}.")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    for keyword, bad, words in (
        ("minimum", operator.lt, "at least"),
        ("maximum", operator.gt, "at most"),
        ("exclusiveMinimum", operator.le, "more than"),
    ):
        limit = schema.get(keyword)
        if isinstance(limit, int | float) and bad(value, limit):
            yield Fault(
                pointer=pointer,
                code="document.range",
                message=f"{_last(pointer)} must be {words} {limit}; this is {value}.",
            )
