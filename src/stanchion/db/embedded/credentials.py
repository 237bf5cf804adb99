"""The roles' passwords, and which cluster they open: one 0600 file, replaced in one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from stanchion.base import Clock, Conflict, Invalid, SystemClock, SystemIds, dumps, loads
from stanchion.db.embedded.configuration import PORT
from stanchion.db.embedded.layout import write_whole
from stanchion.db.roles import PROCESS_TYPES, ProcessType, login

DATABASE = "stanchion"
SUPER = "stanchion_super"
OWNER = "stanchion_owner"
APP = "stanchion_app"
ENGINE = "stanchion_engine"
# The processes' own, by type: a cluster made by an older version gets them at its next start.
LOGINS = tuple(login(process) for process in PROCESS_TYPES)
ROLES = (SUPER, OWNER, APP, ENGINE)
_SCHEMA_V = 1
_PASSWORD_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterUrls:
    """libpq URLs of the roles, with their passwords, over the Unix socket; of the processes' by type. Never log them."""

    owner: str
    app: str
    engine: str
    processes: Mapping[ProcessType, str]

    def __repr__(self) -> str:
        return "ClusterUrls(owner=…, app=…, engine=…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What opens one cluster. `cluster_id` is its system identifier, in decimal."""

    cluster_id: str
    passwords: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Credentials(cluster_id={self.cluster_id!r}, passwords=…)"

    def urls(self, socket_dir: str) -> ClusterUrls:
        """The URLs for a server whose socket lies in `socket_dir`."""
        return ClusterUrls(
            owner=self._url(OWNER, socket_dir),
            app=self._url(APP, socket_dir),
            engine=self._url(ENGINE, socket_dir),
            processes={process: self._url(login(process), socket_dir) for process in PROCESS_TYPES},
        )

    def _url(self, role: str, socket_dir: str) -> str:
        # The port is said, so that a PGPORT in someone's environment changes nothing. An abstract socket is not
        # protected by a folder, so there the client also insists that the server proves it knows the password.
        proof = "&require_auth=scram-sha-256" if socket_dir.startswith("@") else ""
        place = f"host={quote(socket_dir, safe='')}&port={PORT}"
        return f"postgresql://{role}:{self.passwords[role]}@/{DATABASE}?{place}{proof}"


def new_passwords(clock: Clock | None = None) -> dict[str, str]:
    """A fresh password of 256 bits for each role."""
    ids = SystemIds(clock or SystemClock())
    return {role: ids.secret(_PASSWORD_BYTES).hex() for role in (*ROLES, *LOGINS)}


def completed(credentials: Credentials) -> Credentials | None:
    """With the passwords of roles that came with this version; None if it has them all."""
    if set(LOGINS) <= set(credentials.passwords):
        return None
    return Credentials(cluster_id=credentials.cluster_id, passwords={**new_passwords(), **credentials.passwords})


def save_credentials(path: Path, credentials: Credentials) -> None:
    """Write the file. Raises OSError."""
    content = {
        "schema_v": _SCHEMA_V,
        "cluster_id": credentials.cluster_id,
        "passwords": dict(credentials.passwords),
    }
    write_whole(path, dumps(content) + b"\n", mode=0o600)


def load_credentials(path: Path) -> Credentials:
    """Read the file.

    Raises:
        Conflict: `db.credentials_lost` if it is missing or is not what we wrote.
        OSError: it cannot be read.
    """
    try:
        content = loads(path.read_bytes())
    except FileNotFoundError as error:
        raise _lost(path, "is missing") from error
    except Invalid as error:
        raise _lost(path, "is damaged") from error
    if not isinstance(content, dict) or content.get("schema_v") != _SCHEMA_V:
        raise _lost(path, "has a form this version does not know")
    cluster_id, passwords = content.get("cluster_id"), content.get("passwords")
    if not isinstance(cluster_id, str) or not isinstance(passwords, dict):
        raise _lost(path, "is damaged")
    known = {role: value for role, value in passwords.items() if isinstance(value, str)}
    if not set(ROLES) <= set(known):
        raise _lost(path, "lacks a role's password")
    return Credentials(cluster_id=cluster_id, passwords=known)


def _lost(path: Path, what: str) -> Conflict:
    return Conflict(
        "db.credentials_lost",
        f"The database in {path.parent} cannot be opened: the file {path} with its passwords {what}.",
        hint=f"Restore that file from a backup; or, to begin anew without the data, move {path.parent} away.",
    )
