"""Authored Cedar text: taken apart into statements, and checked with every complaint at its place.

Cedar's own messages name no place within a text, so the statements are found here first (strings and comments aside) and
each is parsed alone; within a statement the place is that of the word the message quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import cedarpy

from stanchion.base import Json, loads, nearest

# Cedar's compile and decision time grow by some 1 µs per statement (measured); nobody reviews more than this.
STATEMENTS_MAX: Final = 200
_cedar: Final = cast("Any", cedarpy)
# A text between quotes, a comment, or the end of a statement.
_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|;')
_BEGIN: Final = re.compile(r"(?:\s|//[^\n]*(?:\n|\Z))*")
_QUOTED: Final = re.compile(r"`\"?([^`]+?)\"?`|'([^']+)'")
_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_DECLARED: Final = re.compile(r"^\s*\"?(\w+)\"?\??: ", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CedarStatement:
    """One statement: its text without comments around it, where it begins (characters), its `@id` (empty: none)."""

    text: str
    offset: int
    id: str
    json: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class CedarFault:
    """A complaint about authored text: `offset` is that of the character it is about."""

    offset: int
    code: str
    message: str
    hint: str = ""


def statements_of(text: str) -> tuple[list[CedarStatement], list[CedarFault]]:
    """The statements of a text that can be read, and a fault for each that cannot."""
    found: list[CedarStatement] = []
    faults: list[CedarFault] = []
    for offset, part in _parts(text):
        try:
            read = cast("dict[str, Any]", loads(_cedar.policies_to_json_str(part).encode()))
        except ValueError as error:
            faults.append(_unreadable(part, offset, str(error)))
            continue
        if read["templates"]:
            faults.append(
                CedarFault(
                    offset=offset + max(part.find("?"), 0),
                    code="policy.cedar_template",
                    message="A statement with a slot (`?principal`, `?resource`) is a template, and nothing fills it.",
                    hint="Name the principal or resource in the statement.",
                )
            )
            continue
        for statement in read["staticPolicies"].values():
            annotations = cast("dict[str, str | None]", statement.get("annotations") or {})
            name = annotations.get("id") or ""
            found.append(CedarStatement(text=part, offset=offset, id=name, json=statement))
    return found, faults


def faults_in(text: str, schema: str) -> list[CedarFault]:
    """Everything that is wrong with authored text: what cannot be read, what the schema has not, what has no id."""
    statements, faults = statements_of(text)
    if not statements and not faults:
        message = "There is no statement in it."
        faults.append(CedarFault(offset=0, code="policy.cedar_empty", message=message, hint="Write permit or forbid."))
    if len(statements) > STATEMENTS_MAX:
        message = f"There are {len(statements)} statements; one policy has at most {STATEMENTS_MAX}."
        faults.append(CedarFault(offset=0, code="policy.cedar_too_many", message=message, hint="Split the policy."))
        return faults
    seen: set[str] = set()
    for statement in statements:
        faults += _id_faults(statement, seen)
        faults += _schema_faults(statement, schema)
    return sorted(faults, key=lambda fault: fault.offset)


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """Each statement with where it begins; what stands after the last `;` is one, too."""
    begin = 0
    for token in _TOKEN.finditer(text):
        if token.group() == ";":
            yield from _part(text, begin, token.end())
            begin = token.end()
    yield from _part(text, begin, len(text))


def _part(text: str, begin: int, end: int) -> Iterator[tuple[int, str]]:
    blank = _BEGIN.match(text, begin, end)
    start = blank.end() if blank is not None else begin
    if start < end:
        yield start, text[start:end]


def _unreadable(part: str, offset: int, said: str) -> CedarFault:
    return CedarFault(
        offset=offset + _place(part, said),
        code="policy.cedar_syntax",
        message=f"This is not Cedar: {said}.",
        hint='A statement is: @id("name") permit (principal, action, resource) when { … };',
    )


def _id_faults(statement: CedarStatement, seen: set[str]) -> Iterator[CedarFault]:
    if not _NAME.fullmatch(statement.id):
        said = f"The id {statement.id!r} is no name" if statement.id else "The statement has no `@id`"
        yield CedarFault(
            offset=statement.offset,
            code="policy.cedar_id",
            message=f"{said}; verdicts and audit records name statements by it.",
            hint='Begin it with @id("what-it-permits"): small letters, digits, `.`, `_`, `-`.',
        )
    elif statement.id in seen:
        yield CedarFault(
            offset=statement.offset,
            code="policy.cedar_id",
            message=f"There are two statements {statement.id!r}.",
            hint="Name each once.",
        )
    seen.add(statement.id)


def _schema_faults(statement: CedarStatement, schema: str) -> Iterator[CedarFault]:
    # The type checker wants the whole policy to be able to apply; a misspelt name is an error here, not a silent denial.
    found = _cedar.validate_policies(statement.text, schema)
    places: set[int] = set()
    for error in found.errors:
        said = re.sub(r"^for policy `[^`]*`, ", "", str(error.error))
        at = _place(statement.text, said)
        # One misspelt word is an error for each action that the statement is about, and the cause of others at no place.
        if at in places or (at == 0 and places):
            continue
        places.add(at)
        yield CedarFault(
            offset=statement.offset + at,
            code="policy.cedar_schema",
            message=f"{said[:1].upper()}{said[1:]}.",
            hint=_near(said, schema),
        )


def _place(text: str, said: str) -> int:
    """Where in `text` the first word stands that the message quotes; 0 if it quotes none that is there."""
    for match in _QUOTED.finditer(said):
        # An action or entity is quoted with its namespace, and without the closing quote that ends the message's own.
        whole = match[1] or match[2]
        for word in (whole, whole.rpartition("::")[2].strip('"')):
            at = text.find(word)
            if at >= 0:
                return at
    return 0


def _near(said: str, schema: str) -> str:
    quoted = _QUOTED.search(said)
    if quoted is None:
        return ""
    near = nearest((quoted[1] or quoted[2]).rpartition("::")[2].strip('"'), _DECLARED.findall(schema))
    if "unable to guarantee safety" in said:
        return 'Ask first whether it is there: context.decimals.hasTag("amount") && context.decimals.getTag("amount")…'
    return f"Did you mean {near!r}?" if near else "docs/reference/authorization.md lists what policies may speak of."
