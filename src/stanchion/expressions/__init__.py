"""Expressions: CEL by the official runtime, type-checked at publish, and the `${ }` templates that hold them."""

from stanchion.expressions.types import Expression, Template

__all__ = ["Expression", "Template"]
