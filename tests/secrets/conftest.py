"""Secrets over a real database: a tenant with people, and the process that holds keys, in a folder of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stanchion.base import SystemIds
from stanchion.context import Ctx
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import CedarAuthorizer
from stanchion.secrets import Secret, SecretRef
from stanchion.secrets.holding import KeyFile, Keyring, LocalHolder, LocalProvider, Resolver
from stanchion.secrets.keeping import Kept, Reference, Sealed, rotate_secret, set_secret
from stanchion.secrets.sealing import public_key, sealed
from tests.conftest import make_env
from tests.support.web import Stage, set_stage


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here sleeps {seconds}")

    def pass_s(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass
class Named:
    """References that a test says there are."""

    rows: list[Reference] = field(default_factory=list)

    async def live(self, tx, tenant: str, environment: str) -> Sequence[Reference]:
        del tx, tenant, environment
        return self.rows


@dataclass(kw_only=True)
class Safe:
    """A holder with its key file, an admin who keeps secrets, and what they do in one word."""

    stage: Stage
    ctx: Ctx
    clock: HandClock
    file: KeyFile
    holder: LocalHolder
    resolver: Resolver
    references: Named

    async def seal(self, name: str, fields: dict[str, str] | str, *, tenant: str | None = None) -> Sealed:
        key = await self.holder.sealing_key()
        said = {"value": fields} if isinstance(fields, str) else fields
        text = sealed(public_key(key.public), said, tenant=tenant or self.ctx.tenant, path=name, ids=self.ctx.env.ids)
        return Sealed(key_id=key.id, text=text)

    async def set(self, path: str, fields: dict[str, str] | str, connectors=("erp",), **more) -> Kept:
        return await set_secret(
            self.ctx, self.holder, path, await self.seal(path, fields), connectors=connectors, **more
        )

    async def rotate(self, path: str, fields: dict[str, str] | str, **more) -> Kept:
        return await rotate_secret(self.ctx, self.holder, path, await self.seal(path, fields), **more)

    async def get(self, text: str, *, connector: str = "erp", environment: str = "local", tenant: str = "") -> Secret:
        return await self.resolver.resolve(
            tenant or self.ctx.tenant, SecretRef.parse(text), environment=environment, connector=connector
        )


def holder_of(env, file: KeyFile, /, *, cache_s: float = 2.0, **providers) -> LocalHolder:
    keyring = Keyring(env, file)
    local = LocalProvider(env, keyring)
    resolver = Resolver(env, {"local": local, **providers}, cache_s=cache_s)
    return LocalHolder(keyring=keyring, local=local, resolver=resolver)


@pytest.fixture
async def safe(fresh_database_urls: DatabaseUrls, tmp_path: Path) -> AsyncIterator[Safe]:
    clock = HandClock()
    async with Database(fresh_database_urls) as database:
        env = dataclasses.replace(
            make_env(database, clock=clock, authorizer=CedarAuthorizer(home_tenant="default")), ids=SystemIds(clock)
        )
        stage = await set_stage(env)
        file = KeyFile(tmp_path / "data.keys" / "secrets.key", data=tmp_path / "data")
        holder = holder_of(env, file)
        yield Safe(
            stage=stage,
            ctx=await stage.admin(),
            clock=clock,
            file=file,
            holder=holder,
            resolver=holder.resolver,
            references=Named(),
        )
