"""Checking a set of documents together, pure: what kind each is, what each says, and whom a change would break."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypedDict, cast

from stanchion.artifacts import BODY_BYTES_MAX, Document, KindSpec, Parsed, secret_issues, unstorable
from stanchion.base import Json, canonical, digest, nearest
from stanchion.blueprints import Issue, read_document
from stanchion.releases.types import Checked, Item, Live, Release

Key = tuple[str, str]

# The first key of a document and its value, in block or flow style, quoted or not. The kind's own reader reads the
# document properly; this only tells whose it is, and under which name the other documents of the set can see it.
_HEADER: Final = re.compile(
    r"""\{?\s*(?P<q>["']?)(?P<kind>[A-Za-z_][A-Za-z0-9_ -]*)(?P=q)\s*:"""
    r"""(?:\s+|$|(?=["']))(?:"(?P<d>[^"]*)"|'(?P<s>[^']*)'|(?P<plain>[^\s#,}"'][^\s#,}]*))?"""
)
# How every kind says that something is missing which it names.
_MISSING: Final = re.compile(r"There is no (?P<kind>\w+) '(?P<name>[^']+)'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Whose a document is: its first key, the value of it (empty if there is none), and the key's 1-based place."""

    kind: str
    name: str
    line: int
    column: int


def header(source: str) -> Header | None:
    """The first key of a document, or None if there is none to be seen."""
    for number, text in enumerate(source.removeprefix("\ufeff").split("\n"), 1):
        stripped = text.strip()
        if not stripped or stripped.startswith(("#", "%")) or stripped == "---":
            continue
        match = _HEADER.match(stripped.removeprefix("--- "))
        if match is None:
            return None
        name = match["d"] or match["s"] or match["plain"] or ""
        return Header(kind=match["kind"], name=name, line=number, column=text.find(match["kind"]) + 1)
    return None


class _Set:
    """The documents of one apply. Parsing one may look another up, which is then parsed first."""

    def __init__(self, kinds: Mapping[str, KindSpec], live: Mapping[Key, Live]) -> None:
        self._kinds = kinds
        self._live = live
        self._waiting: dict[Key, Document] = {}
        self._reading: list[Key] = []
        self.parsed: dict[Key, Parsed] = {}

    def add(self, key: Key, document: Document) -> None:
        self._waiting[key] = document

    def lookup(self, kind: str, name: str) -> Mapping[str, Json] | None:
        """What the set says of an artifact, else what is live.

        None for a document of the set that has errors itself: its referrers can be measured by it once it has none.
        """
        key = (kind, name)
        if key not in self._waiting or key in self._reading:
            live = self._live.get(key)
            return live.body if live else None
        parsed = self.read(key)
        return None if _has_errors(parsed.issues) else parsed.body

    def exists(self, key: Key) -> bool:
        """Whether the set or the environment has an artifact, also one with errors: those are told at it."""
        return key in self._waiting or key in self._live

    def read(self, key: Key) -> Parsed:
        if key not in self.parsed:
            self._reading.append(key)
            self.parsed[key] = self._kinds[key[0]].parse(self._waiting[key], self.lookup)
            self._reading.pop()
        return self.parsed[key]

    def issues(self, key: Key) -> list[Issue]:
        """The issues of a document, without complaints that something is missing which is there and has errors, and with
        the nearest name of what is there where something is missing."""
        broken = [f"{k[0]} {k[1]!r}" for k, parsed in self.parsed.items() if _has_errors(parsed.issues)]
        issues: list[Issue] = []
        for issue in self.read(key).issues:
            if not issue.code.endswith(".unknown_artifact"):
                issues.append(issue)
            elif not any(name in issue.message for name in broken):
                issues.append(self._meant(issue))
        return issues

    def _meant(self, issue: Issue) -> Issue:
        """The complaint that an artifact is missing, with the nearest name of its kind in the set or live."""
        missing = _MISSING.match(issue.message)
        if missing is None:
            return issue
        names = sorted(name for kind, name in {*self._waiting, *self._live} if kind == missing["kind"])
        near = nearest(missing["name"], names)
        return replace(issue, hint=f"Did you mean {near!r}? {issue.hint}") if near else issue


def check(documents: Sequence[Document], kinds: Mapping[str, KindSpec], live: Mapping[Key, Live]) -> Checked:
    """Read and check a set of documents together.

    Args:
        documents: the files, each of one artifact; their order does not matter.
        kinds: how each kind is read.
        live: what is live now, by (kind, name).

    Returns:
        The items that can be told apart, and all issues of all files: of the files themselves, and of live artifacts
        that would no longer fit. With no errors every document is among the items, exactly once.
    """
    found = _Set(kinds, live)
    issues: list[Issue] = []
    owners: dict[Key, Document] = {}
    for document in documents:
        head = _headed(document, kinds)
        if isinstance(head, Issue):
            issues.append(head)
            continue
        key = (head.kind, head.name or document.path)  # who has no name is told so by its own kind
        if key in owners:
            issues.append(_duplicate(document, head, owners[key]))
            continue
        owners[key] = document
        found.add(key, document)
    items: list[Item] = []
    for key, document in owners.items():
        parsed = found.read(key)
        items.append(Item(kind=key[0], document=document, parsed=parsed))
        if not _has_errors(parsed.issues):
            issues += _own_issues(key, document, parsed)
    for document in documents:
        issues += secret_issues(document)
    for key, document in owners.items():
        issues += found.issues(key)
        issues += _reference_issues(key, document, found, kinds)
    issues += _broken_dependants(found, kinds, live, [key for key in owners if not _has_errors(found.read(key).issues)])
    return Checked(items=tuple(items), issues=_ordered(issues, documents))


def _headed(document: Document, kinds: Mapping[str, KindSpec]) -> Header | Issue:
    """The header of a document of a known kind, or the issue that it has none."""
    head = header(document.source)
    known = ", ".join(f"`{kind}:`" for kind in sorted(kinds))
    if head is None:
        return Issue(
            code="artifact.no_kind",
            message="The document does not begin with the kind of artifact it is.",
            hint=f"Begin it with one of {known} and the artifact's name.",
            file=document.path,
            line=1,
            column=1,
            step=None,
            pointer="",
        )
    if head.kind not in kinds:
        near = nearest(head.kind, sorted(kinds))
        return Issue(
            code="artifact.unknown_kind",
            message=f"`{head.kind}` is not a kind of artifact.",
            hint=f"Did you mean `{near}`?" if near else f"Begin the document with one of {known}.",
            file=document.path,
            line=head.line,
            column=head.column,
            step=None,
            pointer=f"/{head.kind}",
        )
    return head


def _duplicate(document: Document, head: Header, first: Document) -> Issue:
    return Issue(
        code="artifact.duplicate",
        message=f"{head.kind} {head.name} is in {first.path} already.",
        hint="Remove one of the two, or give it another name.",
        file=document.path,
        line=head.line,
        column=head.column,
        step=None,
        pointer=f"/{head.kind}",
    )


def _own_issues(key: Key, document: Document, parsed: Parsed) -> list[Issue]:
    """What no kind's reader knows: that the store cannot keep the body, or that the name was not where it should be."""

    def at_top(code: str, message: str, hint: str, pointer: str) -> Issue:
        return Issue(
            code=code, message=message, hint=hint, file=document.path, line=1, column=1, step=None, pointer=pointer
        )

    if parsed.name != key[1]:
        text = f"The document begins as {key[0]} {key[1]} and reads as {key[0]} {parsed.name}."
        return [at_top("artifact.no_kind", text, f"Write `{key[0]}: {parsed.name}` as its first line.", f"/{key[0]}")]
    broken = unstorable(parsed.body)
    if broken:
        text = f"There is {broken[1]} at {broken[0] or '/'}."
        return [at_top("artifact.unstorable", text, "Write it as a text or number that JSON can keep.", broken[0])]
    size = len(canonical(parsed.body))
    if size > BODY_BYTES_MAX:
        text = f"{key[0]} {key[1]} has {size} bytes; at most {BODY_BYTES_MAX} are allowed."
        return [at_top("artifact.too_large", text, "Split it, or keep the data outside the document.", "")]
    return []


def _reference_issues(key: Key, document: Document, found: _Set, kinds: Mapping[str, KindSpec]) -> list[Issue]:
    """References of any kind: each is of a kind that this one may refer to, and is there. What the kind's own reader has
    said at a better place is not said again."""
    parsed = found.read(key)
    if _has_errors(parsed.issues):
        return []
    may = kinds[key[0]].refs
    issues: list[Issue] = []
    for kind, name in parsed.references:
        place = _named_at(document, kind, name)
        if kind not in may:
            issues.append(
                Issue(
                    code="artifact.reference",
                    message=f"A {key[0]} cannot refer to {kind} {name!r}.",
                    hint=f"It may refer to: {', '.join(sorted(may)) or 'nothing'}.",
                    **place,
                )
            )
        elif not found.exists((kind, name)):
            issues.append(
                Issue(
                    code="artifact.unknown_reference",
                    message=f"There is no {kind} {name!r} in this apply, and none is live.",
                    hint=f"Apply the {kind} together with it, or correct the name.",
                    **place,
                )
            )
    return issues


class _Named(TypedDict):
    """The fields of an issue that say where."""

    file: str
    line: int
    column: int
    step: str | None
    pointer: str


def _named_at(document: Document, kind: str, name: str) -> _Named:
    """Where a document names another: the text that is its name, rather beside a key of its kind than elsewhere."""
    read = read_document(document)
    texts = [(pointer.rpartition("/")[2] != kind, pointer) for pointer, text in _texts(read.body, "") if text == name]
    pointer = min(texts)[1] if texts else ""
    line, column = read.positions.of_value(pointer) if pointer else (1, 1)
    return {"file": document.path, "line": line, "column": column, "step": None, "pointer": pointer}


def _texts(value: Json, pointer: str) -> Iterator[tuple[str, str]]:
    """Every text of a JSON value with its JSON pointer."""
    if isinstance(value, str):
        yield pointer, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{pointer}/{number}")


def unexpected(expected: Mapping[Key, int], live: Mapping[Key, Release]) -> list[Key]:
    """Of the artifacts that a publisher thought to replace, those of which another version is live by now; 0 expects
    that none is."""
    return sorted(key for key, version in expected.items() if (live[key].version if key in live else 0) != version)


def _broken_dependants(
    found: _Set, kinds: Mapping[str, KindSpec], live: Mapping[Key, Live], readable: Iterable[Key]
) -> list[Issue]:
    """Errors that live artifacts outside the set get by the set's changes, each naming who breaks and by what."""
    changed = {key for key in readable if key in live and digest(found.read(key).body) != live[key].digest}
    # Nobody is measured by a document that has errors itself.
    broken = {key for key, parsed in found.parsed.items() if _has_errors(parsed.issues)}
    issues: list[Issue] = []
    for key, row in live.items():
        refs = {(ref[0], ref[1]) for ref in row.refs}
        causes = sorted(changed & refs)
        if not causes or key in found.parsed or key[0] not in kinds or refs & broken:
            continue
        document = Document(path=row.source_path, source=row.source)
        before = kinds[key[0]].parse(document, lambda kind, name: _body(live.get((kind, name)))).issues
        after = kinds[key[0]].parse(document, found.lookup).issues
        known = {(issue.code, issue.pointer, issue.message) for issue in before}
        issues += [
            _blamed(issue, key, row, causes)
            for issue in after
            if issue.severity == "error" and (issue.code, issue.pointer, issue.message) not in known
        ]
    return issues


def _blamed(issue: Issue, key: Key, row: Live, causes: Sequence[Key]) -> Issue:
    by = " and ".join(f"{kind} {name}" for kind, name in causes)
    field = f" at {issue.pointer}" if issue.pointer else ""
    way_out = f"Keep what {key[0]} {key[1]} uses in {by}, or apply a {key[0]} that fits in the same apply."
    return replace(
        issue,
        code="release.incompatible",
        message=f"The live {key[0]} {key[1]} (version {row.version}) would no longer fit {by}{field}: {issue.message}",
        hint=f"{way_out} {issue.hint}".strip(),
    )


def _body(live: Live | None) -> Mapping[str, Json] | None:
    return live.body if live else None


def _has_errors(issues: Iterable[Issue]) -> bool:
    return any(issue.severity == "error" for issue in issues)


def _ordered(issues: Iterable[Issue], documents: Sequence[Document]) -> tuple[Issue, ...]:
    """By file as given, then by place; files outside the set last."""
    order = {document.path: number for number, document in enumerate(reversed(documents))}
    rank = {path: len(documents) - number for path, number in order.items()}
    last = len(documents) + 1
    return tuple(sorted(issues, key=lambda i: (rank.get(i.file, last), i.file, i.line, i.column, i.code)))


def issue_json(issue: Issue) -> dict[str, Json]:
    """An issue on the wire: {file, line, column, step, code, message, hint, pointer}."""
    return {
        "file": issue.file,
        "line": issue.line,
        "column": issue.column,
        "step": issue.step,
        "code": issue.code,
        "message": issue.message,
        "hint": issue.hint,
        "pointer": issue.pointer,
    }


def row_of(item: Item, version: int, digest: str) -> Live:
    """A checked document as the version that it is published as."""
    return Live(
        kind=item.kind,
        name=item.parsed.name,
        version=version,
        digest=digest,
        body=item.parsed.body,
        refs=[list(reference) for reference in item.parsed.references],
        source=item.document.source,
        source_path=item.document.path,
    )


def references_of(rows: Iterable[Live]) -> set[Key]:
    """Everything that these versions refer to."""
    return {(ref[0], ref[1]) for row in rows for ref in row.refs}


def pins_json(rows: Sequence[Live], root: Key) -> list[Json]:
    """The pin set of a closure: the root first, the rest by kind and name, each {kind, name, version, digest}."""
    ordered = sorted(rows, key=lambda row: ((row.kind, row.name) != root, row.kind, row.name))
    return [
        cast("Json", {"kind": row.kind, "name": row.name, "version": row.version, "digest": row.digest})
        for row in ordered
    ]


def input_schema(body: Mapping[str, Json]) -> dict[str, Json]:
    """The JSON Schema of a Blueprint's input; `{}` takes anything."""
    found = body.get("input")
    return found if isinstance(found, dict) else {}
