"""The `objects` adapter: records in the objects of a bucket, or of a folder with the same rules (extra `objects`).

An object is written whole or not at all, so a push is one `put`: under a path that holds the idempotency key and only if
nothing is there (`key`), or to a path of the record, where writing the same again changes nothing (`natural`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from stanchion.base import Clock, Json, Problem
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters import files_lines as lines
from stanchion.tools.adapters.call import Call, any_target
from stanchion.tools.adapters.objects_content import Found, content_of, position_of, rows_of, text_row
from stanchion.tools.adapters.objects_content import Position as Place
from stanchion.tools.adapters.objects_document import (
    KEY_FIELD,
    OPERATION_SCHEMAS,
    RESOURCE_SCHEMA,
    SETTINGS_SCHEMA,
    check_objects,
    filled,
)
from stanchion.tools.adapters.objects_listing import Listing
from stanchion.tools.adapters.objects_samples import discover_objects
from stanchion.tools.adapters.objects_stores import Stores
from stanchion.tools.adapters.pages import bad_page
from stanchion.tools.adapters.paths import inside
from stanchion.tools.adapters.plain import PlainAdapter
from stanchion.tools.credentials import Credentials
from stanchion.tools.egress import Network
from stanchion.tools.records import read_record, text_value
from stanchion.tools.types import Connector, Discovery, Envelope, Record

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
# One object, read whole; and how many are read ahead of the one whose records are taken.
OBJECT_BYTES_MAX: Final = 16 * 1_048_576
_AHEAD: Final = 8
# A folder and memory list in no order, so all of it is listed and sorted; buckets list in the order of paths.
LISTED_MAX: Final = 100_000
_UNORDERED: Final = ("memory", "folder")
# Asked for where only the answer's kind matters.
_NO_OBJECT: Final = "stanchion-asks"


class ObjectsAdapter(PlainAdapter):
    """See the module. `root`: the folder that the paths of `folder://` are relative to."""

    name = "objects"
    settings_schema: Mapping[str, Schema] = SETTINGS_SCHEMA
    settings_required: tuple[str, ...] = ("store",)
    resource_schema: Mapping[str, Schema] = RESOURCE_SCHEMA
    resource_required: tuple[str, ...] = ("format",)
    operation_schemas: Mapping[str, Schema] = OPERATION_SCHEMAS

    def __init__(self, root: Path, clock: Clock, network: Network) -> None:
        self._clock = clock
        self._stores = Stores(root, network)

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """The store's address and credentials, paths, formats, and what a push relies on."""
        return check_objects(body)

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:
        """Records of the objects below the prefix, in the order of their paths, whose fields equal every value in `where`."""
        call = Call(target=target, clock=self._clock)
        start = _start(target, page)
        records: list[Record] = []
        async with contextlib.aclosing(self._objects(call, start)) as objects:
            async for found, data in objects:
                skip = start.skip if start is not None and found.path == start.path else 0
                for number, record in enumerate(_typed(target, found, data), start=1):
                    if number <= skip or any(v is not None and record.get(k) != v for k, v in where.items()):
                        continue
                    if len(records) == limit:
                        return call.fetched(records, Place(path=found.path, skip=number - 1).token())
                    records.append(record)
        return call.fetched(records, None)

    async def lookup(self, target: Target, key: Json) -> Envelope:
        """The record of the one object at the path of `{key}`."""
        call = Call(target=target, clock=self._clock)
        try:
            path = filled(str(target.operation.settings["object"]), {"key": key})
        except ValueError:
            return call.looked_up(None)
        got = await self._got(call, path)
        if got is None:
            return call.looked_up(None)
        records = list(_typed(target, *got))
        if len(records) > 1:
            raise target.problem("adapter.ambiguous", "has an object with more than one record at this key.")
        return call.looked_up(records[0] if records else None)

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """Put one object. `applied` is False if it is there already, with this key or this content."""
        call = Call(target=target, clock=self._clock)
        path = self._path(target, record, idempotency_key)
        data = content_of(target.resource, record)
        mode = self._mode(target, record)
        store = await self._stores.store(target)
        self._confined(target, path)
        from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: PLC0415 - an extra

        try:
            await self._asked(call, store.put_async(path, data, mode=mode, use_multipart=False), writes=True)
        except (AlreadyExistsError, PreconditionError):
            return await self._there(call, path, data, idempotency_key)
        except FileNotFoundError:
            raise _no_store(target) from None
        return call.pushed(applied=True, rows=1, idempotency_key=idempotency_key)

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:
        """Whether the object of that key is there: only where its path holds the key."""
        call = Call(target=target, clock=self._clock)
        return await self._head(call, self._path(target, record, idempotency_key)) is not None

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """List the store's first objects."""
        call = Call(target=any_target(connector, timeout_s, credentials), clock=self._clock)
        count = 0
        async for _ in self._listed(call, "", None, most=1000):
            count += 1
        return f"The store answers: {'at least ' if count >= 1000 else ''}{count} objects."

    async def discover(
        self, connector: Connector, timeout_s: float, credentials: Credentials | None = None
    ) -> Discovery:
        """The folders of objects at the top of the store; fields are inferred from the first objects of each."""
        call = Call(target=any_target(connector, timeout_s, credentials), clock=self._clock)
        store = await self._stores.store(call.target)

        async def read(found: Found) -> bytes:
            self._confined(call.target, found.path)
            return await self._content(call, store, found)

        try:
            level = await self._asked(call, store.list_with_delimiter_async(None), lists=store)
        except FileNotFoundError:
            raise _no_store(call.target) from None
        return await discover_objects(level, lambda prefix: self._listed(call, prefix, None, most=200), read)

    async def close(self) -> None:
        """Close the stores' connections."""
        await self._stores.close()

    def _path(self, target: Target, record: Record, idempotency_key: str) -> str:
        template = str(target.operation.settings["object"])
        try:
            return filled(template, {**record, KEY_FIELD: idempotency_key})
        except ValueError as error:
            raise target.problem("adapter.bad_parameter", f"cannot write the record as an object: {error}.") from None

    def _mode(self, target: Target, record: Record) -> Any:
        """The precondition of the put, as obstore takes it: create only, replace the version that was read, or overwrite."""
        existing = str(target.operation.settings.get("existing", "replace"))
        if target.operation.idempotency == "key" or existing == "keep":
            return "create"
        if existing == "match":
            etag = record.get("object_etag")
            return "create" if etag is None else {"e_tag": str(etag)}
        return "overwrite"

    async def _there(self, call: Call, path: str, data: bytes, idempotency_key: str) -> Envelope:
        """What stands where nothing, or another version, should: this very write, or somebody else's."""
        target = call.target
        got = await self._got(call, path)
        if got is not None and (target.operation.idempotency == "key" or got[1] == data):
            return call.pushed(applied=False, rows=0, idempotency_key=idempotency_key)
        raise target.problem(
            "adapter.conflict",
            "has another object there, or another version of it, than the push was made for.",
            hint="Read it again and decide anew; `existing: replace` would overwrite it.",
        )

    async def _objects(self, call: Call, start: Place | None) -> AsyncGenerator[tuple[Found, bytes]]:
        """Objects with their content from `start` on, the next ones read ahead."""
        target, resource = call.target, call.target.resource
        suffix = str(resource.settings.get("suffix", ""))
        store = await self._stores.store(target)
        waiting: list[tuple[Found, asyncio.Task[bytes]]] = []
        try:
            async for found in self._listed(call, str(resource.settings.get("prefix", "")), start):
                if not found.path.endswith(suffix):
                    continue
                waiting.append((found, asyncio.create_task(self._read(call, store, found))))
                if len(waiting) == _AHEAD:
                    first, task = waiting.pop(0)
                    yield first, await task
            while waiting:
                first, task = waiting.pop(0)
                yield first, await task
        finally:
            for _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)

    async def _listed(self, call: Call, prefix: str, start: Place | None, most: int = 0) -> AsyncIterator[Found]:
        """Objects below the prefix in the order of their paths, `start` included; at most `most`, if that is said."""
        target = call.target
        store = await self._stores.store(target)
        settings = cast("Mapping[str, Json]", target.connector.settings["store"])
        if start is not None and (first := await self._head(call, start.path)) is not None:
            yield first
        offset = start.path if start is not None else None
        listing = Listing(store.list(prefix or None, offset=offset, chunk_size=1000))
        if str(settings["url"]).startswith(_UNORDERED):
            for found in await self._sorted(call, store, listing, most or LISTED_MAX):
                yield found
            return
        before, count = "", 0
        while parts := await self._asked(call, listing.next(), lists=store):
            for found in parts:
                if found.path < before:
                    raise target.problem(
                        "adapter.unordered", "lists its objects in no order, so that pages cannot be told."
                    )
                before, count = found.path, count + 1
                yield found
                if count == most:
                    return

    async def _sorted(self, call: Call, store: ObjectStore, listing: Listing, most: int) -> list[Found]:
        listed: list[Found] = []
        while parts := await self._asked(call, listing.next(), lists=store):
            listed += parts
            if len(listed) >= most and most < LISTED_MAX:
                break
            if len(listed) > LISTED_MAX:
                raise call.target.problem(
                    "adapter.too_large",
                    f"has more than {LISTED_MAX} objects there, which a folder cannot list in pages.",
                    hint="Narrow the `prefix`.",
                )
        return sorted(listed, key=lambda found: found.path)[: most or None]

    async def _head(self, call: Call, path: str) -> Found | None:
        store = await self._stores.store(call.target)
        self._confined(call.target, path)
        try:
            return Found.of(await self._asked(call, store.head_async(path)))
        except FileNotFoundError:
            return None

    async def _got(self, call: Call, path: str) -> tuple[Found, bytes] | None:
        found = await self._head(call, path)
        if found is None:
            return None
        store = await self._stores.store(call.target)
        try:
            return found, await self._read(call, store, found)
        except AdapterProblem as problem:
            if problem.code == "adapter.missing_file":
                return None
            raise

    async def _read(self, call: Call, store: ObjectStore, found: Found) -> bytes:
        """The object's bytes as its resource needs them: none where the resource is what the store says of it."""
        if call.target.resource.settings.get("format") == "metadata":
            return b""
        return await self._content(call, store, found)

    async def _content(self, call: Call, store: ObjectStore, found: Found) -> bytes:
        """The object's bytes."""
        if found.size > OBJECT_BYTES_MAX:
            raise call.target.problem(
                "adapter.too_large",
                f"has an object of {found.size} bytes; at most {OBJECT_BYTES_MAX} are read.",
                hint="Write smaller objects, or read what the store says of them: `format: metadata`.",
            )
        self._confined(call.target, found.path)

        async def read() -> bytes:
            result = await store.get_async(found.path)
            return bytes(await result.bytes_async())

        try:
            data = await self._asked(call, read())
        except FileNotFoundError:
            raise call.target.problem(
                "adapter.missing_file", "lost an object while it was read.", retryable=True
            ) from None
        call.bytes += len(data)
        return data

    def _confined(self, target: Target, path: str) -> None:
        """A folder's links lead nowhere else. Raises Denied `connector.path_escapes`."""
        if (folder := self._stores.folder(target)) is not None:
            inside(folder, path)

    async def _asked(
        self, call: Call, asked: Awaitable[T], *, writes: bool = False, lists: ObjectStore | None = None
    ) -> T:
        """One request of the store, with what it may raise classified by its type; obstore's messages quote URLs, so none is
        read or passed on. `lists`: the store, where its listing is asked for."""
        from obstore import exceptions as known  # noqa: PLC0415 - an extra

        target = call.target
        call.calls += 1
        try:
            async with asyncio.timeout(call.left_s()):
                return await asked
        except TimeoutError:
            raise target.problem(
                "adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True, sent=writes
            ) from None
        except (Problem, FileNotFoundError, known.AlreadyExistsError, known.PreconditionError):
            raise
        except (known.PermissionDeniedError, known.UnauthenticatedError, PermissionError):
            raise _not_let_in(target) from None
        except (ValueError, known.InvalidPathError, known.NotSupportedError):
            raise target.problem("adapter.refused", "cannot be asked for this path or in this way.") from None
        except (known.BaseError, OSError, RuntimeError):
            if lists is not None:
                await self._admitted(call, lists)
            raise target.problem(
                "adapter.unreachable",
                "cannot be reached, or failed to answer.",
                hint="Check `store`, whether the bucket exists, and whether the store is up.",
                retryable=True,
                sent=writes,
            ) from None

    async def _admitted(self, call: Call, store: ObjectStore) -> None:
        """After a listing that failed: a listing fails in one way whatever the reason, so one object is asked for, which says
        by its type that we are not let in. Raises AdapterProblem `adapter.not_authenticated`, and as `_asked`."""
        with contextlib.suppress(FileNotFoundError):
            await self._asked(call, store.head_async(_NO_OBJECT))


