"""CEL text as tokens: which scope paths an expression names, what its comprehensions cost, where a `${ }` ends.

The scanner knows CEL's lexical grammar (cel-spec, doc/langdef.md, "Syntax") and nothing of its meaning. A path such as
`steps.case.record.fine_eur` can be told from tokens alone, because a name that does not follow a dot starts a primary
expression, and comprehension variables may not carry a scope's name (`shadows`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stanchion.expressions.faults import Fault, FaultyExpression

# Lexical grammar of CEL. Triple quotes come before single ones, raw prefixes before names.
_TOKEN = re.compile(
    r"""
    (?P<space>\s+ | //[^\n]*)
  | (?P<string>(?:[bB]?[rR]|[rR][bB])(?:'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|"[^"\n]*")
      | [bB]?(?:'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))
  | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]*`)
  | (?P<mark>&&|\|\||==|!=|<=|>=|\.\?|[-+*/%!<>=?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token; `kind` is string, number, name or mark, `offset` counts characters from the start of the source."""

    kind: str
    text: str
    offset: int

    @property
    def end(self) -> int:
        """Offset of the character after it."""
        return self.offset + len(self.text)


@dataclass(frozen=True, slots=True)
class Path:
    """A select chain from a name of the scope.

    Attributes:
        names: `("steps", "case", "record")`; a method called on it is not part of it.
        offsets: where each name stands.
        presence: the (start, end) of the `has(...)` that holds exactly this chain, or None.
    """

    names: tuple[str, ...]
    offsets: tuple[int, ...]
    end: int
    presence: tuple[int, int] | None

    @property
    def dotted(self) -> str:
        """The chain as written, without spaces."""
        return ".".join(self.names)


@dataclass(frozen=True, slots=True)
class Macro:
    """A comprehension: the tokens of its arguments, its variable, and what it ranges over (`receiver` ends there)."""

    name: str
    variable: Token | None
    start: int
    open: int
    close: int


def tokens(source: str, start: int = 0) -> Iterator[Token]:
    """The tokens from `start` on, without space and comments.

    They are made one by one: where the source goes on after the expression (a `${ }` in a text), the caller stops. Raises FaultyExpression at a character no token starts with, and at a string that does not end.
    """
    at = start
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            what = "This text literal does not end" if source[at] in "'\"" else f"{source[at]!r} means nothing in CEL"
            raise FaultyExpression(source, (Fault(at, f"{what}."),))
        if match.lastgroup != "space":
            yield Token(match.lastgroup or "", match.group(), at)
        at = match.end()


@dataclass(frozen=True, slots=True)
class Scan:
    """What the tokens of one expression tell."""

    tokens: tuple[Token, ...]
    paths: tuple[Path, ...]
    macros: tuple[Macro, ...]


def scan(source: str, roots: frozenset[str]) -> Scan:
    """Find the chains rooted at `roots` and the comprehensions. Raises FaultyExpression for a character outside CEL."""
    found = tuple(tokens(source))
    closing = pairs(found)
    return Scan(found, tuple(_paths(found, roots)), tuple(_macros(found, closing)))


def _is(token: Token | None, text: str) -> bool:
    return token is not None and token.kind == "mark" and token.text == text


def _at(found: tuple[Token, ...], index: int) -> Token | None:
    return found[index] if 0 <= index < len(found) else None


def _paths(found: tuple[Token, ...], roots: frozenset[str]) -> Iterator[Path]:
    for index, token in enumerate(found):
        if token.kind != "name" or token.text not in roots or _is(_at(found, index - 1), "."):
            continue
        if _is(_at(found, index + 1), "("):
            continue  # a function that happens to have a scope's name
        last = index
        while _is(_at(found, last + 1), ".") and (after := _at(found, last + 2)) is not None and after.kind == "name":
            if _is(_at(found, last + 3), "("):
                break  # a method of the chain
            last += 2
        part = found[index : last + 1 : 2]
        before, behind = _at(found, index - 2), _at(found, last + 1)
        presence = None
        if before is not None and behind is not None and before.text == "has" and before.kind == "name":  # noqa: SIM102
            if _is(_at(found, index - 1), "(") and _is(behind, ")") and not _is(_at(found, index - 3), "."):
                presence = (before.offset, behind.end)
        names = tuple(t.text.strip("`") for t in part)
        yield Path(names, tuple(t.offset for t in part), part[-1].end, presence)


def pairs(found: Sequence[Token]) -> dict[int, int]:
    """Index of each opening bracket -> index of its closing one; unbalanced ones are left to the compiler."""
    matched: dict[int, int] = {}
    stack: list[int] = []
    for index, token in enumerate(found):
        if token.kind != "mark":
            continue
        if token.text in _CLOSING:
            stack.append(index)
        elif stack and _CLOSING[found[stack[-1]].text] == token.text:
            matched[stack.pop()] = index
    return matched


def _macros(found: tuple[Token, ...], closing: dict[int, int]) -> Iterator[Macro]:
    for index, token in enumerate(found):
        if token.kind != "name" or token.text not in _MACROS or not _is(_at(found, index - 1), "."):
            continue
        close = closing.get(index + 1)
        if close is None or not _is(_at(found, index + 1), "("):
            continue
        variable = _at(found, index + 2)
        named = variable is not None and variable.kind == "name" and _is(_at(found, index + 3), ",")
        yield Macro(token.text, variable if named else None, index - 1, index + 1, close)


def embedded_end(source: str, start: int) -> int:
    """Offset of the `}` that ends the expression beginning at `start`, over nested braces, texts and comments.

    Raises FaultyExpression if there is none.
    """
    depth = 0
    for token in tokens(source, start):
        if token.kind != "mark":
            continue
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0:
                return token.offset
            depth -= 1
    fault = Fault(
        max(0, start - 2), "This ${ has no closing }.", "Write $${ for a literal ${, or close the expression."
    )
    raise FaultyExpression(source, (fault,))
