"""The `shelf` adapter: one JSON file per record, in a folder below the connectors' folder.

It is a whole adapter in one file, to be changed into yours: keep the shape, replace what reads and writes files by calls of
your system. What every adapter promises stands in `stanchion.tools.adapter`; the test beside this file holds it to that.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from stanchion.base import Invalid, Json, dumps, loads
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools import Connector, Envelope, Target
from stanchion.tools.adapters import (
    Call,
    Means,
    PlainAdapter,
    any_target,
    fields_of,
    inside,
    key_of,
    path_complaint,
    read_record,
    resource_name,
)
from stanchion.tools.credentials import Credentials
from stanchion.tools.types import Discovery, Record

T = TypeVar("T")
# A record is read whole.
FILE_BYTES_MAX = 1_048_576
_PATH: Schema = {"type": "string", "minLength": 1, "maxLength": 500}


class ShelfAdapter(PlainAdapter):
    """What it has beside the common fields of a connector: `root`, a folder, and in each resource `shelf`, one below it."""

    name = "shelf"
    settings_schema: Mapping[str, Schema] = {"root": _PATH}
    settings_required: tuple[str, ...] = ("root",)
    resource_schema: Mapping[str, Schema] = {"shelf": _PATH}
    resource_required: tuple[str, ...] = ("shelf",)
    # JSON Schemas of `fetch:`, `lookup:` and `push:` in a resource. An operation that is not here cannot be declared.
    operation_schemas: Mapping[str, Schema] = {
        "fetch": {"type": "object", "additionalProperties": False, "properties": {}},
        "lookup": {"type": "object", "additionalProperties": False, "properties": {}},
        "push": {
            "type": "object",
            "required": ["idempotency"],
            "additionalProperties": False,
            # Say honestly what your system makes of a repeated write: key, natural, probe or none.
            "properties": {"idempotency": {"enum": ["key"]}, "effect": {"enum": ["write", "destructive"]}},
        },
    }

    def __init__(self, means: Means) -> None:
        self._root = means.root
        self._clock = means.clock

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """What the schemas cannot say; nothing is called. Paths must stay below the connectors' folder."""
        if (complaint := path_complaint(str(body["root"]))) is not None:
            yield ConfigIssue(pointer="/root", code="connector.path_escapes", message=f"The path {complaint}.")

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:  # noqa: ARG002
        """At most `limit` records in the order of their file names; the page is the name after which to go on."""
        call = Call(target=target, clock=self._clock)

        def work(folder: Path) -> tuple[list[Record], str | None]:
            names = sorted(path.name for path in folder.glob("*.json"))
            if page is not None and page not in names:
                raise target.problem("adapter.bad_page", "was given a page that it never returned.")
            rest = [name for name in names if page is None or name > page]
            records: list[Record] = []
            for number, name in enumerate(rest[:limit], start=1):
                records.append(read_record(target, number, _read(target, folder / name)))
            return records, rest[limit - 1] if len(rest) > limit else None

        records, more = await self._in_thread(call, work)
        return call.fetched(records, more)

    async def lookup(self, target: Target, key: Json) -> Envelope:
        """The one record whose key field is `key`."""
        call = Call(target=target, clock=self._clock)

        def work(folder: Path) -> list[Record]:
            found = [_read(target, path) for path in sorted(folder.glob("*.json"))]
            return [read_record(target, 1, record) for record in found if record.get(target.resource.key) == key]

        found = await self._in_thread(call, work)
        if len(found) > 1:
            raise target.problem("adapter.ambiguous", "has more than one record with this key.")
        return call.looked_up(found[0] if found else None)

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """A file that is named by the idempotency key: the file system refuses a second one."""
        call = Call(target=target, clock=self._clock)

        def work(folder: Path) -> bool:
            path, draft = folder / f"{idempotency_key}.json", folder / f".{idempotency_key}.{id(call)}"
            draft.write_bytes(dumps(dict(record)))
            try:
                os.link(draft, path)
            except FileExistsError:
                return False
            finally:
                draft.unlink()
            return True

        applied = await self._in_thread(call, work, writes=True)
        return call.pushed(applied=applied, rows=int(applied), idempotency_key=idempotency_key)

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """Look whether every shelf is there."""
        for resource in connector.resources.values():
            operation = next(iter(resource.operations.values()))
            target = Target(
                connector=connector,
                resource=resource,
                operation=operation,
                timeout_s=timeout_s,
                credentials=credentials,
            )
            await self._in_thread(Call(target=target, clock=self._clock), lambda folder: any(folder.glob("*.json")))
        return f"All {len(connector.resources)} shelves are there."

    async def discover(
        self, connector: Connector, timeout_s: float, credentials: Credentials | None = None
    ) -> Discovery:
        """Each folder below `root` as a resource, its fields inferred from its first records."""
        target = any_target(connector, timeout_s, credentials)
        root = inside(self._root, str(connector.settings["root"]))
        found: dict[str, Mapping[str, Json]] = {}
        for folder in sorted(path for path in root.iterdir() if path.is_dir())[:100]:
            samples = [_read(target, path) for path in sorted(folder.glob("*.json"))[:20]]
            fields = fields_of(samples)
            if fields:
                key = key_of(samples, fields)
                body: dict[str, Json] = {"shelf": folder.name, "fields": fields, "fetch": {}}
                found[resource_name(folder.name, found)] = {**body, "key": key, "lookup": {}} if key else body
        return Discovery(
            resources=found,
            capabilities={"fetch": {"paging": "by file name"}, "lookup": {}, "push": {"idempotency": ["key"]}},
            narrative=f"Found {len(found)} shelves with records.",
        )

    async def _in_thread(self, call: Call, work: Callable[[Path], T], *, writes: bool = False) -> T:
        """Run `work` on the resource's folder, in time, with what may go wrong as an AdapterProblem. `sent` is False only
        where it is certain that nothing was written."""
        target = call.target
        root = inside(self._root, str(target.connector.settings["root"]))
        folder = inside(root, str(target.resource.settings["shelf"]))
        call.calls += 1
        if not folder.is_dir():
            raise target.problem("adapter.missing_file", "has no folder for its records.", sent=False)
        try:
            async with asyncio.timeout(call.left_s()):
                return await asyncio.to_thread(work, folder)
        except TimeoutError:
            raise target.problem(
                "adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True, sent=writes
            ) from None
        except OSError:
            raise target.problem(
                "adapter.unreachable", "cannot be read or written.", retryable=True, sent=writes
            ) from None


def _read(target: Target, path: Path) -> Mapping[str, Json]:
    data = path.read_bytes()[: FILE_BYTES_MAX + 1]
    try:
        value = loads(data) if len(data) <= FILE_BYTES_MAX else None
    except Invalid:
        value = None
    if not isinstance(value, dict):
        raise target.problem("adapter.bad_file", "has a file without a JSON object, or with too large a one.")
    return value