def _not_let_in(target: Target) -> AdapterProblem:
    return target.problem(
        "adapter.not_authenticated",
        "did not let us in.",
        hint="Check the bucket, and whether `auth` names a key that may do this there.",
    )


def _no_store(target: Target) -> AdapterProblem:
    return target.problem(
        "adapter.missing_file",
        "has no such bucket or folder; nothing was written.",
        hint="Check `store.url`.",
        sent=False,
    )


def _start(target: Target, page: str | None) -> Place | None:
    """Where a fetch goes on: at an object of the resource, which alone may be read through it."""
    try:
        start = position_of(page)
    except ValueError:
        raise bad_page(target) from None
    prefix = str(target.resource.settings.get("prefix", "")).strip("/")
    if start is not None and prefix and not start.path.startswith(f"{prefix}/"):
        raise bad_page(target)
    return start


def _typed(target: Target, found: Found, data: bytes) -> Iterable[Record]:
    """The object's records as the resource declares them."""
    try:
        for number, row in enumerate(rows_of(target.resource, found, data), start=1):
            yield read_record(target, number, _cells(target, number, row))
    except lines.BadFile as error:
        raise target.problem(
            "adapter.bad_file", f"has an object that {error}.", hint=error.hint, object=found.path
        ) from None


def _cells(target: Target, number: int, row: Mapping[str, object]) -> Mapping[str, object]:
    typed: dict[str, object] = {}
    for name, schema, value, is_cell in text_row(target.resource, row):
        try:
            typed[name] = text_value(schema, str(value)) if is_cell else value
        except ValueError as error:
            raise target.problem(
                "adapter.wrong_type",
                f"has in record {number} of an object a {name!r} that {error}.",
                hint='Correct the object, or the field in the connector; with the type [..., "null"] it may be empty.',
            ) from None
    return typed
