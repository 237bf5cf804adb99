"""Expressions: CEL by the official runtime, type-checked at publish, and the `${ }` templates that hold them.

An expression is checked against the JSON Schemas of what it may read, compiled once per (source, types), and
evaluated with only the paths it names bound. A run-time error is an `Invalid` that names the expression and its place.
"""

from stanchion.expressions.compiler import ROOTS, compile_expression
from stanchion.expressions.faults import Fault, FaultyExpression, line_and_column
from stanchion.expressions.scanner import embedded_end
from stanchion.expressions.templates import FaultyTemplate, Misplaced, compile_template, has_expressions, parts
from stanchion.expressions.types import Expression, Scope, Template

__all__ = [
    "ROOTS",
    "Expression",
    "Fault",
    "FaultyExpression",
    "FaultyTemplate",
    "Misplaced",
    "Scope",
    "Template",
    "compile_expression",
    "compile_template",
    "embedded_end",
    "has_expressions",
    "line_and_column",
    "parts",
]
