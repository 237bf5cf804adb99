"""The arguments of a call as Cedar can compare them.

A policy's schema cannot know the arguments of every operation, so they travel as tags of four entities, by name: a policy
asks whether there is one, and what is not there matches nothing. What has no exact form here is named as unmeasured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final

from stanchion.base import Json

# What one call may show to policy. A call beyond it is denied: a statement about what was left out would not hold.
FACTS_MAX: Final = 500
TEXT_CHARS_MAX: Final = 2000
TAGGED: Final = ("Texts", "Numbers", "Decimals", "Truths")
# Cedar's decimal: four digits after the point, 64 bits (docs.cedarpolicy.com, "decimal").
_STEP: Final = Decimal("0.0001")
_DECIMAL_MAX: Final = Decimal(2**63 - 1) * _STEP
_LONG_MAX: Final = 2**63 - 1
_NUMERIC_CHARS_MAX: Final = 64


@dataclass(slots=True, kw_only=True)
class CallFacts:
    """Arguments by name, under each form in which they can be compared."""

    texts: dict[str, Json] = field(default_factory=dict[str, Json])
    numbers: dict[str, Json] = field(default_factory=dict[str, Json])
    decimals: dict[str, Json] = field(default_factory=dict[str, Json])
    truths: dict[str, Json] = field(default_factory=dict[str, Json])
    unmeasured: set[str] = field(default_factory=set[str])
    count: int = 0

    def add(self, name: str, value: Json) -> None:
        """Add one argument, or the members of one that is an object."""
        self.count += 1
        if isinstance(value, dict):
            self.add_members(f"{name}.", value)
        elif isinstance(value, list):
            self.numbers[f"{name}.count"] = len(value)
            self.unmeasured.add(name)
        elif isinstance(value, bool):
            self.truths[name] = value
        elif isinstance(value, str):
            self._text(name, value)
        elif value is not None:
            self._number(name, value)

    def add_members(self, prefix: str, members: Mapping[str, Json]) -> None:
        """Add the members of an object. A key with a dot could pass for a member of another object: it is unmeasured."""
        for key, value in members.items():
            if "." in key:
                self.unmeasured.add(f"{prefix}{key}")
            else:
                self.add(f"{prefix}{key}", value)

    def _number(self, name: str, value: float) -> None:
        if isinstance(value, int) and abs(value) <= _LONG_MAX:
            self.numbers[name] = value
        if not self._decimal(name, str(value)):
            self.unmeasured.add(name)

    def _text(self, name: str, value: str) -> None:
        if len(value) > TEXT_CHARS_MAX:
            self.unmeasured.add(name)
            return
        self.texts[name] = value
        if _looks_numeric(value) and not self._decimal(name, value):
            self.unmeasured.add(name)

    def _decimal(self, name: str, text: str) -> bool:
        try:
            number = Decimal(text)
        except InvalidOperation:
            return False
        if not number.is_finite() or abs(number) > _DECIMAL_MAX or number != number.quantize(_STEP):
            return False
        self.decimals[name] = {"__extn": {"fn": "decimal", "arg": f"{number.quantize(_STEP):f}"}}
        return True


def facts_of(arguments: Mapping[str, Json]) -> CallFacts:
    """What policy sees of the arguments of a call."""
    facts = CallFacts()
    facts.add_members("", arguments)
    return facts


def _looks_numeric(text: str) -> bool:
    return 0 < len(text) <= _NUMERIC_CHARS_MAX and text[0] in "+-.0123456789" and text[-1].isdigit()
