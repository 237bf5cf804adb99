"""Looks for credentials in a document before it becomes an artifact (I9): in its texts, keys and comments.

A find says what it looks like and where it stands, never what it is. A false positive is accepted in place, with a
reason, by a comment behind it or above it: `# stanchion: not-a-secret <reason>`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from stanchion.artifacts.comments import comments_of
from stanchion.artifacts.credential_forms import FORMS, UUID, Beside, beside, is_literal, is_stand_in
from stanchion.base import Json
from stanchion.blueprints import Document, Issue, Read, read_document

REASON_CHARS_MIN: Final = 8
# What one document is told at once; who pastes a whole key ring sees the first of it.
FOUND_MAX: Final = 50
_SPOTS_MAX: Final = 500
# Beside `password` a figure of four digits or more is a PIN; a smaller one is a setting.
_PIN_MIN: Final = 1000
_MARKER: Final = re.compile(r"#[ \t]*stanchion:[ \t]*not-a-secret\b[ \t:]*(?P<reason>[^\n]*)")
_ASSIGNED: Final = re.compile(
    r"""(?<![\w.-])(?P<key>[A-Za-z][A-Za-z0-9_.-]{1,63})["'`]?[ \t]{0,4}(?P<op>:|=|:=)[ \t]{0,4}(?P<q>["'`]?)"""
    r"""(?P<v>[^\s"'`,;&=:}\])][^\s"'`,;&}\])]{0,300})(?=(?P<rest>[^\n]{0,40}))"""
)
# Code in running text: a call or a subscript is no literal.
_CALL: Final = re.compile(r"[A-Za-z_][\w.]*[(\[]")
WAY_OUT: Final = (
    "Write a reference (`secret://…`), or keep it in a 0600 file of the deployment; if it was ever in use, revoke it. "
    "If it is none, say so behind it: `# stanchion: not-a-secret <reason>`."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A find: what it looks like, where it stands (1-based), and why its author says that it is none, if they do."""

    what: str
    line: int
    column: int
    pointer: str
    accepted: str | None


@dataclass(frozen=True, slots=True)
class _Spot:
    """A find in the source: characters from `start` to `end`, and where its value's key stands."""

    what: str
    start: int
    end: int
    key_at: int
    pointer: str = ""


def credentials_in(document: Document) -> list[Credential]:
    """Everything in a document that looks like a credential, in order, at most `FOUND_MAX`; accepted ones as well."""
    return _Scan(read_document(document)).found()


def secret_issues(document: Document) -> list[Issue]:
    """The errors of a document's credentials that nobody has accepted."""
    return [
        Issue(
            code="artifact.secret",
            message=f"This looks like {found.what}. A published version is kept for ever and shown to many.",
            hint=WAY_OUT,
            file=document.path,
            line=found.line,
            column=found.column,
            step=None,
            pointer=found.pointer,
        )
        for found in credentials_in(document)
        if found.accepted is None
    ]


class _Scan:
    def __init__(self, read: Read) -> None:
        self._read = read
        self._source = read.positions.source
        self._lines = [0, *(match.end() for match in re.finditer("\n", self._source))]
        self._spots: list[_Spot] = []
        self._reasons = self._accepted_lines()

    def found(self) -> list[Credential]:
        """The finds in the order of the source."""
        self._forms()
        if self._read.body is None:
            self._assigned(self._source, 0)
        else:
            for comment in comments_of(self._source, self._read):
                self._assigned(
                    comment.text, self._source.find(comment.text, self._offset(comment.line, comment.column))
                )
            self._values(self._read.body, "", "")
        return [self._credential(spot) for spot in sorted(self._spots, key=lambda s: s.start)[:FOUND_MAX]]

    def _add(self, spot: _Spot) -> None:
        """Note a find, unless an earlier one is in the same place: the more telling form was asked first."""
        if len(self._spots) < _SPOTS_MAX and not any(s.start < spot.end and spot.start < s.end for s in self._spots):
            self._spots.append(spot)

    def _forms(self) -> None:
        for form in FORMS:
            for match in form.pattern.finditer(self._source):
                if form.sound(match["v"]):
                    self._add(_Spot(form.what, match.start("v"), match.end("v"), match.start("v")))

    def _assigned(self, text: str, at: int) -> None:
        """`password: x`, `PASSWORD=x`, `"api_key": "x"` in running text that begins at `at` of the source."""
        for match in _ASSIGNED.finditer(text):
            if _is_assignment(match):
                start = at + match.start("v")
                self._add(_Spot(f"a credential beside `{match['key']}`", start, at + match.end("v"), start))

    def _values(self, value: Json, pointer: str, key: str) -> None:
        if isinstance(value, dict):
            named = _named_value(value)
            for name, inner in value.items():
                self._values(inner, f"{pointer}/{_escaped(name)}", named if name == "value" and named else name)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                self._values(inner, f"{pointer}/{number}", key)
        elif isinstance(value, str):
            self._text(value, pointer, key)
        elif isinstance(value, int) and abs(value) >= _PIN_MIN and beside(key) is Beside.PASSWORD:
            self._add(self._whole(pointer, key))

    def _text(self, value: str, pointer: str, key: str) -> None:
        place = self._read.positions.places[pointer]
        asks = beside(key)
        if asks is not None and is_literal(value.strip(), asks):
            self._add(self._whole(pointer, key))
            return
        raw = self._source[place.start : place.end]
        if value not in raw:  # folded or escaped: what it says is not what stands there
            for form in FORMS:
                for match in form.pattern.finditer(value):
                    if form.sound(match["v"]):
                        self._add(self._whole(pointer, "", form.what))
        for match in _ASSIGNED.finditer(value):
            if _is_assignment(match):
                at = self._source.find(match["v"], place.start, place.end)
                what = f"a credential beside `{match['key']}`"
                spot = self._whole(pointer, "", what)
                self._add(spot if at < 0 else _Spot(what, at, at + len(match["v"]), spot.key_at, pointer))

    def _whole(self, pointer: str, key: str, what: str = "") -> _Spot:
        place = self._read.positions.places[pointer]
        key_at = place.start if place.key_at is None else place.key_at
        said = what or f"a credential beside `{key[:64]}`"
        return _Spot(said, place.start, max(place.end, place.start + 1), key_at, pointer)

    def _credential(self, spot: _Spot) -> Credential:
        line, column = self._place(spot.start)
        pointer, key_line = spot.pointer, self._place(spot.key_at)[0]
        if not pointer:
            pointer, key_line = self._enclosing(spot.start, line)
        accepted = self._reasons.get(line) or self._reasons.get(key_line)
        return Credential(what=spot.what, line=line, column=column, pointer=pointer, accepted=accepted)

    def _enclosing(self, offset: int, line: int) -> tuple[str, int]:
        """The innermost value around a place, and the line of its key."""
        pointer, narrowest, key_line = "", len(self._source) + 1, line
        for name, place in self._read.positions.places.items():
            if place.start <= offset < place.end and place.end - place.start <= narrowest and name:
                pointer, narrowest = name, place.end - place.start
                key_line = self._place(place.start if place.key_at is None else place.key_at)[0]
        return pointer, key_line

    def _accepted_lines(self) -> Mapping[int, str]:
        """Lines whose finds are accepted, with the reason: the marker's own, and the one below markers that stand alone."""
        reasons: dict[int, str] = {}
        above = ""
        for number, line in enumerate(self._source.split("\n"), 1):
            match = _MARKER.search(line)
            reason = match["reason"].strip() if match else ""
            if len(reason) < REASON_CHARS_MIN:
                reason = ""
            if reason or above:
                reasons[number] = reason or above
            above = (reason or above) if line.lstrip().startswith("#") else ""
        return reasons

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def _offset(self, line: int, column: int) -> int:
        return self._lines[line - 1] + column - 1


def _is_assignment(match: re.Match[str]) -> bool:
    """Whether `key: value` in running text is one, and not a sentence with a colon in it."""
    key, value = beside(match["key"]), match["v"]
    if key is None or not is_literal(value, key) or _CALL.match(value) or UUID.fullmatch(value):
        return False
    if match["q"] or match["op"] != ":" or key is not Beside.PASSWORD:
        return True
    alone = not match["rest"].strip(" \t,;.)")
    wordy = value.isalpha() and value.islower()
    return alone or not (wordy or is_stand_in(value.rstrip(".,;")) or value.rstrip(".,;").isalpha())


def _named_value(value: Mapping[str, Json]) -> str:
    """The name in `{name: DB_PASSWORD, value: …}`, by which environments are often listed."""
    for field in ("name", "key"):
        if isinstance(value.get(field), str):
            return cast("str", value[field])
    return ""


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def accepted_facts(found: Iterable[Credential]) -> list[dict[str, object]]:
    """What the audit record says of accepted finds: line, what it looked like, and the author's reason as it stands in
    the source, bounded to what a record takes."""
    return [{"line": c.line, "what": c.what[:64], "reason": (c.accepted or "")[:200]} for c in found if c.accepted]
