"""The `sql` adapter: statements that the connector declares, with bound parameters, on SQLite or PostgreSQL.

The document names no credential: PostgreSQL's URL is in a private file that is read here, for the call alone (I9).
A read runs where the target refuses to write. A push is one transaction of the target: wait for whoever writes under
the same idempotency key, look whether the write is there, write it if not, commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, cast

from stanchion.base import Clock, Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import Target
from stanchion.tools.adapters.call import Call, any_target, offset_of
from stanchion.tools.adapters.paths import path_complaint
from stanchion.tools.adapters.postgresql import PostgresDriver, url_complaint
from stanchion.tools.adapters.sql_found import COLUMNS_MAX, columns_of, discovery_of
from stanchion.tools.adapters.sqlite import SqliteDriver
from stanchion.tools.adapters.statements import Driver, read_statement
from stanchion.tools.credentials import REFERENCE, Credentials, check_reference
from stanchion.tools.egress import Network
from stanchion.tools.records import read_record
from stanchion.tools.types import Connector, Discovery, Envelope, Record

_TEXT: Json = {"type": "string", "minLength": 1, "maxLength": 20_000}
_IDEMPOTENCY: Json = {"enum": ["key", "natural", "probe", "none"]}
_KEY = "idempotency_key"


class SqlDriver(Protocol):
    """One kind of database. Statements come as written; `values` hold exactly the parameters they use."""

    async def read(
        self, call: Call, statement: str, values: Record, skip: int, limit: int
    ) -> list[Mapping[str, object]]:
        """At most `limit` rows after the first `skip`, in a transaction that cannot write."""
        ...

    async def write(self, call: Call, statement: str, values: Record, probe: str | None, key: str) -> int | None:
        """Rows written, or None if `probe` found the write there. Serialised on `key`, in one transaction."""
        ...

    async def test(self, call: Call) -> str:
        """Connect, and say what was found."""
        ...

    async def columns(self, call: Call, limit: int) -> list[Mapping[str, object]]:
        """At most `limit` columns of what can be read, in order: what `sql_found.columns_of` takes."""
        ...

    async def close(self) -> None:
        """Close connections that wait for use."""
        ...


class SqlAdapter:
    """See the module. `root` is the folder that a connector's paths are relative to."""

    name = "sql"
    settings_schema: Mapping[str, Schema] = {
        "database": {
            "type": "object",
            "required": ["driver"],
            "additionalProperties": False,
            "properties": {
                "driver": {"enum": ["sqlite", "postgresql"]},
                "path": {"type": "string", "minLength": 1, "maxLength": 500},
                "url_file": {"type": "string", "minLength": 1, "maxLength": 500},
                "url": {"type": "string", "pattern": "^postgres(ql)?://", "maxLength": 1000},
                "password": dict(REFERENCE),
            },
        }
    }
    settings_required: tuple[str, ...] = ("database",)
    resource_schema: Mapping[str, Schema] = {}
    resource_required: tuple[str, ...] = ()
    operation_schemas: Mapping[str, Schema] = {
        "fetch": {
            "type": "object",
            "required": ["statement"],
            "additionalProperties": False,
            "properties": {"statement": _TEXT, "parameters": {"x-parameters": True}},
        },
        "lookup": {
            "type": "object",
            "required": ["statement"],
            "additionalProperties": False,
            "properties": {"statement": _TEXT},
        },
        "push": {
            "type": "object",
            "required": ["statement", "idempotency"],
            "additionalProperties": False,
            "properties": {
                "statement": _TEXT,
                "idempotency": _IDEMPOTENCY,
                "probe": _TEXT,
                "effect": {"enum": ["write", "destructive"]},
            },
        },
    }
    refused: Mapping[str, str] = {}

    def __init__(self, root: Path, clock: Clock, network: Network | None = None) -> None:
        self._clock = clock
        self._drivers: dict[str, SqlDriver] = {
            "sqlite": SqliteDriver(root),
            "postgresql": PostgresDriver(root, network),
        }

    def _driver(self, connector: Connector) -> SqlDriver:
        database = cast("Mapping[str, Json]", connector.settings["database"])
        return self._drivers[str(database["driver"])]

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """The database's address, and each statement: one only, its parameters exactly those declared."""
        database = cast("Mapping[str, Json]", body["database"])
        driver = cast("Driver", database["driver"])
        yield from _check_database(database)
        for name, resource in cast("Mapping[str, Mapping[str, Json]]", body["resources"]).items():
            fields = set(cast("Mapping[str, Json]", resource["fields"]))
            for verb in ("fetch", "lookup", "push"):
                if verb in resource:
                    operation = cast("Mapping[str, Json]", resource[verb])
                    yield from _check_operation(f"/resources/{name}/{verb}", verb, operation, fields, driver)

    async def fetch(self, target: Target, where: Record, limit: int, page: str | None) -> Envelope:
        """The statement's rows from the page's position on; a page is a position, so the statement must order."""
        call = Call(target=target, clock=self._clock)
        skip = offset_of(target, page)
        statement = str(target.operation.settings["statement"])
        rows = await self._driver(target.connector).read(call, statement, where, skip, limit + 1)
        records = [read_record(target, skip + n, row) for n, row in enumerate(rows[:limit], start=1)]
        return call.fetched(records, str(skip + limit) if len(rows) > limit else None)

    async def lookup(self, target: Target, key: Json) -> Envelope:
        """The statement's one row for `:key`."""
        call = Call(target=target, clock=self._clock)
        statement = str(target.operation.settings["statement"])
        rows = await self._driver(target.connector).read(call, statement, {"key": key}, 0, 2)
        if len(rows) > 1:
            raise target.problem("adapter.ambiguous", "has more than one record with this key.")
        return call.looked_up(read_record(target, 1, rows[0]) if rows else None)

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """Write once under the key. No row written counts as already there for `key` and `natural`, else as a refusal."""
        call = Call(target=target, clock=self._clock)
        values = {**record, _KEY: idempotency_key}
        statement, probe = str(target.operation.settings["statement"]), target.operation.settings.get("probe")
        rows = await self._driver(target.connector).write(
            call, statement, values, None if probe is None else str(probe), idempotency_key
        )
        if rows == 0 and target.operation.idempotency in {"probe", "none"}:
            raise target.problem(
                "adapter.nothing_written",
                "ran its push statement, which wrote no row.",
                hint="The row it should change is not there; or declare `idempotency: natural` if none is right.",
            )
        return call.pushed(applied=bool(rows), rows=rows or 0, idempotency_key=idempotency_key)

    async def probe(self, target: Target, record: Record, idempotency_key: str) -> bool:
        """Whether the probe statement returns a row for this key."""
        call = Call(target=target, clock=self._clock)
        probe = str(target.operation.settings["probe"])
        values = {**record, _KEY: idempotency_key}
        return bool(await self._driver(target.connector).read(call, probe, values, 0, 1))

    async def execute(self, target: Target, arguments: Record, idempotency_key: str | None) -> Envelope:  # noqa: ARG002
        """Refused, here as at publish."""
        raise target.problem(
            "adapter.not_offered", "has no operations: statements that write are the push of a resource."
        )

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """Connect as a read would."""
        call = Call(target=any_target(connector, timeout_s, credentials), clock=self._clock)
        return await self._driver(connector).test(call)

    async def discover(
        self, connector: Connector, timeout_s: float, credentials: Credentials | None = None
    ) -> Discovery:
        """Tables and views that can be read, with their columns, keys and the statements that read them."""
        call = Call(target=any_target(connector, timeout_s, credentials), clock=self._clock)
        rows = await self._driver(connector).columns(call, COLUMNS_MAX + 1)
        database = cast("Mapping[str, Json]", connector.settings["database"])
        driver = cast("Driver", database["driver"])
        return discovery_of(columns_of(rows[:COLUMNS_MAX]), driver, truncated=len(rows) > COLUMNS_MAX)

    async def close(self) -> None:
        """Close connections that wait for use."""
        for driver in self._drivers.values():
            await driver.close()


