"""Data on stdout: a table for people, or JSON, YAML, ids, lines of JSON for programs. An empty list is `[]`."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

# A nested value of at most so many characters is shown on one line.
_ONE_LINE = 90
# On a terminal that is too narrow: what is kept of a digest, of a time, of an id; and how narrow a column may get.
_SHORTER = (
    re.compile(r"^(?P<kept>sha256:[0-9a-f]{8})[0-9a-f]{56}$"),
    re.compile(r"^\d{4}-(?P<kept>\d\d-\d\d \d\d:\d\d):\d\dZ$"),
    re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-(?P<kept>[0-9a-f]{12})$"),
)
_CUT_MIN = 12
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
    """One column of a table: its heading, the path of its value in an item (`waiting_on.kind`), and its own words for
    a value where the usual ones would not be plain."""

    title: str
    path: str
    form: Callable[[Any], str] | None = None


def columns(*specs: str, **forms: Callable[[Any], str]) -> tuple[Column, ...]:
    """Columns from `path` or `title=path`: `columns("id", "waits on=waiting_on.text")`. `forms`: words by path."""
    found: list[Column] = []
    for spec in specs:
        title, _, path = spec.rpartition("=")
        found.append(Column(title=title or path.replace("_", " "), path=path, form=forms.get(path)))
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
            if value is not None and value not in ("", []) and not (column.form is some and not value):
                block = _block(column.form(value) if column.form else value, indent=width + 2)
                click.echo(f"{click.style(column.title.ljust(width), dim=True)}  {_coloured(block)}")
    else:
        write_document(form, item)


def write_table(rows: Sequence[Mapping[str, Any]], shown: Sequence[Column]) -> None:
    """Aligned columns. On a terminal they are made to fit its width; in a pipe nothing is ever left out or cut."""
    if not rows:
        click.echo("None.", err=True)
        return
    shown = [c for c in shown if c.form is not some or any(reach(row, c.path) for row in rows)]
    stood = [[_cell(column, reach(row, column.path)) for row in rows] for column in shown]
    grid = [[column.title.upper(), *cells] for column, cells in zip(shown, stood, strict=True)]
    if sys.stdout.isatty():
        whole = [column.form is str for column in shown]
        grid = fitted(grid, whole, shutil.get_terminal_size().columns)
    widths = [max(_width(cell) for cell in column) for column in grid]
    heads, *lines = zip(*grid, strict=True)
    click.echo(click.style(_line(heads, widths), bold=True))
    for line in lines:
        click.echo(_line(line, widths, colour=True))


def fitted(grid: list[list[str]], whole: Sequence[bool], room: int) -> list[list[str]]:
    """Columns (heading first) in at most `room` characters, where that can be.

    Empty columns are left out. If it is still too wide, digests are shortened, then times, then ids to their end (which
    commands accept; not where `whole` says so), then the widest columns are cut, to 12 characters at the least.
    """
    kept = [n for n, column in enumerate(grid) if any(column[1:])]
    grid = [list(grid[n]) for n in kept]
    for pattern in _SHORTER:
        for n, column in zip(kept, grid, strict=True):
            if _total(grid) > room and not whole[n]:
                column[1:] = [pattern.sub(r"\g<kept>", cell) for cell in column[1:]]
    while (excess := _total(grid) - room) > 0:
        widths = [max(_width(cell) for cell in column) for column in grid]
        cuttable = [(width, n) for n, width in enumerate(widths) if width > _CUT_MIN and not whole[kept[n]]]
        if not cuttable:
            break
        width, n = max(cuttable)
        # The widest gives way down to the second widest, so that no column is cut while a wider one is not.
        second = max((other for other, m in cuttable if m != n), default=_CUT_MIN)
        most = max(_CUT_MIN, width - excess, min(second, width - 1))
        grid[n] = [cell if _width(cell) <= most else _cut(cell, most) for cell in grid[n]]
    return grid


def _total(grid: list[list[str]]) -> int:
    return sum(max(_width(cell) for cell in column) + 2 for column in grid) - 2


def _cell(column: Column, value: Any) -> str:
    return text(column.form(value) if column.form and value is not None else value)


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


def counted(items: Mapping[str, int]) -> str:
    """How items stand: `131: 112 succeeded, 19 waiting`."""
    parts = [f"{count} {name}" for name, count in items.items() if count and name != "total"]
    return f"{items.get('total', 0)}: {', '.join(parts)}" if parts else str(items.get("total", 0))


def some(count: int | bool) -> str:
    """`yes`, or how many; nothing for none: a column of nothing else is left out of tables."""
    return "" if not count else "yes" if count is True else str(count)


def failure(error: Mapping[str, Any]) -> str:
    """An error in words: message and hint, then its code and step."""
    words = " ".join(str(error[name]) for name in ("message", "hint") if error.get(name))
    where = f", step {error['step']}" if error.get("step") else ""
    return f"{words} ({error.get('code', 'no code')}{where})".strip()


def pinned(pins: Iterable[Mapping[str, Any]]) -> str:
    """The versions a run is bound to, one a line: `connector meters v2 sha256:…`."""
    return "\n".join(f"{pin['kind']} {pin['name']} v{pin['version']} {pin['digest']}" for pin in pins)


def deciders(asked: Mapping[str, Sequence[str]]) -> str:
    """Who may decide: `role approver, principal ada`."""
    return ", ".join(f"{kind.removesuffix('s')} {name}" for kind, names in asked.items() for name in names)


def note(said: str) -> None:
    """Words for people, on stderr."""
    click.echo(said, err=True)


def _block(value: Any, *, indent: int) -> str:
    if isinstance(value, str) and "\n" in value:
        lines = value.rstrip("\n").splitlines()
    elif len(said := text(value)) <= _ONE_LINE or not isinstance(value, dict | list):
        return said
    elif said[0] not in "[{":
        lines = textwrap.wrap(said, _ONE_LINE)
    else:
        lines = list(_broken("", value, ""))
    return ("\n" + " " * indent).join(lines)


def _broken(name: str, value: Any, tail: str, depth: int = 0) -> Iterator[str]:
    """JSON over lines; what fits in one line stays in one."""
    said = json.dumps(value, ensure_ascii=False, default=str)
    space = "  " * depth
    if not isinstance(value, dict | list) or not value or len(space + name + said) <= _ONE_LINE:
        yield f"{space}{name}{said}{tail}"
        return
    inner: list[tuple[str, Any]]
    if isinstance(value, dict):
        inner = [(f"{json.dumps(key, ensure_ascii=False)}: ", one) for key, one in value.items()]  # pyright: ignore[reportUnknownVariableType]
    else:
        inner = [("", one) for one in value]  # pyright: ignore[reportUnknownVariableType]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    yield f"{space}{name}{opened}"
    for index, (key, one) in enumerate(inner):
        yield from _broken(key, one, "," if index + 1 < len(inner) else "", depth + 1)
    yield f"{space}{closed}{tail}"


def _line(cells: Sequence[str], widths: Sequence[int], *, colour: bool = False) -> str:
    out: list[str] = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        last = index == len(cells) - 1
        padding = "" if last else " " * (width - _width(cell) + 2)
        out.append((_coloured(cell) if colour else cell) + padding)
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
