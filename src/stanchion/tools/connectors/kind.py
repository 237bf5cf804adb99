"""The artifact kind `connector`: reading its document, with all that is wrong with it at its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from stanchion.base import Json
from stanchion.blueprints import ConfigIssue, Document, Issue, Lookup, Parsed, Positions, check_document, read_document
from stanchion.tools.adapters import Adapters
from stanchion.tools.connectors.rules import check_connector
from stanchion.tools.connectors.schema import document_schema

# Issues about a key that should not be there point at the key, all others at the value.
_AT_KEY = {"connector.unknown_field", "connector.not_offered", "connector.reserved_field", "connector.unused_probe"}


class ConnectorKind:
    """Fills `artifacts.KindSpec`. `adapters` say what a connector of theirs may hold; nothing is called."""

    kind = "connector"

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters

    def parse(self, document: Document, lookup: Lookup) -> Parsed:  # noqa: ARG002 - a connector names no artifact
        """The document's name, body, owner and all its issues. Never raises for what the author wrote."""
        read = read_document(document)
        named = read.body.get("adapter") if isinstance(read.body, dict) else None
        adapter = self._adapters.by_name.get(named) if isinstance(named, str) else None
        schema = document_schema(adapter, tuple(self._adapters.by_name))
        value, issues, positions = check_document(document, schema)
        body = value if isinstance(value, dict) else dict[str, Json]()
        if adapter is not None and not issues:
            issues = tuple(_issue(found, positions) for found in check_connector(body, adapter))
        name, owner = body.get("connector"), body.get("owner")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=cast("Mapping[str, Json]", body),
            owner=owner if isinstance(owner, str) else "",
            references=(),
            issues=tuple(sorted(issues, key=lambda i: (i.line, i.column, i.code))),
        )


def _issue(found: ConfigIssue, positions: Positions) -> Issue:
    at_key = found.code in _AT_KEY
    line, column = positions.of_key(found.pointer) if at_key else positions.of_value(found.pointer)
    return Issue(
        code=found.code,
        message=found.message,
        hint=found.hint,
        file=positions.path,
        line=line,
        column=column,
        step=None,
        pointer=found.pointer,
    )
