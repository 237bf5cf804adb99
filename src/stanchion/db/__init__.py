"""PostgreSQL: pools per role, transactions, migrations. `db.embedded` runs a server of our own."""

from stanchion.db.direct import direct
from stanchion.db.group import GroupWriter
from stanchion.db.migrate import Migration, migrate, migrations
from stanchion.db.pool import Database, DatabaseUrls, Password
from stanchion.db.roles import FACES, PROCESS_TYPES, Face, ProcessType, difference, login, roles_sql
from stanchion.db.tx import Params, Tx, execute, many, many_by_position, maybe, one, scalar, scalars

__all__ = [
    "FACES",
    "PROCESS_TYPES",
    "Database",
    "DatabaseUrls",
    "Face",
    "GroupWriter",
    "Migration",
    "Params",
    "Password",
    "ProcessType",
    "Tx",
    "difference",
    "direct",
    "execute",
    "login",
    "many",
    "many_by_position",
    "maybe",
    "migrate",
    "migrations",
    "one",
    "roles_sql",
    "scalar",
    "scalars",
]
