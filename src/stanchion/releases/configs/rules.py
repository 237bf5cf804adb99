"""Setting values in a config's document, pure: everything else of it stays as its author wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from stanchion.artifacts import Document
from stanchion.base import Conflict, Invalid, Json, did_you_mean
from stanchion.blueprints import read_document


def edited(document: Document, changes: Mapping[str, Json], environment: str | None) -> Document:
    """The document with values set.

    Args:
        document: a config that can be read.
        changes: by JSON pointer (`/fine_eur`, `/by_country/DE`) the new value.
        environment: whose overlay is changed; None for the values that hold where no environment says otherwise.

    Raises:
        Invalid `config.no_value` for a pointer at which nothing is written; Conflict `config.not_edited` where the
        text cannot be changed without changing more.
    """
    for pointer, value in changes.items():
        document = _edited(document, pointer, value, environment)
    return document


def _edited(document: Document, pointer: str, value: Json, environment: str | None) -> Document:
    base = "/values" if environment is None else f"/environments/{environment}"
    read = read_document(document)
    place = read.positions.places.get(base + pointer)
    if place is None or pointer in ("", "/"):
        raise _nothing_there(document, pointer, environment)
    written = _json(pointer, value)
    end = place.end - (len(text := document.source[place.start : place.end]) - len(text.rstrip()))
    source = document.source[: place.start] + written + document.source[end:]
    after = read_document(Document(path=document.path, source=source))
    if after.issues or after.body != _with(read.body, (base + pointer).split("/")[1:], value):
        raise Conflict(
            "config.not_edited",
            f"{pointer} cannot be set in {document.path} without changing more than that.",
            hint="Edit the document and apply it.",
        )
    return Document(path=document.path, source=source)


def _json(pointer: str, value: Json) -> str:
    """A value as it is written: JSON is YAML in flow style, so it can stand wherever a value does."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except ValueError as error:
        raise Invalid(
            "config.bad_value",
            f"The value for {pointer} cannot be written: {type(error).__name__}.",
            hint="Send finite numbers, and texts that are Unicode.",
        ) from error
    return text


def _nothing_there(document: Document, pointer: str, environment: str | None) -> Invalid:
    base = "/values" if environment is None else f"/environments/{environment}"
    known = [
        place.removeprefix(base) for place in read_document(document).positions.places if place.startswith(f"{base}/")
    ]
    where = "under values" if environment is None else f"for {environment}"
    hint = did_you_mean(pointer, known) if known else ""
    return Invalid(
        "config.no_value",
        f"{document.path} writes no {pointer} {where}.",
        hint=f"{hint} Add a value by editing the document and applying it.".strip(),
    )


def _with(body: Json, tokens: list[str], value: Json) -> Json:
    """`body` with the value at a path replaced."""
    if not tokens:
        return value
    key = tokens[0].replace("~1", "/").replace("~0", "~")
    if isinstance(body, dict):
        return {name: _with(item, tokens[1:], value) if name == key else item for name, item in body.items()}
    if isinstance(body, list):
        return [_with(item, tokens[1:], value) if str(no) == key else item for no, item in enumerate(body)]
    return body
