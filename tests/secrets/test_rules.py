"""Bounds of what may be set, granted, rotated; and that the states of a version are the ones the table knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import psycopg
import pytest

from stanchion.base import Problem
from stanchion.secrets import PROVIDERS, VersionState
from stanchion.secrets.keeping import rules

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def code_of(call, *arguments) -> str:
    with pytest.raises(Problem) as caught:
        call(*arguments)
    return caught.value.code


@pytest.mark.parametrize("names", [["Erp"], [""], ["a b"], ["-a"], [f"c{n}" for n in range(101)]])
def test_connectors_that_are_none(names):
    assert code_of(rules.check_connectors, names) == "secret.bad_connector"


def test_connectors_are_sorted_each_once():
    assert rules.check_connectors(["b", "a", "b"]) == ("a", "b")
    assert rules.check_connectors([]) == ()


@pytest.mark.parametrize("name", ["", "Prod", "a b", "x" * 64, "1st"])
def test_environments_that_are_none(name):
    assert code_of(rules.check_environment, name) == "secret.bad_environment"
    assert rules.check_environment("production") == "production"


def test_graces():
    assert rules.until(NOW, 0) == NOW
    assert rules.until(NOW, rules.GRACE_S_MAX) == NOW + timedelta(days=30)
    assert code_of(rules.until, NOW, -1) == "secret.bad_grace"
    assert code_of(rules.until, NOW, rules.GRACE_S_MAX + 1) == "secret.bad_grace"


def test_numbers_end():
    assert rules.next_version(0) == 1
    assert code_of(rules.next_version, rules.VERSION_MAX) == "secret.too_many_versions"


def test_the_table_knows_the_states_and_providers(cluster, database_urls):
    with psycopg.connect(cluster.superuser(database_urls)) as connection:
        checks = "".join(
            text
            for (text,) in connection.execute(
                "select pg_get_constraintdef(oid) from pg_constraint where conrelid in"
                " ('secrets'::regclass, 'secret_versions'::regclass) and contype = 'c'"
            )
        )
    for word in (*get_args(VersionState), *PROVIDERS):
        assert f"'{word}'" in checks


def test_a_tenants_wall_stands_on_every_table(cluster, database_urls):
    with psycopg.connect(cluster.superuser(database_urls)) as connection:
        rows = connection.execute(
            "select relname, relrowsecurity, relforcerowsecurity from pg_class"
            " where relname in ('secrets', 'secret_versions', 'data_keys')"
        ).fetchall()
    assert sorted(rows) == [("data_keys", True, True), ("secret_versions", True, True), ("secrets", True, True)]
