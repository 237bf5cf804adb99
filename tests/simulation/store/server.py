"""The simulated PostgreSQL server."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import psycopg

from stanchion.base import Clock
from tests.simulation.store import statements
from tests.simulation.store.link import Link
from tests.simulation.store.locks import SHARE, UPDATE, LockTable
from tests.simulation.store.session import GONE, Session
from tests.simulation.store.tables import Row, new_tables
from tests.simulation.store.transaction import SimTx

Watch = Callable[[str, Row | None, Row | None], None]

statements.register()


class SimServer:
    """Tables, transactions, locks and sessions of one simulated PostgreSQL.

    Args:
        clock: the server's own clock: `clock_timestamp()` is `clock.now()`, whatever the workers' clocks say.
        rng: decides what real servers leave open (whether a commit that a restart cut short was applied).
        context: the contextvars context in which everything of the server's runs (waits for locks, commits, deliveries).
            Give one whose process variable names no process, so that a pause or crash of a client does not stop the server.
            Default: a copy of the context of this call.
        deadlock_s: seconds a lock is waited for before the waiter looks for a deadlock.
        watch: told (table, row before, row after) of each row a commit changes, None where there is no row.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        *,
        context: contextvars.Context | None = None,
        deadlock_s: float = 1.0,
        watch: Watch | None = None,
    ) -> None:
        self.clock = clock
        self.context = context or contextvars.copy_context()
        self.tables = new_tables()
        self.locks = LockTable(self.context, deadlock_s)
        self.watch = watch
        self._rng = rng
        self._sessions: dict[Session, None] = {}
        # Session-level advisory locks: key -> the session that holds it.
        self._advisory: dict[int, Session] = {}

    # --- for set-up and checkers

    def insert(self, table: str, **columns: Any) -> Mapping[str, Any]:
        """Insert a committed row with its defaults, outside any session: set-up of tenants and principals."""
        definition = self.tables[table]
        row = definition.made(columns, self.clock.now())
        definition.put(definition.key_of(row), row)
        return row

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """The committed rows of a table, in the order of their insertion, for checkers. Not to be changed."""
        return list(self.tables[table].rows.values())

    def row(self, table: str, key: Hashable) -> Mapping[str, Any] | None:
        """One committed row by its primary key (a tuple where that has several columns)."""
        return self.tables[table].rows.get(key)

    # --- sessions

    def connect(self, role: str, link: Link, *, idle_s: float | None = None) -> Session:
        """A new session of role `app` or `engine`, ended if it stands still for `idle_s` inside a transaction."""
        session = Session(self, role, link, idle_s=idle_s)
        self._sessions[session] = None
        return session

    def restart(self) -> None:
        """An immediate restart: every session of everybody dies, uncommitted changes are gone, committed ones stay."""
        for session in list(self._sessions):
            session.end(psycopg.OperationalError(GONE), applied=self._rng.random() < 0.5)

    def terminate(self, rng: random.Random, *, listening: bool = False, link: Link | None = None) -> bool:
        """End one session, drawn by `rng`, like pg_terminate_backend; False if there is none. `listening` draws among
        those that listen, `link` among those of one process."""
        sessions = [s for s in self._sessions if (s.channels or not listening) and link in (None, s.link)]
        if not sessions:
            return False
        rng.choice(sessions).end(psycopg.errors.AdminShutdown("terminating connection due to administrator command"))
        return True

    def forget(self, session: Session) -> None:
        """A session is over: its session-level locks are free."""
        self._sessions.pop(session, None)
        for key in [key for key, holder in self._advisory.items() if holder is session]:
            del self._advisory[key]

    # --- what transactions ask

    def advisory(self, tx: SimTx, key: int, *, session: bool) -> bool:
        """pg_try_advisory_lock of a session, or pg_try_advisory_xact_lock: one space of keys for both."""
        holder = self._advisory.get(key)
        if holder is not None and holder is not tx.session:
            return False
        name = ("advisory", key)
        if session:
            if any(other.session is not tx.session for other in self.locks.holders(name)):
                return False
            self._advisory[key] = tx.session
            return True
        return self.locks.try_lock(tx, name, UPDATE)

    def commit(self, tx: SimTx) -> None:
        """Apply what `tx` wrote, free its locks, tell its notifications."""
        watch = self.watch
        for name, rows in tx.writes.items():
            put = self.tables[name].put
            for key, row in rows.items():
                old = put(key, row)
                if watch is not None:
                    watch(name, old, row)
        if tx.notes:
            self._deliver(tx)
        self._done(tx)

    def rollback(self, tx: SimTx) -> None:
        """Forget what `tx` wrote and free its locks."""
        self._done(tx)

    def _done(self, tx: SimTx) -> None:
        if tx.tenant is not None:
            # A setting made local to a transaction is empty, not unknown, after its end.
            tx.session.tenant = ""
        if tx.writes:
            tx.writes = {}
        if tx.notes:
            tx.notes = {}
        if tx.held:
            self.locks.release(tx)

    def _deliver(self, tx: SimTx) -> None:
        loop = asyncio.get_running_loop()
        for session in list(self._sessions):
            if not session.channels:
                continue
            for channel, payload in tx.notes:
                if channel not in session.channels:
                    continue
                for delay in session.link.deliver(channel, payload):
                    if delay <= 0:
                        session.arrive(channel, payload)
                    else:
                        loop.call_later(delay, session.arrive, channel, payload, context=self.context)


__all__ = ["SHARE", "UPDATE", "SimServer"]
