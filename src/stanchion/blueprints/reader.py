"""YAML 1.2 (core schema) and JSON documents as plain JSON, with the place of every key and value.

The parser is PyYAML's; what a plain scalar means is ours, because YAML 1.1 reads the country `NO` as false and
`12:30` as 750. Tags, anchors and aliases are refused: a document says everything in place, and an alias bomb cannot
be written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import yaml

from stanchion.base import Json
from stanchion.blueprints.types import Document, Issue

SOURCE_MAX = 1024 * 1024
DEPTH_MAX = 60
NODES_MAX = 200_000
_INT64 = 2**63
# A longer number is not repeated in a hint.
_PLAIN_MAX = 60

# YAML 1.2.2 §10.3.2, core schema.
_NULL = frozenset({"null", "Null", "NULL", "~", ""})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
# libyaml's parser where the wheel has it (50 times faster), PyYAML's own elsewhere; both give the same events.
_LOADER = cast("Any", getattr(yaml, "CBaseLoader", yaml.BaseLoader))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands. `start` and `end` are character offsets of the value; `key_at` of its key, if it has one.

    `style` is YAML's: None or "" for plain, a quote, `|` or `>`.
    """

    start: int
    end: int
    key_at: int | None
    style: str | None


@dataclass(frozen=True, slots=True)
class Positions:
    """Line and column (1-based) of everything in one document, by JSON pointer."""

    path: str
    source: str
    places: Mapping[str, Place]

    def of_value(self, pointer: str) -> tuple[int, int]:
        """Where the value at `pointer` stands; a value left out (`steps:` and nothing) is where its key is."""
        place = self._nearest(pointer)
        return self.of_key(pointer) if place.start == place.end else self._at(place.start)

    def of_character(self, pointer: str, text: str, offset: int) -> tuple[int, int]:
        """Where character `offset` of the text at `pointer` stands."""
        place = self._nearest(pointer)
        return self._at(_within(self.source, place, text, offset) if pointer in self.places else place.start)

    def of_key(self, pointer: str) -> tuple[int, int]:
        """Where the key of the value at `pointer` stands; an element of a list has none, so its own place."""
        place = self._nearest(pointer)
        return self._at(place.start if place.key_at is None else place.key_at)

    def plain_text(self, pointer: str) -> str:
        """The scalar at `pointer` as its author wrote it without quotes; empty if it is anything else."""
        place = self.places.get(pointer)
        text = self.source[place.start : place.end] if place is not None and not place.style else ""
        return text if len(text) <= _PLAIN_MAX and not set(text) & set("\n{[") else ""

    def _nearest(self, pointer: str) -> Place:
        while pointer not in self.places and pointer:
            pointer = pointer.rpartition("/")[0]
        return self.places.get(pointer, Place(0, 0, None, None))

    def _at(self, offset: int) -> tuple[int, int]:
        before = self.source[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


@dataclass(frozen=True, slots=True)
class Read:
    """A document as read: its value (None if unreadable), positions, and what is wrong with it as YAML."""

    body: Json
    positions: Positions
    issues: tuple[Issue, ...]


class _Unreadable(Exception):  # noqa: N818 - not an error of the program: what the author wrote
    """Stops reading: the rest of the document cannot be understood."""

    def __init__(self, offset: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.fault = _Fault(offset, code, message, hint, "")


@dataclass(frozen=True, slots=True)
class _Fault:
    offset: int
    code: str
    message: str
    hint: str
    pointer: str


@dataclass(slots=True)
class _Open:
    """A list or object whose end has not come yet."""

    value: dict[str, Json] | list[Json]
    pointer: str
    key: str | None = None
    key_at: int | None = None


@dataclass(slots=True)
class _Builder:
    """Turns parser events into values and places."""

    places: dict[str, Place] = field(default_factory=dict[str, Place])
    faults: list[_Fault] = field(default_factory=list[_Fault])
    open: list[_Open] = field(default_factory=list[_Open])
    root: Json = None
    documents: int = 0

    def event(self, event: yaml.Event) -> None:
        at = _index(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise _Unreadable(at, "document.alias", "Aliases are not taken.", "Write the value out at this place.")
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise _Unreadable(at, "document.many", "A file holds one document.", "Split it at the --- line.")
        if isinstance(event, yaml.NodeEvent):
            self._node(event, at)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            closed = self.open.pop()
            place = self.places[closed.pointer]
            self.places[closed.pointer] = Place(place.start, _index(event.end_mark), place.key_at, None)

    def _node(self, event: yaml.NodeEvent, at: int) -> None:
        if event.anchor:
            raise _Unreadable(at, "document.anchor", f"The anchor &{event.anchor} is not taken.", "Remove it.")
        if tag := getattr(event, "tag", None):
            raise _Unreadable(at, "document.tag", f"The tag {tag} is not taken.", "Remove it; quote a text.")
        top = self.open[-1] if self.open else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            self._key(event, top, at)
            return
        self._value(event, top, at)

    def _key(self, event: yaml.NodeEvent, top: _Open, at: int) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise _Unreadable(at, "document.key", "A key is a text, not a list or object.")
        if event.value in top.value:
            pointer = _join(top.pointer, event.value)
            first = self.places[pointer].key_at
            hint = "Remove one of them." if first is None else ""
            self.faults.append(_Fault(at, "document.duplicate_key", f"{event.value} stands here twice.", hint, pointer))
        top.key, top.key_at = event.value, at

    def _value(self, event: yaml.NodeEvent, top: _Open | None, at: int) -> None:
        pointer, key_at = "", None
        if top is not None:
            step = top.key if isinstance(top.value, dict) else str(len(top.value))
            pointer, key_at = _join(top.pointer, step or ""), top.key_at
        if len(self.open) >= DEPTH_MAX or len(self.places) >= NODES_MAX:
            limits = f"{DEPTH_MAX} levels or {NODES_MAX} values"
            raise _Unreadable(at, "document.too_large", f"The document has more than {limits}.", "Split it.")
        value: Json
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, pointer, at)
        else:
            value = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        style = event.style if isinstance(event, yaml.ScalarEvent) else None
        self.places[pointer] = Place(at, _index(event.end_mark), key_at, style)
        if top is None:
            self.root = value
        elif isinstance(top.value, list):
            top.value.append(value)
        else:
            top.value[top.key or ""] = value
            top.key = top.key_at = None
        if isinstance(value, list | dict):
            self.open.append(_Open(value, pointer))

    def _scalar(self, event: yaml.ScalarEvent, pointer: str, at: int) -> Json:
        text = event.value
        if event.style:  # quoted and block scalars are texts
            return text
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        return self._number(text, pointer, at) if _INT.match(text) or _FLOAT.match(text) else text

    def _number(self, text: str, pointer: str, at: int) -> int | float:
        number = _number(text)
        if isinstance(number, float) and math.isfinite(number):
            return number
        if isinstance(number, int) and -_INT64 <= number < _INT64:
            return number
        message = f"{text[:40]} is no number that JSON and 64 bits can hold."
        self.faults.append(_Fault(at, "document.number", message, "Quote it if it is a text.", pointer))
        return 0


def _index(mark: object) -> int:
    """Characters before a mark; the two parsers have a Mark of their own each."""
    return cast("int", getattr(mark, "index", 0))


def _number(text: str) -> int | float:
    """The value of an int or float of the core schema; infinity for what is refused."""
    if text.lower().lstrip("+-") in (".inf", ".nan") or len(text) > 400:
        return math.inf
    if _INT.match(text):
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
    return float(text)


def _join(pointer: str, key: str) -> str:
    return f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"


def read_document(document: Document) -> Read:
    """Read YAML or JSON. Never raises for what the author wrote; `issues` says all that is wrong and where."""
    source = document.source.removeprefix("\ufeff")
    builder = _Builder()
    if len(source) > SOURCE_MAX or len(source.encode(errors="replace")) > SOURCE_MAX:
        fault = _Fault(0, "document.too_large", f"A document has at most {SOURCE_MAX} bytes.", "Split it.", "")
        return _result(document.path, "", builder, [fault], readable=False)
    # A tab is white space in JSON but no indentation in YAML; within JSON texts it cannot stand unescaped.
    text = source.replace("\t", " ") if source.lstrip()[:1] == "{" else source
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.event(event)
    except _Unreadable as stop:
        return _result(document.path, source, builder, [*builder.faults, stop.fault], readable=False)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"This is not YAML: {error.problem or error.context}."
        at = mark.index if mark else 0
        fault = _Fault(at, "document.syntax", message, _syntax_hint(source, at), "")
        return _result(document.path, source, builder, [*builder.faults, fault], readable=False)
    except (yaml.YAMLError, UnicodeError) as error:
        fault = _Fault(getattr(error, "position", 0) or 0, "document.syntax", f"This is not YAML: {error}.", "", "")
        return _result(document.path, source, builder, [*builder.faults, fault], readable=False)
    if builder.documents == 0:
        builder.faults.append(_Fault(0, "document.empty", "The document is empty.", "", ""))
    return _result(document.path, source, builder, builder.faults, readable=True)


def _syntax_hint(source: str, at: int) -> str:
    """What most often is the matter with the line of a syntax error."""
    line = source[source.rfind("\n", 0, at) + 1 :].split("\n", 1)[0]
    if "${" in line:
        return "Put quotes around a text whose ${ } holds ': ', ' #', braces or quotes, or write it below >- ."
    return "A plain text with ': ' or ' #' in it, or one that begins with a special character, needs quotes."


def _result(path: str, source: str, builder: _Builder, faults: list[_Fault], *, readable: bool) -> Read:
    positions = Positions(path, source, builder.places)
    issues: list[Issue] = []
    for fault in faults:
        before = source[: fault.offset]
        issues.append(
            Issue(
                code=fault.code,
                message=fault.message,
                hint=fault.hint,
                file=path,
                line=before.count("\n") + 1,
                column=fault.offset - (before.rfind("\n") + 1) + 1,
                step=None,
                pointer=fault.pointer,
            )
        )
    return Read(builder.root if readable else None, positions, tuple(issues))


# Escapes of a double-quoted scalar that are longer than two characters (YAML 1.2.2 §5.7).
_LONG_ESCAPES = {"x": 4, "u": 6, "U": 10}


def _within(source: str, place: Place, text: str, offset: int) -> int:
    """Offset in the file of the character of a scalar whose value is `text`.

    Folding, indentation and line breaks change white space only, so the n-th character that is not white space is the
    same in the file and in the value.
    """
    count = sum(c not in _WHITE for c in text[:offset])
    spot = place.start
    for spot in _visible(source, place):
        if count == 0:
            return spot
        count -= 1
    return spot + 1


_WHITE = frozenset(" \t\r\n")


def _visible(source: str, place: Place) -> Iterator[int]:
    """Offset in the file of every character of a scalar that is not white space."""
    at, end = place.start, place.end
    if place.style in ("'", '"'):
        at, end = at + 1, end - 1
    elif place.style in ("|", ">"):
        at = source.find("\n", at, end) + 1 or end
    while at < end:
        char = source[at]
        if place.style == '"' and char == "\\":
            following = source[at + 1]
            if following not in _WHITE and following not in "ntr":
                yield at
            at += _LONG_ESCAPES.get(following, 2)
            continue
        if char not in _WHITE:
            yield at
        at += 2 if place.style == "'" and char == "'" else 1
