"""The comments of a YAML document, and where its texts stand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from stanchion.blueprints import Place, Read


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """One comment: its text behind the `#`, without white space around it, and the 1-based place of the `#`."""

    text: str
    line: int
    column: int


def comments_of(source: str, read: Read) -> list[Comment]:
    """Every comment of a document, in order. A `#` in a text is none; nor is there any in an unreadable document."""
    if read.body is None:
        return []
    places = read.positions.places
    parents = {pointer.rpartition("/")[0] for pointer in places if pointer}
    texts = sorted(_span(source, place) for pointer, place in places.items() if pointer not in parents)
    return list(_comments(source, texts))


def _span(source: str, place: Place) -> tuple[int, int]:
    """Where a value's text stands. That of a block scalar begins below its indicator, behind which a comment may be."""
    begin = source.find("\n", place.start, place.end) if place.style in ("|", ">") else -1
    return (place.start if begin < 0 else begin, place.end)


def _comments(source: str, texts: list[tuple[int, int]]) -> Iterator[Comment]:
    starts = [start for start, _ in texts]
    at = 0
    for number, line in enumerate(source.split("\n"), 1):
        column = line.find("#")
        while column >= 0:
            before = bisect_right(starts, at + column) - 1
            inside = before >= 0 and at + column < texts[before][1]
            if not inside and (column == 0 or line[column - 1].isspace()):
                yield Comment(text=line[column + 1 :].strip(), line=number, column=column + 1)
                break
            column = line.find("#", column + 1)
        at += len(line) + 1
