"""What is wrong with an expression, at its place in the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stanchion.base import Invalid


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `offset` in characters from the start of the source, what is wrong, and the way out."""

    offset: int
    message: str
    hint: str = ""
    code: str = "expression.invalid"


class FaultyExpression(Invalid):
    """An expression or template that does not compile. `faults` lists all that was found, in source order."""

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        first = faults[0]
        line, column = line_and_column(source, first.offset)
        super().__init__(
            first.code,
            f"{line}:{column}: {first.message}",
            hint=first.hint,
            errors=[{"offset": f.offset, "message": f.message, "hint": f.hint} for f in faults],
        )
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[object, ...]:
        return (FaultyExpression, ("", self.faults))


def reason_of(text: str) -> str:
    """The library's message without its status code (`INVALID_ARGUMENT: … [INVALID_ARGUMENT]`)."""
    head, _, tail = text.rpartition(" [")
    text = head if head and tail.endswith("]") and tail[:-1].replace("_", "").isupper() else text
    code, _, rest = text.partition(": ")
    return rest if rest and code.replace("_", "").isupper() else text


def line_and_column(source: str, offset: int) -> tuple[int, int]:
    """1-based line and column of a character."""
    before = source[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
