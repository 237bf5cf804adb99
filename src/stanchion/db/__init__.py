"""PostgreSQL: pools per role, transactions, migrations. `db.embedded` runs a server of our own."""

from stanchion.db.direct import direct
from stanchion.db.group import GroupWriter
from stanchion.db.migrate import Migration, migrate, migrations
from stanchion.db.pool import Database, DatabaseUrls
from stanchion.db.tx import Params, Tx, execute, many, many_by_position, maybe, one, scalar, scalars

__all__ = [
    "Database",
    "DatabaseUrls",
    "GroupWriter",
    "Migration",
    "Params",
    "Tx",
    "direct",
    "execute",
    "many",
    "many_by_position",
    "maybe",
    "migrate",
    "migrations",
    "one",
    "scalar",
    "scalars",
]
