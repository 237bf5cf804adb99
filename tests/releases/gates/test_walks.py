"""Random walks of people over a real database, held to an account of its own: what moved had what it needs, and what had
it was not refused."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from stanchion.base import Conflict, Denied
from stanchion.db import Database
from stanchion.releases.gates import Verdict, Which, approve, withdraw
from stanchion.releases.rollouts import Target, rollback
from tests.releases.gates.support import GateStage, document

SEEDS, STEPS = 6, 60
CONTENTS = ("second", "third", "fourth")
APPROVERS = ("ben", "olga", "otto")
TTL = timedelta(days=7)


@dataclass
class Account:
    """What the test itself knows: of each content its version, its author, and who said what when."""

    version: dict[str, int] = field(default_factory=lambda: {"first": 1})
    author: dict[str, str] = field(default_factory=lambda: {"first": "ada"})
    said: dict[str, dict[str, tuple[Verdict, datetime, object]]] = field(default_factory=dict)
    left_at: dict[str, datetime] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    taken_back: set[str] = field(default_factory=set)
    live: str = "first"
    seen: Counter[str] = field(default_factory=Counter)

    def may_move(self, content: str, now: datetime) -> bool:
        """Whether two people who may say yes, and nobody who may says no."""
        counts = [
            verdict
            for by, (verdict, at, _) in self.said.get(content, {}).items()
            if by != self.author[content]
            and by not in self.disabled
            and now < at + TTL
            and not (content in self.left_at and at <= self.left_at[content])
        ]
        return Verdict.FAIL not in counts and counts.count(Verdict.PASS) >= 2

    def moved(self, content: str, now: datetime) -> None:
        self.left_at[self.live] = now
        self.live = content


def doc(content: str):
    return document("blueprint", ("first", content)) if content != "first" else document("blueprint")


async def step(stage: GateStage, account: Account, rng: random.Random) -> None:
    stage.clock.at += timedelta(minutes=1)
    content = rng.choices(CONTENTS, [6, 3, 1])[0]
    what = rng.choices(["prepare", "say", "withdraw", "apply", "back", "wait", "leave"], [4, 16, 1, 8, 3, 0.3, 0.2])[0]
    if what == "prepare" and content != account.live:
        by = rng.choice(["ada", "ben"])
        made = await stage.prepared(doc(content), by=by)
        account.version[content] = made.members[0].version
        account.author.setdefault(content, by)
    elif what == "say" and content in account.version:
        await say(stage, account, content, rng)
    elif what == "withdraw" and (mine := account.said.get(content)):
        by = rng.choice(sorted(mine))
        await withdraw(stage.by(by), mine.pop(by)[2], reason="On second thoughts.")
    elif what == "apply":
        await apply(stage, account, content, rng.choice(["ada", "ben"]))
    elif what == "back":
        await back(stage, account)
    elif what == "wait":
        stage.clock.at += timedelta(days=rng.choice([1, 8]))
    elif what == "leave" and not account.disabled:
        account.disabled.add("otto")
        await stage.change_person("otto", disabled=True)


async def say(stage: GateStage, account: Account, content: str, rng: random.Random) -> None:
    by = rng.choice([name for name in APPROVERS if name not in account.disabled])
    verdict = rng.choices([Verdict.PASS, Verdict.FAIL], [12, 1])[0]
    which = Which(versions=(("blueprint", "case-triage", account.version[content]),))
    if by == account.author[content]:
        with pytest.raises(Denied, match="wrote"):
            await approve(stage.by(by), which, verdict=verdict, reason="So I think.")
        account.seen["own"] += 1
        return
    given = await approve(stage.by(by), which, verdict=verdict, reason="So I think.")
    account.said.setdefault(content, {})[by] = (verdict, stage.clock.at, given.id)


async def apply(stage: GateStage, account: Account, content: str, by: str) -> None:
    if content == account.live:
        return
    if content not in account.version or not account.may_move(content, stage.clock.at):
        with pytest.raises(Conflict, match="gates of policy/release-gates"):
            await stage.applied(doc(content), by=by)
        account.seen["refused"] += 1
        return
    done = await stage.applied(doc(content), by=by)
    assert done.ruling.verdict is Verdict.PASS
    account.moved(content, stage.clock.at)
    account.taken_back.discard(content)
    account.seen["moved"] += 1


async def back(stage: GateStage, account: Account) -> None:
    """Where a rollback goes is not this test's account to keep; what was taken back is not to come again by it."""
    target = Target(kind="blueprint", name="case-triage")
    try:
        done = await rollback(stage.by("opal"), target, kinds=stage.kinds, reason="It is bad.")
    except Conflict:
        return
    to = next(c for c, v in account.version.items() if v == done.moved[0][3])
    assert to not in account.taken_back
    account.taken_back.add(account.live)
    account.moved(to, stage.clock.at)
    account.seen["back"] += 1


@pytest.mark.timeout(300)
async def test_whatever_people_do_a_set_moves_exactly_when_it_may(fresh_database_urls, tmp_path) -> None:
    total: Counter[str] = Counter()
    async with Database(fresh_database_urls) as db:
        for seed in range(SEEDS):
            stage = await GateStage.make(db, tmp_path / str(seed), tenant=f"walk-{seed}")
            await stage.rule("kinds: [blueprint], needs: [{gate: approval, count: 2}]")
            account, rng = Account(), random.Random(seed)
            for _ in range(STEPS):
                await step(stage, account, rng)
                assert (await stage.versions_live())["blueprint/case-triage"] == account.version[account.live]
            total += account.seen
    # The walks are worth something only if they come everywhere.
    assert all(total[what] >= 3 for what in ("own", "refused", "moved", "back")), total
