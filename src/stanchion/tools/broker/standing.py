"""What a call is held to in the database: its run, what the released Blueprint says of its step, and for a write the effect
ledger, the approval, and what the broker itself has written down of the effect."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from stanchion.base import Denied
from stanchion.blueprints import Op
from stanchion.context import Env
from stanchion.runs import Pin, PinResolver
from stanchion.tools.adapter import Target
from stanchion.tools.broker import checks, store
from stanchion.tools.broker.store import Standing
from stanchion.tools.broker.types import ApprovalBinding, BrokerCall

# How long the run of a read is believed to stand as it was found, in seconds, and how many runs are.
_RUN_S, _RUNS_MAX = 2.0, 16_384
_OTHER_RUN: Final = "A new run performs a new effect; this one ends as what it was begun as."


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How a call stands.

    Attributes:
        root: what the run was started as: a Blueprint, or a tool.
        uses: digests of what the call uses.
        was: of a write, whether the effect's first attempt was `real` or `simulated`.
        args: of a write, the digest of what is sent, which the ledger must have.
    """

    root: Pin
    uses: tuple[str, ...]
    was: str = ""
    args: str = ""


class Standings:
    """Looks. Built once per broker process."""

    def __init__(self, env: Env, programs: PinResolver, approvals: ApprovalBinding) -> None:
        self._env = env
        self._programs = programs
        self._approvals = approvals
        # Runs that reads were made for: when each was looked at, its pins and its block.
        self._runs: OrderedDict[tuple[str, str, UUID, UUID, int, str], tuple[float, str, str]] = OrderedDict()

    async def of_read(self, call: BrokerCall, target: Target) -> Found:
        """The run that a read is for, and its step: without them, who can reach the socket could read as anybody, of any
        tenant, by any version, round the tool that the step names. What was found of a run is believed for `_RUN_S`, so most
        reads cost no statement."""
        asker = checks.asker_of(call)
        pins, block = await self._run(call)
        pinned = await self._programs.load(call.tenant, pins)
        op = checks.op_of(pinned, block, asker.path)
        checks.check_step(op, target, pinned)
        return Found(root=pinned.pins.pins[0], uses=(call.digest,))

    async def _run(self, call: BrokerCall) -> tuple[str, str]:
        asker, now = checks.asker_of(call), self._env.clock.monotonic()
        key = (call.tenant, call.digest, asker.run_id, asker.root_id, asker.epoch, asker.principal)
        known = self._runs.get(key)
        if known is not None and now - known[0] < _RUN_S:
            return known[1], known[2]
        async with self._env.db.connection("engine") as tx:
            found = await store.standing(tx, call.tenant, asker.run_id, asker.path, call.digest)
        standing = checks.check_run(call, found)
        self._runs[key] = (now, standing.pins, standing.block)
        self._runs.move_to_end(key)
        if len(self._runs) > _RUNS_MAX:
            self._runs.popitem(last=False)
        return standing.pins, standing.block

    async def of_write(self, call: BrokerCall, target: Target, *, record_digest: str, simulated: bool) -> Found:
        """The ledger, the released Blueprint and the approval, looked at again by the one who performs (I5, I7, I8, I12).

        The statement that reads them writes down that this attempt was brought here, and as what: so it is performed once by
        all brokers together and across their restarts, and what began real does not end simulated. `record_digest` is that of
        the call's record.

        Raises, beside what `checks` says: AdapterProblem `broker.repeated`; Denied `effect.was_simulated`.
        """
        asker = checks.asker_of(call)
        record, raw = checks.record_of(call), checks.raw_of(call)
        checks.check_record_is_raw(target, record_digest, raw)
        args = checks.args_of(target, record)
        # One connection at a time: whoever held one while waiting for another would wait for ever, were all others to do so.
        async with self._env.db.connection("engine") as tx:
            if call.op == "probe":
                found = await store.standing(tx, call.tenant, asker.run_id, asker.path, call.digest)
            else:
                found = await store.claim_attempt(
                    tx,
                    call.tenant,
                    asker.run_id,
                    asker.path,
                    call.digest,
                    epoch=asker.epoch,
                    key=call.key,
                    args=args,
                    simulated=simulated,
                )
        standing = checks.check_standing(call, target, args, found)
        if call.op != "probe" and not standing.claimed:
            raise _repeated(target)
        pinned = await self._programs.load(call.tenant, standing.pins)
        op = checks.op_of(pinned, standing.block, asker.path)
        checks.check_step(op, target, pinned)
        await self._check_approval(call, op)
        return Found(
            root=pinned.pins.pins[0],
            uses=checks.uses_of(pinned, op, call.digest),
            was=_was(target, standing, simulated=simulated),
            args=args,
        )

    async def _check_approval(self, call: BrokerCall, op: Op) -> None:
        if not op.approvals:
            return
        asker = checks.asker_of(call)
        async with self._env.db.connection("engine") as tx:
            await self._approvals.covered(
                tx,
                tenant=call.tenant,
                run_id=asker.run_id,
                path=asker.path,
                paths=op.approvals,
                record_digest=checks.shown_digest(op, checks.raw_of(call)),
            )

    async def again(self, call: BrokerCall, target: Target, args: str) -> None:
        """Return if the ledger still has a write as it was found, `args` among it; raises as `of_write`."""
        asker = checks.asker_of(call)
        async with self._env.db.connection("engine") as tx:
            found = await store.standing(tx, call.tenant, asker.run_id, asker.path, call.digest)
        checks.check_standing(call, target, args, found)


def _was(target: Target, standing: Standing, *, simulated: bool) -> str:
    """As what the effect was first attempted. Raises Denied `effect.was_simulated` where it would become real now."""
    before = standing.simulated
    if before is None:
        return "simulated" if simulated else "real"
    if before and not simulated:
        raise Denied(
            "effect.was_simulated",
            f"The write to {target.name} was begun as a simulated one, and this deployment would perform it;"
            " nothing was sent.",
            hint=_OTHER_RUN,
        )
    return "simulated" if before else "real"


def _repeated(target: Target) -> Exception:
    """The worker asks once per attempt; what it heard then counts, so this says that it may have been sent."""
    return target.problem(
        "broker.repeated",
        "was asked for this attempt of the step before; nothing was sent now.",
        hint="The next attempt of the step asks the target first.",
        sent=True,
    )
