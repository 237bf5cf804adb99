"""The `files` adapter: JSONL and CSV files below one folder, read whole and appended to under a lock.

A push appends one line, under an exclusive lock that every writer of ours takes, after a look for the idempotency
key, and returns when the line is on disk. A line that a crash tore is repaired by the next push.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar, cast

from stanchion.base import Clock, Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters import files_lines as lines
from stanchion.tools.adapters.call import Call, any_target, offset_of
from stanchion.tools.adapters.files_found import find_files, form_of
from stanchion.tools.adapters.files_samples import discover_files
from stanchion.tools.adapters.paths import inside, path_complaint
from stanchion.tools.credentials import Credentials
from stanchion.tools.records import read_record, text_value
from stanchion.tools.types import Connector, Discovery, Envelope, Record

T = TypeVar("T")
# Between two tries for the lock, in seconds: writers hold it for one append.
_LOCK_POLL_S = 0.02
_PATH: Schema = {"type": "string", "minLength": 1, "maxLength": 500}
_DELIMITER: Schema = {
    "type": "string",
    "pattern": r"^[,;|\t]\Z",
    "description": 'What separates the columns of a CSV file: "," (the default), ";", "|" or "\\t" (a tab).',
}
_EMPTY: Schema = {"type": "object", "additionalProperties": False, "properties": {}}


class FilesAdapter:
    """See the module. `root` is the folder that a connector's `root` is relative to."""

    name = "files"
    settings_schema: Mapping[str, Schema] = {"root": _PATH}
    settings_required: tuple[str, ...] = ("root",)
    resource_schema: Mapping[str, Schema] = {"file": _PATH, "delimiter": _DELIMITER}
    resource_required: tuple[str, ...] = ("file",)
    operation_schemas: Mapping[str, Schema] = {
        "fetch": _EMPTY,
        "lookup": _EMPTY,
        "push": {
            "type": "object",
            "required": ["idempotency"],
            "additionalProperties": False,
            "properties": {"idempotency": {"enum": ["probe"]}, "effect": {"enum": ["write", "destructive"]}},
        },
    }
    refused: Mapping[str, str] = {}

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root = root
        self._clock = clock

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """Paths, the file's format, and that no field is called as the column the adapter adds."""
        yield from _check_path("/root", str(body["root"]))
        for name, value in lines.typed_mapping(body["resources"]).items():
            resource, pointer = lines.typed_mapping(value), f"/resources/{name}"
            yield from _check_path(f"{pointer}/file", str(resource["file"]))
            form = lines.format_of(str(resource["file"]))
            if form is None:
                yield ConfigIssue(
                    pointer=f"{pointer}/file",
                    code="connector.unknown_format",
                    message=f"{resource['file']!r} is neither .jsonl nor .csv.",
                    hint="The name's ending says the format.",
                )
            elif "delimiter" in resource and form.name != "csv":
                yield ConfigIssue(
                    pointer=f"{pointer}/delimiter",
                    code="connector.unknown_field",
                    message=f"A file of the format {form.name} has no delimiter.",
                    hint="Leave it out; only CSV has columns.",
                )
            if "push" in resource and lines.KEY_FIELD in lines.typed_mapping(resource["fields"]):
                yield ConfigIssue(
                    pointer=f"{pointer}/fields/{lines.KEY_FIELD}",
                    code="connector.reserved_field",
                    message=f"A push adds the field {lines.KEY_FIELD} itself.",
                    hint="Leave it out here.",
                )

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:
        """Records whose fields equal every value in `where` (a null filters nothing), in the file's order."""
        call = Call(target=target, clock=self._clock)
        skip = offset_of(target, page)

        def work(data: bytes) -> tuple[list[Record], bool]:
            found: list[Record] = []
            for number, record in enumerate(_typed(target, data), start=1):
                if number > skip and all(v is None or record.get(k) == v for k, v in where.items()):
                    if len(found) == limit:
                        return found, True
                    positions.append(number)
                    found.append(record)
            return found, False

        positions = [skip]
        found, more = await self._read(call, work)
        return call.fetched(found, str(positions[-1]) if more else None)

    async def lookup(self, target: Target, key: Json) -> Envelope:
        """The record whose key field equals `key`."""
        call = Call(target=target, clock=self._clock)
        name = target.resource.key

        def work(data: bytes) -> list[Record]:
            return [record for record in _typed(target, data) if record.get(name) == key][:2]

        found = await self._read(call, work)
        if len(found) > 1:
            raise target.problem("adapter.ambiguous", "has more than one record with this key.")
        return call.looked_up(found[0] if found else None)

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """Append the record with its key as one line."""
        call = Call(target=target, clock=self._clock)
        form, fields = _form(target), list(target.resource.fields)
        line = {**record, lines.KEY_FIELD: idempotency_key}

        def work(descriptor: int, path: Path) -> bool:
            return lines.append_once(descriptor, path, line, form, fields)

        applied = await self._locked(call, work, write=True)
        return call.pushed(applied=applied, rows=int(applied), idempotency_key=idempotency_key)

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:  # noqa: ARG002
        """Whether a line carries the key. `record` is not needed: the key is a field of its own."""
        form = _form(target)
        call = Call(target=target, clock=self._clock)
        try:
            return await self._read(call, lambda data: lines.has_key(data, form, idempotency_key))
        except AdapterProblem as problem:
            if problem.code == "adapter.missing_file":
                return False
            raise

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:  # noqa: ARG002
        """Refused, here as at publish."""
        raise target.problem("adapter.not_offered", "has no operations: files have records and no operations.")

    async def test(
        self,
        connector: Connector,
        timeout_s: float,  # noqa: ARG002
        credentials: Credentials | None = None,  # noqa: ARG002
    ) -> str:
        """Look whether each file that is read is there and has the declared columns, and whether each that is written
        to can be."""
        folder = inside(self._root, str(connector.settings["root"]))
        return await asyncio.to_thread(find_files, connector, folder)

    async def discover(
        self, connector: Connector, timeout_s: float, credentials: Credentials | None = None
    ) -> Discovery:
        """The data files of the folder; fields and key are inferred from the beginning of each."""
        folder = inside(self._root, str(connector.settings["root"]))
        target = any_target(connector, timeout_s, credentials)
        if not folder.is_dir():
            raise target.problem(
                "adapter.missing_file",
                f"has no folder {connector.settings['root']!r} to look into.",
                hint="The connector's `root` is relative to the connectors' folder: make it there, or correct `root`.",
            )
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(discover_files, folder)
        except TimeoutError:
            raise target.problem("adapter.timeout", f"timed out after {timeout_s:g} s.", retryable=True) from None

    async def close(self) -> None:
        """Nothing stays open between calls."""

    async def _read(self, call: Call, work: Callable[[bytes], T]) -> T:
        def on_descriptor(descriptor: int, _: Path) -> T:
            data = lines.read_bytes(descriptor)
            call.bytes = len(data)
            return work(data)

        return await self._locked(call, on_descriptor, write=False)

    async def _locked(self, call: Call, work: Callable[[int, Path], T], *, write: bool) -> T:
        """Run `work` in a thread with the file open and locked. While another holds the lock, wait outside the thread."""
        target = call.target
        folder = inside(self._root, str(target.connector.settings["root"]))
        path = inside(folder, str(target.resource.settings["file"]))
        deadline = self._clock.monotonic() + target.timeout_s

        def attempt() -> tuple[bool, T | None]:
            with lines.opened(path, write=write) as descriptor:
                if not lines.locked(descriptor, write=write):
                    return False, None
                return True, work(descriptor, path)

        while True:
            call.calls += 1
            try:
                done, result = await asyncio.to_thread(attempt)
            except lines.BadFile as error:
                raise target.problem("adapter.bad_file", f"{error}.", hint=error.hint) from None
            except OSError as error:
                raise _os_problem(target, error) from None
            if done:
                return cast("T", result)
            if self._clock.monotonic() >= deadline:
                raise target.problem("adapter.busy", "is locked by another writer.", retryable=True)
            await self._clock.sleep(_LOCK_POLL_S)


