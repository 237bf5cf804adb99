"""The artifact kind `tool`: reading its document, with all that is wrong with it at its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from stanchion.artifacts import Document, Parsed
from stanchion.base import Internal, Json, did_you_mean
from stanchion.blueprints import (
    Fault,
    Lookup,
    Program,
    Specimen,
    VerbSpec,
    check_document,
    in_order,
    program_from_body,
    to_issue,
    validate_value,
)
from stanchion.tools.catalogue import derive
from stanchion.tools.catalogue.schema import SCHEMA, tool_of
from stanchion.tools.catalogue.types import Tool
from stanchion.tools.connectors import connector_of
from stanchion.tools.types import Connector

_SPECIMEN: Final = """\
tool: specimen-tool
owner: specimen
model: {name: specimen, description: Reads the first words.}
call: {connector: specimen-words, verb: fetch, resource: words, limit: 1}
effect: read
disable: {fallback: Read the file.}
"""
_SPECIMEN_CONNECTOR: Final = """\
connector: specimen-words
owner: specimen
adapter: files
environment: local
root: specimen
resources:
  words:
    file: words.jsonl
    key: number
    fields: {number: {type: integer}, word: {type: string}}
    fetch: {}
"""
_SPECIMEN_USE: Final = """\
blueprint: specimen-of-tool
owner: specimen
steps:
  - id: found
    fetch: {connector: specimen-words, resource: words, tool: specimen-tool}
output: "${steps.found.count == 1 ? 'first' : 'second'}"
"""


class ToolKind:
    """Fills `artifacts.KindSpec`. `verbs` compile the program of a call, so that every fault of it is told at publish."""

    kind = "tool"
    refs = frozenset(("connector", "policy"))
    specimen: Specimen | None = Specimen(
        first=Document(path="specimen-tool.yaml", source=_SPECIMEN),
        second=Document(path="specimen-tool.yaml", source=_SPECIMEN.replace("limit: 1", "limit: 2")),
        others=(
            Document(path="specimen-words.yaml", source=_SPECIMEN_CONNECTOR),
            Document(path="specimen-of-tool.yaml", source=_SPECIMEN_USE),
        ),
        files={"specimen/words.jsonl": '{"number": 1, "word": "one"}\n{"number": 2, "word": "two"}\n'},
    )

    def __init__(self, verbs: Mapping[str, VerbSpec]) -> None:
        self._verbs = verbs

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """The document's name, body, owner and all its issues. Never raises for what the author wrote."""
        value, issues, positions = check_document(document, SCHEMA)
        body = value if isinstance(value, dict) else dict[str, Json]()
        faults: list[Fault] = []
        if not any(issue.severity == "error" for issue in issues):
            faults = list(faults_of_tool(body, lookup, self._verbs))
        name, owner = body.get("tool"), body.get("owner")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=body,
            owner=owner if isinstance(owner, str) else "",
            references=tuple(_references(body)) if not faults or not issues else (),
            issues=in_order([*issues, *(to_issue(fault, positions) for fault in faults)]),
        )


