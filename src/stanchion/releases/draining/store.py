"""What drains read of artifacts. Withdrawals themselves are `controls`', runs are `runs`'."""

from __future__ import annotations

from collections.abc import Sequence

from stanchion.db import Tx, maybe, scalars
from stanchion.releases.revoking import Named


async def by_version(tx: Tx, tenant: str, kind: str, name: str, version: int) -> Named | None:
    """The version of that number."""
    return await maybe(
        tx,
        Named,
        "select kind, name, version, digest from artifacts where tenant = %s and kind = %s and name = %s and version = %s",
        (tenant, kind, name, version),
    )


async def live_among(tx: Tx, tenant: str, environment: str, digests: Sequence[str]) -> set[str]:
    """Those of these digests that are live in the environment."""
    return set(
        await scalars(
            tx,
            "select digest from releases where tenant = %s and environment = %s and digest = any(%s)",
            (tenant, environment, list(digests)),
        )
    )
