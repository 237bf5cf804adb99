"""The database of one `up`: embedded in the data folder, or an external one named by the settings."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from stanchion.base import Invalid, Unavailable
from stanchion.base.config import mask, with_tls
from stanchion.base.settings import Settings
from stanchion.db import DatabaseUrls, ProcessType, migrate
from stanchion.db.embedded import EmbeddedPostgres
from stanchion.processes.password import PROCESS, password_of


def external_urls(settings: Settings, process: ProcessType) -> DatabaseUrls | None:
    """The URLs the settings name for a process of this type, with their TLS parameters; None where the embedded database is
    meant. Without an `engine_url` the process has a role of its own. Raises Invalid as `password_of`."""
    database = settings.database
    if database.url is None:
        return None
    owner = None if database.owner_url is None else with_tls(database.owner_url, database)
    url = with_tls(database.url.replace(PROCESS, process), database)
    return DatabaseUrls(
        app=url,
        engine=url if database.engine_url is None else with_tls(database.engine_url, database),
        owner=owner,
        process=process if database.engine_url is None else None,
        password=password_of(settings, process),
    )


def required_urls(settings: Settings, process: ProcessType) -> DatabaseUrls:
    """The URLs of a process of this type that runs alone. Raises Invalid `config.no_database`."""
    urls = external_urls(settings, process)
    if urls is None:
        raise Invalid(
            "config.no_database",
            "No database is named: a process that runs alone does not start the embedded one.",
            hint=f"Set database.url (STANCHION_DATABASE_URL) to one as stanchion_{process}, or use `stanchion up`.",
        )
    return urls


class Base:
    """Starts, keeps and stops the database. Its methods block: call them in a thread."""

    def __init__(self, settings: Settings, *, durable: bool = True) -> None:
        self._settings = settings
        self._server = None if settings.database.url else EmbeddedPostgres(settings.data, durable=durable)

    @property
    def embedded(self) -> bool:
        """Whether the database is ours to start."""
        return self._server is not None

    def start(self) -> None:
        """Start it if it is ours, and bring the schema and the roles' grants to this version where the owner's URL is known."""
        if self._server is not None:
            # All processes are of this version: what older ones needed is taken back.
            migrate_url(self._server.start().owner, exactly=True)
        elif self._settings.database.owner_url is not None:
            migrate_url(with_tls(self._settings.database.owner_url, self._settings.database))

    def overrides(self, process: ProcessType) -> Mapping[str, object]:
        """What a child of this type is told: its own role alone, never another's nor the owner."""
        data, database = str(self._settings.data), self._settings.database
        if self._server is not None:
            return {"data": data, "database.url": self._server.urls.processes[process]}
        return {"data": data, "database.url": database.url, "database.engine_url": database.engine_url}

    def revive(self) -> bool:
        """Start the embedded server again if it has died; whether it had."""
        if self._server is None or self._server.is_running():
            return False
        self._server.start()
        return True

    def stop(self) -> None:
        """Stop it if it is ours."""
        if self._server is not None:
            self._server.stop()


def overrides_for(urls: DatabaseUrls, data: str) -> Mapping[str, object]:
    """What a child of the same type is told: run-time roles only, never the owner."""
    shared = {"database.engine_url": urls.engine} if urls.process is None else {}
    return {"data": data, "database.url": urls.app, **shared}


def migrate_url(owner_url: str, *, exactly: bool = False) -> list[str]:
    """Migrate an external database; the names applied.

    Raises Unavailable `db.unreachable` with the server's reason, Conflict and Unavailable as `db.migrate`.
    """
    try:
        return migrate(owner_url, exactly=exactly)
    except psycopg.OperationalError as error:
        raise Unavailable(
            "db.unreachable",
            f"The database {mask(owner_url)} cannot be reached: {str(error).strip()}.",
            hint="Check database.owner_url, and that the server accepts this role.",
        ) from error
