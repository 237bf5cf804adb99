"""Values with `${ }`: literal text unless an expression is marked (DESIGN §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from stanchion.base import Invalid, Json, dumps
from stanchion.expressions.compiler import compile_expression
from stanchion.expressions.faults import Fault, FaultyExpression
from stanchion.expressions.scanner import embedded_end
from stanchion.expressions.schemas import Schema
from stanchion.expressions.types import Expression, Render, Scope, Template

# How a value that is part of a text is refused, at publish by its type and at run time by its value.
_WHOLE = "a list, an object or null has no text form"


@dataclass(frozen=True, slots=True)
class Misplaced:
    """Faults of one string of a template: `pointer` leads to it, `offset`s count within it."""

    pointer: str
    source: str
    faults: tuple[Fault, ...]


class FaultyTemplate(Invalid):
    """A template that does not compile; `strings` lists every faulty string of it."""

    def __init__(self, strings: tuple[Misplaced, ...]) -> None:
        first = strings[0]
        super().__init__(first.faults[0].code, first.faults[0].message, hint=first.faults[0].hint)
        self.strings = strings

    def __reduce__(self) -> tuple[object, ...]:
        return (FaultyTemplate, (self.strings,))


@dataclass(slots=True)
class _Context:
    """What the strings of one template share while it is compiled."""

    scope: Schema
    where: str
    hidden: Mapping[str, str]
    expressions: list[Expression] = field(default_factory=list[Expression])
    faulty: list[Misplaced] = field(default_factory=list[Misplaced])
    schemas: dict[str, Schema] = field(default_factory=dict[str, Schema])


def compile_template(
    value: Json, scope_schema: Schema, *, where: str, hidden: Mapping[str, str] | None = None
) -> Template:
    """Compile every string of `value` (keys are literal). Arguments are those of `compile_expression`.

    Raises FaultyTemplate with the faults of all strings, each by its JSON pointer within `value`.
    """
    context = _Context(scope_schema, where, hidden or {})
    renderer, schema = _node(value, "", context)
    if context.faulty:
        raise FaultyTemplate(tuple(context.faulty))
    paths = dict.fromkeys(p for e in context.expressions for p in e.paths)
    return Template(
        value=value, expressions=tuple(context.expressions), paths=tuple(paths), schema=schema, renderer=renderer
    )


def parts(text: str) -> Iterator[tuple[str, int, bool]]:
    """The pieces of a text: (piece, offset, is an expression). `$${` gives a literal `${`.

    Raises FaultyExpression for a `${` without its `}`.
    """
    at = begin = 0
    literal = ""
    while (found := text.find("${", at)) >= 0:
        if found and text[found - 1] == "$":
            literal += text[begin : found - 1] + "${"
            at = begin = found + 2
            continue
        literal += text[begin:found]
        if literal:
            yield literal, begin, False
            literal = ""
        end = embedded_end(text, found + 2)
        yield text[found + 2 : end], found + 2, True
        at = begin = end + 1
    literal += text[begin:]
    if literal:
        yield literal, begin, False


def has_expressions(value: Json) -> bool:
    """Whether any string of `value` holds `${`, escaped or not."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, list):
        return any(has_expressions(v) for v in value)
    return isinstance(value, dict) and any(has_expressions(v) for v in value.values())


def _node(value: Json, pointer: str, context: _Context) -> tuple[Render | None, Schema]:
    if isinstance(value, str):
        return _text(value, pointer, context)
    if isinstance(value, dict):
        return _object(value, pointer, context)
    if isinstance(value, list):
        return _list(value, pointer, context)
    return None, _literal(value)


def _literal(value: Json) -> Schema:
    if value is None:
        return {"type": "null"}
    if isinstance(value, bool):
        return {"type": "boolean"}
    return {"type": "integer" if isinstance(value, int) else "number"}


def _object(value: dict[str, Json], pointer: str, context: _Context) -> tuple[Render | None, Schema]:
    made = {k: _node(v, f"{pointer}/{k.replace('~', '~0').replace('/', '~1')}", context) for k, v in value.items()}
    schema: dict[str, Json] = {
        "type": "object",
        "properties": {k: cast("Json", s) for k, (_, s) in made.items()},
        "required": list(made),
    }
    if all(r is None for r, _ in made.values()):
        return None, schema
    renders = {k: r or _constant(value[k]) for k, (r, _) in made.items()}
    return lambda scope: {k: r(scope) for k, r in renders.items()}, schema


def _list(value: list[Json], pointer: str, context: _Context) -> tuple[Render | None, Schema]:
    made = [_node(v, f"{pointer}/{i}", context) for i, v in enumerate(value)]
    alike = bool(made) and all(s == made[0][1] for _, s in made)
    schema: Schema = {"type": "array", "items": cast("Json", made[0][1]) if alike else {}}
    if all(r is None for r, _ in made):
        return None, schema
    renders = [r or _constant(v) for (r, _), v in zip(made, value, strict=True)]
    return lambda scope: [r(scope) for r in renders], schema


def _constant(value: Json) -> Render:
    return lambda _: value


def _text(text: str, pointer: str, context: _Context) -> tuple[Render | None, Schema]:
    plain: Schema = {"type": "string"}
    if "${" not in text:
        return None, plain
    try:
        found = list(parts(text))
    except FaultyExpression as error:
        context.faulty.append(Misplaced(pointer, text, error.faults))
        return None, {}
    alone = len(found) == 1 and found[0][2]
    pieces: list[Callable[[Scope], str]] = []
    for piece, offset, is_expression in found:
        if not is_expression:
            pieces.append(_constant(piece))  # type: ignore[arg-type]  # a text constant renders to a text
            continue
        expression = _compile(piece, text, offset, pointer, context, alone=alone)
        if expression is None:
            continue
        context.expressions.append(expression)
        if alone:
            return expression.evaluate, expression.schema
        pieces.append(_as_text(expression))
    return lambda scope: "".join([p(scope) for p in pieces]), plain


def _compile(source: str, text: str, offset: int, pointer: str, context: _Context, *, alone: bool) -> Expression | None:
    try:
        expression = compile_expression(source, context.scope, where=context.where + pointer, hidden=context.hidden)
    except FaultyExpression as error:
        faults = tuple(Fault(f.offset + offset, f.message, f.hint, f.code) for f in error.faults)
        context.faulty.append(Misplaced(pointer, text, faults))
        return None
    if not alone and expression.schema.get("type") in ("array", "object", "null"):
        fault = Fault(offset, f"{source.strip()} cannot stand within a text: {_WHOLE}.", _TEXT_HINT)
        context.faulty.append(Misplaced(pointer, text, (fault,)))
        return None
    return expression


_TEXT_HINT = "Let it be the whole value, pick a part of it, or join a list of texts with .join(', ')."


def _as_text(expression: Expression) -> Callable[[Scope], str]:
    def render(scope: Scope) -> str:
        value = expression.evaluate(scope)
        if isinstance(value, str):
            return value
        if value is None or isinstance(value, list | dict):
            raise Invalid(
                "expression.failed",
                f"{expression.where}: `{expression.source}` cannot stand within a text: {_WHOLE}.",
                hint=_TEXT_HINT,
                where=expression.where,
            )
        return dumps(value).decode()

    return render
