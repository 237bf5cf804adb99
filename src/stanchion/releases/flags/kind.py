"""The artifact kind `flag`: how its documents are read and checked."""

from __future__ import annotations

from typing import Final

from stanchion.artifacts import Document, Parsed
from stanchion.base import Json
from stanchion.blueprints import ABOUT_PROPERTIES, Fault, Lookup, Specimen, faults_of, in_order, read_document, to_issue
from stanchion.controls.flags import Finding, check

# What documents of every kind say of themselves; all else of a flag is checked by `controls.flags`.
_ABOUT: Final[dict[str, Json]] = {"type": "object", "properties": {**ABOUT_PROPERTIES}}
_AT_KEY: Final = frozenset({"flag.unknown_field"})
_SPECIMEN: Final = """\
flag: specimen-flag
owner: specimen
type: string
variants: {word: first}
default: word
"""


class FlagKind:
    """Fills `artifacts.KindSpec`: flags are published, diffed, released, rolled out and rolled back like every kind."""

    kind = "flag"
    refs = frozenset[str]()
    # Flags are asked, never pinned.
    specimen: Specimen | None = Specimen(
        first=Document(path="specimen-flag.yaml", source=_SPECIMEN),
        second=Document(path="specimen-flag.yaml", source=_SPECIMEN.replace("first", "second")),
        asked="/api/flags/specimen-flag/evaluate",
    )

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """Read and check a flag: fields, variants, and its targeting in either form."""
        del lookup  # a flag refers to no other artifact
        read = read_document(document)
        issues = list(read.issues)
        body = read.body if isinstance(read.body, dict) else {}
        if read.body is not None or not issues:
            faults = [*faults_of(body, _ABOUT), *map(_fault, check(read.body))]
            issues += [to_issue(fault, read.positions) for fault in faults]
        name, owner = body.get("flag"), body.get("owner")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=body,
            owner=owner if isinstance(owner, str) else "",
            references=(),
            issues=in_order(issues),
        )


def _fault(found: Finding) -> Fault:
    return Fault(
        pointer=found.pointer,
        code=found.code,
        message=found.message,
        hint=found.hint,
        at_key=found.code in _AT_KEY,
        text=found.text or None,
        offset=found.offset,
    )
