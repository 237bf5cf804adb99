"""What changed between two versions of a document: by meaning, not by line. Pure.

Objects are compared by key, lists of named things (`steps`, anything with `id` or `name`) by that name, other lists by
the shortest edit (Ratcliff-Obershelp, as `difflib` has it). The order of steps is meaning and is told as `moved`; the order
of keys and the comments are not, and are told apart.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import SequenceMatcher
from typing import Final, Literal, cast

from stanchion.artifacts.comments import Comment, comments_of
from stanchion.artifacts.types import ArtifactVersion
from stanchion.base import Json, canonical
from stanchion.blueprints import Document, Parsed, read_document

# A text longer than this, or of several lines, is compared word by word.
WORDS_FROM_CHARS: Final = 60
EDITS_MAX: Final = 1000
COMMENTS_MAX: Final = 200
# difflib takes time in proportion to the product of both lengths; beyond this it compares lines, then places.
_PRODUCT_MAX: Final = 4_000_000
_TOKEN: Final = re.compile(r"\s+|\w+|[^\w\s]")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A stretch of a text that both have, or only one of them."""

    op: Literal["same", "added", "removed"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of meaning at `path` (`steps[case].lookup.key`).

    `added` has `after`, `removed` has `before`, `changed` both, and `words` if they are long texts. `moved` has in
    `before` and `after` where it was and is: its place in the list from 1, or its path where it went to another list.
    """

    op: Literal["added", "removed", "changed", "moved"]
    path: str
    before: Json = None
    after: Json = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: a published version, or for `version` None a file."""

    version: int | None
    digest: str | None
    source_path: str
    author: str | None = None
    changelog: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Two versions of one artifact. `order`: paths of objects whose keys stand in another order. `cut`: there are more
    changes or comments than were listed."""

    kind: str
    name: str
    before: Side | None
    after: Side
    changes: tuple[Edit, ...]
    order: tuple[str, ...]
    comments_added: tuple[Comment, ...]
    comments_removed: tuple[Comment, ...]
    cut: bool


@dataclass(frozen=True, slots=True)
class _Half:
    kind: str
    name: str
    side: Side
    body: Mapping[str, Json]
    document: Document


def diff_of(before: ArtifactVersion | None, after: ArtifactVersion | Document, parsed: Parsed | None = None) -> Diff:
    """The diff of two versions, or of a version and a file with what its kind made of it. None: there was nothing."""
    new = _half(after) if isinstance(after, ArtifactVersion) else _file(before, after, cast("Parsed", parsed))
    old = _half(before) if before is not None else None
    was = read_document(old.document) if old else None
    now = read_document(new.document)
    edits = changes(_as_written(old.body, was.body) if old and was else {}, _as_written(new.body, now.body))
    order: list[str] = []
    came: list[Comment] = []
    went: list[Comment] = []
    if was is not None:
        order = list(_order(was.body, now.body, ""))
        went, came = _comments(comments_of(was.positions.source, was), comments_of(now.positions.source, now))
    return Diff(
        kind=new.kind,
        name=new.name,
        before=old.side if old else None,
        after=new.side,
        changes=tuple(edits[:EDITS_MAX]),
        order=tuple(order[:EDITS_MAX]),
        comments_added=tuple(came[:COMMENTS_MAX]),
        comments_removed=tuple(went[:COMMENTS_MAX]),
        cut=len(edits) > EDITS_MAX or len(order) > EDITS_MAX or max(len(came), len(went)) > COMMENTS_MAX,
    )


def _as_written(body: Mapping[str, Json], read: Json) -> Json:
    """A stored body in the order in which its author wrote it, which the store does not keep."""
    whole = dict(body)
    return read if _same(whole, read) else whole


def _half(artifact: ArtifactVersion) -> _Half:
    side = Side(
        version=artifact.version,
        digest=artifact.digest,
        source_path=artifact.source_path,
        author=artifact.author,
        changelog=artifact.changelog,
        created_at=artifact.created_at,
    )
    document = Document(path=artifact.source_path, source=artifact.source)
    return _Half(artifact.kind, artifact.name, side, artifact.body, document)


def _file(before: ArtifactVersion | None, document: Document, parsed: Parsed) -> _Half:
    kind = before.kind if before is not None else next(iter(parsed.body), "")
    return _Half(kind, parsed.name, Side(version=None, digest=None, source_path=document.path), parsed.body, document)


def changes(before: Json, after: Json) -> list[Edit]:
    """Every change of meaning from one JSON value to another, in the order of the document."""
    return _reunited(list(_changes(before, after, "")))


def _changes(before: Json, after: Json, path: str) -> Iterator[Edit]:
    if _same(before, after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _objects(before, after, path)
    elif isinstance(before, list) and isinstance(after, list):
        names = _names(before), _names(after)
        if names[0] is not None and names[1] is not None:
            yield from _named(dict(zip(names[0], before, strict=True)), dict(zip(names[1], after, strict=True)), path)
        else:
            yield from _sequences(before, after, path)
    else:
        long = isinstance(before, str) and isinstance(after, str) and _is_long(before, after)
        words = words_between(cast("str", before), cast("str", after)) if long else ()
        yield Edit(op="changed", path=path, before=before, after=after, words=words)


def _same(before: Json, after: Json) -> bool:
    return canonical(before) == canonical(after)


def _is_long(before: str, after: str) -> bool:
    return any(len(text) > WORDS_FROM_CHARS or "\n" in text for text in (before, after))


def _objects(before: Mapping[str, Json], after: Mapping[str, Json], path: str) -> Iterator[Edit]:
    for key, value in before.items():
        where = _joined(path, key)
        if key in after:
            yield from _changes(value, after[key], where)
        else:
            yield Edit(op="removed", path=where, before=value)
    for key, value in after.items():
        if key not in before:
            yield Edit(op="added", path=_joined(path, key), after=value)


def _names(items: Sequence[Json]) -> list[str] | None:
    """The names of a list of named things, all different; None for any other list."""
    for naming in ("id", "name"):
        found = [item.get(naming) if isinstance(item, dict) else None for item in items]
        texts = [name for name in found if isinstance(name, str)]
        if len(texts) == len(items) == len(set(texts)):
            return texts
    return None


def _named(before: Mapping[str, Json], after: Mapping[str, Json], path: str) -> Iterator[Edit]:
    places = {name: number for number, name in enumerate(after, 1)}
    common = [name for name in before if name in after]
    stayed = set(_longest_rising([places[name] for name in common]))
    for number, (name, value) in enumerate(before.items(), 1):
        where = f"{path}[{name}]"
        if name not in after:
            yield Edit(op="removed", path=where, before=value)
            continue
        if places[name] not in stayed:
            yield Edit(op="moved", path=where, before=number, after=places[name])
        yield from _changes(value, after[name], where)
    for name, value in after.items():
        if name not in before:
            yield Edit(op="added", path=f"{path}[{name}]", after=value)


def _longest_rising(numbers: Sequence[int]) -> list[int]:
    """A longest rising subsequence (patience sorting, Fredman 1975): what kept its order. The rest has moved."""
    tails: list[int] = []  # index into numbers of the smallest end of a run of each length
    earlier: list[int] = []
    for index, number in enumerate(numbers):
        low, high = 0, len(tails)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if numbers[tails[middle]] < number else (low, middle)
        earlier.append(tails[low - 1] if low else -1)
        tails[low : low + 1] = [index]
    found: list[int] = []
    at = tails[-1] if tails else -1
    while at >= 0:
        found.append(numbers[at])
        at = earlier[at]
    return found


def _sequences(before: Sequence[Json], after: Sequence[Json], path: str) -> Iterator[Edit]:
    blocks = [("replace", 0, len(before), 0, len(after))]
    if len(before) * len(after) <= _PRODUCT_MAX:
        old, new = [canonical(item) for item in before], [canonical(item) for item in after]
        blocks = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for op, i1, i2, j1, j2 in blocks:
        if op == "equal":
            continue
        paired = min(i2 - i1, j2 - j1)
        for n in range(paired):
            yield from _changes(before[i1 + n], after[j1 + n], f"{path}[{j1 + n}]")
        yield from (Edit(op="removed", path=f"{path}[{n}]", before=before[n]) for n in range(i1 + paired, i2))
        yield from (Edit(op="added", path=f"{path}[{n}]", after=after[n]) for n in range(j1 + paired, j2))


def _reunited(edits: Sequence[Edit]) -> list[Edit]:
    """A step that left one block and stands in another has moved: its id is unique in the whole document."""
    went = _by_id(edit for edit in edits if edit.op == "removed")
    came = _by_id(edit for edit in edits if edit.op == "added")
    both = went.keys() & came.keys()
    found: list[Edit] = []
    for edit in edits:
        name = _id_of(edit)
        if name not in both:
            found.append(edit)
        elif edit.op == "added":
            old = went[name]
            found.append(Edit(op="moved", path=edit.path, before=old.path, after=edit.path))
            found += _changes(old.before, edit.after, edit.path)
    return found


def _by_id(edits: Iterator[Edit]) -> dict[str, Edit]:
    listed = [(name, edit) for edit in edits if (name := _id_of(edit))]
    counts = Counter(name for name, _ in listed)
    return {name: edit for name, edit in listed if counts[name] == 1}


def _id_of(edit: Edit) -> str:
    value = edit.after if edit.op == "added" else edit.before if edit.op == "removed" else None
    name = value.get("id") if isinstance(value, dict) else None
    return name if isinstance(name, str) and edit.path.endswith(f"[{name}]") else ""


def _joined(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key


def words_between(before: str, after: str) -> tuple[Word, ...]:
    """Two texts as stretches: same, removed, added. All but the added ones make `before`, all but the removed `after`."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    if len(old) * len(new) > _PRODUCT_MAX:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if len(old) * len(new) > _PRODUCT_MAX:
        old, new = [before], [after]
    found: list[Word] = []
    for op, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if op == "equal":
            found.append(Word(op="same", text="".join(old[i1:i2])))
            continue
        if i2 > i1:
            found.append(Word(op="removed", text="".join(old[i1:i2])))
        if j2 > j1:
            found.append(Word(op="added", text="".join(new[j1:j2])))
    return tuple(found)


def _order(before: Json, after: Json, path: str) -> Iterator[str]:
    """Paths of objects whose common keys stand in another order; of lists, those of elements that can be paired."""
    if isinstance(before, dict) and isinstance(after, dict):
        if [key for key in before if key in after] != [key for key in after if key in before]:
            yield path or "."
        for key in before:
            if key in after:
                yield from _order(before[key], after[key], _joined(path, key))
    elif isinstance(before, list) and isinstance(after, list):
        old, new = _names(before), _names(after)
        if old is not None and new is not None:
            later = dict(zip(new, after, strict=True))
            for name, item in zip(old, before, strict=True):
                if name in later:
                    yield from _order(item, later[name], f"{path}[{name}]")


def _comments(before: Sequence[Comment], after: Sequence[Comment]) -> tuple[list[Comment], list[Comment]]:
    """Comments that went and that came; one that only stands elsewhere is neither."""
    return _without(before, after), _without(after, before)


def _without(these: Sequence[Comment], those: Sequence[Comment]) -> list[Comment]:
    left = Counter(comment.text for comment in those)
    found: list[Comment] = []
    for comment in these:
        if left[comment.text] > 0:
            left[comment.text] -= 1
        else:
            found.append(comment)
    return found
