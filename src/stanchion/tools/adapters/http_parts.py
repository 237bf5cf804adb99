"""The parts of which requests over HTTP are made: paths with places, templates, JSON pointers' schemas. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from stanchion.base import Json
from stanchion.blueprints import ConfigIssue
from stanchion.tools.types import Record

PATH: Final[Json] = {"type": "string", "pattern": "^/[^?#\\s]*$", "maxLength": 1000}
POINTER: Final[Json] = {
    "type": "string",
    "pattern": "^(/.*)?$",
    "maxLength": 200,
    "description": "A JSON pointer, such as /data/items.",
}
CONSTANTS: Final[Json] = {
    "type": "object",
    "maxProperties": 50,
    "additionalProperties": {"type": ["string", "integer", "boolean"], "maxLength": 1000},
}
PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def path_parameters(path: str) -> list[str]:
    """The names in braces, `/cases/{key}` -> `["key"]`."""
    return PLACE.findall(path)


def check_shape(pointer: str, path: str) -> Iterator[ConfigIssue]:
    """Complaints about a path with a brace that is no place, or a dot segment, which would lead elsewhere."""
    if "{" in PLACE.sub("", path) or any(part in {".", ".."} for part in path.split("/")):
        yield ConfigIssue(
            pointer=pointer, code="connector.bad_path", message="The path has an open brace or a dot segment."
        )


def placed(path: str, values: Record) -> str:
    """The path with its parameters, each percent-encoded whole: a value is one segment and never leads elsewhere.

    Raises ValueError for a value that cannot be a segment.
    """

    def segment(match: re.Match[str]) -> str:
        value = values.get(match.group(1))
        if isinstance(value, bool) or not isinstance(value, str | int | float) or str(value) in {"", ".", ".."}:
            raise ValueError(
                f"its path needs a {match.group(1)!r} that is a text or a number and neither empty nor dots"
            )
        return quote(str(value), safe="")

    return PLACE.sub(segment, path)


def placeholders(template: Json) -> Iterator[str]:
    """The names that a template uses: texts that are exactly `{name}`."""
    if isinstance(template, str):
        if match := PLACE.fullmatch(template):
            yield match.group(1)
    elif isinstance(template, dict):
        for value in template.values():
            yield from placeholders(value)
    elif isinstance(template, list):
        for value in template:
            yield from placeholders(value)


def filled(template: Json, values: Record) -> Json:
    """The template with each placeholder replaced by its value, whole and of its own type."""
    if isinstance(template, str):
        match = PLACE.fullmatch(template)
        return values[match.group(1)] if match and match.group(1) in values else template
    if isinstance(template, dict):
        return {name: filled(value, values) for name, value in template.items()}
    if isinstance(template, list):
        return [filled(value, values) for value in template]
    return template