_FOREIGN = {"sqlite": ("url_file", "url", "password"), "postgresql": ("path",)}


def _check_database(database: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    driver = str(database["driver"])
    needed = "path" if driver == "sqlite" else "url" if "url" in database else "url_file"
    if needed not in database:
        yield ConfigIssue(
            pointer="/database",
            code="connector.missing_field",
            message=f"A {driver} database needs `{needed}`{'' if needed == 'path' else ' or `url`'}.",
            hint="The path of its file."
            if needed == "path"
            else "`url: postgresql://user@host/database` with `password: secret://local/NAME`; or a file of mode 0600 that"
            " holds its URL.",
        )
    for other in (*_FOREIGN[driver], *(("url_file",) if needed == "url" else ())):
        if other in database:
            yield ConfigIssue(
                pointer=f"/database/{other}",
                code="connector.unknown_field",
                message=f"A {driver} database{' with a `url`' if needed == 'url' else ''} has no `{other}`.",
                hint=f"Say `{needed}`.",
            )
    if needed == "url":
        yield from _check_url(database)
    elif "password" in database and driver == "postgresql":
        yield ConfigIssue(
            pointer="/database/password",
            code="connector.unknown_field",
            message="The file of `url_file` holds the password too.",
            hint="Say `url` in place of `url_file`, or leave the password out.",
        )
    if needed != "url" and (complaint := path_complaint(str(database.get(needed, "x")))) is not None:
        yield ConfigIssue(
            pointer=f"/database/{needed}", code="connector.path_escapes", message=f"The path {complaint}."
        )


def _check_url(database: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    if "password" in database:
        yield from check_reference("/database/password", database["password"])
    if (complaint := url_complaint(str(database["url"]))) is not None:
        yield ConfigIssue(
            pointer="/database/url",
            code="connector.bad_database_url",
            message=f"The URL {complaint}.",
            hint="postgresql://user@host:5432/database?sslmode=verify-full; the password stands in `password`.",
        )


def _check_operation(
    pointer: str, verb: str, operation: Mapping[str, Json], fields: set[str], driver: Driver
) -> Iterable[ConfigIssue]:
    declared = {
        "fetch": set(cast("Mapping[str, Json]", operation.get("parameters", {}))),
        "lookup": {"key"},
        "push": fields | {_KEY},
    }[verb]
    required = {"fetch": declared, "lookup": {"key"}, "push": set[str]()}[verb]
    if verb == "push":
        yield from _check_idempotency(pointer, operation)
        required = {_KEY} if operation["idempotency"] == "key" else set[str]()
    yield from _check_statement(f"{pointer}/statement", str(operation["statement"]), driver, declared, required)
    if "probe" in operation:
        yield from _check_statement(f"{pointer}/probe", str(operation["probe"]), driver, declared, set[str]())


def _check_idempotency(pointer: str, operation: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    probing = operation["idempotency"] == "probe"
    if probing and "probe" not in operation:
        yield ConfigIssue(
            pointer=f"{pointer}/idempotency",
            code="connector.missing_probe",
            message="`idempotency: probe` needs a `probe` statement.",
            hint="One that returns a row if the write is there: select 1 from … where idempotency_key = :idempotency_key",
        )
    if not probing and "probe" in operation:
        yield ConfigIssue(
            pointer=f"{pointer}/probe",
            code="connector.unused_probe",
            message=f"`idempotency: {operation['idempotency']}` does not use a `probe`.",
            hint="Say `idempotency: probe`, or leave the statement out.",
        )


def _check_statement(
    pointer: str, text: str, driver: Driver, declared: set[str], required: set[str]
) -> Iterable[ConfigIssue]:
    try:
        used = set(read_statement(text, driver).parameters)
    except ValueError as error:
        yield ConfigIssue(pointer=pointer, code="connector.bad_statement", message=f"The statement {error}.")
        return
    for name in sorted(used - declared):
        yield ConfigIssue(
            pointer=pointer,
            code="connector.undeclared_parameter",
            message=f"The statement uses :{name}, which is not declared.",
            hint=f"It may use: {', '.join(f':{n}' for n in sorted(declared)) or 'no parameters'}.",
        )
    for name in sorted(required - used):
        yield ConfigIssue(
            pointer=pointer,
            code="connector.unused_parameter",
            message=f"The statement does not use :{name}.",
            hint="Use it, or declare it no more." if name not in {"key", _KEY} else "Its meaning depends on it.",
        )
