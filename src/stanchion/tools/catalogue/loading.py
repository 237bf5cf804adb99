"""A version of a tool with what it refers to as that is live, read together; and the pins of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from stanchion.base import Conflict, Json, NotFound, digest
from stanchion.blueprints import Lookup
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.runs import Pin, PinSet
from stanchion.tools.catalogue import derive, store
from stanchion.tools.catalogue.schema import tool_of
from stanchion.tools.catalogue.types import Tool, ToolState, ToolVersion
from stanchion.tools.connectors import connector_of
from stanchion.tools.types import Connector


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A version of a tool, its document, and the live versions of what it refers to, by (kind, name)."""

    version: ToolVersion
    body: Mapping[str, Json]
    connector: Connector | None
    others: Mapping[tuple[str, str], store.LiveRow]

    @property
    def lookup(self) -> Lookup:
        """Finds the bodies of what is live, and the tool itself."""
        bodies = {key: row.body for key, row in self.others.items()}
        return derive.lookup_with(self.body, lambda kind, name: bodies.get((kind, name)))

    def pins(self, environment: str) -> PinSet:
        """The exact set that a call resolves: the tool, its connector, its approval policy and what that reads.

        Raises Conflict `release.incomplete` if something it refers to is not live.
        """
        tool = self.version.tool
        named = [("connector", tool.connector), *([("policy", tool.approval)] if tool.approval else [])]
        missing = [f"{kind} {name}" for kind, name in named if (kind, name) not in self.others]
        if missing:
            raise Conflict(
                "release.incomplete",
                f"Tool {tool.name} cannot be called in {environment}: {', '.join(missing)} is not live there.",
                hint="Apply what is missing.",
            )
        rows = sorted(self.others.values(), key=lambda row: (row.kind, row.name))
        members = (
            Pin(kind="tool", name=tool.name, version=self.version.version, digest=tool.digest),
            *(Pin(kind=row.kind, name=row.name, version=row.version, digest=row.digest) for row in rows),
        )
        said = [{"kind": p.kind, "name": p.name, "version": p.version, "digest": p.digest} for p in members]
        return PinSet(digest=digest(cast("Json", said)), pins=members)


async def load(tx: Tx, ctx: Ctx, name: str, version: int | None) -> Loaded:
    """A version, the live one if none is said. Raises NotFound `tool.unknown`."""
    row = await store.version(tx, ctx.tenant, ctx.env.environment.name, name, version)
    if row is None:
        raise unknown(name, version)
    return (await loaded(tx, ctx, [row]))[0]


async def loaded(tx: Tx, ctx: Ctx, rows: Sequence[store.VersionRow]) -> list[Loaded]:
    """What each row of a version is, with what it refers to: three statements, however many there are."""
    environment = ctx.env.environment.name
    tools = [tool_of(row.body, row.digest) for row in rows]
    wanted = dict.fromkeys(name for tool in tools for name in _named(tool))
    found = await _live(tx, ctx.tenant, environment, list(wanted))
    further = dict.fromkeys(name for one in found.values() for name in _refs(one) if name not in found)
    if further:
        found |= await _live(tx, ctx.tenant, environment, list(further))
    told = await store.states_of(tx, ctx.tenant, environment, [(row.name, row.version) for row in rows])
    states = {(one.name, one.version): one for one in told}
    return [
        _loaded(row, tool, _within(tool, found), states.get((row.name, row.version)))
        for row, tool in zip(rows, tools, strict=True)
    ]


async def _live(
    tx: Tx, tenant: str, environment: str, wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], store.LiveRow]:
    return {(one.kind, one.name): one for one in await store.live(tx, tenant, environment, wanted)}


def _named(tool: Tool) -> list[tuple[str, str]]:
    """What the tool itself refers to."""
    return [("connector", tool.connector), *([("policy", tool.approval)] if tool.approval else [])]


def _refs(row: store.LiveRow) -> list[tuple[str, str]]:
    return [(kind, name) for kind, name in row.refs]


def _within(tool: Tool, found: Mapping[tuple[str, str], store.LiveRow]) -> dict[tuple[str, str], store.LiveRow]:
    """Of what was found for all, what this tool refers to, and what that does: the members of its pins."""
    own = [name for name in _named(tool) if name in found]
    further = [ref for name in own for ref in _refs(found[name]) if ref in found]
    return {name: found[name] for name in (*own, *further)}


def _loaded(
    row: store.VersionRow, tool: Tool, found: Mapping[tuple[str, str], store.LiveRow], state: ToolState | None
) -> Loaded:
    connector, live = None, found.get(("connector", tool.connector))
    if live is not None:
        connector = connector_of(live.body, live.digest)
    whole = connector is not None and derive.operation_of(tool, connector) is not None
    version = ToolVersion(
        tool=tool,
        version=row.version,
        author=row.author,
        live=row.live,
        retired=row.retired_at is not None,
        connector_version=None if live is None else live.version,
        connector_digest=None if live is None else live.digest,
        input_schema=derive.input_schema(tool, connector) if whole and connector is not None else None,
        told=derive.told_digest(tool, connector) if whole and connector is not None else "",
        state=None if state is None else _of_this(state, row.digest),
    )
    return Loaded(version=version, body=row.body, connector=connector, others=found)


def _of_this(state: ToolState, content: str) -> ToolState | None:
    return state if state.digest == content else None


def unknown(name: str, version: int | None) -> NotFound:
    """The problem of a tool that is not there."""
    if version is None:
        return NotFound(
            "tool.unknown", f"No tool {name!r} is live here.", hint="`stanchion tool list` lists what there is."
        )
    return NotFound(
        "tool.unknown",
        f"There is no version {version} of a tool {name!r}.",
        hint=f"`stanchion tool show {name}` lists its versions.",
    )
