"""How much an expression may do: a bound on what CEL's own iteration budget does not see.

CEL stops an evaluation after 10,000 iterations (cel-cpp's default, not settable from Python), but one iteration may
copy or search a text of any length, and `["x"].map(a, a + a).map(b, b + b)` doubles it each time. So the work of
comprehensions is estimated before they run, from their nesting and from the longest list and text bound to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from stanchion.base import Invalid
from stanchion.expressions.scanner import Scan

ITERATIONS_MAX = 10_000
# Characters and elements that comprehensions may touch: about two seconds of work at 150 MB/s.
WORK_MAX = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Effort:
    """Cost factors of an expression with comprehensions or functions of ours.

    Attributes:
        nesting: how deep comprehensions stand in each other; 0 if there are none.
        growth: factor by which `+` within comprehensions may lengthen a text or list.
        literal: the longest text literal, in characters.
    """

    nesting: int
    growth: int
    literal: int

    def check(self, data: Mapping[str, object], fail: Callable[[str], Invalid]) -> None:
        """Raises what `fail` makes of the reason if the bound values would make the expression run away."""
        if not self.nesting:
            return
        lists, texts = _longest(data)
        iterations = min(ITERATIONS_MAX, max(1, lists, self.literal) ** self.nesting)
        work = iterations * max(lists, texts, self.literal, 1) * self.growth
        if work > WORK_MAX:
            raise fail(
                f"its comprehensions could touch {work} characters or elements, and {WORK_MAX} are allowed: "
                f"the longest list has {lists} elements, the longest text {texts} characters"
            )


def effort(found: Scan, *, functions: bool) -> Effort | None:
    """The cost factors of an expression, or None if it has neither comprehensions nor functions of ours."""
    if not found.macros:
        return Effort(0, 1, 0) if functions else None
    spans = [(m.open, m.close) for m in found.macros]
    nesting = max(sum(o <= start and end <= c for o, c in spans) for start, end in spans)
    growth = 1
    for start, end in spans:
        growth *= 1 + sum(t.text == "+" for t in found.tokens[start:end])
    literal = max((len(t.text) for t in found.tokens if t.kind == "string"), default=0)
    return Effort(nesting, growth, max(literal, sum(t.text == "," for t in found.tokens)))


def _longest(data: object) -> tuple[int, int]:
    """The most elements of any list or map, and the most characters of any text, in `data`."""
    lists = texts = 0
    stack: list[object] = [data]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            texts = max(texts, len(value))
        elif isinstance(value, list | Mapping):
            lists = max(lists, len(cast("list[object]", value)))
            mapping = isinstance(value, Mapping)
            stack.extend(cast("Mapping[str, object]", value).values() if mapping else cast("list[object]", value))
    return lists, texts
