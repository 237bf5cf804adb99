"""Whether a set may move: the live gate policy asks, the gates answer, and only PASS of each lets it pass.

Judged in the transaction of the move, behind the lock of the tenant's releases, so that nothing that counts can change
between the judgement and the move (I8). Every move is judged anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.artifacts import KindSpec
from stanchion.base import Conflict, Json
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases.gates import rules, store
from stanchion.releases.gates.checks import STANDARD
from stanchion.releases.gates.policies import GatePolicy, GateType, Rule, built_in, policy_of
from stanchion.releases.gates.store import Said
from stanchion.releases.gates.types import (
    POLICY_NAME,
    Asked,
    BrokenGlass,
    Evidence,
    Finding,
    Key,
    Move,
    Moving,
    PreparedMember,
    Ruling,
    Verdict,
)
from stanchion.releases.types import Live

_NOTHING: Final[Mapping[tuple[str, str, int], Said]] = {}


class Gates:
    """The gates of this deployment, by name."""

    def __init__(self, gates: Iterable[Evidence] = STANDARD) -> None:
        """`gates`: where each kind's evidence is looked for."""
        self._gates = {gate.gate: gate for gate in gates}

    def policy_type(self) -> GateType:
        """How a policy that asks for these gates is read: for `approvals.PolicyKind`."""
        return GateType(self._gates.values())

    async def judge(self, tx: Tx, ctx: Ctx, asked: Asked) -> Ruling:
        """What the live policy's gates say of a move. Reads only."""
        policy = current(asked.live)
        findings: list[Finding] = []
        for rule in policy.rules:
            about = [m for m in asked.members if rule.holds(asked, m)]
            if about:
                findings += await self._of_rule(tx, ctx, asked, rule, about)
        if policy.rest is not None:
            left = [m for m in asked.members if not any(rule.covers(asked, m) for rule in policy.rules)]
            about = [m for m in left if policy.rest.holds(asked, m)]
            if about:
                findings += await self._of_rule(tx, ctx, asked, policy.rest, about)
        return Ruling(
            policy=policy.called, policy_digest=policy.digest, subject=asked.subject, findings=tuple(findings)
        )

    async def _of_rule(self, tx: Tx, ctx: Ctx, asked: Asked, rule: Rule, about: Sequence[Moving]) -> list[Finding]:
        said: list[Finding] = []
        if rule.strategies is not None:
            said.append(rules.judge_strategy(asked, about, rule.strategies))
        for need in rule.needs:
            gate = self._gates.get(str(need["gate"]))
            if gate is None:
                missing = Finding(
                    gate=str(need["gate"]),
                    verdict=Verdict.FAIL,
                    why=f"This deployment has no gate {need['gate']}.",
                    way_out="Install what brings it, or change the policy.",
                )
                said.append(missing)
            else:
                said.append(await gate.judge(tx, ctx, asked, about, need))
        called = tuple(m.called for m in about)
        return [replace(finding, rule=rule.name, about=called) for finding in said]


GATES: Final = Gates()


def current(live: Mapping[Key, Live]) -> GatePolicy:
    """The gate policy among what is live, else the built-in one."""
    found = live.get(("policy", POLICY_NAME))
    if found is None:
        return built_in()
    return policy_of(found.body, version=found.version, content=found.digest)


async def asked_of(
    tx: Tx,
    ctx: Ctx,
    *,
    move: Move,
    strategy: str,
    first_share: int,
    share: int,
    rows: Iterable[Live],
    live: Mapping[Key, Live],
    kinds: Mapping[str, KindSpec],
    rollout_id: UUID | None = None,
    unpublished: Mapping[tuple[str, str, int], Said] = _NOTHING,
) -> Asked:
    """A move, with what its versions say of themselves.

    Args:
        tx: of the move.
        ctx: who moves it.
        move: an apply, a begin, or a going on.
        strategy: of the rollout.
        first_share: percent of the units that its first step is for.
        share: percent of the units that get it after the move.
        rows: the versions that move.
        live: everything that is live before the move.
        kinds: how each kind is read.
        rollout_id: of a rollout that goes on.
        unpublished: what versions say that a dry run only foresees.
    """
    moving = sorted(rows, key=lambda row: (row.kind, row.name))
    wanted = [(row.kind, row.name, row.version) for row in moving]
    wanted += [(now.kind, now.name, now.version) for row in moving if (now := live.get((row.kind, row.name)))]
    said = {**unpublished, **await store.said_of(tx, ctx.tenant, wanted)}
    members = tuple(_moving(row, live.get((row.kind, row.name)), said) for row in moving)
    environment = ctx.env.environment
    return Asked(
        environment=environment.name,
        production=environment.production,
        move=move,
        strategy=rules.effective_strategy(strategy, first_share),
        share=share,
        members=members,
        live=live,
        kinds=kinds,
        subject=rules.subject_of(environment.name, members),
        rollout_id=rollout_id,
    )


def _moving(row: Live, now: Live | None, said: Mapping[tuple[str, str, int], Said]) -> Moving:
    own = said[row.kind, row.name, row.version]
    before = said.get((now.kind, now.name, now.version)) if now else None
    return Moving(
        kind=row.kind,
        name=row.name,
        version=row.version,
        digest=row.digest,
        author=own.author,
        written_by=tuple(own.written_by),
        owner=own.owner,
        changelog=own.changelog,
        labels=own.labels,
        risk=rules.greater(own.risk, before.risk if before else "low"),
        returns_to=now.version if now else None,
        row=row,
    )


