"""The nouns of keeping: a secret as people see it, and where references to it stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from stanchion.db import Tx
from stanchion.secrets.types import VersionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A secret without its values.

    Attributes:
        provider, path: which one.
        environment: the one it is issued to.
        connectors: those it is granted to, sorted.
        version: the current one of a local secret; None for other providers, which have their own.
        fields: the names of its fields.
        set_by, set_at: who made the current version (or made it known), and when.
        previous: the versions before that are still valid, oldest first.
        previous_until: when the last of them stops being so.
    """

    provider: str
    path: str
    environment: str
    connectors: tuple[str, ...]
    version: int | None
    fields: tuple[str, ...]
    set_by: str
    set_at: datetime
    previous: tuple[int, ...]
    previous_until: datetime | None

    def __post_init__(self) -> None:
        # Arrays come from the database as lists; a frozen value holds none.
        for name in ("connectors", "fields", "previous"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def name(self) -> str:
        """`provider/path`."""
        return f"{self.provider}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a local secret, without its values."""

    version: int
    state: VersionState
    fields: tuple[str, ...]
    ends_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(self.fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A new value on its way: sealed to the key `key_id`, base64url."""

    key_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A text of a live connector that is meant to be a reference. `place`: JSON pointer into its document."""

    connector: str
    place: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What `check` found of one reference of a live connector.

    Attributes:
        connector, place: where it stands; `place` is a JSON pointer.
        reference: its text; empty if it is none.
        version: the version that it resolves to, where there are versions.
        code, detail, hint: why it does not resolve; empty if it does.
        issued_to, granted: the secret's environment and connectors, if it is known.
    """

    connector: str
    place: str
    reference: str
    version: int | None
    code: str
    detail: str
    hint: str
    issued_to: str | None
    granted: tuple[str, ...]


class References(Protocol):
    """Who knows the references of live connectors: `tools`, which lies above."""

    async def live(self, tx: Tx, tenant: str, environment: str) -> Sequence[Reference]:
        """All of them, by connector and place."""
        ...
