"""No combination lets a set move without what it needs: every flaw alone, all mixtures of them, and mutants of the rules."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.base import Invalid
from stanchion.releases.gates import Asked, EvidenceRecord, Finding, Gates, Moving, Subject, Verdict, rules
from stanchion.releases.gates.policies import policy_of
from stanchion.releases.gates.types import Holder
from stanchion.releases.types import Live

NOW = datetime(2026, 11, 18, 9, tzinfo=UTC)
SPACE = UUID("01a201e3-dd6c-7038-9f99-fa850ad64075")
PEOPLE = ("olga", "otto", "oda", "ole")


def moving(
    kind: str = "blueprint", name: str = "fare", *, risk: str = "low", author: str = "ada", first=False, content="1"
) -> Moving:
    row = Live(kind=kind, name=name, version=2, digest=f"sha256:{content}", body={}, refs=[], source="", source_path="")
    return Moving(
        kind=kind, name=name, version=2, digest=f"sha256:{content}", author=author, owner="tickets", changelog="why", labels={},
        risk=risk, returns_to=None if first else 1, row=row,
    )  # fmt: skip


def asked(*members: Moving, **more) -> Asked:
    members = members or (moving(),)
    facts = {
        "environment": "live", "production": False, "move": "apply", "strategy": "all_at_once", "share": 100,
        "members": members, "live": {}, "kinds": {}, "subject": rules.subject_of("live", members),
    }  # fmt: skip
    return Asked(**(facts | more))


def approval(by: str, ask: Asked, **more) -> EvidenceRecord:
    facts = {
        "tenant": "acme", "id": uuid5(SPACE, by), "environment": ask.environment, "gate": "approval", "subject": ask.subject,
        "members": tuple(Subject(kind=m.kind, name=m.name, digest=m.digest) for m in ask.members), "verdict": Verdict.PASS,
        "why": "As agreed.", "details": {}, "details_digest": "d", "by": by, "by_kind": "user",
        "made_at": NOW - timedelta(hours=1), "expires_at": NOW + timedelta(hours=1),
    }  # fmt: skip
    return EvidenceRecord(**(facts | more))


def holder(name: str, **more) -> Holder:
    facts = {"name": name, "kind": "user", "roles": ("approver",), "disabled_at": None, "id": SPACE}
    return Holder(**(facts | more))


# Each flaw: what it does to (record, holder, may, authors, taken back at); alone it makes an approval count for nothing.
FLAWS = {
    "of another set": lambda s: s | {"record": dataclasses.replace(s["record"], subject="sha256:other")},
    "of another gate": lambda s: s | {"record": dataclasses.replace(s["record"], gate="eval")},
    "of another environment": lambda s: s | {"record": dataclasses.replace(s["record"], environment="staging")},
    "by an author": lambda s: s | {"author": True},
    "said by a service": lambda s: s | {"record": dataclasses.replace(s["record"], by_kind="service")},
    "of what is a service now": lambda s: s | {"holder": dataclasses.replace(s["holder"], kind="service")},
    "by nobody known": lambda s: s | {"holder": None},
    "by somebody disabled": lambda s: s | {"holder": dataclasses.replace(s["holder"], disabled_at=NOW)},
    "without the permission": lambda s: s | {"may": False},
    "without the role": lambda s: s | {"holder": s["holder"] and dataclasses.replace(s["holder"], roles=("viewer",))},
    "expired": lambda s: s | {"record": dataclasses.replace(s["record"], expires_at=NOW)},
    "too old": lambda s: s | {"record": dataclasses.replace(s["record"], made_at=NOW - timedelta(hours=3))},
    "from before it was taken back": lambda s: s | {"record": dataclasses.replace(s["record"], made_at=NOW - timedelta(minutes=90))},
    "withdrawn": lambda s: s
    | {"record": dataclasses.replace(s["record"], withdrawn_by="x", withdrawn_at=NOW, withdraw_reason="no")},
}  # fmt: skip
NEED = {"gate": "approval", "roles": ["approver"], "max_age": "2h"}


def verdict_of(said: dict[str, list[str]], count: int, rejecting: frozenset[str] = frozenset()) -> Finding:
    """What the rule says when each person's approval has these flaws."""
    authors = [by for by, flaws in said.items() if "by an author" in flaws]
    members = [moving(), *(moving(name=f"of-{by}", author=by) for by in authors)]
    ask = asked(*members)
    records, holders, may = [], {}, {}
    for by, flaws in said.items():
        record = approval(by, ask, **({"verdict": Verdict.FAIL} if by in rejecting else {}))
        state = {"record": record, "holder": holder(by), "may": True, "author": False}
        for flaw in sorted(flaws):
            if state["holder"] is None and flaw in (
                "of what is a service now",
                "by somebody disabled",
                "without the role",
            ):
                continue
            state = FLAWS[flaw](state)
        records.append(state["record"])
        may[by] = state["may"]
        if state["holder"] is not None:
            holders[by] = state["holder"]
    return rules.judge_approvals(
        ask, [ask.members[0]], {**NEED, "count": count}, records, holders=holders, may=may,
        taken_back_at=NOW - timedelta(minutes=90), now=NOW,
    )  # fmt: skip


