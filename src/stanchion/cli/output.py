"""Data on stdout: a table for people, or JSON, YAML, ids, lines of JSON for programs. An empty list is `[]`."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

# A nested value of at most so many characters is shown on one line.
_ONE_LINE = 90
FORMS = ("table", "json", "yaml", "id", "ndjson")
# One colour per meaning; the word is always there too.
_COLOURS = {
    "SUCCEEDED": "green", "APPROVED": "green", "DONE": "green", "live": "green", "created": "green", "ok": "green",
    "RUNNING": "blue", "PENDING": "blue", "updated": "blue",
    "SUSPENDED": "yellow", "UNKNOWN": "yellow", "draining": "yellow", "warning": "yellow", "EXPIRED": "yellow",
    "FAILED": "red", "REJECTED": "red", "lost": "red", "failed": "red",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: its heading and the path of its value in an item (`waiting_on.kind`)."""

    title: str
    path: str


def columns(*specs: str) -> tuple[Column, ...]:
    """Columns from `path` or `title=path`: `columns("id", "waits on=waiting_on.text")`."""
    found: list[Column] = []
    for spec in specs:
        title, _, path = spec.rpartition("=")
        found.append(Column(title=title or path.replace("_", " "), path=path))
    return tuple(found)


def reach(item: Any, path: str) -> Any:
    """The value at a dotted path, or None where the way ends."""
    for part in path.split("."):
        if not isinstance(item, Mapping):
            return None
        item = item.get(part)  # pyright: ignore[reportUnknownVariableType]
    return item  # pyright: ignore[reportUnknownVariableType]


def write_list(form: str, items: Iterable[Mapping[str, Any]], shown: Sequence[Column], *, key: str = "id") -> int:
    """Write a list in `form`; return how many there were. `key` names the field that `-o id` prints."""
    if form == "ndjson":
        count = 0
        for count, item in enumerate(items, start=1):  # noqa: B007 - the count is the answer
            sys.stdout.write(json.dumps(item, ensure_ascii=False, default=str) + "\n")
        return count
    rows = list(items)
    if form == "id":
        sys.stdout.writelines(f"{reach(row, key)}\n" for row in rows)
    elif form == "table":
        write_table(rows, shown)
    else:
        write_document(form, rows)
    return len(rows)


def write_document(form: str, value: object) -> None:
    """Write one value as JSON or YAML."""
    if form == "yaml":
        import yaml  # noqa: PLC0415 - 90 ms that only this form pays

        yaml.safe_dump(value, sys.stdout, sort_keys=False, allow_unicode=True, width=120)
    elif form == "ndjson":
        sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    else:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_one(form: str, item: Mapping[str, Any], shown: Sequence[Column], *, key: str = "id") -> None:
    """Write one item: as a list of its facts for people, whole for programs."""
    if form == "id":
        sys.stdout.write(f"{reach(item, key)}\n")
    elif form == "table":
        width = max((len(column.title) for column in shown), default=0)
        for column in shown:
            value = reach(item, column.path)
            if value is not None and value != "":
                block = _block(value, indent=width + 2)
                click.echo(f"{click.style(column.title.ljust(width), dim=True)}  {_coloured(block)}")
    else:
        write_document(form, item)


def write_table(rows: Sequence[Mapping[str, Any]], shown: Sequence[Column]) -> None:
    """Aligned columns. On a terminal the last column is cut to its width; in a pipe nothing is ever cut."""
    if not rows:
        click.echo("None.", err=True)
        return
    cells = [[text(reach(row, column.path)) for column in shown] for row in rows]
    heads = [column.title.upper() for column in shown]
    widths = [max(_width(cell) for cell in column) for column in zip(heads, *cells, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(click.style(_line(heads, widths, room), bold=True))
    for line in cells:
        click.echo(_line(line, widths, room, colour=True))


def text(value: Any) -> str:
    """A value as one short line: times without fractions, lists joined, objects as JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        if len(value) >= 20 and value[10:11] == "T" and value[4:5] == "-" and value[:4].isdigit():
            return value[:19].replace("T", " ") + "Z"
        return value.replace("\n", " ")
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):  # pyright: ignore[reportUnknownVariableType]
        return ", ".join(str(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else str(value)


def note(said: str) -> None:
    """Words for people, on stderr."""
    click.echo(said, err=True)


def _block(value: Any, *, indent: int) -> str:
    said = text(value)
    if not isinstance(value, dict | list) or len(said) <= _ONE_LINE:
        return said
    lines = json.dumps(value, indent=2, ensure_ascii=False, default=str).splitlines()
    return ("\n" + " " * indent).join(lines)


def _line(cells: Sequence[str], widths: Sequence[int], room: int | None, *, colour: bool = False) -> str:
    out: list[str] = []
    used = 0
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        last = index == len(cells) - 1
        said = cell
        if last and room is not None and _width(cell) > room - used > 8:
            said = _cut(cell, room - used)
        padding = "" if last else " " * (width - _width(said) + 2)
        out.append((_coloured(said) if colour else said) + padding)
        used += width + 2
    return "".join(out).rstrip()


def _coloured(said: str) -> str:
    colour = _COLOURS.get(said)
    return click.style(said, fg=colour) if colour else said


def _width(said: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in said)


def _cut(said: str, room: int) -> str:
    while said and _width(said) > room - 1:
        said = said[:-1]
    return said + "…"
