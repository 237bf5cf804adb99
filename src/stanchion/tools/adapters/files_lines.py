"""Lines of a data file: reading them bounded, and appending so that a crash leaves nothing half-written behind.

A file belongs to the format of its name: `.jsonl` (one JSON object a line) or `.csv` (RFC 4180, UTF-8, a header; other
delimiters than the comma where the connector says so).
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from stanchion.base import Invalid, Json, dumps, loads

# What may separate the columns of a CSV file.
DELIMITERS = (",", ";", "\t", "|")
# Larger files are a database's business; a read holds one file at a time.
FILE_BYTES_MAX = 64 * 1_048_576
KEY_FIELD = "idempotency_key"


@dataclass(frozen=True, slots=True)
class Format:
    """How a file's records are written. `delimiter` separates the columns of a CSV."""

    name: Literal["jsonl", "csv"]
    delimiter: str = ","


class BadFile(Exception):  # noqa: N818 - becomes an AdapterProblem, which knows the resource
    """The file is not what its name says. The text follows the resource's name and quotes no content."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


def format_of(path: str, delimiter: str = ",") -> Format | None:
    """The format that the file's name says, or None."""
    match path.rsplit(".", 1)[-1].lower():
        case "jsonl":
            return Format("jsonl")
        case "csv":
            return Format("csv", delimiter)
        case _:
            return None


def read_bytes(descriptor: int) -> bytes:
    """The whole file. Raises BadFile above 64 MiB."""
    size = os.fstat(descriptor).st_size
    if size > FILE_BYTES_MAX:
        raise BadFile(f"is a file of {size} bytes; at most {FILE_BYTES_MAX} are read")
    os.lseek(descriptor, 0, os.SEEK_SET)
    data = b""
    while part := os.read(descriptor, max(1, size + 1 - len(data))):
        data += part
        if len(data) > FILE_BYTES_MAX:
            raise BadFile(f"grew above {FILE_BYTES_MAX} bytes while it was read")
    return data


def whole_length(data: bytes, form: Format) -> int:
    """How many bytes from the start are complete lines; the rest is the torn beginning of one (or a last line without
    its line end). In CSV a line end inside quotes does not end a line."""
    if form.name == "jsonl":
        return data.rfind(b"\n") + 1
    if data.count(b'"') % 2 == 0 and data.endswith(b"\n"):
        return len(data)
    end, quoted = 0, False
    for position, byte in enumerate(data):
        if byte == 0x22:
            quoted = not quoted
        elif byte == 0x0A and not quoted:
            end = position + 1
    return end


def rest_is_whole(rest: bytes, form: Format, header: Sequence[str]) -> bool:
    """Whether a last line without a line end is a complete record all the same (files written by hand often end so)."""
    if form.name == "jsonl":
        try:
            return isinstance(loads(rest), dict)
        except Invalid:
            return False
    try:
        rows = list(csv.reader(io.StringIO(rest.decode("utf-8"), newline=""), delimiter=form.delimiter, strict=True))
    except (csv.Error, UnicodeDecodeError):
        return False
    if len(rows) != 1 or len(rows[0]) != len(header):
        return False
    if KEY_FIELD not in header:
        return True
    # A row of ours ends with its line end, so without one it was cut, unless the key stands last and is whole: then
    # only the line end is missing. A row without a key is somebody else's, unless it was cut just before the key.
    key = rows[0][header.index(KEY_FIELD)]
    return len(key) == KEY_LENGTH if header[-1] == KEY_FIELD else key == ""


# `eff_` and 64 hex digits.
KEY_LENGTH = 68


def rows_of(data: bytes, form: Format, fields: Collection[str] = ()) -> Iterator[Mapping[str, object]]:
    """The records in the file's order: JSON values, or texts of a CSV. A torn last line of a JSONL file is left out.

    Raises BadFile naming the line, or saying that another delimiter hides the declared `fields`.
    """
    return _json_rows(data) if form.name == "jsonl" else _csv_rows(data, form, fields)


_JSONL = Format("jsonl")


def _json_rows(data: bytes) -> Iterator[Mapping[str, object]]:
    whole = whole_length(data, _JSONL)
    lines = data[:whole].split(b"\n")
    if rest_is_whole(data[whole:], _JSONL, ()):
        lines.append(data[whole:])
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = loads(line)
        except Invalid:
            value = None
        if not isinstance(value, dict):
            raise BadFile(f"has no JSON object in line {number}")
        yield value


def header_of(data: bytes, form: Format) -> list[str]:
    """The names of a CSV's columns; empty for an empty file. Raises BadFile."""
    rows = _csv_reader(data, form)
    header = next(rows, list[str]())
    if len(set(header)) != len(header):
        raise BadFile("has a header that names a column twice")
    return header