def test_without_a_flaw_it_counts() -> None:
    assert verdict_of({"olga": []}, 1).verdict is Verdict.PASS
    assert verdict_of({"olga": []}, 2).verdict is Verdict.INCONCLUSIVE
    assert verdict_of({"olga": [], "otto": []}, 2).verdict is Verdict.PASS


@pytest.mark.parametrize("flaw", sorted(FLAWS))
def test_each_flaw_alone_makes_it_count_for_nothing(flaw: str) -> None:
    said = verdict_of({"olga": [flaw]}, 1)
    assert said.verdict is Verdict.INCONCLUSIVE
    assert said.evidence == ()
    assert said.way_out
    # And a rejection with the same flaw stops nobody.
    assert verdict_of({"olga": [flaw], "otto": []}, 1, frozenset({"olga"})).verdict is Verdict.PASS


def test_every_reason_of_the_rule_has_its_flaw() -> None:
    reasons = inspect.getsource(rules._why_not).count("        (")
    # One reason is shared by "another set" and "another gate", by the two of a service, and by the two of nobody any more; a
    # withdrawal is looked at before.
    assert reasons == len(FLAWS) - 3 - 1


flaws = st.lists(st.sampled_from(sorted(FLAWS)), max_size=3, unique=True)


@settings(max_examples=600, deadline=None)
@given(
    said=st.dictionaries(st.sampled_from(PEOPLE), flaws, max_size=4),
    rejecting=st.frozensets(st.sampled_from(PEOPLE), max_size=2),
    count=st.integers(1, 4),
)
def test_no_mixture_passes_without_the_approvals_that_are_needed(said, rejecting, count) -> None:
    found = verdict_of(said, count, rejecting)
    sound = {by for by, wrong in said.items() if not wrong}
    if sound & rejecting:
        assert found.verdict is Verdict.FAIL
    elif len(sound) >= count:
        assert found.verdict is Verdict.PASS
        assert set(found.evidence) == {uuid5(SPACE, by) for by in sound}
    else:
        assert found.verdict is Verdict.INCONCLUSIVE


def test_only_the_latest_of_one_person_counts() -> None:
    ask = asked()
    records = [approval("olga", ask), approval("olga", ask, id=SPACE, verdict=Verdict.FAIL, why="No, after all.")]
    people = {"holders": {"olga": holder("olga")}, "may": {"olga": True}, "taken_back_at": None, "now": NOW}
    assert rules.judge_approvals(ask, ask.members, {}, records, **people).verdict is Verdict.FAIL
    assert rules.judge_approvals(ask, ask.members, {}, records[::-1], **people).verdict is Verdict.PASS


# --- evals


