"""From an object to records, and from a record to an object. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from stanchion.base import Invalid, Json, dumps, loads
from stanchion.tools.adapters import files_lines as lines
from stanchion.tools.adapters.objects_document import META_FIELDS, TEXT_FIELD
from stanchion.tools.types import Record, Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the store says of one object."""

    path: str
    size: int
    modified: datetime
    etag: str | None

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Found:
        """From obstore's own form."""
        return cls(path=meta["path"], size=meta["size"], modified=meta["last_modified"], etag=meta["e_tag"])

    def fields(self) -> dict[str, object]:
        """The fields of META_FIELDS."""
        values = (self.path, self.size, self.modified.isoformat(), self.etag)
        return dict(zip(META_FIELDS, values, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a fetch goes on: in that object, after so many of its records."""

    path: str
    skip: int

    def token(self) -> str:
        """The page of an envelope."""
        return base64.urlsafe_b64encode(dumps([self.path, self.skip])).decode()


def position_of(page: str | None) -> Position | None:
    """The position a page of ours names. Raises ValueError."""
    if page is None:
        return None
    try:
        match loads(base64.b64decode(page, altchars=b"-_", validate=True)):
            case [str() as path, int() as skip] if (
                0 <= skip < 1 << 31 and len(path) < 2000 and Position(path=path, skip=skip).token() == page
            ):
                return Position(path=path, skip=skip)
            case _:
                pass
    except (Invalid, ValueError, binascii.Error):
        pass
    raise ValueError("was given a page that it never returned")


def rows_of(resource: Resource, found: Found, data: bytes) -> Iterator[Mapping[str, object]]:
    """The records of one object, not yet typed: its content's fields, and what the store says of it beside them.

    Raises BadFile, to follow "the object PATH ".
    """
    own = found.fields()
    for row in _content(resource, data):
        yield {**own, **row}


def _content(resource: Resource, data: bytes) -> Iterator[Mapping[str, object]]:
    form = str(resource.settings["format"])
    if form == "metadata":
        yield {}
    elif form == "text":
        try:
            yield {TEXT_FIELD: data.decode("utf-8")}
        except UnicodeDecodeError as error:
            raise lines.BadFile(f"is not UTF-8 at byte {error.start}") from None
    elif form == "json":
        yield from _json(data)
    else:
        delimiter = str(resource.settings.get("delimiter", ","))
        own = [name for name in resource.fields if name not in META_FIELDS]
        yield from lines.rows_of(data, lines.Format(cast("Any", form), delimiter), own)


def _json(data: bytes) -> Iterator[Mapping[str, object]]:
    try:
        value = loads(data)
    except Invalid:
        raise lines.BadFile("is not JSON") from None
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict):
            raise lines.BadFile("is JSON without an object, or a list of objects")
        yield item


def content_of(resource: Resource, record: Record) -> bytes:
    """The object that a record becomes: its text, or itself as JSON without what the store says by itself."""
    if resource.settings["format"] == "text":
        return str(record[TEXT_FIELD]).encode()
    return dumps({name: value for name, value in record.items() if name not in META_FIELDS}) + b"\n"


def text_row(resource: Resource, row: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, Json], object, bool]]:
    """(field, schema, value, whether it is a cell of a CSV) of each declared field that the row has."""
    csv = resource.settings["format"] == "csv"
    for name, schema in resource.fields.items():
        if name in row:
            yield name, schema, row[name], csv and isinstance(row[name], str) and name not in META_FIELDS
