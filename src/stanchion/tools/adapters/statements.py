"""Reading a connector's SQL just far enough to find its parameters and to see that it is one statement.

This is a help for authors, not the guard: reads are held to reading by the target itself (a read-only transaction, a
file opened read-only), and values only ever travel as bound parameters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Driver = Literal["sqlite", "postgresql"]

# What may hold a colon that is no parameter, in the order of their beginnings. `cast` and `assign` are operators.
_COMMON = r"""
  (?P<comment> --[^\n]* )
| (?P<block>   /\* )
| (?P<ident>   "(?:[^"]|"")*" )
| (?P<cast>    :: | := )
| (?P<param>   :[A-Za-z_][A-Za-z0-9_]* )
| (?P<end>     ; )
"""
_TOKENS = {
    "postgresql": re.compile(
        r"""(?P<escaped> \b[eE]'(?:[^'\\]|''|\\.)*' ) | (?P<text> '(?:[^']|'')*' )
        | (?P<dollar> \$(?P<tag>[A-Za-z_]?[A-Za-z0-9_]*)\$ .*? \$(?P=tag)\$ ) | (?P<foreign> \$[0-9]+ ) |"""
        + _COMMON,
        re.VERBOSE | re.DOTALL,
    ),
    "sqlite": re.compile(
        r"""(?P<text> '(?:[^']|'')*' ) | (?P<quoted> `[^`]*` | \[[^\]]*\] ) | (?P<foreign> [?][0-9]* | [@$][A-Za-z_]\w* ) |"""
        + _COMMON,
        re.VERBOSE | re.DOTALL,
    ),
}
# PostgreSQL types a parameter by its first use, and `$1 is null` says no type, so that the idiom
# `(:country is null or country = :country)` fails. Such a use is bound apart: `%(country is null)s::text`.
_NULL_TEST = re.compile(r"\s+is\s+(?:not\s+)?null\b", re.IGNORECASE)
NULL_TEST = " is null"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement: the names of its parameters in order of appearance, and its text for psycopg (`%(name)s`, and
    `%(name is null)s` where it only asks whether there is a value)."""

    parameters: tuple[str, ...]
    pyformat: str


def read_statement(text: str, driver: Driver) -> Statement:
    """Find the parameters of `text`. Raises ValueError with the reason if it is not one statement with `:name`s only."""
    position, names, out = 0, list[str](), list[str]()
    ended = False
    while match := _TOKENS[driver].search(text, position):
        before = text[position : match.start()]
        _refuse_more(ended, before)
        _refuse_open(before, driver)
        out.append(before.replace("%", "%%"))
        kind, written = match.lastgroup, match.group()
        position = match.end()
        if kind == "block":
            position = _end_of_comment(text, match.start(), nested=driver == "postgresql")
            written = " "
        elif kind == "comment":
            written = " "
        elif kind == "end":
            ended, written = True, ""
        else:
            _refuse_more(ended, written)
        if match.group("foreign"):
            raise ValueError(f"has the placeholder {written}; parameters are written :name")
        if match.group("param"):
            names.append(written[1:])
            tested = driver == "postgresql" and _NULL_TEST.match(text, position)
            written = f"%({written[1:]}{NULL_TEST})s::text" if tested else f"%({written[1:]})s"
        else:
            written = written.replace("%", "%%")
        out.append(written)
    rest = text[position:]
    _refuse_more(ended, rest)
    _refuse_open(rest, driver)
    pyformat = "".join([*out, rest.replace("%", "%%")]).strip()
    if not pyformat:
        raise ValueError("is empty")
    return Statement(parameters=tuple(dict.fromkeys(names)), pyformat=pyformat)


def _refuse_more(ended: bool, text: str) -> None:
    if ended and text.strip():
        raise ValueError("holds more than one statement; a connector's operation is exactly one")


def _refuse_open(text: str, driver: Driver) -> None:
    """What the tokens did not take must hold no quote: one that opens here never closes."""
    for quote in "'\"" + ("`" if driver == "sqlite" else ""):
        if quote in text:
            raise ValueError(f"has a {quote} that is never closed")


def _end_of_comment(text: str, start: int, *, nested: bool) -> int:
    depth, position = 0, start
    for match in re.finditer(r"/\*|\*/", text[start:]):
        position = start + match.end()
        if match.group() == "/*":
            depth = depth + 1 if nested or depth == 0 else depth
        else:
            depth -= 1
        if depth == 0:
            return position
    raise ValueError("has a comment /* that is never closed")