EVAL = {"suite": "fares", "suite_digest": "sha256:s", "cases": 100, "passed": 97}
EVAL_FLAWS = {
    "of another suite": lambda s: s | {"details": {**s["details"], "suite": "other"}},
    "of other cases": lambda s: s | {"details": {**s["details"], "suite_digest": "sha256:x"}},
    "of another digest": lambda s: s | {"members": (Subject(kind="blueprint", name="fare", digest="sha256:0"),)},
    "beside what is not live": lambda s: s | {"members": (*s["members"], Subject(kind="policy", name="p", digest="sha256:9"))},
    "expired": lambda s: s | {"expires_at": NOW},
    "too old": lambda s: s | {"made_at": NOW - timedelta(hours=3)},
    "withdrawn": lambda s: s | {"withdrawn_by": "ci", "withdrawn_at": NOW, "withdraw_reason": "no"},
    "by a person": lambda s: s | {"by_kind": "user"},
    "by an author": lambda s: s | {"by": "ada"},
    "by one not named": lambda s: s | {"by": "cron"},
    "by nobody known": lambda s: s | {"by": "gone"},
    "by one disabled": lambda s: s | {"by": "off"},
    "by one without the permission": lambda s: s | {"by": "mute"},
    "by what is a person now": lambda s: s | {"by": "olga"},
    "of another gate": lambda s: s | {"gate": "approval"},
}  # fmt: skip
EVAL_NEED = {
    "gate": "eval",
    "suite": "fares",
    "suite_digest": "sha256:s",
    "max_age": "2h",
    "by": ["ci", "ada", "gone", "off", "mute", "olga"],
}
SERVICES = {
    name: holder(name, kind="service", disabled_at=NOW if name == "off" else None)
    for name in ("ci", "ada", "cron", "off", "mute")
} | {"olga": holder("olga")}


def eval_record(flaws_of, **more) -> EvidenceRecord:
    ask = asked()
    record = approval("ci", ask, gate="eval", by_kind="service", details=EVAL, **more)
    facts = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
    for flaw in sorted(flaws_of):
        facts = EVAL_FLAWS[flaw](facts)
    return EvidenceRecord(**facts)


def eval_verdict(records, need=EVAL_NEED) -> Verdict:
    ask = asked()
    may = {name: name != "mute" for name in SERVICES}
    return rules.judge_eval(ask, ask.members, need, records, holders=SERVICES, may=may, now=NOW).verdict


def test_a_sound_eval_passes() -> None:
    assert eval_verdict([eval_record([])]) is Verdict.PASS


@pytest.mark.parametrize("flaw", sorted(EVAL_FLAWS))
def test_each_flaw_of_an_eval_alone_makes_it_count_for_nothing(flaw: str) -> None:
    assert eval_verdict([eval_record([flaw])]) is Verdict.INCONCLUSIVE
    # Nor does one that fails then stop a sound one before it.
    assert eval_verdict([eval_record([]), eval_record([flaw], verdict=Verdict.FAIL)]) is Verdict.PASS


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(sorted(EVAL_FLAWS)), max_size=2, unique=True), st.sampled_from(list(Verdict))
        ),
        max_size=5,
    )
)
def test_the_newest_sound_eval_decides(said) -> None:
    found = eval_verdict([eval_record(wrong, verdict=verdict) for wrong, verdict in said])
    sound = [verdict for wrong, verdict in said if not wrong]
    assert found is (sound[-1] if sound else Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [((100, 95), "PASS"), ((100, 94), "FAIL"), ((20, 19), "PASS"), ((19, 19), "INCONCLUSIVE"), ((1000, 949), "FAIL")],
)
def test_counts_are_held_to_the_policy_in_whole_numbers(counts, verdict: str) -> None:
    need = {"gate": "eval", "suite": "fares", "cases_min": 20, "passed_percent_min": 95}
    record = eval_record([])
    record = dataclasses.replace(record, details={**EVAL, "cases": counts[0], "passed": counts[1]})
    assert eval_verdict([record], need).value == verdict


# --- policies and gates together


class Told:
    """A gate that says what the test wants it to say."""

    properties: ClassVar[dict] = {}
    required = ()

    def __init__(self, gate: str, verdict: Verdict) -> None:
        self.gate, self.verdict = gate, verdict

    async def judge(self, tx, ctx, ask, about, need) -> Finding:
        return Finding(gate=self.gate, verdict=self.verdict, why="So it is.", way_out="Nothing.")