def check_header(header: Sequence[str], form: Format, fields: Collection[str]) -> None:
    """Raises BadFile if declared `fields` are missing because another delimiter separates the columns."""
    if header and not set(fields) <= set(header) and (other := _other_delimiter(header, form)):
        written = '"\\t"' if other == "\t" else f'"{other}"'
        raise BadFile(
            f"has a header that separates its columns by {_shown(other)}, not by {_shown(form.delimiter)}",
            f"Write `delimiter: {written}` beside `file` in the connector.",
        )


def _other_delimiter(header: Sequence[str], form: Format) -> str:
    """The delimiter that the file has instead, or nothing: it stands in the header as often as columns were found."""
    counted = {d: sum(name.count(d) for name in header) for d in DELIMITERS if d != form.delimiter}
    other = max(counted, key=lambda d: counted[d])
    return other if counted[other] >= len(header) else ""


def _shown(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else f"'{delimiter}'"


def _csv_reader(data: bytes, form: Format) -> Iterator[list[str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(f"is not UTF-8 at byte {error.start}") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=form.delimiter, strict=True)
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadFile(f"is not CSV in line {reader.line_num}: {error}") from None
        yield row


def _csv_rows(data: bytes, form: Format, fields: Collection[str]) -> Iterator[Mapping[str, object]]:
    header = header_of(data, form)
    check_header(header, form, fields)
    rows = _csv_reader(data, form)
    next(rows, None)
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        if len(row) != len(header):
            raise BadFile(f"has {len(row)} columns in record {number}, not {len(header)} as its header")
        yield dict(zip(header, row, strict=True))


def encode(record: Mapping[str, Json], form: Format, header: Sequence[str]) -> bytes:
    """One line with its line end."""
    if form.name == "jsonl":
        return dumps(record) + b"\n"
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=form.delimiter, lineterminator="\n").writerow(
        [_cell(record.get(name)) for name in header]
    )
    return out.getvalue().encode()


def _cell(value: Json) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else dumps(value).decode()


@contextmanager
def opened(path: Path, *, write: bool) -> Generator[int]:
    """The file, never through a link; created (0600) only for writing."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_RDWR | os.O_CREAT | os.O_APPEND if write else os.O_RDONLY)
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def locked(descriptor: int, *, write: bool) -> bool:
    """Try to take the file's lock without waiting; it ends with the descriptor."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def append_once(descriptor: int, path: Path, record: Mapping[str, Json], form: Format, fields: Sequence[str]) -> bool:
    """Append the record unless a line with its idempotency key is there; return whether it was appended. The caller
    holds the lock. Returns only after the line is on disk; an append that fails is undone."""
    data = _repaired(descriptor, path, form, fields)
    key = record[KEY_FIELD]
    if any(row.get(KEY_FIELD) == key for row in rows_of(data, form)):
        return False
    prefix, header = b"", list[str]()
    if form.name == "csv":
        header = header_of(data, form)
        if not header:
            header = [*fields, KEY_FIELD]
            prefix = encode({name: name for name in header}, form, header)
        check_header(header, form, fields)
        if missing := [name for name in record if name not in header]:
            raise BadFile(f"has no column {missing[0]!r}")
    _append(descriptor, prefix + encode(record, form, header))
    if not data:
        _sync_folder(path.parent)
    return True


def _repaired(descriptor: int, path: Path, form: Format, fields: Sequence[str]) -> bytes:
    """The file with complete lines only. What a crash tore off is kept beside it in `<file>.torn`, then cut."""
    data = read_bytes(descriptor)
    whole = whole_length(data, form)
    if whole == len(data):
        return data
    rest = data[whole:]
    header = header_of(data[:whole], form) if form.name == "csv" else []
    check_header(header, form, fields)  # before anything of a file that is not ours is cut
    if rest_is_whole(rest, form, header) if header or form.name == "jsonl" else _is_header(rest, form, fields):
        _append(descriptor, b"\n")
        return data + b"\n"
    with opened(path.with_name(path.name + ".torn"), write=True) as torn:
        _append(torn, rest + b"\n")
    os.ftruncate(descriptor, whole)
    os.fsync(descriptor)
    return data[:whole]


def _is_header(rest: bytes, form: Format, fields: Sequence[str]) -> bool:
    try:
        header = header_of(rest, form)
    except BadFile:
        return False
    check_header(header, form, fields)
    return {*fields, KEY_FIELD} <= set(header)


def _append(descriptor: int, line: bytes) -> None:
    before = os.fstat(descriptor).st_size
    try:
        view = memoryview(line)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def has_key(data: bytes, form: Format, key: str) -> bool:
    """Whether a complete line carries that idempotency key."""
    whole = data if form.name == "jsonl" else data[: whole_length(data, form)]
    return any(row.get(KEY_FIELD) == key for row in rows_of(whole, form))


def typed_mapping(value: Json) -> Mapping[str, Json]:
    """`value` as the mapping that a checked document is known to have there."""
    return cast("Mapping[str, Json]", value)