def _references(body: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    call, approval = body.get("call"), body.get("approval")
    if isinstance(call, dict) and isinstance(call.get("connector"), str):
        yield "connector", str(call["connector"])
    if isinstance(approval, dict) and isinstance(approval.get("policy"), str):
        yield "policy", str(approval["policy"])


def faults_of_tool(body: Mapping[str, Json], lookup: Lookup, verbs: Mapping[str, VerbSpec]) -> Iterator[Fault]:
    """Everything that is wrong with a document that fits the schema, given its connector and its policy as they are."""
    shape = list(_shape_faults(body))
    yield from shape
    raw = derive.connector_body(body, lookup)
    if shape or raw is None:  # that there is no such connector is said where references are checked
        return
    try:
        connector = connector_of(raw)
    except (KeyError, TypeError, ValueError, AttributeError):
        return  # a document of the same apply that has errors of its own, which are said there
    tool = tool_of(body)
    if derive.operation_of(tool, connector) is None:
        yield _no_operation(tool, connector)
        return
    found = list(_deep_faults(tool, connector))
    yield from found
    if not found:
        yield from _program_faults(tool, connector, body, lookup, verbs)


def _shape_faults(body: Mapping[str, Json]) -> Iterator[Fault]:
    call = body.get("call")
    said = call if isinstance(call, dict) else {}
    wanted, other = ("operation", "resource") if said.get("verb") == "execute" else ("resource", "operation")
    if wanted not in said or other in said:
        message = f"A tool that is a {said.get('verb')} says its `{wanted}`, and no `{other}`."
        yield Fault(pointer="/call", code="tool.bad_call", message=message, hint=f"Write `{wanted}:` in `call`.")
    if "limit" in said and said.get("verb") != "fetch":
        message = "Only a fetch has a `limit`."
        yield Fault(pointer="/call/limit", code="tool.bad_call", message=message, hint="Leave it out.", at_key=True)
    approval = body.get("approval")
    if isinstance(approval, dict) and ("policy" in approval) == ("none" in approval):
        message = "`approval` names a policy, or says why there is `none`."
        yield Fault(pointer="/approval", code="tool.approval", message=message, hint="Write one of the two.")
    if body.get("effect") != "read" and "idempotency" not in body:
        message = "A tool that writes says its `idempotency`."
        hint = "key, natural, probe or none, as its connector declares it."
        yield Fault(pointer="", code="document.missing_field", message=message, hint=hint)
    for field in ("authorization", "examples"):
        yield from _twice(field, body.get(field))


def _twice(field: str, cases: Json) -> Iterator[Fault]:
    seen: set[Json] = set()
    for number, case in enumerate(cases if isinstance(cases, list) else []):
        name = case.get("case") if isinstance(case, dict) else None
        if name in seen:
            message = f"There are two cases {name!r}."
            yield Fault(
                pointer=f"/{field}/{number}/case", code="tool.case_twice", message=message, hint="Name each once."
            )
        seen.add(name)


def _no_operation(tool: Tool, connector: Connector) -> Fault:
    known = connector.operations if tool.verb == "execute" else connector.resources
    place = "operation" if tool.verb == "execute" else "resource"
    if tool.called in known:
        offered = ", ".join(known[tool.called].operations)
        message, hint = f"{tool.connector}.{tool.called} cannot {tool.verb}.", f"It has: {offered}."
        return Fault(pointer="/call/verb", code="tool.unknown_operation", message=message, hint=hint)
    message = f"The connector {tool.connector} has no {place} {tool.called}."
    return Fault(
        pointer=f"/call/{place}", code="tool.unknown_operation", message=message, hint=did_you_mean(tool.called, known)
    )


def _deep_faults(tool: Tool, connector: Connector) -> Iterator[Fault]:
    operation = derive.operation_of(tool, connector)
    wrong = None if operation is None else derive.strictness_fault(tool, operation)
    if wrong is not None:
        yield Fault(pointer=wrong[0], code="tool.not_as_strict", message=wrong[1], hint=wrong[2])
    declared = derive.declared_arguments(tool, connector)
    narrowing = list(derive.narrowing_faults(tool, declared))
    for pointer, message, hint in narrowing:
        yield Fault(pointer=pointer, code="tool.not_narrower", message=message, hint=hint)
    if narrowing:
        return
    schema = derive.input_schema(tool, connector)
    fields = (("authorization", tool.cases), ("examples", tool.examples))
    for field, cases in fields:
        for number, case in enumerate(cases):
            for pointer, message in validate_value(schema, dict(case.arguments)):
                yield Fault(
                    pointer=f"/{field}/{number}/arguments{pointer}",
                    code="tool.bad_arguments",
                    message=message,
                    hint=f"The arguments of {tool.name} are: {', '.join(declared) or 'none'}.",
                )


def _program_faults(
    tool: Tool, connector: Connector, body: Mapping[str, Json], lookup: Lookup, verbs: Mapping[str, VerbSpec]
) -> Iterable[Fault]:
    """Faults of the program of a call that its author can mend: the facts that its approval policy judges."""
    if tool.approval is not None and lookup("policy", tool.approval) is None:
        return
    try:
        program_from_body(derive.blueprint_of(tool, connector), verbs, derive.lookup_with(body, lookup))
    except Internal as problem:
        said = problem.message.partition(": ")[2]
        pointer = "/approval/facts" if "facts" in said else "/approval" if "govern" in said else "/call"
        hint = "Give the facts that the approval policy declares, as expressions over `arguments`."
        yield Fault(pointer=pointer, code="tool.program", message=said, hint=hint)


def program_of(body: Mapping[str, Json], verbs: Mapping[str, VerbSpec], lookup: Lookup) -> Program:
    """The program of a pinned root: of a Blueprint, or of a tool's call.

    Raises Internal `blueprint.unreadable` for what no longer compiles.
    """
    if "tool" not in body or "blueprint" in body:
        return program_from_body(body, verbs, lookup)
    raw = derive.connector_body(body, lookup)
    if raw is None:
        raise Internal("connector.not_pinned", f"The run holds no connector of tool {body['tool']!r}.")
    blueprint = derive.blueprint_of(tool_of(body), connector_of(raw))
    return program_from_body(blueprint, verbs, derive.lookup_with(body, lookup))
