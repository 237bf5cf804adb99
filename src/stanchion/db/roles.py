"""A role of PostgreSQL per process type, with the grants that this type needs and no more (I9, docs/adr/0029-process-roles.md).

A process connects as one *login*: `stanchion_web`, `stanchion_worker`, `stanchion_scheduler`, `stanchion_broker`. It has no
rights of its own. At each connection it takes one of its two *faces*: `stanchion_web_app`, held to one tenant by row-level
security (I13), or `stanchion_web_engine`, across tenants. The faces have the grants, which are data (`grants.toml`).
Which rows a face sees is said by the policies of the tables; they know two names without any grant, of which each face is a
member: `stanchion_walled` and `stanchion_across`.

Roles are made by who may make roles (`roles_sql`); grants are given by the schema's owner, with each migration
(`give_grants`), wherever the roles are there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, cast

import psycopg
from psycopg import sql

from stanchion.base import invariant

ProcessType = Literal["web", "worker", "scheduler", "broker"]
Face = Literal["app", "engine"]

PROCESS_TYPES: Final[tuple[ProcessType, ...]] = ("web", "worker", "scheduler", "broker")
FACES: Final[tuple[Face, ...]] = ("app", "engine")
_MARKERS: Final[Mapping[Face, str]] = {"app": "stanchion_walled", "engine": "stanchion_across"}
# The roles of a deployment that has one pair for all process types; the policies of migrations name these.
SHARED: Final[Mapping[Face, str]] = {"app": "stanchion_app", "engine": "stanchion_engine"}
_VERBS: Final = frozenset({"select", "insert", "update", "delete"})
_SAID: Final = re.compile(r"(\w+)(?:\(([\w, ]+)\))?")

# Who may do what: (role, table, verb, column; empty: all of them).
Grant = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Between the grants that there are and those of `grants.toml`. Empty where the roles are not there."""

    missing: frozenset[Grant]
    surplus: frozenset[Grant]


def login(process: ProcessType) -> str:
    """The role that a process of this type connects as, unless it has an identity of yours."""
    return f"stanchion_{process}"


def face(process: ProcessType, role: Face) -> str:
    """The role that a session of this process type has, for a tenant's verbs or across tenants."""
    return f"stanchion_{process}_{role}"


@cache
def wanted() -> frozenset[Grant]:
    """The grants that this version needs, from `grants.toml`."""
    text = (resources.files("stanchion.db") / "grants.toml").read_text(encoding="utf-8")
    return frozenset(_wanted(tomllib.loads(text)))


def _wanted(tables: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Iterator[Grant]:
    for table, processes in tables.items():
        invariant(set(processes) == set(PROCESS_TYPES), f"grants.toml: {table} does not name each process type")
        for process in PROCESS_TYPES:
            for role, said in processes[process].items():
                invariant(role in FACES, f"grants.toml: {table}, {process}: {role} is no face")
                for verb, columns in _SAID.findall(said):
                    invariant(verb in _VERBS, f"grants.toml: {table}, {process}: {verb} is no verb")
                    for column in columns.split(",") if columns else ("",):
                        yield face(process, role), table, verb, column.strip()  # type: ignore[arg-type]


def roles_sql() -> str:
    """The statements that make all run-time roles where they are missing, for who may make roles. They can be repeated.

    A login has no password yet: it cannot be used before somebody sets one, or the server knows its identity otherwise.
    """
    memberships = "".join(
        f"grant {_MARKERS[role]} to {face(process, role)};\ngrant {face(process, role)} to {login(process)};\n"
        for process in PROCESS_TYPES
        for role in FACES
    )
    return _MAKE_SQL + memberships


# The shared roles too: migrations name them. A log-in is theirs only where somebody gives it to them.
_MAKE_SQL: Final = """\
do $$
declare process text; wanted text;
begin
    foreach wanted in array array['stanchion_app', 'stanchion_engine', 'stanchion_walled', 'stanchion_across'] loop
        if not exists (select from pg_roles where rolname = wanted) then
            execute format('create role %I nologin', wanted);
        end if;
    end loop;
    foreach process in array array['web', 'worker', 'scheduler', 'broker'] loop
        foreach wanted in array array['_app', '_engine'] loop
            if not exists (select from pg_roles where rolname = 'stanchion_' || process || wanted) then
                execute format('create role %I nologin inherit', 'stanchion_' || process || wanted);
            end if;
        end loop;
        if not exists (select from pg_roles where rolname = 'stanchion_' || process) then
            execute format('create role %I login noinherit', 'stanchion_' || process);
        end if;
    end loop;
end $$;
"""


def are_made(connection: psycopg.Connection[Any]) -> bool:
    """Whether the faces are there."""
    names = [face(process, role) for process in PROCESS_TYPES for role in FACES]
    row = connection.execute("select count(*) from pg_roles where rolname = any(%s)", (names,)).fetchone()
    return row is not None and row[0] == len(names)


def difference(connection: psycopg.Connection[Any]) -> Difference:
    """What the faces lack and have too much of in this database's schema `public`."""
    if not are_made(connection):
        return Difference(missing=frozenset(), surplus=frozenset())
    names = [face(process, role) for process in PROCESS_TYPES for role in FACES]
    found = cast("list[Grant]", connection.execute(_GRANTS_SQL, {"faces": names}).fetchall())
    there = {
        table
        for (table,) in connection.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
        )
    }
    # A table that this version knows and the database does not yet: its migration gives it.
    needed = frozenset(grant for grant in wanted() if grant[1] in there)
    return Difference(missing=needed - frozenset(found), surplus=frozenset(found) - needed)


