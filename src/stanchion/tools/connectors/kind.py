"""The artifact kind `connector`: reading its document, with all that is wrong with it at its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, cast

from stanchion.base import Json, nearest
from stanchion.blueprints import (
    Document,
    Fault,
    Lookup,
    Parsed,
    Specimen,
    check_document,
    faults_of,
    in_order,
    read_document,
    to_issue,
)
from stanchion.tools.adapter import Adapter
from stanchion.tools.adapters.registry import BROKEN_HINT, Adapters
from stanchion.tools.connectors.rules import check_connector
from stanchion.tools.connectors.schema import EXECUTE, document_schema
from stanchion.tools.connectors.sound import sound_part, worth_saying

# Issues about a key that should not be there point at the key, all others at the value.
_AT_KEY = {"connector.unknown_field", "connector.not_offered", "connector.reserved_field", "connector.unused_probe"}


_SPECIMEN: Final = """\
connector: specimen-connector
owner: specimen
adapter: files
environment: local
root: specimen
resources:
  words:
    file: first.jsonl
    key: number
    fields: {number: {type: integer}, word: {type: string}}
    lookup: {}
"""
_SPECIMEN_USE: Final = """\
blueprint: specimen-of-connector
owner: specimen
steps:
  - id: found
    lookup: {connector: specimen-connector, resource: words, key: 1}
output: ${steps.found.record.word}
"""


class ConnectorKind:
    """Fills `artifacts.KindSpec`. `adapters` say what a connector of theirs may hold; nothing is called."""

    kind = "connector"
    refs = frozenset[str]()
    specimen: Specimen | None = Specimen(
        first=Document(path="specimen-connector.yaml", source=_SPECIMEN),
        second=Document(path="specimen-connector.yaml", source=_SPECIMEN.replace("first", "second")),
        others=(Document(path="specimen-of-connector.yaml", source=_SPECIMEN_USE),),
        files={f"specimen/{word}.jsonl": f'{{"number": 1, "word": "{word}"}}\n' for word in ("first", "second")},
    )

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters

    def parse(self, document: Document, lookup: Lookup) -> Parsed:  # noqa: ARG002 - a connector names no artifact
        """The document's name, body, owner and all its issues. Never raises for what the author wrote."""
        read = read_document(document)
        adapter = self._meant(read.body.get("adapter") if isinstance(read.body, dict) else None)
        broken = self._adapters.broken
        names = (*self._adapters.by_name, *broken)
        value, issues, positions = check_document(document, document_schema(adapter, names))
        body = value if isinstance(value, dict) else dict[str, Json]()
        further = [*_further(body, adapter, names), *_broken(body, broken)]
        issues = in_order([*issues, *(to_issue(fault, positions) for fault in further)])
        name, owner = body.get("connector"), body.get("owner")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=cast("Mapping[str, Json]", body),
            owner=owner if isinstance(owner, str) else "",
            references=(),
            issues=issues,
        )

    def _meant(self, named: Json) -> Adapter | None:
        """The adapter of that name, or the one that it is a misspelling of: the rest is checked as its document."""
        if not isinstance(named, str) or named in self._adapters.broken:
            return None
        close = nearest(named, self._adapters.by_name)
        return self._adapters.by_name[close] if close else None


def _broken(body: Mapping[str, Json], broken: Mapping[str, str]) -> Iterator[Fault]:
    """That the adapter the document names was brought by a package that cannot be used."""
    reason = broken.get(str(body.get("adapter")))
    if reason is not None:
        yield Fault(pointer="/adapter", code="connector.broken_adapter", message=reason, hint=BROKEN_HINT)


def _further(body: Mapping[str, Json], adapter: Adapter | None, names: tuple[str, ...]) -> Iterator[Fault]:
    """What is wrong beyond the schema, in as much of the document as fits it."""
    schema = document_schema(adapter, names)
    faults = list(faults_of(dict(body), schema))
    found = list(check_connector(sound_part(body, document_schema(None, names)), adapter))
    if adapter is not None:
        part = sound_part(body, schema)
        if EXECUTE in part or EXECUTE in adapter.operation_schemas:
            part.setdefault("resources", {})
        if {"resources", *adapter.settings_required} <= part.keys():
            found += adapter.check(part)
    for issue in found:
        if worth_saying(issue, faults):
            yield Fault(
                pointer=issue.pointer,
                code=issue.code,
                message=issue.message,
                hint=issue.hint,
                at_key=issue.code in _AT_KEY,
                unquoted=issue.unquoted,
            )
