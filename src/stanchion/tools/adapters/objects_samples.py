"""What a store of objects offers: each folder at its top as a resource, its fields inferred from the first objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal

from stanchion.base import Invalid, Json, loads
from stanchion.tools.adapters import files_lines as lines
from stanchion.tools.adapters.files_samples import sampled
from stanchion.tools.adapters.inferred import SAMPLE_RECORDS_MAX, fields_of, resource_name
from stanchion.tools.adapters.objects_content import Found
from stanchion.tools.types import Discovery

# Each folder costs a listing and some reads, and a person waits.
_FOLDERS_MAX: Final = 50
_READ_MAX: Final = 5
_READ_BYTES_MAX: Final = 1_048_576
_FORMATS: Final[Mapping[str, Literal["json", "jsonl", "csv", "text"]]] = {
    "json": "json",
    "jsonl": "jsonl",
    "csv": "csv",
    "txt": "text",
    "md": "text",
}
_METADATA: Final[Mapping[str, Json]] = {
    "object_path": {"type": "string"},
    "object_size": {"type": "integer"},
    "object_modified": {"type": "string", "format": "date-time"},
}


async def discover_objects(
    top: Mapping[str, Any],
    listed: Callable[[str], AsyncIterator[Found]],
    read: Callable[[Found], Awaitable[bytes]],
) -> Discovery:
    """`top`: obstore's listing with a delimiter of the store's root; `listed`: the first objects below a prefix; `read`:
    one object's content."""
    prefixes = sorted(str(prefix) for prefix in top["common_prefixes"])
    resources: dict[str, Mapping[str, Json]] = {}
    direct = [Found.of(meta) for meta in top["objects"]]
    for prefix in prefixes[:_FOLDERS_MAX]:
        below = [found async for found in listed(prefix)]
        if below:
            resources[resource_name(prefix, resources)] = {"prefix": prefix, **await _resource(below, read)}
    if direct:
        resources[resource_name("objects", resources)] = await _resource(direct[:200], read)
    more = len(prefixes) > _FOLDERS_MAX
    return Discovery(
        resources=resources,
        capabilities={
            "fetch": {"paging": "by object and position in it"},
            "lookup": {"needs": "a path with {key}; one record in an object"},
            "push": {"idempotency": ["key", "natural"], "effects": ["write", "destructive"]},
        },
        narrative=(
            f"Found {len(resources)} folders of objects{', and there are more' if more else ''}; fields are inferred from the "
            "first objects of each, and what is not JSON, CSV or text is offered by what the store says of it."
        ),
        truncated=more,
    )


async def _resource(below: Sequence[Found], read: Callable[[Found], Awaitable[bytes]]) -> dict[str, Json]:
    """Without its prefix: the ending most objects have says the format."""
    endings = Counter(found.path.rsplit(".", 1)[-1].lower() for found in below if "." in found.path.rsplit("/", 1)[-1])
    ending = endings.most_common(1)[0][0] if endings else ""
    form = _FORMATS.get(ending)
    chosen = [found for found in below if found.path.lower().endswith(f".{ending}") and found.size <= _READ_BYTES_MAX]
    body: dict[str, Json] = {"suffix": f".{ending}"} if len(endings) > 1 and ending else {}
    if form == "text":
        return {
            **body,
            "format": "text",
            "fields": {"object_path": {"type": "string"}, "text": {"type": "string"}},
            "fetch": {},
        }
    records: list[Mapping[str, Json]] = []
    delimiter = ","
    for found in chosen[:_READ_MAX] if form else ():
        more, delimiter = _records(await read(found), f"x.{ending}", delimiter)
        records = [*records, *more][:SAMPLE_RECORDS_MAX]
    fields = fields_of(records)
    if not fields or form is None:
        return {**body, "format": "metadata", "key": "object_path", "fields": dict(_METADATA), "fetch": {}}
    body["format"] = form
    if delimiter != ",":
        body["delimiter"] = delimiter
    return {**body, "fields": fields, "fetch": {}}


def _records(data: bytes, name: str, delimiter: str) -> tuple[list[Mapping[str, Json]], str]:
    """The records of one object and its delimiter; none where it is not what its name says."""
    if name.endswith(".json"):
        try:
            value = loads(data)
        except Invalid:
            return [], delimiter
        items = value if isinstance(value, list) else [value]
        return [item for item in items if isinstance(item, dict)], delimiter
    try:
        found = sampled(data, name)
    except lines.BadFile:
        return [], delimiter
    return (found[1], found[0].delimiter) if found is not None else ([], delimiter)
