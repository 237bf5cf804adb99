"""The part of a faulty document that is right: what further checks look at, so that every error is said at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from stanchion.base import Json, dumps, loads
from stanchion.blueprints import ConfigIssue, Fault, Schema, faults_of

# What needs several parts of a resource together; it is not said while another of them is wrong.
_RELATIONS = frozenset(
    [
        "connector.missing_field",
        "connector.missing_probe",
        "connector.no_operation",
        "connector.undeclared_parameter",
        "connector.unknown_key",
        "connector.unused_parameter",
        "connector.unused_probe",
    ]
)

# /resources/NAME/fields/FIELD
_FIELD_DEPTH = 3


def sound_part(body: Mapping[str, Json], schema: Schema) -> dict[str, Json]:
    """A copy of `body` without what does not fit `schema`. What is incomplete goes whole, but for the document itself,
    which may lack what is needed of it; of a field whose schema is wrong, the name stays."""
    found = cast("dict[str, Json]", loads(dumps(dict(body))))
    while True:
        faults = [fault for fault in faults_of(found, schema) if fault.pointer]
        removed = [_remove(found, fault) for fault in sorted(faults, key=lambda f: len(f.pointer), reverse=True)]
        if not any(removed):
            return found


def _remove(body: dict[str, Json], fault: Fault) -> bool:
    """Take away what the fault is at, of a list the whole list; whether there was something to take."""
    holder: Any = body
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in fault.pointer[1:].split("/")]
    for depth, token in enumerate(tokens):
        inner = holder.get(token)
        if depth == len(tokens) - 1 or isinstance(inner, list) or not isinstance(inner, dict):
            had = holder.pop(token, holder) is not holder
            if had and not fault.at_key and tokens[2:3] == ["fields"] and depth == _FIELD_DEPTH:
                holder[token] = {}
            return had
        holder = inner  # pyright: ignore[reportUnknownVariableType] - JSON of any form
    return False


def worth_saying(issue: ConfigIssue, faults: Iterable[Fault]) -> bool:
    """Whether a complaint about the sound part holds for the document too, given what does not fit its schema."""
    return not any(_explains(fault, issue) for fault in faults)


def _explains(fault: Fault, issue: ConfigIssue) -> bool:
    if issue.pointer in (fault.pointer, fault.pointer.rpartition("/")[0]):
        return True
    if issue.code not in _RELATIONS:
        return False
    _, *at = issue.pointer.split("/")
    _, *wrong = fault.pointer.split("/")
    if wrong[:2] != at[:2]:
        return False
    # A field's name or the key matters to all of them; what is wrong within a field, or another operation, to none.
    of_all = wrong[2:] in (["key"], ["fields"]) or (wrong[2:3] == ["fields"] and fault.at_key)
    return of_all or wrong[2:3] == at[2:3]
