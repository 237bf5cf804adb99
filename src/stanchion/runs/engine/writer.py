"""Checkpoints of many runs in one statement and one commit (I4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
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


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """What one run writes at once: its own row, StepRuns, and at its end the audit record.

    `run` and `steps` are rows as `store.checkpoint` describes them; `weight` is about their size in bytes.
    """

    run_id: UUID
    run: dict[str, Any]
    steps: list[dict[str, Any]]
    audit: AuditRecord | None = None
    weight: int = 0


class CheckpointWriter:
    """The group writer of a worker's checkpoints. `within` says whether a commit may tell of itself (`Notifier`)."""

    def __init__(self, env: Env, within: Callable[[UUID], bool]) -> None:
        self._env = env
        self._within = within
        self._group = GroupWriter[Checkpoint, Written | None](
            self._commit, clock=env.clock, lanes=2, batch_max=512, on_commit=self._observe
        )

    async def write(self, checkpoint: Checkpoint) -> Written | None:
        """Commit; None means fenced. Raises Invalid `step.output_unstorable` if the database refuses this row alone,
        Unavailable if it takes none."""
        try:
            return await self._group.submit(checkpoint, key=checkpoint.run_id, weight=checkpoint.weight)
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

    async def flush(self) -> None:
        """Wait until every checkpoint submitted so far is committed or refused."""
        await self._group.flush()

    def _observe(self, size: int, seconds: float) -> None:
        self._env.telemetry.emit("commit.size", float(size))
        self._env.telemetry.emit("commit.duration", seconds)

    async def _commit(self, batch: Sequence[Checkpoint]) -> list[Written | None]:
        runs: dict[UUID, dict[str, Any]] = {}
        for checkpoint in batch:
            # Several items of one run may end in one batch; their run rows say the same, and only one may be joined:
            # that of the newest claim. A batch may hold a run twice that this worker lost and claimed again.
            before = runs.get(checkpoint.run_id)
            if before is None or checkpoint.run["epoch"] >= before["epoch"]:
                runs[checkpoint.run_id] = checkpoint.run
        owned = [c for c in batch if c.run["epoch"] == runs[c.run_id]["epoch"]]
        steps = [step for checkpoint in owned for step in checkpoint.steps]
        audits = [checkpoint.audit for checkpoint in owned if checkpoint.audit is not None]
        # A run that ends alone tells its watchers with its own commit.
        tell = len(batch) == 1 and bool(audits) and self._within(batch[0].run_id)
        async with self._env.db.connection("engine") as tx:
            written = await store.checkpoint(
                tx,
                runs=dumps(list(runs.values())),
                steps=dumps(steps),
                audits=dumps(audit_rows(audits)) if audits else b"[]",
                tell=tell,
            )
        by_id = {row.id: row for row in written}
        fenced = len(runs) - len(by_id) + len(batch) - len(owned)
        if fenced:
            self._env.telemetry.emit("write.fenced", float(fenced))
        return [by_id.get(c.run_id) if c.run["epoch"] == runs[c.run_id]["epoch"] else None for c in batch]
