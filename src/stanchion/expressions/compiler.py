"""From CEL text to an Expression: paths are bound against the scope's schemas, then the library checks the types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from cel_expr_python import cel

from stanchion.base import nearest
from stanchion.expressions import functions
from stanchion.expressions.faults import Fault, FaultyExpression, reason_of
from stanchion.expressions.scanner import Path, Scan, scan
from stanchion.expressions.schemas import (
    Binding,
    Schema,
    bind,
    cel_type,
    comprehension_faults,
    field_faults,
    index_faults,
    properties_of,
    result_schema,
    schema_of_type,
)
from stanchion.expressions.types import Expression
from stanchion.expressions.work import effort

# Characters of one expression. CEL itself refuses nesting deeper than 32.
SOURCE_MAX = 10_000
ROOTS = frozenset({"input", "steps", "run", "item", "item_no", "config"})
_CACHE_MAX = 4096

_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?=\n \||\nERROR:|\Z)", re.DOTALL)
_CONTAINER = " (in container '')"


@dataclass(frozen=True, slots=True)
class _Compiled:
    """What the library made of a source: its program and result type, or its faults."""

    program: cel.Expression | None
    type: str
    faults: tuple[Fault, ...]


def compile_expression(
    source: str, scope_schema: Schema, *, where: str, hidden: Mapping[str, str] | None = None
) -> Expression:
    """Check and compile one CEL expression.

    Args:
        source: the expression, without `${ }`.
        scope_schema: a JSON Schema of type object whose properties are the names that can be read (`input`, `steps`,
            `run`, `item`, ...). An object with declared `properties` is closed unless it says `additionalProperties`.
        where: its place, for run-time errors.
        hidden: dotted names that exist but cannot be read here -> why.

    Raises FaultyExpression with all faults found and their offsets in `source`.
    """
    if len(source) > SOURCE_MAX:
        raise FaultyExpression(source, (Fault(0, f"An expression has at most {SOURCE_MAX} characters."),))
    if not source.strip():
        raise FaultyExpression(source, (Fault(0, "The expression is empty."),))
    hidden = hidden or {}
    roots = ROOTS | frozenset(properties_of(scope_schema) or ()) | {name for name in hidden if "." not in name}
    found = scan(source, roots)
    bindings, faults = _bind(found, scope_schema, hidden)
    faults += comprehension_faults(found, bindings, roots)
    faults += field_faults(found, bindings)
    faults += index_faults(found, bindings)
    if faults:
        raise FaultyExpression(source, sorted(faults, key=lambda f: f.offset))
    runnable, variables, presence = _rewrite(source, bindings)
    words = {t.text for t in found.tokens if t.kind == "name"}
    calls = tuple(sorted(words & functions.NAMES)) + (("math",) if "math" in words else ())
    compiled = _compile(runnable, variables, calls)
    if compiled.program is None:
        raise FaultyExpression(source, compiled.faults)
    schema = schema_of_type(compiled.type)
    if isinstance(schema, str):
        raise FaultyExpression(source, (Fault(0, f"The result is no JSON: {schema}"),))
    bound = {b.name: b.keys for p, b in bindings.items() if not _tested(p, b)}
    lone = len(found.paths) == 1 and not presence and bindings[found.paths[0]].whole
    lone = lone and found.paths[0].end == found.tokens[-1].end and found.paths[0].offsets[0] == found.tokens[0].offset
    return Expression(
        source=source,
        where=where,
        paths=tuple(dict.fromkeys(b.name for b in bindings.values())),
        schema=result_schema(found, bindings, schema),
        program=None if lone else compiled.program,
        bound=tuple(bound.items()),
        presence=presence,
        effort=effort(found, functions=bool(calls)),
    )


def _bind(found: Scan, scope: Schema, hidden: Mapping[str, str]) -> tuple[dict[Path, Binding], list[Fault]]:
    bindings: dict[Path, Binding] = {}
    faults: list[Fault] = []
    for path in found.paths:
        bound = bind(path, scope, hidden)
        if isinstance(bound, Fault):
            faults.append(bound)
        else:
            bindings[path] = bound
    return bindings, faults


def _tested(path: Path, binding: Binding) -> bool:
    """Whether the path only asks `has(...)` of something the schemas declare."""
    return path.presence is not None and binding.whole and len(path.names) > 1


_Presence = tuple[tuple[str, tuple[str, ...]], ...]


def _rewrite(source: str, bindings: Mapping[Path, Binding]) -> tuple[str, tuple[tuple[str, str], ...], _Presence]:
    """The source with each `has(path)` replaced by a boolean variable of the same width, and the variables' types.

    CEL resolves `steps.a.value` to a declared variable before it looks at `has`, which then has nothing to ask; so
    presence is looked up by us. Equal width keeps the positions of the library's messages.
    """
    variables: dict[str, str] = {}
    presence: dict[str, tuple[str, ...]] = {}
    names: dict[tuple[str, ...], str] = {}
    for path, binding in bindings.items():
        if not _tested(path, binding) or path.presence is None:
            variables[binding.name] = binding.type
            continue
        start, end = path.presence
        name = names.setdefault(binding.keys, f"_h{len(names)}")
        presence[name] = binding.keys
        variables[name] = "bool"
        blank = "".join("\n" if c == "\n" else " " for c in source[start + len(name) : end])
        source = source[:start] + name + blank + source[end:]
    return source, tuple(sorted(variables.items())), tuple(presence.items())


@lru_cache(maxsize=_CACHE_MAX)
def _compile(source: str, variables: tuple[tuple[str, str], ...], calls: tuple[str, ...]) -> _Compiled:
    """Compile by (source, types): the same expression in many Blueprints and versions is compiled once."""
    try:
        checked = _environment(variables, checking=True, calls=calls).compile(source)
        kind = checked.return_type().name()
        if set(calls) <= {"math"} and all("decimal" not in t for _, t in variables):
            return _Compiled(checked, kind, ())
        return _Compiled(_environment(variables, checking=False, calls=calls).compile(source), kind, ())
    except RuntimeError as error:
        return _Compiled(None, "", tuple(_faults(source, str(error))))


def _environment(variables: tuple[tuple[str, str], ...], *, checking: bool, calls: tuple[str, ...]) -> cel.Env:
    """An environment with just what the expression reads and calls."""
    declared = {name: cel_type(text, checking=checking) for name, text in variables}
    listed = functions.CHECKED if checking else functions.RUNNING
    used = [listed[name] for name in calls if name in listed]
    return cel.NewEnv(variables=declared, functions=used, extensions=[functions.MATH] if "math" in calls else [])


def _faults(source: str, text: str) -> list[Fault]:
    """The library's message as faults with offsets; it counts lines and columns from 1, in characters."""
    lines = source.split("\n")
    faults: list[Fault] = []
    for line, column, message in _ERROR.findall(text.rpartition(" [")[0] or text):
        row, place = int(line) - 1, int(column) - 1
        offset = sum(len(part) + 1 for part in lines[:row]) + place if row >= 0 else 0
        wanted = message.replace(_CONTAINER, "").strip()
        if "undeclared reference" in wanted:  # of a call or a chain, the library points behind the name
            name = wanted.split("'")[1].split(".")[0]
            offset = offset if source.startswith(name, offset) else max(source.rfind(name, 0, offset + 1), 0)
        if "expression of type '*error*'" not in wanted:
            hint = _KEY_HINT.format(wanted.split("'")[1]) if _is_bare_key(source, offset, wanted) else _hint(wanted)
            faults.append(Fault(min(max(offset, 0), len(source)), _sentence(wanted), hint))
    return sorted(faults, key=lambda f: f.offset) or [Fault(0, _sentence(reason_of(text)), _hint(text))]


