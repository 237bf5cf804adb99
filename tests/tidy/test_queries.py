"""Every literal query is PREPAREd on the migrated database: a misspelt column fails here, with file and line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stanchion.db import DatabaseUrls

RUNNERS = {"execute", "executemany", "many", "maybe", "one", "scalar", "scalars"}
STATEMENT = re.compile(r"^\s*(select|insert|update|delete|with)\b", re.IGNORECASE)
PLACEHOLDER = re.compile(r"%%|%\((\w+)\)[sbt]|%[sbt]")


def literal(node: ast.expr, constants: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = literal(node.left, constants), literal(node.right, constants)
        return None if left is None or right is None else left + right
    return None


def queries(repo: Path) -> Iterator[tuple[str, str]]:
    """(place, SQL) of each literal that looks like a statement and is passed to a runner, or assigned to a constant."""
    for path in sorted((repo / "src" / "stanchion").rglob("*.py")):
        if {"adapters", "embedded", "demo"} & set(path.parts):  # other systems' tables
            continue
        tree = ast.parse(path.read_text())
        constants: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and node.value is not None:
                    text = literal(node.value, constants)
                    if text is not None:
                        constants[target.id] = text
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
            if name not in RUNNERS:
                continue
            for argument in node.args:
                text = literal(argument, constants)
                if text is not None and STATEMENT.match(text):
                    yield f"{path.relative_to(repo)}:{node.lineno}", text


def prepared(sql: str) -> str:
    names: dict[str, int] = {}
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match.group(0) == "%%":
            return "%"
        if match.group(1) is None:
            count += 1
            return f"${count}"
        return f"${names.setdefault(match.group(1), len(names) + 1)}"

    return PLACEHOLDER.sub(number, sql)


def test_every_query_prepares(repo: Path, database_urls: DatabaseUrls) -> None:
    assert database_urls.owner is not None
    wrong: list[str] = []
    seen = 0
    with psycopg.connect(database_urls.owner, autocommit=True) as connection:
        for place, sql in queries(repo):
            seen += 1
            try:
                connection.execute(f"prepare q as {prepared(sql)}".encode())
                connection.execute("deallocate q")
            except psycopg.errors.IndeterminateDatatype:
                continue
            except psycopg.errors.AmbiguousParameter:
                continue
            except psycopg.Error as error:
                wrong.append(f"{place}: {error.diag.message_primary}")
    assert not wrong, "\n".join(wrong)
    assert seen >= 50, f"only {seen} queries found: the walk no longer sees the stores"


@pytest.mark.parametrize("sql", ["select nane from tenants", "update runs set stat = 'x'"])
def test_a_misspelt_column_is_caught(database_urls: DatabaseUrls, sql: str) -> None:
    assert database_urls.owner is not None
    with (
        psycopg.connect(database_urls.owner, autocommit=True) as connection,
        pytest.raises(psycopg.errors.UndefinedColumn),
    ):
        connection.execute(f"prepare q as {prepared(sql)}".encode())
