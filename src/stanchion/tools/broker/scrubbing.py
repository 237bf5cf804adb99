"""Taking credentials out of what a target said, before anybody sees it (I9).

A server may echo what it was sent: in a body, a header, an error page, a redirect. Each value is looked for as it is and as
it looks encoded: percent-encoded (any of its characters, hex in either case), JSON-escaped (so too within JSON that is text in
JSON), in HTML entities, in hex of either case, and in base64 (standard and URL alphabet, with and without padding, and in the
middle of something longer, where it stands at one of three alignments). One compiled pattern per set of credentials.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TextIO, cast

from stanchion.base import Json, Problem, dumps

# What stands where a credential stood.
MARK: Final = "[credential]"
# Below this a value's encodings are too short to mean it: three characters of base64 stand for four of 64^3 words.
_ENCODED_BYTES_MIN: Final = 4
# Sets of credentials whose patterns are kept: one per connector in use.
_KEPT_MAX: Final = 256
# What was made for one request alone (a signature) is kept in mind so many requests long, for late echoes in the log.
_PASSING_MAX: Final = 64
# Facts that callers decide by, in our own words; whether a write was sent must not hang on what a credential is.
_KEPT: Final = frozenset({"sent", "status", "retry_after_s"})

# How a character of base64 may itself be written: the other alphabet, percent-encoded, JSON-escaped.
_BASE64: Final = {
    "+": r"(?:\+|-|%2[bBdD]|\\u002[bB])",
    "/": r"(?:\\{0,3}/|_|%2[fF]|%5[fF])",
}
_BASE64_CHARACTER: Final = r"(?:[A-Za-z0-9_-]|\+|\\{0,3}/|%2[bBfF])"
_BEFORE: Final = re.compile(_BASE64_CHARACTER + "$")
_PADDING: Final = r"(?:=|%3[dD]|\\u003[dD]){0,2}"
_SHORT_ESCAPES: Final = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}


def pattern_of(value: str) -> tuple[str, frozenset[str]]:
    """A regular expression for `value` in every spelling, and the characters with which one may begin.

    What stands in base64 after a part of another group of three is a group of the expression: the character before it holds
    a few of its bits.
    """
    raw = value.encode("utf-8", "surrogatepass")
    found = ["".join(_spelled(character) for character in value)]
    first = {value[0], "%", "\\", "&", "+"}
    if len(raw) >= _ENCODED_BYTES_MIN:
        found.append("".join(_either_case(f"{byte:02x}") for byte in raw))
        first |= {f"{raw[0]:02x}"[0], f"{raw[0]:02X}"[0]}
        for offset in range(3):
            core = _in_base64(raw, offset)
            first |= {core[0], *{"+": "-", "/": "_"}.get(core[0], "")}
            spelled = "".join(_BASE64.get(character, character) for character in core)
            after = f"{_BASE64_CHARACTER}?{_PADDING}" if (offset + len(raw)) % 3 else ""
            found.append(f"({spelled}{after})" if offset else spelled + after)
    return "|".join(found), frozenset(first)


def _spelled(character: str) -> str:
    """A character as it is, percent-encoded, JSON-escaped (at most three levels of it, and a fourth where a whole answer is
    looked through as JSON), or as an HTML entity."""
    raw = character.encode("utf-8", "surrogatepass")
    percent = "".join(f"%(?:25)?{_either_case(f'{byte:02x}')}" for byte in raw)
    units = character.encode("utf-16-be", "surrogatepass")
    escape = "".join(r"\\{1,8}u" + _either_case(f"{units[n]:02x}{units[n + 1]:02x}") for n in range(0, len(units), 2))
    ways = [_literal(character), percent, escape]
    if character in _SHORT_ESCAPES:
        ways.append(r"\\{1,8}" + _SHORT_ESCAPES[character])
    if character == " ":
        ways.append(r"\+")
    if not character.isalnum():
        named = html.escape(character)
        code = ord(character)
        ways += [f"&#0{{0,4}}{code};", f"&#[xX]0{{0,4}}{_either_case(f'{code:x}')};"]
        ways += [re.escape(named)] if named != character else []
    return f"(?:{'|'.join(ways)})"


def _literal(character: str) -> str:
    if character == "\\":
        return r"\\{1,16}"
    if character in '"/':
        return r"\\{0,15}" + character
    return re.escape(character)


def _either_case(digits: str) -> str:
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in digits)


def _in_base64(raw: bytes, offset: int) -> str:
    """The characters of base64 that `raw` alone decides where it stands `offset` bytes after a multiple of three."""
    encoded = base64.b64encode(bytes(offset) + raw).decode()
    return encoded[-(-offset * 8 // 6) : (offset + len(raw)) * 8 // 6]


def _compiled(values: Sequence[str]) -> re.Pattern[str]:
    """One pattern for all. Looking first for a character with which any begins makes it 15 times as fast: 16 ms for a
    megabyte of records and two values, measured."""
    parts = [pattern_of(value) for value in values]
    first = "".join(re.escape(character) for character in sorted({c for _, found in parts for c in found}))
    return re.compile(f"(?=[{first}])(?:{'|'.join(pattern for pattern, _ in parts)})")


# One character of letters and digits as it may be spelled, whatever the value; see `_spelled`.
_SPELLED: Final = re.compile(r"%(?:25)?([0-9a-fA-F]{2})|\\{1,8}u00([0-9a-fA-F]{2})")
_RUN: Final = re.compile("[A-Za-z0-9]+")
# What stands before it may look like the beginning of an escape and swallow so many characters (a backslash before `u0041`).
_SWALLOWED: Final = 5
_NEEDLE_MIN: Final = 8


def quick_look(values: Iterable[str]) -> Callable[[str], bool] | None:
    """Whether a text may hold one of the values, told without a pattern: to compile one costs 6 ms for a signature, to look
    so 10 µs. It errs on one side alone: where it says no, no spelling of a value is there. None for values that are too
    short, or of too many signs, to be looked for like this."""
    needles = set[str]()
    for value in values:
        raw = value.encode("utf-8", "surrogatepass")
        spelled = [value, raw.hex(), *(_in_base64(raw, offset) for offset in range(3))]
        runs = [max(_RUN.findall(text), key=len, default="")[_SWALLOWED:] for text in spelled]
        if min(map(len, runs)) < _NEEDLE_MIN:
            return None
        # In either case, since hex is.
        needles.update(run.lower() for run in runs)

    def may_hold(text: str) -> bool:
        plain = _SPELLED.sub(lambda found: chr(int(found[1] or found[2], 16)), text).lower()
        return any(needle in plain for needle in needles)

    return may_hold


class Scrubber:
    """Takes one set of values out of texts, JSON and problems. Without values it changes nothing and costs nothing.

    Args:
        values: what to look for.
        passing: they are of one request alone. The pattern is then compiled only where a quick look says that it may match.
    """

    def __init__(self, values: Iterable[str], *, passing: bool = False) -> None:
        kept = sorted({value for value in values if value}, key=lambda value: (-len(value), value))
        self._values = kept
        self._may_hold = quick_look(kept) if passing else None
        self._compiled_pattern = _compiled(kept) if kept and self._may_hold is None else None
        # A whole number may be a value too: JSON would carry it without quotes.
        self._numbers = frozenset(value for value in kept if value.isdigit())
        # The longest that a spelling may be: each character as two escapes of eight backslashes and five more.
        self.window = max((len(value) for value in kept), default=0) * 26 + 16

    @property
    def empty(self) -> bool:
        """Whether there is nothing to look for."""
        return not self._values

    def _pattern(self, text: str) -> re.Pattern[str] | None:
        """The pattern to look through the text with; None where nothing can be found in it."""
        if self._may_hold is not None and not self._may_hold(text):
            return None
        if self._compiled_pattern is None and self._values:
            self._compiled_pattern = _compiled(self._values)
        return self._compiled_pattern

    def found_in(self, text: str) -> bool:
        """Whether a value stands in the text, in any spelling."""
        pattern = self._pattern(text)
        return pattern is not None and pattern.search(text) is not None

    def text(self, text: str) -> str:
        """The text with a mark where a value stood."""
        out, at = list[str](), 0
        for start, stop in self.spans(text):
            out += [text[at:start], MARK]
            at = stop
        return "".join([*out, text[at:]]) if out else text

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where values stand in the text."""
        end, pattern = 0, self._pattern(text)
        for found in pattern.finditer(text) if pattern is not None else ():
            start, stop = found.span()
            if found.lastindex is not None and (before := _BEFORE.search(text, max(end, start - 4), start)):
                start = before.start()
            yield start, stop
            end = stop

    def json(self, value: Json) -> Json:
        """The value with every text in it scrubbed, names too. Most hold nothing: that is found out in one look."""
        if self.empty or not self.found_in(dumps(value).decode()):
            return value
        return self._walked(value)

    def _walked(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(name): self._walked(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._walked(item) for item in cast("list[Json]", value)]
        if isinstance(value, bool) or value is None:
            return value
        return MARK if self._numbers and self.found_in(str(value)) else value

    def problem(self, problem: Problem) -> Problem:
        """A problem of the same class whose words and facts hold no value; without its cause, which a log would show."""
        if self.empty:
            return problem
        fields = {
            name if name in _KEPT else self.text(name): value
            if name in _KEPT and isinstance(value, bool | int | float)
            else self._fact(value)
            for name, value in problem.fields.items()
        }
        made: Any = type(problem)
        return made(
            problem.code,
            self.text(problem.message),
            hint=self.text(problem.hint),
            retryable=problem.retryable,
            **fields,
        )

    def _fact(self, value: object) -> object:
        if isinstance(value, str | int | float | list | dict | tuple) or value is None:
            return self.json(cast("Json", value))
        return self.text(str(value))

    def stream(self) -> Stream:
        """A scrubber of a text that comes in parts."""
        return Stream(self)


class Stream:
    """Scrubs a text that comes in parts: a value that is cut in two by the parts is found all the same. What is held back is
    bounded by the scrubber's `window`."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._held = ""

    def feed(self, part: str) -> str:
        """What of the text so far is certainly scrubbed."""
        self._held += part
        return self._released(len(self._held) - self._scrubber.window)

    def end(self) -> str:
        """The rest."""
        return self._released(len(self._held))

    def _released(self, upto: int) -> str:
        """Give out what begins before `upto`: a match that begins there has ended within what is held."""
        if self._scrubber.empty:
            upto = len(self._held)
        if upto <= 0:
            return ""
        out, at = list[str](), 0
        for start, stop in self._scrubber.spans(self._held):
            if start >= upto:
                break
            out += [self._held[at:start], MARK]
            at = stop
        if at < upto:
            out.append(self._held[at:upto])
            at = upto
        self._held = self._held[at:]
        return "".join(out)


class Scrubbers:
    """The scrubbers of one process, by their values: a pattern is compiled once per set of credentials.

    Credentials that were used lately are kept in mind: a late echo of one that was rotated is found all the same.
    """

    def __init__(self, kept_max: int = _KEPT_MAX) -> None:
        self._kept_max = kept_max
        self._known: OrderedDict[frozenset[str], Scrubber] = OrderedDict()
        self._passing: OrderedDict[frozenset[str], Scrubber] = OrderedDict()

    def of(self, values: frozenset[str]) -> Scrubber:
        """The scrubber of these values."""
        found = self._known.get(values)
        if found is None:
            found = self._known[values] = Scrubber(values)
            while len(self._known) > self._kept_max:
                self._known.popitem(last=False)
        self._known.move_to_end(values)
        return found

    def passing(self, values: frozenset[str]) -> Scrubber:
        """The scrubber of what was made for one request: kept apart, so that signatures do not drive credentials out."""
        found = self._passing.get(values)
        if found is None:
            found = self._passing[values] = Scrubber(values, passing=True)
            while len(self._passing) > _PASSING_MAX:
                self._passing.popitem(last=False)
        return found

    def text(self, text: str) -> str:
        """The text without any credential that this process used lately."""
        for scrubber in [*self._known.values(), *self._passing.values()]:
            text = scrubber.text(text)
        return text


class ScrubbedStream(io.TextIOBase):
    """A stream of log lines, each written at once, from which every credential in use is taken: what this process itself
    says, what libraries say, and the traceback of what nobody caught."""

    def __init__(self, stream: TextIO, scrubbers: Scrubbers) -> None:
        self._stream = stream
        self._scrubbers = scrubbers

    def write(self, text: str, /) -> int:
        """Write it, scrubbed. Returns the length of what was given."""
        self._stream.write(self._scrubbers.text(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream beneath."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream beneath is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor of the stream beneath."""
        return self._stream.fileno()
