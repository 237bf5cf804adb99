"""The role of each process type: what it may, what PostgreSQL refuses it, and how it comes to its grants."""

from __future__ import annotations

import tomllib
from pathlib import Path

import psycopg
import pytest

from stanchion.base.settings import DatabaseSettings, Settings
from stanchion.db import PROCESS_TYPES, Database, DatabaseUrls, difference, login, migrate
from stanchion.db.roles import FACES, face, give_grants, wanted
from stanchion.processes.rights import external_findings
from tests.conftest import Cluster, as_process, processes_url


def session(urls: DatabaseUrls, process, role) -> psycopg.Connection:
    own = as_process(urls, process)
    return psycopg.connect(own.app, autocommit=True, options=f"{own.options(role)} -c stanchion.tenant=alpha")


def test_every_table_is_named_for_each_process_type(repo: Path, database_urls: DatabaseUrls) -> None:
    named = tomllib.loads((repo / "src" / "stanchion" / "db" / "grants.toml").read_text())
    assert database_urls.owner
    with psycopg.connect(database_urls.owner) as connection:
        there = {n for (n,) in connection.execute("select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'")}  # fmt: skip
    assert set(named) == there, "a table that is new: say in db/grants.toml what each process type may do with it"
    assert all(set(types) == set(PROCESS_TYPES) for types in named.values())


def test_the_grants_there_are_those_of_the_file(database_urls: DatabaseUrls) -> None:
    assert database_urls.owner
    with psycopg.connect(database_urls.owner, autocommit=True) as connection:
        found = difference(connection)
        assert (found.missing, found.surplus) == (frozenset(), frozenset())
        others = connection.execute(
            "select r.rolname, c.relname from pg_class c, aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee"
            " where c.relnamespace = 'public'::regnamespace and (a.is_grantable or a.privilege_type not in"
            " ('SELECT', 'INSERT', 'UPDATE', 'DELETE')) and r.rolname = any(%s)",
            ([face(process, role) for process in PROCESS_TYPES for role in FACES],),
        ).fetchall()
        assert others == []


def test_what_the_shared_roles_may_not_no_process_may(database_urls: DatabaseUrls) -> None:
    """Migrations say the most that a tenant's verbs and the engine have; a process type has a part of it."""
    assert database_urls.owner
    with psycopg.connect(database_urls.owner) as connection:
        for name, table, verb, column in wanted():
            shared = "stanchion_app" if name.endswith("_app") else "stanchion_engine"
            query = "select has_table_privilege(%s, %s, %s) or has_any_column_privilege(%s, %s, %s)"
            if verb == "delete":
                query = "select has_table_privilege(%s, %s, %s) or has_table_privilege(%s, %s, %s)"
            row = connection.execute(query, (shared, table, verb, shared, table, verb)).fetchone()
            assert row == (True,), (name, table, verb, column)


def test_nobody_changes_or_removes_an_audit_record() -> None:
    assert not {grant for grant in wanted() if grant[1] == "audit_records" and grant[2] in {"update", "delete"}}


REFUSED = [
    ("web", "app", "select ciphertext from secret_versions"),
    ("web", "app", "select wrapped from data_keys"),
    ("web", "app", "select ciphertext from refresh_tokens"),
    ("web", "app", "update workers set lease_until = now()"),
    ("web", "engine", "select 1 from runs"),
    ("web", "engine", "select 1 from api_keys"),
    ("worker", "app", "select 1 from runs"),
    ("worker", "engine", "select 1 from secrets"),
    ("worker", "engine", "select ciphertext from secret_versions"),
    ("worker", "engine", "select 1 from data_keys"),
    ("worker", "engine", "select mac from api_keys"),
    ("worker", "engine", "select mac from sessions"),
    ("worker", "engine", "insert into artifacts default values"),
    ("worker", "engine", "update releases set version = 1"),
    ("worker", "engine", "insert into kills default values"),
    ("worker", "engine", "update tool_states set enabled = true"),
    ("worker", "engine", "delete from connector_breakers"),
    ("worker", "engine", "update principals set roles = '{admin}'"),
    ("scheduler", "engine", "select ciphertext from secret_versions"),
    ("scheduler", "engine", "select 1 from data_keys"),
    ("scheduler", "app", "insert into artifacts default values"),
    ("scheduler", "app", "update principals set roles = '{admin}'"),
    ("scheduler", "app", "select 1 from api_keys"),
    ("broker", "engine", "update approvals set status = 'APPROVED'"),
    ("broker", "engine", "insert into approvals default values"),
    ("broker", "engine", "update runs set status = 'RUNNING'"),
    ("broker", "engine", "update effects set state = 'SUCCEEDED'"),
    ("broker", "engine", "insert into artifacts default values"),
    ("broker", "app", "update releases set version = 1"),
    ("broker", "app", "update secrets set connectors = '{}'"),
    ("broker", "app", "update secret_versions set state = 'ended'"),
    ("broker", "app", "select mac from api_keys"),
]
EVERYBODY = [
    "update audit_records set event_type = ''",
    "delete from audit_records",
    "truncate audit_records",
    "update artifacts set body = '{}'",
    "delete from runs",
    "create table mine (a int)",
    "create function mine() returns int language sql as 'select 1'",
    "alter table runs add column mine int",
    "drop table runs",
    "alter table runs disable row level security",
    "drop policy tenant_wall on runs",
    "create role mine",
    "set role stanchion_owner",
    "set role stanchion_app",
    "set role stanchion_engine",
    "insert into migrations default values",
]