def _form(target: Target) -> lines.Format:
    return form_of(target.resource)


def _typed(target: Target, data: bytes) -> Iterable[Record]:
    form = _form(target)
    for number, row in enumerate(lines.rows_of(data, form, target.resource.fields), start=1):
        yield read_record(target, number, _csv_typed(target, number, row) if form.name == "csv" else row)


def _csv_typed(target: Target, number: int, row: Mapping[str, object]) -> Mapping[str, object]:
    typed: dict[str, object] = {}
    for name, schema in target.resource.fields.items():
        if name in row:
            try:
                typed[name] = text_value(schema, str(row[name]))
            except ValueError as error:
                raise target.problem(
                    "adapter.wrong_type",
                    f"has in record {number} of {target.resource.settings['file']} a {name!r} that {error}.",
                    hint='Correct the file, or the field in the connector; with the type [..., "null"] it may be empty.',
                ) from None
    return typed


def _check_path(pointer: str, text: str) -> Iterable[ConfigIssue]:
    if (complaint := path_complaint(text)) is not None:
        yield ConfigIssue(pointer=pointer, code="connector.path_escapes", message=f"The path {complaint}.")


def _os_problem(target: Target, error: OSError) -> AdapterProblem:
    """An append that failed was undone, so nothing was written in any of these cases."""
    if isinstance(error, FileNotFoundError):
        return target.problem(
            "adapter.missing_file",
            f"has no file {target.resource.settings['file']!r} in its folder.",
            hint="The connector's `root` is relative to the connectors' folder.",
        )
    reason = os.strerror(error.errno or 0)
    return target.problem("adapter.unreachable", f"cannot be read or written: {reason}.", retryable=True)
