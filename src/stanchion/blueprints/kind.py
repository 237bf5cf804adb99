"""Blueprints as an artifact kind: what `apply` calls for a file whose first key is `blueprint`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from stanchion.base import Json
from stanchion.blueprints.compiler import compile_read
from stanchion.blueprints.reader import read_document
from stanchion.blueprints.types import Document, Lookup, Parsed, Specimen, VerbSpec

_SPECIMEN: Final = """\
blueprint: specimen-blueprint
owner: specimen
steps:
  - id: words
    transform: {value: first}
output: ${steps.words.value}
"""


class BlueprintKind:
    """Reads and checks Blueprint documents with the verbs of this deployment.

    The body that is content-addressed is the document as plain JSON: comments, quoting and order of keys do not make a
    new version, everything else does.
    """

    kind = "blueprint"
    # Its verbs say which kinds a Blueprint names.
    refs = frozenset(
        ("blueprint", "prompt", "route", "tool", "index", "connector", "policy", "config", "flag", "eval_suite")
    )

    specimen: Specimen | None = Specimen(
        first=Document(path="specimen-blueprint.yaml", source=_SPECIMEN),
        second=Document(path="specimen-blueprint.yaml", source=_SPECIMEN.replace("first", "second")),
    )

    def __init__(self, verbs: Mapping[str, VerbSpec]) -> None:
        self.verbs = verbs

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """The document's name, body, owner, references and all its issues. Never raises for what the author wrote."""
        read = read_document(document)
        program, issues = compile_read(read, verbs=self.verbs, lookup=lookup)
        body = read.body if isinstance(read.body, dict) else cast("dict[str, Json]", {})
        name, owner = body.get("blueprint"), body.get("owner")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=body,
            owner=owner if isinstance(owner, str) else "",
            references=program.references if program is not None else (),
            issues=issues,
        )
