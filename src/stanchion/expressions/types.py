"""The faces of a compiled expression and of a template, as the rest of Stanchion sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from stanchion.base import Json

# What expressions read: `input`, `steps`, `run`, `item`, `config` and an item's alias -> value. `steps` maps a step id
# to its output.
Scope = Mapping[str, Json]


class Expression(Protocol):
    """One type-checked CEL expression, compiled once per digest and evaluated many times."""

    source: str
    paths: tuple[str, ...]

    def evaluate(self, scope: Scope) -> Json:
        """The value, with only `paths` bound. Raises Invalid `expression.failed` with the expression's position."""
        ...


class Template(Protocol):
    """A JSON value in which strings may hold `${ }`. Without any, it renders to itself at no cost."""

    paths: tuple[str, ...]

    def render(self, scope: Scope) -> Json:
        """The value with every expression replaced: a string that is one `${ }` keeps the value's type."""
        ...
