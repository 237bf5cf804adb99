"""A compiled expression and a compiled template, as the rest of Stanchion sees them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from cel_expr_python import cel

from stanchion.base import Invalid, Json
from stanchion.expressions.faults import reason_of
from stanchion.expressions.functions import BUDGET
from stanchion.expressions.results import to_json
from stanchion.expressions.work import Effort

# What expressions read: `input`, `steps`, `run`, `item`, `config` and an item's alias -> value. `steps` maps a step id
# to its output.
Scope = Mapping[str, Json]

_ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """One type-checked CEL expression, compiled once per digest and evaluated many times.

    Attributes:
        source: as written, without `${ }`.
        where: the place in the document, for errors (`step risk, /steps/2/logic_gate/if`).
        paths: the scope paths it reads (`steps.case.record.fine_eur`), each once.
        schema: JSON Schema of its value, as close as the types tell; `{}` is anything.
        program: None if the expression is one path, whose value then passes through untouched.
        bound: (variable, keys in the scope). `presence`: the same for each `has(path)`.
        effort: what bounds its work, if it has comprehensions or functions of ours.
    """

    source: str
    where: str
    paths: tuple[str, ...]
    schema: Mapping[str, Json]
    program: cel.Expression | None
    bound: tuple[tuple[str, tuple[str, ...]], ...]
    presence: tuple[tuple[str, tuple[str, ...]], ...]
    effort: Effort | None

    def evaluate(self, scope: Scope) -> Json:
        """The value as plain JSON, with only `paths` bound.

        Raises Invalid `expression.failed` with the expression, its place and the reason: an absent value, a value of
        another type than its schema says, division by zero, an exhausted budget.
        """
        if self.program is None:
            return self._looked_up(scope)
        data: dict[str, object] = {}
        for name, keys in self.bound:
            value: object = scope
            try:
                for key in keys:
                    value = value[key]  # type: ignore[index]  # what is no mapping raises TypeError: absent
            except (KeyError, TypeError):
                continue
            data[name] = value
        for name, keys in self.presence:
            data[name] = _present(scope, keys)
        if self.effort is not None:
            self.effort.check(data, self._failed)
            BUDGET.start()
        try:
            value = self.program.eval(None, data)
            plain = value.plain_value()
        except (RuntimeError, ValueError, OverflowError) as error:
            raise self._failed(str(error)) from error
        kind = type(plain)
        if kind is int or kind is bool or plain is None:
            return cast("Json", plain)
        if kind is str and value.type() == cel.Type.ERROR:
            raise self._failed(cast("str", plain))
        return to_json(plain, self._failed)

    def _looked_up(self, scope: Scope) -> Json:
        value: object = scope
        name, keys = self.bound[0]
        try:
            for key in keys:
                value = value[key]  # type: ignore[index]  # as above
        except (KeyError, TypeError):
            raise self._failed(f'No value with name "{name}"') from None
        return cast("Json", value)

    def _failed(self, reason: str) -> Invalid:
        """The problem of an evaluation that gave no value."""
        hint = ""
        reason = reason_of(reason)
        if reason.startswith('No value with name "'):
            name = reason.split('"')[1]
            reason = f"{name} is absent"
            hint = f"Guard it: has({name}) ? {name} : ..."
        elif reason.startswith("No matching overloads found"):
            hint = "Its operands have types that do not go together; convert with int(), double(), string()."
        elif reason.startswith("Key not found in map"):
            hint = "Check the field's name; what it may hold is in the connector's fields."
        elif "budget exceeded" in reason:
            reason = "it takes more than 10000 iterations"
            hint = "Work on fewer elements, or spread them with for_each."
        shown = self.source if len(self.source) <= 200 else self.source[:200] + "…"
        return Invalid("expression.failed", f"{self.where}: `{shown}` failed: {reason}.", hint=hint, where=self.where)


def _present(scope: Scope, keys: tuple[str, ...]) -> bool:
    """Whether the value is there. A skipped step's output is null, so `steps.<id>` must also not be null."""
    value: object = scope
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = cast("Mapping[str, object]", value)[key]
    return value is not None or len(keys) != 2 or keys[:1] != ("steps",)


Render = Callable[[Scope], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A JSON value in which strings may hold `${ }`. Without any, it renders to itself at no cost.

    Attributes:
        value: as written.
        expressions: those it holds, in document order. `paths`: what they read, each once.
        schema: JSON Schema of the rendered value.
    """

    value: Json
    expressions: tuple[Expression, ...]
    paths: tuple[str, ...]
    schema: Mapping[str, Json]
    renderer: Render | None

    def render(self, scope: Scope) -> Json:
        """The value with every expression replaced: a string that is one `${ }` keeps the value's type.

        Raises Invalid `expression.failed`.
        """
        return self.value if self.renderer is None else self.renderer(scope)
