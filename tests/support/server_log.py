"""What a PostgreSQL itself says that it executed: whatever way a statement took, it is in the server's log."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

_LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:.]+ UTC \[\d+\] (\w*)@(\w*) LOG:  (?:statement|execute [^:]+): (.*)")
_WAIT_S = 60.0


class ServerLog:
    """The statements on one database, of sessions that begin after this is made."""

    def __init__(self, superuser_url: str) -> None:
        self._url = superuser_url
        with self._connected() as connection:
            self.database = connection.info.dbname
            connection.execute(
                sql.SQL("alter database {} set log_statement = 'all'").format(sql.Identifier(self.database))
            )

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            yield connection

    def _mark(self) -> tuple[Path, str]:
        """Let a word stand in the log here; the file that it is in."""
        word = uuid4().hex
        with self._connected() as connection:
            connection.execute(f"select '{word}'".encode())
            row = connection.execute("select current_setting('data_directory'), pg_current_logfile()").fetchone()
        assert row is not None
        file = Path(row[0]) / row[1]
        give_up = time.monotonic() + _WAIT_S
        # The collector writes what sessions said a moment later, in their order.
        while word not in file.read_text(encoding="utf-8", errors="replace"):
            assert time.monotonic() < give_up, f"{file} does not show what the server was asked"
            time.sleep(0.01)
        return file, word

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """How often each text was executed in the block by anybody but the superuser: filled at its end."""
        found: Counter[str] = Counter()
        file, first = self._mark()
        yield found
        last_file, last = self._mark()
        assert last_file == file, "the server began another log file meanwhile"
        text = file.read_text(encoding="utf-8", errors="replace")
        found.update(self._statements(text.partition(first)[2].partition(last)[0]))

    def _statements(self, text: str) -> list[str]:
        said: list[str] = []
        mine = False
        for line in text.splitlines():
            begun = _LINE.match(line)
            if begun:
                mine = begun[2] == self.database and begun[1] != "stanchion_super"
                if mine:
                    said.append(begun[3])
            elif line.startswith("\t") and mine:
                said[-1] += " " + line
            else:
                mine = False
        return [" ".join(one.split()) for one in said]