RULES = st.fixed_dictionaries(
    {"needs": st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True)},
    optional={
        "kinds": st.lists(st.sampled_from(["blueprint", "policy"]), min_size=1, max_size=2, unique=True),
        "risks": st.lists(st.sampled_from(["low", "medium", "high"]), min_size=1, max_size=2, unique=True),
        "production": st.booleans(),
        "share": st.sampled_from([10, 50]),
        "strategies": st.lists(
            st.sampled_from(["all_at_once", "canary", "rings"]), min_size=1, max_size=2, unique=True
        ),
    },
)
MEMBERS = st.tuples(
    st.sampled_from(["blueprint", "policy", "connector"]), st.sampled_from(["low", "high"]), st.booleans()
)


@settings(max_examples=400, deadline=None)
@given(
    said=st.lists(RULES, min_size=1, max_size=4),
    members=st.lists(MEMBERS, min_size=1, max_size=3),
    verdicts=st.tuples(*[st.sampled_from(list(Verdict))] * 3),
    production=st.booleans(),
    strategy=st.sampled_from(["all_at_once", "canary", "blue_green"]),
    share=st.sampled_from([5, 10, 11, 100]),
)
def test_a_set_passes_only_if_everything_that_any_rule_asks_of_any_member_passes(
    said, members, verdicts, production, strategy, share
) -> None:
    body = {"policy": "release-gates", "type": "gate", "owner": "o", "rules": []}
    for number, rule in enumerate(said):
        made = {key: value for key, value in rule.items() if key in ("kinds", "risks", "production", "strategies")}
        made |= {"name": f"r{number}", "needs": [{"gate": gate} for gate in rule["needs"]]}
        if "share" in rule:
            made["when"] = f"release.share > {rule['share']}"
        body["rules"].append(made)
    live = Live(
        kind="policy", name="release-gates", version=1, digest="sha256:p", body=body, refs=[], source="", source_path=""
    )
    set_of = [moving(k, f"n{n}", risk=r, first=f) for n, (k, r, f) in enumerate(members)]
    ask = asked(
        *set_of, live={("policy", "release-gates"): live}, production=production, strategy=strategy, share=share
    )  # fmt: skip
    told = dict(zip("abc", verdicts, strict=True))
    # What production without a rule needs is not among these: it cannot be had, so it refuses.
    ruling = asyncio.run(Gates(Told(gate, verdict) for gate, verdict in told.items()).judge(None, None, ask))

    expected = Verdict.PASS
    for m in set_of:
        covered = False
        for rule in said:
            if m.kind not in rule.get("kinds", [m.kind]) or m.risk not in rule.get("risks", [m.risk]):
                continue
            if rule.get("production", production) != production:
                continue
            covered = True
            if share <= rule.get("share", -1):
                continue
            wrong = [told[gate] for gate in rule["needs"]]
            if "strategies" in rule and strategy not in rule["strategies"] and m.returns_to is not None:
                wrong.append(Verdict.FAIL)
            for one in wrong:
                if one is Verdict.FAIL or (one is Verdict.INCONCLUSIVE and expected is Verdict.PASS):
                    expected = one
        if production and not covered:
            expected = Verdict.FAIL
    assert ruling.verdict is expected


def test_a_condition_that_cannot_be_computed_asks() -> None:
    body = {
        "rules": [{"name": "r", "when": "artifact.labels['team'] == 'a'", "needs": [{"gate": "x"}]}],
        "type": "gate",
    }
    policy = policy_of(body, version=1, content="sha256:p")
    assert policy.rules[0].holds(asked(), moving())
    labelled = dataclasses.replace(moving(), labels={"team": "b"})
    assert not policy.rules[0].holds(asked(), labelled)