@pytest.mark.parametrize(("process", "role", "statement"), REFUSED)
def test_postgresql_refuses_what_is_anothers(database_urls: DatabaseUrls, process, role, statement: str) -> None:
    with session(database_urls, process, role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize("role", FACES)
@pytest.mark.parametrize("process", PROCESS_TYPES)
def test_postgresql_refuses_everybody(database_urls: DatabaseUrls, process, role) -> None:
    others = [face(other, FACES[0]) for other in PROCESS_TYPES if other != process]
    with session(database_urls, process, role) as connection:
        for statement in (*EVERYBODY, *(f"set role {other}" for other in others)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


@pytest.mark.parametrize("process", PROCESS_TYPES)
def test_a_login_that_took_no_face_has_nothing(database_urls: DatabaseUrls, process) -> None:
    with psycopg.connect(as_process(database_urls, process).app, autocommit=True) as connection:
        assert connection.execute("select current_user").fetchone() == (login(process),)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select 1 from runs")


async def test_a_face_is_held_to_its_tenant_or_sees_all_and_sessions_work_as_before(
    fresh_database_urls: DatabaseUrls,
) -> None:
    async with Database(fresh_database_urls) as shared:
        for tenant in ("alpha", "beta"):
            async with shared.tenant_tx(tenant) as tx:
                await tx.execute("insert into tenants (name, display_name) values (%s, %s)", (tenant, tenant))
    async with Database(as_process(fresh_database_urls, "web")) as database:
        async with database.tenant_tx("alpha") as tx:
            found = await (await tx.execute("select name from tenants")).fetchall()
            assert found == [("alpha",)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                await tx.execute("insert into tenants (name, display_name) values ('gamma', '')")
        async with database.engine_tx() as tx:
            found = await (await tx.execute("select name from tenants order by 1")).fetchall()
            assert found == [("alpha",), ("beta",)]
    async with Database(as_process(fresh_database_urls, "worker")) as database, database.connection("engine") as tx:
        found = await (await tx.execute("select current_setting('enable_seqscan'), current_setting('plan_cache_mode'), pg_try_advisory_lock(7)")).fetchone()  # fmt: skip
        assert found == ("off", "force_generic_plan", True)
        listening = await database.dedicated("engine")
        try:
            await listening.execute("listen told")
            await tx.execute("select pg_notify('told', 'yes')")
            heard = [notify.payload async for notify in listening.notifies(timeout=60, stop_after=1)]
            assert heard == ["yes"]
        finally:
            await listening.close()


def test_what_an_older_version_needed_is_taken_back_only_when_it_is_asked_for(
    fresh_database_urls: DatabaseUrls,
) -> None:
    owner = fresh_database_urls.owner
    assert owner
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("grant delete on runs to stanchion_web_app")
        connection.execute("grant update (body) on artifacts to stanchion_broker_engine")
        connection.execute("revoke select on runs from stanchion_web_app")
        migrate(owner)
        assert difference(connection).missing == frozenset()
        assert difference(connection).surplus == {
            ("stanchion_web_app", "runs", "delete", ""),
            ("stanchion_broker_engine", "artifacts", "update", "body"),
        }
        give_grants(connection, exactly=True)
        assert difference(connection).surplus == frozenset()


def findings(url: str, **more) -> list[tuple[str, str]]:
    settings = Settings(database=DatabaseSettings(url=url, **more))
    return [(result, detail) for result, detail, _ in external_findings(settings)]


def test_doctor_says_who_connects_with_more_than_it_needs(fresh_database_urls: DatabaseUrls, cluster: Cluster) -> None:
    fine = findings(processes_url(fresh_database_urls))
    assert {result for result, _ in fine} == {"ok"}
    assert [detail for _, detail in fine if "as stanchion_broker, with the rights of this process type alone" in detail]
    assert len(fine) == 2 * len(PROCESS_TYPES)
    owner = cluster.superuser(fresh_database_urls)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("grant delete on runs to stanchion_web_app")
        connection.execute("revoke insert on runs from stanchion_worker_engine")
    said = dict(reversed(findings(processes_url(fresh_database_urls))))
    assert "stanchion_web has more than it needs: delete on runs" in said["warning"]
    assert "stanchion_worker lacks insert on runs" in said["failed"]


@pytest.mark.parametrize(
    ("role", "why"), [("superuser", "is superuser"), ("owner", "owns tables, may change the schema")]
)
def test_doctor_refuses_the_superuser_and_the_owner(database_urls: DatabaseUrls, cluster: Cluster, role, why) -> None:
    url = cluster.superuser(database_urls) if role == "superuser" else str(database_urls.owner)
    result, detail = findings(url, engine_url=url)[0]
    assert result == "failed"
    assert why in detail
