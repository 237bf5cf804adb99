"""The network between one simulated process and the simulated server: where latency and faults come from.

Which context the calls run in matters to whoever pauses or kills processes. `connect`, `request` and `reply` are awaited
by the client's own task: a paused or dead process stands still in them. `commit` runs in the server's context (see
SimServer): it goes on while the client is paused or dead, exactly as a PostgreSQL backend finishes a commit whose
client has gone. Inside `commit` there is no current task; wait with `asyncio.sleep` or a future of the loop, not with
`asyncio.timeout` or tasks.

`request`, `commit` and `reply` are called once or more for every statement and mostly have nothing to wait for: they
answer at once or with something to be awaited, and may raise in either case.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable
from typing import Protocol


class Commit(enum.Enum):
    """What becomes of a commit.

    OK: applied, and the client hears of it. LOST_BEFORE: not applied, the session dies. LOST_AFTER: applied, then the session
    dies, so that the client does not know. REFUSED: not applied, rolled back, the session lives on; the client gets
    psycopg.errors.SerializationFailure.
    """

    OK = "ok"
    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"
    REFUSED = "refused"


class Link(Protocol):
    """One per simulated process. Times are seconds of the loop."""

    async def connect(self) -> None:
        """Before a session begins. May raise psycopg.OperationalError: then there is none."""
        ...

    def request(self) -> Awaitable[None] | None:
        """Before a statement (or COMMIT, ROLLBACK of a transaction block that did anything) reaches the server.

        May raise psycopg.OperationalError: the statement did not run and the session is dead on both sides.
        """
        ...

    def commit(self) -> Awaitable[Commit] | Commit:
        """Before a commit that changes anything is applied; all locks of the transaction are held meanwhile.

        Not asked for transactions that wrote nothing. Must not raise.
        """
        ...

    def reply(self) -> Awaitable[None] | None:
        """After a statement ran (in autocommit mode: after its commit). May raise psycopg.OperationalError: the client
        does not know the outcome and the session is dead on both sides."""
        ...

    def deliver(self, channel: str, payload: str) -> list[float]:
        """The delays in seconds with which a committed notification reaches this process's session: [] lost, two entries
        twice. Asked once per listening session."""
        ...


class CalmLink:
    """A network without latency and faults: nothing waits, everything arrives at once and once."""

    async def connect(self) -> None:
        """Connect at once."""

    def request(self) -> Awaitable[None] | None:
        """Pass."""

    def commit(self) -> Awaitable[Commit] | Commit:
        """Commit at once."""
        return Commit.OK

    def reply(self) -> Awaitable[None] | None:
        """Pass."""

    def deliver(self, channel: str, payload: str) -> list[float]:
        """Once, at once."""
        return [0.0]
