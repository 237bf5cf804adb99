"""The database of one `up`: embedded in the data folder, or an external one named by the settings."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from stanchion.base import Invalid, Unavailable
from stanchion.base.config import mask, with_tls
from stanchion.base.settings import DatabaseSettings, Settings
from stanchion.db import DatabaseUrls, migrate
from stanchion.db.embedded import EmbeddedPostgres


def external_urls(database: DatabaseSettings) -> DatabaseUrls | None:
    """The URLs the settings name, with their TLS parameters; None where the embedded database is meant."""
    if database.url is None or database.engine_url is None:
        return None
    owner = None if database.owner_url is None else with_tls(database.owner_url, database)
    return DatabaseUrls(
        app=with_tls(database.url, database), engine=with_tls(database.engine_url, database), owner=owner
    )


def required_urls(settings: Settings) -> DatabaseUrls:
    """The URLs of a process that runs alone. Raises Invalid `config.no_database`."""
    urls = external_urls(settings.database)
    if urls is None:
        raise Invalid(
            "config.no_database",
            "No database is named: a process that runs alone does not start the embedded one.",
            hint="Set database.url and database.engine_url (STANCHION_DATABASE_URL, STANCHION_DATABASE_ENGINE_URL), or use `stanchion up`.",
        )
    return urls


class Base:
    """Starts, keeps and stops the database. Its methods block: call them in a thread."""

    def __init__(self, settings: Settings, *, durable: bool = True) -> None:
        self._external = external_urls(settings.database)
        self._server = None if self._external else EmbeddedPostgres(settings.data, durable=durable)

    @property
    def embedded(self) -> bool:
        """Whether the database is ours to start."""
        return self._server is not None

    def start(self) -> DatabaseUrls:
        """Start it if it is ours, and bring the schema to this version where the owner's URL is known."""
        if self._server is not None:
            found = self._server.start()
            urls = DatabaseUrls(app=found.app, engine=found.engine, owner=found.owner)
        else:
            urls = self._external or DatabaseUrls(app="", engine="")
        if urls.owner is not None:
            migrate_url(urls.owner)
        return urls

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
    """What children are told: run-time roles only, never the owner."""
    return {"data": data, "database.url": urls.app, "database.engine_url": urls.engine}


def migrate_url(owner_url: str) -> list[str]:
    """Migrate an external database; the names applied.

    Raises Unavailable `db.unreachable` with the server's reason, Conflict and Unavailable as `db.migrate`.
    """
    try:
        return migrate(owner_url)
    except psycopg.OperationalError as error:
        raise Unavailable(
            "db.unreachable",
            f"The database {mask(owner_url)} cannot be reached: {str(error).strip()}.",
            hint="Check database.owner_url, and that the server accepts this role.",
        ) from error