async def admit(
    tx: Tx, ctx: Ctx, asked: Asked, *, gates: Gates, break_glass: bool, reason: str, dry_run: bool = False
) -> Ruling:
    """Let a set move, or refuse it, in the transaction of the move and under the lock of the tenant's releases.

    What the gates said is kept with every pointer that the transaction moves from here on. A move against them needs
    `releases.break_glass` and a reason, leaves a record that stays open until it is reviewed, and says so. A dry run is
    judged and neither refused nor kept.

    Raises Conflict `release.gated` with what each gate says; Denied; Invalid `release.no_reason`.
    """
    ruling = await gates.judge(tx, ctx, asked)
    if dry_run:
        return ruling
    if ruling.verdict is not Verdict.PASS:
        if not break_glass:
            if ctx.actor.kind != "system":  # the scheduler asks again every second, as long as something is missing
                ctx.env.telemetry.emit("release.gated", 1, asked.move, ruling.verdict.value)
            raise rules.refusal(asked, ruling)
        ctx.require("releases.break_glass", environment=asked.environment)
        ruling = await _break(tx, ctx, asked, ruling, rules.check_reason(reason))
    if asked.move != "advance":
        await store.mark_moved(
            tx, ctx.tenant, asked.environment, asked.subject, by=ctx.actor.principal, at=ctx.now
        )  # fmt: skip
    await store.explain(tx, kept(ruling))
    return ruling


async def refuse_forward(
    tx: Tx, ctx: Ctx, moves: Mapping[Key, Live], *, live: Mapping[Key, Live], kinds: Mapping[str, KindSpec],
    gates: Gates = GATES, keeps: bool = True,
) -> Ruling | None:  # fmt: skip
    """Of what runs are given as a way back, judge what is none; None if everything is.

    Going back must be quick, so it asks nobody. It is no way back to a version that was never live here or that was taken
    back itself (by a rollback, or by an apply of an older one), and the gate policy has none: whoever could take it back
    could take everything forward. `keeps`: what the gates say is kept with the pointers that this transaction moves;
    False where it moves none, but pins.

    Raises Conflict `release.gated`.
    """
    environment = ctx.env.environment.name
    forward: list[Live] = []
    whys: list[str] = []
    for key, row in moves.items():
        why = await store.no_way_back(tx, ctx.tenant, environment, key, row.version)
        if key == ("policy", POLICY_NAME):
            why = "is the gate policy"
        if why is not None:
            forward.append(row)
            whys.append(f"{row.kind}/{row.name}@{row.version} {why}")
    if not forward:
        return None
    asked = await asked_of(
        tx, ctx, move="apply", strategy="all_at_once", first_share=100, share=100, rows=forward, live=live, kinds=kinds
    )  # fmt: skip
    try:
        if keeps:
            return await admit(tx, ctx, asked, gates=gates, break_glass=False, reason="")
        ruling = await gates.judge(tx, ctx, asked)
        if ruling.verdict is not Verdict.PASS:
            raise rules.refusal(asked, ruling)
    except Conflict as conflict:
        conflict.message = f"{', '.join(whys)}: that is no way back, and is judged like any move. {conflict.message}"
        raise
    return ruling


def kept(ruling: Ruling) -> dict[str, Json] | None:
    """What is kept of a ruling: nothing, where no policy is live and none is needed."""
    return ruling.json() if ruling.findings or ruling.policy != built_in().called else None


async def _break(tx: Tx, ctx: Ctx, asked: Asked, ruling: Ruling, reason: str) -> Ruling:
    findings = [finding.json() for finding in ruling.findings]
    broken = BrokenGlass(
        tenant=ctx.tenant,
        id=ctx.env.ids.new(),
        environment=asked.environment,
        move=asked.move,
        subject=asked.subject,
        members=tuple(
            PreparedMember(kind=m.kind, name=m.name, version=m.version, digest=m.digest) for m in asked.members
        ),
        rollout_id=asked.rollout_id,
        policy_digest=ruling.policy_digest,
        findings=findings,
        reason=reason,
        by=ctx.actor.principal,
        at=ctx.now,
        review_due_at=ctx.now + current(asked.live).review_within,
    )
    await store.insert_broken(tx, broken)
    await audit.record(
        tx,
        ctx,
        "release.glass_broken",
        target=("broken_glass", broken.id),
        after={"subject": broken.subject, "findings": findings},
        reason=reason,
        extra={
            "move": asked.move,
            "rollout": None if asked.rollout_id is None else str(asked.rollout_id),
            "subject": asked.subject,
            "gate_policy": ruling.policy_digest,
            "verdict": ruling.verdict.value,
            "gates": [f"{f.gate}: {f.verdict.value}" for f in ruling.findings],
            "members": [{"kind": m.kind, "name": m.name, "digest": m.digest} for m in asked.members],
        },
    )
    return replace(ruling, broken_glass=broken.id)


def announce(ctx: Ctx, move: Move, ruling: Ruling | None) -> None:
    """Say aloud, after its commit, that a move was made against its gates."""
    if ruling is not None and ruling.broken_glass is not None:
        ctx.env.telemetry.emit(
            "release.glass_broken", 1, move, broken_glass=str(ruling.broken_glass), by=ctx.actor.principal
        )


def audit_facts(ruling: Ruling | None) -> dict[str, object]:
    """What the audit record of a move says of its gates."""
    if ruling is None or kept(ruling) is None:
        return {}
    return {
        "gate_policy": ruling.policy_digest,
        "gates": [f"{f.gate}: {f.verdict.value}" for f in ruling.findings],
        "broken_glass": None if ruling.broken_glass is None else str(ruling.broken_glass),
    }
