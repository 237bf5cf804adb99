"""Blueprints: the document, its validation with all errors at once, and the program it compiles to."""

from stanchion.blueprints.types import (
    Block,
    ConfigIssue,
    ForEach,
    Issue,
    Lookup,
    Op,
    OpKind,
    Program,
    Retry,
    Schema,
    Step,
    VerbSpec,
)

__all__ = [
    "Block",
    "ConfigIssue",
    "ForEach",
    "Issue",
    "Lookup",
    "Op",
    "OpKind",
    "Program",
    "Retry",
    "Schema",
    "Step",
    "VerbSpec",
]
