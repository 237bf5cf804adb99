"""Which versions of tools may be used, in the memory of one process: read at its start, on every notification, and four
times a second anyway. A use costs no query."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from stanchion.base import Denied, Unavailable
from stanchion.context import Env, Environment
from stanchion.controls import Revision, Snapshot, TenantRevision, keeping
from stanchion.db import Tx
from stanchion.releases.policies import AGE_S_MAX, CHANNEL, LOOK_S, revision, revisions
from stanchion.tools.catalogue import store
from stanchion.tools.catalogue.types import Tool, ToolState


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one tenant's tools: states and version numbers, by (name, digest)."""

    states: Mapping[tuple[str, str], ToolState] = field(default_factory=dict[tuple[str, str], ToolState])
    numbers: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])


_NOTHING: Final = Known()


class States(Snapshot[Known]):
    """The states of every tenant's tools in this process's environment. Arguments as those of `controls.Snapshot`."""

    channel = CHANNEL
    what = "states of tools"
    age_event = "tools.age"
    every_s = LOOK_S

    def __init__(self, env: Env, *, role: str, notified: bool = True) -> None:
        super().__init__(env, role=role, notified=notified)

    def of(self, tenant: str) -> Known:
        """What is known of the tenant's tools."""
        return self._known.get(tenant, _NOTHING)

    def admit(self, tenant: str, tool: Tool, connector_digest: str) -> None:
        """Return if this version may be used through this version of its connector.

        Raises Denied `tool.disabled` or `tool.connector_changed`; Unavailable `tool.unread` before the first read, and for
        what changes the outside world when the states could not be read for too long (I11).
        """
        age_s = self.age_s
        if age_s is None or (tool.effect != "read" and age_s > AGE_S_MAX):
            read = "were not read yet" if age_s is None else f"could not be read for {age_s:.1f} s"
            raise Unavailable(
                "tool.unread",
                f"The states of tools {read}; nothing is called on what may have changed.",
                hint="The database is away or slow, see /health/dependencies; try again when it is back.",
                retry_after_s=1,
            )
        admitted(self.of(tenant), tool, connector_digest, self._env.environment)

    async def _revised(self, tx: Tx) -> Revision:
        return await revision(tx, self._env.environment.name)

    async def _revisions(self, tx: Tx) -> Sequence[TenantRevision]:
        return await revisions(tx, self._env.environment.name)

    async def _read(self, tenant: str, rev: int) -> Known:  # noqa: ARG002 - what is there now is newer or the same
        async with self._transaction(tenant) as tx:
            states = await store.states(tx, tenant, self._env.environment.name)
            numbers = await store.numbered(tx, tenant)
        return Known(
            states={(one.name, one.digest): one for one in states},
            numbers={(one.name, one.digest): one.version for one in numbers},
        )


def admitted(known: Known, tool: Tool, connector_digest: str, environment: Environment) -> None:
    """Return if, by what is known, this version may be used through this version of its connector.

    Raises Denied `tool.disabled` or `tool.connector_changed`.
    """
    state = known.states.get((tool.name, tool.digest))
    number = known.numbers.get((tool.name, tool.digest), 0)
    if state is None:
        if tool.effect == "read" and not environment.production:
            return
        raise disabled(tool.name, number, environment.name, born=True)
    if not state.enabled:
        raise disabled(tool.name, number, environment.name, state=state)
    if state.connector_digest != connector_digest:
        raise Denied(
            "tool.connector_changed",
            f"Tool {tool.name} v{state.version} was enabled with another version of connector {tool.connector!r} than"
            " is called.",
            hint=f"stanchion tool check {tool.name}@{state.version}, then stanchion tool enable.",
            tool=tool.name,
            version=state.version,
        )


def flag_of(name: str, version: int) -> str:
    """The flag under which a version is enabled. No document can be a flag of this name: the gate alone sets it."""
    return f"tool.{name}.v{version}.enabled"


def disabled(
    name: str, version: int, environment: str, *, state: ToolState | None = None, born: bool = False
) -> Denied:
    """The answer to a use of a version that is disabled: by whom and why, and the way out."""
    if born or state is None:
        why = "it was never enabled"
    else:
        why = f"{state.by} disabled it at {state.at:%Y-%m-%d %H:%M:%S} UTC: {state.reason}"
    called = f"{name} v{version}" if version else name
    return Denied(
        "tool.disabled",
        f"Tool {called} is disabled in {environment}: {why}.",
        hint=f"stanchion tool check {name}{f'@{version}' if version else ''} says what it needs to be enabled.",
        tool=name,
        version=version,
        flag=flag_of(name, version),
    )


@asynccontextmanager
async def kept(env: Env, *, role: str, notified: bool = True) -> AsyncGenerator[States]:
    """States that are read before the block begins (or are known to be unread) and kept fresh while it lasts."""
    async with keeping(States(env, role=role, notified=notified)) as states:
        yield states
