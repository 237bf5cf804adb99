"""What gates decide, pure: time, evidence and who may still do what are passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from stanchion.artifacts import Risk
from stanchion.base import Conflict, Invalid, Json, digest, sentence
from stanchion.blueprints import RISKS, duration_s
from stanchion.releases.gates.types import (
    Asked,
    EvalReport,
    EvidenceRecord,
    Exact,
    Finding,
    Holder,
    Moving,
    Ruling,
    Verdict,
)

# What an approval may be given by, where a policy names no roles: who may decide one at all is Cedar's to say.
_SHOWN_MAX: Final = 5
REASON_CHARS_MIN: Final = 8
_PREPARE: Final = "`stanchion release prepare … --reason …` publishes it without moving it; get what is missing for that, and try again."
_POLICY: Final = {"built-in": "the built-in policy"}
_FIRST: Final = {"apply": _PREPARE, "begin": _PREPARE, "advance": "Get what is missing, and try again."}
REASON_CHARS_MAX: Final = 2000


def subject_of(environment: str, members: Iterable[Exact]) -> str:
    """The digest of exactly this set in this environment, whatever the order."""
    listed = sorted([m.kind, m.name, m.digest] for m in members)
    return digest({"environment": environment, "members": listed})


def greater(*risks: str) -> Risk:
    """The greatest of these risk levels."""
    found = max((RISKS.index(risk) for risk in risks), default=0)
    return "high" if found == 2 else "medium" if found == 1 else "low"


def effective_strategy(strategy: str, share: int) -> str:
    """The strategy as it acts: a canary or a ring that begins with everybody is no canary."""
    return "all_at_once" if strategy in ("canary", "rings") and share >= 100 else strategy


def check_reason(reason: str) -> str:
    """The reason, stripped. Raises Invalid `release.no_reason` if it is not 8 to 2000 characters."""
    said = reason.strip()
    if not REASON_CHARS_MIN <= len(said) <= REASON_CHARS_MAX:
        raise Invalid(
            "release.no_reason",
            f"The reason has {len(said)} characters.",
            hint=f"Say why, in {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters: somebody will read it.",
        )
    return said


def judge_strategy(asked: Asked, about: Sequence[Moving], permitted: Sequence[str]) -> Finding:
    """Whether the strategy is one of those permitted. What has no live version yet has nothing to be compared with: it
    may come at once."""
    new = [m for m in about if m.returns_to is None]
    held = [m for m in about if m.returns_to is not None]
    if not held:
        why = f"{_names(new)} {'is' if len(new) == 1 else 'are'} live for the first time."
        return Finding(gate="strategy", verdict=Verdict.PASS, why=why)
    if asked.strategy in permitted:
        return Finding(gate="strategy", verdict=Verdict.PASS, why=f"{asked.strategy} is permitted.")
    one = next((s for s in permitted if s != "all_at_once"), permitted[0])
    return Finding(
        gate="strategy",
        verdict=Verdict.FAIL,
        why=f"{_names(held)} may not move by {asked.strategy}; permitted: {', '.join(permitted)}.",
        way_out=f"stanchion release canary {' '.join(m.called for m in held[:_SHOWN_MAX])} --strategy {one} …",
    )


def judge_approvals(
    asked: Asked,
    about: Sequence[Moving],
    need: Mapping[str, Json],
    given: Sequence[EvidenceRecord],
    *,
    holders: Mapping[str, Holder],
    may: Mapping[str, bool],
    taken_back_at: datetime | None,
    now: datetime,
) -> Finding:
    """Whether enough other people approve of exactly this set.

    Args:
        asked: the move.
        about: the members for which approvals are needed.
        need: `count`, `roles`, `max_age`.
        given: everything that was ever said about the set, oldest first, also what was withdrawn or expired.
        holders: the principals that said it, as they are now.
        may: by name whether each may approve releases now.
        taken_back_at: when one of these versions was last taken back: approvals from before then are spent.
        now: the present time.
    """
    count = _count(need)
    roles = [str(role) for role in _listed(need.get("roles"))]
    authors = {name for m in asked.members for name in m.authors}
    latest = {record.by: record for record in given if record.withdrawn_at is None}
    counted: list[EvidenceRecord] = []
    refused: list[EvidenceRecord] = []
    said: list[str] = []
    for record in latest.values():
        holder = holders.get(record.by)
        why_not = _why_not(record, asked, holder, authors, roles, may, taken_back_at, _max_age(need), now)
        if why_not:
            said.append(f"{record.by}'s does not count: {why_not}")
        elif record.verdict is Verdict.PASS:
            counted.append(record)
        else:
            refused.append(record)
    who = f"role {' or '.join(roles)}" if roles else "whoever may approve releases"
    way_out = f"Somebody else than {', '.join(sorted(authors))} ({who}) approves exactly this set: stanchion release approve {_approve(about, asked)} --reason …"
    if refused:
        one = refused[-1]
        return Finding(
            gate="approval",
            verdict=Verdict.FAIL,
            why=f"{one.by} rejected it: {one.why}",
            way_out=f"Change it, or ask {one.by} to withdraw: stanchion release withdraw {one.id} --reason …",
            evidence=tuple(r.id for r in refused),
        )
    ids = tuple(r.id for r in counted)
    if len(counted) >= count:
        return Finding(
            gate="approval", verdict=Verdict.PASS, why=f"Approved by {', '.join(sorted(r.by for r in counted))}.", evidence=ids
        )  # fmt: skip
    whys = [f"{len(counted)} of {count} approvals.", *(f"{one[0].upper()}{one[1:]}." for one in said[:_SHOWN_MAX])]
    return Finding(
        gate="approval", verdict=Verdict.INCONCLUSIVE, why=" ".join(whys), way_out=way_out, evidence=ids
    )  # fmt: skip


def _why_not(
    record: EvidenceRecord, asked: Asked, holder: Holder | None, authors: set[str], roles: Sequence[str],
    may: Mapping[str, bool], taken_back_at: datetime | None, max_age: timedelta | None, now: datetime,
) -> str:  # fmt: skip
    """Why what somebody said does not count now; empty if it does."""
    reasons = (
        (record.gate != "approval" or record.subject != asked.subject, "it is about another set"),
        (record.environment != asked.environment, f"it was given in environment {record.environment}"),
        (record.by in authors, "they wrote one of these versions"),
        (record.by_kind != "user" or (holder is not None and holder.kind != "user"), "only people approve"),
        (holder is None or holder.disabled_at is not None, "they are no principal any more"),
        (not may.get(record.by, False), "they may not approve releases any more"),
        (bool(roles) and holder is not None and not set(roles) & set(holder.roles), f"they have none of the roles {', '.join(roles)}"),
        (record.expires_at <= now, f"it expired at {record.expires_at:%Y-%m-%d %H:%M:%S} UTC"),
        (max_age is not None and record.made_at + max_age <= now, "it is too old"),
        (taken_back_at is not None and record.made_at <= taken_back_at, "it was given before one of these versions was taken back"),
    )  # fmt: skip
    return next((why for holds, why in reasons if holds), "")


def judge_eval(
    asked: Asked, about: Sequence[Moving], need: Mapping[str, Json], given: Sequence[EvidenceRecord],
    *, holders: Mapping[str, Holder], may: Mapping[str, bool], now: datetime,
) -> Finding:  # fmt: skip
    """Whether an eval of the suite passed for every member: the newest that counts decides.

    An eval counts if its reporter is a service that wrote none of these versions and may still report, if it is neither
    withdrawn nor expired, and if everything it names is what runs would get after the move.
    """
    suite = str(need["suite"])
    findings = [_eval_of(asked, member, suite, need, given, holders=holders, may=may, now=now) for member in about]
    ids = tuple(dict.fromkeys(one for finding in findings for one in finding.evidence))
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        worst = [finding for finding in findings if finding.verdict is verdict]
        if worst:
            whys = " ".join(dict.fromkeys(finding.why for finding in worst[:_SHOWN_MAX]))
            return Finding(gate="eval", verdict=verdict, why=whys, way_out=worst[0].way_out, evidence=ids)
    whys = " ".join(dict.fromkeys(finding.why for finding in findings[:_SHOWN_MAX]))
    return Finding(gate="eval", verdict=Verdict.PASS, why=whys, evidence=ids)


def _eval_of(
    asked: Asked, member: Moving, suite: str, need: Mapping[str, Json], given: Sequence[EvidenceRecord],
    *, holders: Mapping[str, Holder], may: Mapping[str, bool], now: datetime,
) -> Finding:  # fmt: skip
    after = {key: row.digest for key, row in asked.live.items()} | {m.key: m.digest for m in asked.members}
    authors = {name for m in asked.members for name in m.authors}
    reporters = {str(one) for one in _listed(need.get("by"))}
    max_age = _max_age(need)
    found = [
        record
        for record in given
        if record.gate == "eval"
        and record.details.get("suite") == suite
        and need.get("suite_digest") in (None, record.details.get("suite_digest"))
        and any((s.key, s.digest) == (member.key, member.digest) for s in record.members)
        and all(after.get(s.key) == s.digest for s in record.members)
        and record.withdrawn_at is None
        and record.expires_at > now
        and (max_age is None or record.made_at + max_age > now)
        and _reports(record, holders, may, authors, reporters)
    ]
    if not found:
        return Finding(
            gate="eval",
            verdict=Verdict.INCONCLUSIVE,
            why=f"No eval of suite {suite} counts for {member.called}.",
            way_out=f"Let a service report one of exactly {member.digest}: stanchion release evidence report …",
        )
    last = found[-1]
    why, verdict = _measured(last, need)
    times = f" ({len(found)} reports, the newest counts)" if len(found) > 1 else ""
    way_out = "" if verdict is Verdict.PASS else f"Change {member.kind} {member.name}, or evaluate it on more cases."
    return Finding(
        gate="eval", verdict=verdict, why=f"Suite {suite} of {member.called}: {why}{times}.", way_out=way_out, evidence=(last.id,)
    )  # fmt: skip


def _reports(
    record: EvidenceRecord, holders: Mapping[str, Holder], may: Mapping[str, bool], authors: set[str], reporters: set[str]
) -> bool:  # fmt: skip
    holder = holders.get(record.by)
    if holder is None or holder.disabled_at is not None or holder.kind != "service" or record.by_kind != "service":
        return False
    return may.get(record.by, False) and record.by not in authors and (not reporters or record.by in reporters)


def _measured(record: EvidenceRecord, need: Mapping[str, Json]) -> tuple[str, Verdict]:
    """What an eval says, held to what the policy asks of it beyond its own verdict."""
    cases, passed = _whole(record.details.get("cases")), _whole(record.details.get("passed"))
    said = f"{record.verdict.value}, {passed} of {cases} cases passed"
    if record.verdict is not Verdict.PASS:
        return f"{said}; {record.why}", record.verdict
    least = _whole(need.get("cases_min"))
    if cases < least:
        return f"{said}; at least {least} cases are needed", Verdict.INCONCLUSIVE
    percent = _whole(need.get("passed_percent_min"))
    if passed * 100 < percent * cases:
        return f"{said}; at least {percent} % have to", Verdict.FAIL
    return said, Verdict.PASS


def check_report(report: EvalReport, verdict: Verdict) -> None:
    """Raise Invalid `evidence.bad_eval` for a report that contradicts itself."""
    parts = report.passed + report.failed + report.errored
    if min(report.cases, report.passed, report.failed, report.errored) < 0 or parts != report.cases:
        raise _bad(
            f"{report.passed} passed, {report.failed} failed and {report.errored} errored are not {report.cases} cases."
        )
    if verdict is Verdict.PASS and not report.passed:
        raise _bad("It passed, and no case did.")


def _bad(message: str) -> Invalid:
    return Invalid("evidence.bad_eval", message, hint="Report the counts as they are; INCONCLUSIVE is a verdict too.")


def judge_fields(about: Sequence[Moving], need: Mapping[str, Json]) -> Finding:
    """Whether each version says what it has to say of itself."""
    wanted = [str(one) for one in _listed(need.get("fields"))] + [f"label {one}" for one in _listed(need.get("labels"))]
    missing = [(m, [field for field in wanted if not _has(m, field)]) for m in about]
    missing = [(m, fields) for m, fields in missing if fields]
    if not missing:
        return Finding(gate="required_fields", verdict=Verdict.PASS, why=f"Each has {', '.join(wanted)}.")
    why = "; ".join(f"{m.called} has no {', '.join(fields)}" for m, fields in missing[:_SHOWN_MAX])
    return Finding(
        gate="required_fields",
        verdict=Verdict.FAIL,
        why=f"{why}.",
        way_out="Add it and publish again; a changelog is given with --changelog or --reason, for a version that is new.",
    )


def _has(m: Moving, field: str) -> bool:
    if field.startswith("label "):
        return bool(m.labels.get(field.removeprefix("label ")))
    if field in ("owner", "changelog"):
        return bool((m.owner if field == "owner" else m.changelog).strip())
    return bool(m.row.body.get(field))


def refusal(asked: Asked, ruling: Ruling) -> Conflict:
    """The problem of a move that its gates do not let pass: each gate with what it says, why, and what to do."""
    no = [f for f in ruling.findings if f.verdict is not Verdict.PASS]
    first, more = no[0], f" (And {len(no) - 1} more.)" if len(no) > 1 else ""
    return Conflict(
        "release.gated",
        f"The gates of {_POLICY.get(ruling.policy, ruling.policy)} say {ruling.verdict.value}: {first.gate}: {sentence(first.why)}{more} Nothing was changed.",
        hint=f"{_FIRST[asked.move]} Or, with the permission for it: --break-glass --reason …, which is reviewed afterwards.",
        verdict=ruling.verdict.value,
        policy=ruling.policy,
        policy_digest=ruling.policy_digest,
        subject=ruling.subject,
        gates=[f.json() for f in ruling.findings],
        errors=[{"place": f.gate, "message": f"{f.verdict.value} ({f.rule}) {f.why}", "hint": f.way_out} for f in no],
        members=[{"kind": m.kind, "name": m.name, "version": m.version, "digest": m.digest} for m in asked.members],
    )


def _approve(about: Sequence[Moving], asked: Asked) -> str:
    del about  # an approval is of the whole set, whichever member asks for it
    named = " ".join(m.called for m in asked.members[:_SHOWN_MAX])
    return named if len(asked.members) <= _SHOWN_MAX else f"{named} …"


def _names(members: Sequence[Moving]) -> str:
    return ", ".join(m.called for m in members[:_SHOWN_MAX])


def _count(need: Mapping[str, Json]) -> int:
    found = need.get("count")
    return found if isinstance(found, int) and found > 0 else 1


def _whole(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _listed(value: Json) -> Sequence[Json]:
    return value if isinstance(value, list) else ()


def _max_age(need: Mapping[str, Json]) -> timedelta | None:
    found = need.get("max_age")
    seconds = duration_s(found) if isinstance(found, str) else None
    return None if seconds is None else timedelta(seconds=seconds)
