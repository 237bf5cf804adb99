"""Checkpoints of many runs in one statement and one commit (I4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg

from stanchion.audit import AuditRecord
from stanchion.audit import rows as audit_rows
from stanchion.base import Invalid, Problem, dumps
from stanchion.context import Env
from stanchion.db import GroupWriter, Tx
from stanchion.runs.engine import store
from stanchion.runs.engine.store import Written

# What is written in the transaction of a checkpoint, if the checkpoint is.
Also = Callable[[Tx], Awaitable[None]]


@dataclass(slots=True)
class Checkpoint:
    """What one run writes at once: its own row, StepRuns, and at its end the audit record.

    `run` and `steps` are rows as `store.checkpoint` describes them; `weight` is about their size in bytes.
    """

    run_id: UUID
    run: dict[str, Any]
    steps: list[dict[str, Any]]
    audit: AuditRecord | None = None
    weight: int = 0


# Batches that follow one another on one connection: about a second of them under load. Then the pool has it back, and
# with it the say on how long a session may live.
_KEPT_MAX: Final = 200


class CheckpointWriter:
    """The group writer of a worker's checkpoints. `within` says whether a commit may tell of itself (`Notifier`).

    One commit is in flight at a time: what comes in meanwhile is the next one, twice as large as with two, for two thirds
    of the processor time per checkpoint here and in the database (measured, docs/explanation/performance.md). While one
    follows another they keep their connection, whose server process has everything at hand.
    """

    def __init__(self, env: Env, within: Callable[[UUID], bool]) -> None:
        self._env = env
        self._within = within
        self._group = GroupWriter[Checkpoint, Written | None](
            self._commit, clock=env.clock, lanes=1, batch_max=512, on_commit=self._observe
        )
        self._kept: tuple[AsyncExitStack, Tx, int] | None = None

    async def write(self, checkpoint: Checkpoint) -> Written | None:
        """Commit; None means fenced. Raises Invalid `step.output_unstorable` if the database refuses this row alone,
        Unavailable if it takes none."""
        try:
            return await self._group.submit(checkpoint, key=checkpoint.run_id.int, weight=checkpoint.weight)
        except Problem:
            raise
        except psycopg.Error as error:
            reason = error.diag.message_primary or type(error).__name__
            raise Invalid(
                "step.output_unstorable",
                f"PostgreSQL cannot store what the step returned: {reason}.",
                hint="Text with the character U+0000 and numbers beyond PostgreSQL's range cannot be stored.",
            ) from error

    async def write_with(self, checkpoint: Checkpoint, also: Also) -> Written | None:
        """Commit one checkpoint together with `also`, in a transaction of their own; None means fenced, and `also` did
        not run."""
        async with self._env.db.engine_tx() as tx:
            written = await store.checkpoint(
                tx,
                runs=dumps([checkpoint.run]),
                steps=dumps(checkpoint.steps),
                audits=dumps(audit_rows([checkpoint.audit])) if checkpoint.audit is not None else b"[]",
            )
            if not written:
                self._env.telemetry.emit("write.fenced", 1.0)
                return None
            await also(tx)
        return written[0]

    async def _write(self, **said: Any) -> list[Written]:
        """One statement, on the connection of the one before if that was a moment ago."""
        kept, self._kept = self._kept, None
        async with kept[0] if kept is not None else AsyncExitStack() as stack:
            if kept is not None:
                _, tx, used = kept
            else:
                tx, used = await stack.enter_async_context(self._env.db.connection("engine")), 0
            written = await store.checkpoint(tx, **said)
            if used < _KEPT_MAX and self._group.followed:
                # What is pending is taken in this very turn of the loop; nobody can cancel it in between.
                self._kept = stack.pop_all(), tx, used + 1
        return written

    async def flush(self) -> None:
        """Wait until every checkpoint submitted so far is committed or refused."""
        await self._group.flush()

    def _observe(self, size: int, seconds: float) -> None:
        self._env.telemetry.emit("commit.size", float(size))
        self._env.telemetry.emit("commit.duration", seconds)

    async def _commit(self, batch: Sequence[Checkpoint]) -> list[Written | None]:
        # By number: a UUID is as dear to hash as to compare.
        runs: dict[int, dict[str, Any]] = {}
        for checkpoint in batch:
            # Several items of one run may end in one batch; their run rows say the same, and only one may be joined:
            # that of the newest claim. A batch may hold a run twice that this worker lost and claimed again.
            number = checkpoint.run_id.int
            before = runs.get(number)
            if before is None or checkpoint.run["epoch"] >= before["epoch"]:
                runs[number] = checkpoint.run
        owned = batch
        if len(runs) < len(batch):
            owned = [c for c in batch if c.run["epoch"] == runs[c.run_id.int]["epoch"]]
        steps = [step for checkpoint in owned for step in checkpoint.steps]
        audits = [checkpoint.audit for checkpoint in owned if checkpoint.audit is not None]
        # A run that ends alone tells its watchers with its own commit.
        tell = len(batch) == 1 and bool(audits) and self._within(batch[0].run_id)
        written = await self._write(
            runs=dumps(list(runs.values())),
            steps=dumps(steps),
            audits=dumps(audit_rows(audits)) if audits else b"[]",
            tell=tell,
        )
        by_id = {row.id.int: row for row in written}
        fenced = len(runs) - len(by_id) + len(batch) - len(owned)
        if fenced:
            self._env.telemetry.emit("write.fenced", float(fenced))
        if owned is batch:
            return [by_id.get(c.run_id.int) for c in batch]
        return [by_id.get(c.run_id.int) if c.run["epoch"] == runs[c.run_id.int]["epoch"] else None for c in batch]
