"""HTTP: /api/configs, one of them as it is in an environment, and setting its values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field, StringConstraints

from stanchion.artifacts import KindSpec
from stanchion.artifacts.routes import NamePath
from stanchion.blueprints import config_set_here, config_values
from stanchion.context import Ctx
from stanchion.http import CtxDep, Model, Page, PageDep, Reply, example
from stanchion.releases.configs import service
from stanchion.releases.configs.types import ConfigRow, Shown
from stanchion.releases.resolver import Resolver
from stanchion.releases.types import ReleaseChange

_DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_DIGEST_2 = "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
_CONFIG: dict[str, Any] = {
    "name": "risk-limits",
    "version": 2,
    "digest": _DIGEST,
    "owner": "casework",
    "description": "Above what a person decides.",
    "environment": "production",
    "values": {"fine_eur": 50000, "countries": ["DE", "FR"]},
    "set_here": ["/fine_eur"],
    "released_at": "2026-11-18T09:00:00Z",
    "released_by": "ada",
    "candidate": None,
    "rollout": None,
}
_SHOWN: dict[str, Any] = {
    **_CONFIG,
    "live_version": 2,
    "schema": {
        "type": "object",
        "required": ["fine_eur", "countries"],
        "properties": {"fine_eur": {"type": "integer"}, "countries": {"type": "array", "items": {"type": "string"}}},
        "additionalProperties": False,
    },
    "held": [{"version": 2, "runs": 12}, {"version": 1, "runs": 1}],
    "here": {"process": "web", "version": 2, "age_s": 0.2},
}
_CHANGED: dict[str, Any] = {
    "name": "risk-limits",
    "version": 3,
    "digest": _DIGEST_2,
    "change": "updated",
    "source": "config: risk-limits\nowner: casework\nvalues:\n  fine_eur: 80000\n",
    "not_here": [],
}

_Environment = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
_Pointer = Annotated[str, StringConstraints(pattern=r"^(/[^\x00/]{1,128}){1,20}$", max_length=1024)]
_VERSION = Query(ge=1, le=2**31 - 1, description="The live one if left out.")
_ENVIRONMENT = Query(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Whose values; this environment's if left out.")


class ConfigReply(Reply):
    """What is live of a config, with its values as they are in this environment. `set_here`: JSON pointers of those that
    the environment sets itself; `candidate`: the version that a rollout tries."""

    model_config = example(_CONFIG)

    name: str
    version: int
    digest: str
    owner: str
    description: str
    environment: str
    values: dict[str, Any]
    set_here: list[str]
    released_at: datetime
    released_by: str
    candidate: int | None
    rollout: UUID | None

    @classmethod
    def of(cls, row: ConfigRow, environment: str) -> Self:
        """A row as it is shown."""
        return cls(
            name=row.name,
            version=row.version,
            digest=row.digest,
            owner=row.owner,
            description=str(row.body.get("description", "")),
            environment=environment,
            values=config_values(row.body, environment),
            set_here=config_set_here(row.body, environment),
            released_at=row.released_at,
            released_by=row.released_by,
            candidate=row.candidate,
            rollout=row.rollout,
        )


class HeldReply(Reply):
    """How many unfinished runs are pinned to a version, of the newest that were counted."""

    model_config = example({"version": 1, "runs": 12})

    version: int
    runs: int


class HereReply(Reply):
    """What runs get that the answering process starts, leaving rollouts aside, and how old that knowledge is. The version is
    null if it started none that reads the config since something was released."""

    model_config = example({"process": "web", "version": 2, "age_s": 0.2})

    process: str
    version: int | None
    age_s: float | None


class ConfigShownReply(ConfigReply):
    """One version of a config as it is in an environment; `live_version` may be another. `held`: the versions that
    unfinished runs have."""

    model_config = example(_SHOWN)

    live_version: int
    schema_: dict[str, Any] = Field(alias="schema")
    held: list[HeldReply]
    here: HereReply

    @classmethod
    def shown(cls, one: Shown, here: HereReply) -> ConfigShownReply:
        """A config as it is shown."""
        facts = ConfigReply.of(one.row, one.environment).model_dump()
        facts |= {
            "version": one.version,
            "digest": one.digest,
            "description": one.description,
            "values": dict(one.values),
            "set_here": list(one.set_here),
        }
        held = [HeldReply(version=row.version, runs=row.runs) for row in one.held]
        return cls(**facts, live_version=one.row.version, schema=dict(one.schema), held=held, here=here)


class SetRequest(Model):
    """Values to set, by JSON pointer; `environment`: whose overlay is changed, else what holds everywhere else too."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"changes": {"/fine_eur": 80000}, "reason": "The board agreed."}]},
    )

    changes: dict[_Pointer, Any] = Field(min_length=1, max_length=50)
    environment: _Environment | None = None
    reason: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$", description="Why; kept.")
    dry_run: bool = False


class ConfigChangedReply(Reply):
    """What became of it: the version that is live now (with `dry_run`: that would be), and its document. `not_here`: what
    was set for everywhere else, while this environment has a value of its own."""

    model_config = example(_CHANGED)

    name: str
    version: int
    digest: str
    change: ReleaseChange
    source: str
    not_here: list[str]


async def _here(ctx: Ctx, resolver: Resolver, name: str) -> HereReply:
    version = await resolver.version_of(ctx.tenant, "config", name)
    age_s = resolver.age_s(ctx.tenant)
    return HereReply(
        process=ctx.env.telemetry.process,
        version=version,
        age_s=None if age_s is None else round(age_s, 3),
    )


def build_router(kinds: Mapping[str, KindSpec], resolver: Resolver) -> APIRouter:
    """The routes of configs. `kinds`: how each kind is read; `resolver`: what this process starts runs by."""
    router = APIRouter(prefix="/api/configs", tags=["configs"])

    @router.get("", summary="List configs", operation_id="list_configs")
    async def get_configs(ctx: CtxDep, page: PageDep) -> Page[ConfigReply]:
        """The configs that are live in this environment, by name, with their values here."""
        found = await service.list_configs(ctx, page)
        here = ctx.env.environment.name
        return Page(items=[ConfigReply.of(row, here) for row in found.items], next=found.next)

    @router.get("/{name}", summary="Show a config", operation_id="show_config")
    async def get_config(
        ctx: CtxDep,
        name: NamePath,
        version: Annotated[int | None, _VERSION] = None,
        environment: Annotated[str | None, _ENVIRONMENT] = None,
    ) -> ConfigShownReply:
        """A version of a config (the live one if left out) with its values in an environment, and what runs still have."""
        shown = await service.show_config(ctx, name, version=version, environment=environment)
        return ConfigShownReply.shown(shown, await _here(ctx, resolver, name))

    @router.post("/{name}/set", summary="Set values of a config", operation_id="set_config")
    async def post_set(ctx: CtxDep, name: NamePath, body: SetRequest) -> ConfigChangedReply:
        """Set values in the live document, and publish and release what comes of it; comments and layout stay."""
        change, document, not_here = await service.set_values(
            ctx,
            name,
            body.changes,
            environment=body.environment,
            kinds=kinds,
            reason=body.reason,
            dry_run=body.dry_run,
        )
        return ConfigChangedReply(
            name=change.name,
            version=change.version,
            digest=change.digest,
            change=change.change,
            source=document.source,
            not_here=list(not_here),
        )

    return router
