"""The contract of a provider: a place that values come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """A version of a secret with all its fields, in plain text; says nothing of them when printed.

    Attributes:
        fields: field name -> text.
        version: which version it is; None where the provider has none.
        valid_until: from then on it must not be used; None for a current one.
        lease_s: how long the provider lets it be kept, in seconds; None: as long as our own cache keeps things.
    """

    fields: Mapping[str, str] = field(repr=False)
    version: int | None = None
    valid_until: datetime | None = None
    lease_s: float | None = None


class Provider(Protocol):
    """A place that values come from. Whether they may be used is asked before, by who calls it.

    Every failure is a Problem without a value in it: NotFound `secret.unknown`, `secret.unknown_version`; Denied
    `secret.version_ended`, `secret.provider_denied`; Unavailable `secret.provider_away`.
    """

    name: str

    async def read(self, tenant: str, path: str, version: int | None) -> Values:
        """The fields of that version, or of the current one."""
        ...

    async def previous(self, tenant: str, path: str) -> Values | None:
        """The version before the current one while it is valid; None if there is none or nobody can tell."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