_GRANTS_SQL: Final = """
select r.rolname, c.relname, lower(a.privilege_type), ''
from pg_class c, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and r.rolname = any(%(faces)s)
union all
select r.rolname, c.relname, lower(a.privilege_type), t.attname
from pg_class c join pg_attribute t on t.attrelid = c.oid, aclexplode(t.attacl) a join pg_roles r on r.oid = a.grantee
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and r.rolname = any(%(faces)s)
"""


def give_grants(connection: psycopg.Connection[Any], *, exactly: bool) -> None:
    """Bring grants and policies to this version.

    Args:
        connection: as the schema's owner, autocommit.
        exactly: also take back what this version does not need. Not before the last process of an older version has ended.

    Nothing happens where the roles are not there. Raises psycopg.errors.LockNotAvailable after 4 s behind a long transaction.
    """
    if not are_made(connection):
        return
    found = difference(connection)
    policies = connection.execute(_POLICIES_SQL).fetchall()
    outside = connection.execute(_OUTSIDE_SQL, ([login(process) for process in PROCESS_TYPES],)).fetchall()
    surplus = found.surplus if exactly else frozenset[Grant]()
    if not (found.missing or surplus or policies or outside):
        return
    statements = [sql.SQL("set local lock_timeout = '4s'")]
    statements += [
        sql.SQL("grant connect on database {} to {}").format(sql.Identifier(database), sql.Identifier(role))
        for database, role in outside
    ]
    statements += [
        sql.SQL("grant usage on schema public to {}").format(sql.Identifier(face(process, role)))
        for process in PROCESS_TYPES
        for role in FACES
    ]
    statements += [_statement("revoke", grant) for grant in sorted(surplus)]
    statements += [_statement("grant", grant) for grant in sorted(found.missing)]
    statements += [
        sql.SQL("alter policy {} on {} to {}").format(
            sql.Identifier(policy), sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, roles))
        )
        for table, policy, roles in policies
    ]
    with connection.transaction():
        connection.execute(sql.SQL("; ").join(statements))


# Logins that may not enter this database.
_OUTSIDE_SQL: Final = """
select current_database(), rolname from pg_roles
where rolname = any(%s) and not has_database_privilege(rolname, current_database(), 'connect')
"""
# Policies that name a shared role, and not yet what the faces of its kind are members of.
_POLICIES_SQL: Final = """
select p.tablename, p.policyname, p.roles || array_agg(m.marker::name)
from pg_policies p
join (values ('stanchion_app', 'stanchion_walled'), ('stanchion_engine', 'stanchion_across')) m (shared, marker)
  on m.shared = any(p.roles) and not m.marker = any(p.roles)
where p.schemaname = 'public'
group by p.tablename, p.policyname, p.roles
"""


def _statement(act: Literal["grant", "revoke"], grant: Grant) -> sql.Composed:
    role, table, verb, column = grant
    what = sql.SQL(cast("Any", verb)) + (sql.SQL(" ({})").format(sql.Identifier(column)) if column else sql.SQL(""))
    return sql.SQL("{} {} on {} {} {}").format(
        sql.SQL(act), what, sql.Identifier(table), sql.SQL("to" if act == "grant" else "from"), sql.Identifier(role)
    )