def test_a_gate_that_is_not_installed_says_no() -> None:
    body = {"rules": [{"name": "r", "needs": [{"gate": "later"}]}], "type": "gate"}
    live = Live(
        kind="policy", name="release-gates", version=1, digest="d", body=body, refs=[], source="", source_path=""
    )
    ruling = asyncio.run(Gates().judge(None, None, asked(live={("policy", "release-gates"): live})))
    assert ruling.verdict is Verdict.FAIL
    assert "no gate later" in ruling.findings[0].why


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from("12")), max_size=5, unique=True)
)
def test_the_digest_of_a_set_knows_no_order_and_every_difference(members) -> None:
    made = [Subject(kind=k, name=n, digest=d) for k, n, d in members]
    assert rules.subject_of("live", made) == rules.subject_of("live", made[::-1])
    assert rules.subject_of("live", made) != rules.subject_of("staging", made)
    for number in range(len(made)):
        assert rules.subject_of("live", made) != rules.subject_of("live", made[:number] + made[number + 1 :])


@pytest.mark.parametrize("reason", ["", "       ", "short", "x" * 2001])
def test_a_reason_is_one(reason: str) -> None:
    with pytest.raises(Invalid):
        rules.check_reason(reason)


@pytest.mark.parametrize(
    ("strategy", "share", "acts"),
    [
        ("canary", 99, "canary"),
        ("canary", 100, "all_at_once"),
        ("rings", 100, "all_at_once"),
        ("blue_green", 100, "blue_green"),
    ],
)
def test_a_canary_of_everybody_is_none(strategy: str, share: int, acts: str) -> None:
    assert rules.effective_strategy(strategy, share) == acts


def test_a_rejection_is_heard_and_so_is_the_newest_eval() -> None:
    assert verdict_of({"olga": [], "otto": []}, 1, frozenset({"olga"})).verdict is Verdict.FAIL
    assert eval_verdict([eval_record([]), eval_record([], verdict=Verdict.FAIL)]) is Verdict.FAIL


# --- mutants: what the tests above must notice


MUTANTS = {
    "nobody is an author": ("        (record.by in authors, ", "        (False, "),
    "withdrawn counts": ("if record.withdrawn_at is None}\n    counted", "}\n    counted"),
    "one approval less": ("    if len(counted) >= count:", "    if len(counted) + 1 >= count:"),
    "rejections are not heard": ("    if refused:\n", "    if False:\n"),
    "expiry is not looked at": ('        (record.expires_at <= now, f"it expired', '        (False, f"it expired'),
    "the set may be another": (
        'record.gate != "approval" or record.subject != asked.subject',
        'record.gate != "approval"',
    ),
    "roles are not looked at": ("(bool(roles) and holder is not None", "(False and holder is not None"),
    "taking back spends nothing": ("(taken_back_at is not None and", "(False and"),
    "the first eval counts": ("    last = found[-1]", "    last = found[0]"),
    "an eval of other versions counts": ("        and all(after.get(s.key) == s.digest for s in record.members)\n", ""),
    "authors report": ("and record.by not in authors and", "and"),
    "percent is not looked at": ("    if passed * 100 < percent * cases:", "    if False:"),
}


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_mutant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = MUTANTS[name]
    source = inspect.getsource(rules)
    assert source.count(old) == 1, "the mutant does not fit the code any more"
    namespace: dict = {"__name__": "mutant"}
    exec(compile(source.replace(old, new), "mutant", "exec"), namespace)  # noqa: S102 - our own source, changed in one place
    for function in ("judge_approvals", "judge_eval"):
        monkeypatch.setattr(rules, function, namespace[function])
    checks = (
        test_without_a_flaw_it_counts,
        test_only_the_latest_of_one_person_counts,
        *((lambda f=flaw: test_each_flaw_alone_makes_it_count_for_nothing(f)) for flaw in FLAWS),
        *((lambda f=flaw: test_each_flaw_of_an_eval_alone_makes_it_count_for_nothing(f)) for flaw in EVAL_FLAWS),
        test_a_rejection_is_heard_and_so_is_the_newest_eval,
        lambda: test_counts_are_held_to_the_policy_in_whole_numbers((100, 94), "FAIL"),
    )
    assert any(_fails(check) for check in checks)


def _fails(check) -> bool:
    try:
        check()
    except (AssertionError, pytest.fail.Exception):
        return True
    return False