_KEY_HINT = "Keys are quoted: {{'{0}': …}}."


def _is_bare_key(source: str, offset: int, message: str) -> bool:
    """Whether an undeclared name stands where the key of an object does: behind `{` or `,` and before `:`."""
    if "undeclared reference" not in message or source[:offset].rstrip()[-1:] not in ("{", ","):
        return False
    return source[offset + len(message.split("'")[1]) :].lstrip()[:1] == ":"


def _sentence(message: str) -> str:
    message = message.split(" expecting {", maxsplit=1)[0]
    return message[:1].upper() + message[1:] + "."


def _hint(message: str) -> str:
    if "no matching overload" in message:
        if "null_type" in message:
            return "This value is never null by its schema; ask has(...) for one that may be absent."
        if "decimal" in message:
            return "Decimals are compared with compare(a, b) > 0 and calculated with add, subtract, multiply, divide."
        return "Types must agree: convert with int(), double(), string() or decimal(), or take any type with dyn()."
    if "undeclared reference to" in message:
        name = message.split("'")[1]
        return _unknown_name_hint(name)
    if "recursion" in message:
        return "Split the expression over several steps."
    return ""


def _unknown_name_hint(name: str) -> str:
    close = nearest(name, [*functions.NAMES, *ROOTS, *_STANDARD])
    return f"Did you mean {close}?" if close else "Literal text inside an expression stands in quotes."


_STANDARD = [
    "all",
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "exists",
    "exists_one",
    "false",
    "filter",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "has",
    "int",
    "map",
    "matches",
    "null",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "true",
    "type",
]
