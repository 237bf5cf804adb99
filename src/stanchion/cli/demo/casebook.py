"""The two external systems of the example: a casebook (SQLite) and an outcome register (PostgreSQL).

They are the customer's, not Stanchion's: the register lives in a database of its own, under a role that sees nothing
else, and keeps a log of every write it receives.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
import yaml

from stanchion.base.errors import NotFound
from stanchion.db.embedded import guest_database

BLUEPRINT = "case-triage"
_DATABASE = "casebook"
_COLUMNS = (
    "case_id",
    "country",
    "authority",
    "decision_date",
    "controller",
    "fine_eur",
    "articles",
    "violation_type",
    "summary",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The files of the example: documents to apply, where its connectors expect their systems, its cases."""

    folder: Path
    documents: list[dict[str, str]]
    sqlite_path: str
    url_file: str
    cases: list[dict[str, Any]]


def load_example() -> Example:
    """Read the example from the installed package, or from the repository it is developed in."""
    inside = Path(str(resources.files("stanchion"))) / "examples" / BLUEPRINT
    beside = Path(str(resources.files("stanchion"))).parents[1] / "examples" / BLUEPRINT
    folder = next((found for found in (inside, beside) if (found / "blueprint.yaml").is_file()), None)
    if folder is None:
        raise NotFound("demo.no_example", "This installation has no examples/case-triage.", hint="Reinstall stanchion.")
    documents: list[dict[str, str]] = []
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.yaml")):
        source = file.read_text(encoding="utf-8")
        documents.append({"path": file.name, "source": source})
        body = yaml.safe_load(source)
        if "connector" in body:
            found.update({name: value for name, value in body["database"].items() if name in {"path", "url_file"}})
    cases = [json.loads(line) for line in (folder / "data" / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    return Example(
        folder=folder, documents=documents, sqlite_path=found["path"], url_file=found["url_file"], cases=cases
    )


def seed_casebook(example: Example, root: Path) -> None:
    """Write the casebook anew: every case open."""
    path = root / example.sqlite_path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for leftover in (
        path,
        path.with_name(path.name + "-wal"),
        path.with_name(path.name + "-shm"),
        path.with_name(path.name + "-journal"),
    ):
        leftover.unlink(missing_ok=True)
    rows = [tuple(json.dumps(case[c]) if c == "articles" else case[c] for c in _COLUMNS) for case in example.cases]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript((example.folder / "seed" / "casebook.sqlite.sql").read_text(encoding="utf-8"))
        marks = ", ".join("?" * len(_COLUMNS))
        connection.executemany(f"insert into cases ({', '.join(_COLUMNS)}) values ({marks})", rows)  # noqa: S608 - our own names
    path.chmod(0o600)


def leave_address(file: Path, url: str) -> None:
    """Write a connector's URL file anew, readable by its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f".{file.name}.new")
    with suppress(FileNotFoundError):
        draft.unlink()
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(url + "\n")
    draft.replace(file)


class Register:
    """The outcome register as its owner sees it."""

    def __init__(self, url: str) -> None:
        self._url = url

    @classmethod
    def make(cls, example: Example, data: Path, root: Path) -> Register:
        """Make it anew and empty, and leave its address where the connector looks for it (0600)."""
        url = guest_database(data, _DATABASE)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("drop schema if exists casebook cascade")
            script = (example.folder / "seed" / "outcomes.postgresql.sql").read_text(encoding="utf-8")
            connection.execute(cast("LiteralString", script))  # the text of a shipped file, never input
        leave_address(root / example.url_file, url)
        return cls(url)

    def facts(self) -> dict[str, int]:
        """What the register itself counts: outcomes, writes received, cases written to more than once."""
        with psycopg.connect(self._url) as connection:
            row = connection.execute(
                "select (select count(*) from casebook.outcomes), count(*), count(distinct case_id),"
                " (select count(*) from (select case_id from casebook.received group by case_id having count(*) > 1) as twice)"
                " from casebook.received"
            ).fetchone()
        outcomes, received, cases, twice = row or (0, 0, 0, 0)
        return {"outcomes": outcomes, "received": received, "cases": cases, "twice": twice}

    def written(self) -> set[str]:
        """The ids of the cases that have an outcome."""
        with psycopg.connect(self._url) as connection:
            return {str(row[0]) for row in connection.execute("select case_id from casebook.outcomes")}

    def outcome(self, case_id: str) -> dict[str, str] | None:
        """One outcome: its tier and recommendation."""
        with psycopg.connect(self._url) as connection:
            row = connection.execute(
                "select tier, recommendation from casebook.outcomes where case_id = %s", (case_id,)
            ).fetchone()
        return None if row is None else {"tier": str(row[0]), "recommendation": str(row[1])}
