"""What a folder of data files offers: each file as a resource, its fields inferred from a sample."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from stanchion.base import Json
from stanchion.tools.adapters import files_lines as lines
from stanchion.tools.adapters.inferred import (
    SAMPLE_BYTES_MAX,
    SAMPLE_RECORDS_MAX,
    cells_of,
    fields_of,
    is_field,
    key_of,
    resource_name,
)
from stanchion.tools.types import DISCOVERED_MAX, Discovery

# Entries of the folder, and of those below it, that are looked at.
_ENTRIES_MAX = 5_000


def discover_files(folder: Path) -> Discovery:
    """Every `.jsonl` and `.csv` file below `folder`, by its path; links are not followed."""
    resources: dict[str, Mapping[str, Json]] = {}
    unfit, more = list[str](), False
    for path in _files(folder):
        if len(resources) == DISCOVERED_MAX:
            more = True
            break
        relative = path.relative_to(folder).as_posix()
        body = _resource(path, relative)
        if body is None:
            unfit.append(relative)
        else:
            resources[resource_name(relative.rsplit(".", 1)[0], resources)] = body
    said = f"Found {len(resources)} files{', and there are more' if more else ''}; fields are inferred from the beginning of each."
    if unfit:
        said += f" Left out, as no record was found in them: {', '.join(unfit[:20])}."
    return Discovery(
        resources=resources,
        capabilities={
            "fetch": {"paging": "by position in the file"},
            "lookup": {"needs": "a key that is a text or a whole number"},
            "push": {"idempotency": ["probe"], "effects": ["write", "destructive"]},
        },
        narrative=said,
        truncated=more,
    )


def _files(folder: Path) -> Iterator[Path]:
    """The data files below `folder` in the order of their paths, looking at a bounded number of entries."""
    seen = 0
    for at, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            seen += 1
            if seen > _ENTRIES_MAX:
                return
            path = Path(at, name)
            if lines.format_of(name) is not None and path.is_file() and not path.is_symlink():
                yield path


def _resource(path: Path, relative: str) -> Mapping[str, Json] | None:
    try:
        with lines.opened(path, write=False) as descriptor:
            head = os.read(descriptor, SAMPLE_BYTES_MAX)
        found = sampled(head, relative)
    except (OSError, lines.BadFile):
        return None
    if found is None:
        return None
    form, records = found
    # The column that a push adds is the adapter's own, not the author's.
    fields = {name: schema for name, schema in fields_of(records).items() if name != lines.KEY_FIELD}
    if not fields:
        return None
    body: dict[str, Json] = {"file": relative}
    if form.delimiter != ",":
        body["delimiter"] = form.delimiter
    if key := key_of(records, fields):
        body["key"] = key
    body["fields"] = fields
    body["fetch"] = {}
    if key:
        body["lookup"] = {}
    return body


def sampled(head: bytes, path: str) -> tuple[lines.Format, list[Mapping[str, Json]]] | None:
    """The format that the name says (for CSV: with the delimiter that makes most columns) and the first records in
    `head`, the beginning of a file; None if there is none. Raises BadFile."""
    form = lines.format_of(path)
    if form is None:
        return None
    if form.name == "csv":
        headers = {d: lines.header_of(head, lines.Format("csv", d)) for d in lines.DELIMITERS}
        form = lines.Format("csv", max(headers, key=lambda d: len(headers[d])))
    whole = head if len(head) < SAMPLE_BYTES_MAX else head[: lines.whole_length(head, form)]
    rows: list[Mapping[str, object]] = []
    for row in lines.rows_of(whole, form):
        rows.append(row)
        if len(rows) == SAMPLE_RECORDS_MAX:
            break
    if not rows:
        return None
    return form, cells_of(rows) if form.name == "csv" else [_json(row) for row in rows]


def _json(row: Mapping[str, object]) -> Mapping[str, Json]:
    return {name: value for name, value in row.items() if is_field(name)}  # pyright: ignore[reportReturnType] - parsed JSON
