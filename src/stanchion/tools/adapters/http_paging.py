"""How an HTTP API continues: the four styles, each as "the request after this response".

`link`: the header `Link: <…>; rel="next"` (RFC 8288) · `cursor`: the response names the next cursor, which goes into
a query parameter · `offset`: a parameter counts records · `page`: a parameter counts pages. The last two end with a
page that has fewer records than `size`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from stanchion.base import Invalid, Json, canonical, loads

_NAME: Json = {"type": "string", "minLength": 1, "maxLength": 100}
_SIZE: Json = {"type": "integer", "minimum": 1, "maximum": 10_000}
PAGE_SCHEMA: Json = {
    "type": "object",
    "required": ["style"],
    "additionalProperties": False,
    "properties": {
        "style": {"enum": ["link", "cursor", "offset", "page"]},
        "parameter": _NAME,
        "next": {"type": "string", "pattern": "^/", "maxLength": 200},
        "size_parameter": _NAME,
        "size": _SIZE,
        "first": {"type": "integer", "minimum": 0, "maximum": 1},
    },
}
# Per style: what must be said, and what may be.
PAGE_NEEDS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "link": (frozenset(), frozenset({"size_parameter", "size"})),
    "cursor": (frozenset({"parameter", "next"}), frozenset({"size_parameter", "size"})),
    "offset": (frozenset({"parameter", "size"}), frozenset({"size_parameter"})),
    "page": (frozenset({"parameter", "size"}), frozenset({"size_parameter", "first"})),
}
_LINK = re.compile(r"<([^>]*)>\s*((?:;[^,]*(?:\"[^\"]*\")?)*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a fetch stands: `at` is the next URL, cursor or count (None: the beginning), `skip` the records of that
    page which were already returned."""

    at: str | int | None = None
    skip: int = 0

    def token(self) -> str:
        """An opaque text for `page`."""
        return base64.urlsafe_b64encode(canonical({"at": self.at, "skip": self.skip})).decode().rstrip("=")


def position_of(token: str | None) -> Position:
    """The position of a token of ours. Raises ValueError for anything else."""
    if token is None:
        return Position()
    try:
        value = loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, Invalid):
        raise ValueError("was given a page that it never returned") from None
    if isinstance(value, dict) and value.keys() == {"at", "skip"}:
        at, skip = value["at"], value["skip"]
        if isinstance(skip, int) and 0 <= skip <= 1_000_000 and (at is None or isinstance(at, str | int)):
            return Position(at=at, skip=skip)
    raise ValueError("was given a page that it never returned")


def query_of(page: Mapping[str, Json], position: Position) -> dict[str, str]:
    """The query parameters that ask for the page at `position`."""
    query: dict[str, str] = {}
    if "size_parameter" in page and "size" in page:
        query[str(page["size_parameter"])] = str(page["size"])
    if page["style"] in {"offset", "page"}:
        query[str(page["parameter"])] = str(_count(page, position))
    elif page["style"] == "cursor" and position.at is not None:
        query[str(page["parameter"])] = str(position.at)
    return query


def _count(page: Mapping[str, Json], position: Position) -> int:
    if isinstance(position.at, int):
        return position.at
    return int(cast("int", page.get("first", 1))) if page["style"] == "page" else 0


def next_position(page: Mapping[str, Json], position: Position, body: Json, link: str, count: int) -> Position | None:
    """The position after a response with `count` records; None if that was the last."""
    style = page["style"]
    if style == "link":
        url = next_link(link)
        return None if url is None else Position(at=url)
    if style == "cursor":
        cursor = pointed(body, str(page["next"]))
        return Position(at=cursor) if isinstance(cursor, str | int) and cursor not in {"", False} else None
    if count < cast("int", page["size"]):
        return None
    return Position(at=_count(page, position) + (1 if style == "page" else count))


def next_link(header: str) -> str | None:
    """The target of `rel="next"` in a Link header."""
    for url, parameters in _LINK.findall(header):
        relation = re.search(r';\s*rel\s*=\s*"?([^";]*)"?', parameters, re.IGNORECASE)
        if relation and "next" in relation.group(1).lower().split():
            return url
    return None


def pointed(value: Json, pointer: str) -> Json:
    """What a JSON pointer (RFC 6901) names, or None."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
