"""The tool gate, pure: eight points, each from evidence that was read, with the way out where one does not hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from stanchion.base import Conflict, Invalid, Json, digest
from stanchion.context import Actor, Environment
from stanchion.identity import CallQuestion
from stanchion.tools.catalogue.types import (
    CaseResult,
    Point,
    PointName,
    ToldApproval,
    ToolVersion,
    Trial,
)

REASON_CHARS_MAX: Final = 500
_NUMBER: Final = {name: number for number, name in enumerate(PointName, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRun:
    """What the run of a dry run left.

    Attributes:
        arguments: whether it was a dry run of this tool at all. `pinned`: whether it ran on this version.
        effects: of the ledger: (id, state, simulated, the attempt is recorded, the end is recorded).
    """

    run_id: UUID
    status: str
    dry_run: bool
    pinned: bool
    started: bool
    ended: bool
    effects: tuple[tuple[str, str, bool, bool, bool], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the gate judges by.

    Attributes:
        schema_faults: what the kind says of the document with its connector and policy as they are live now.
        cases: the authorization cases as the live policies judged them, and `policies`, what these were.
        approval_version: of the live approval policy, None if it is not live.
        trials: what was tried of exactly this content through exactly this connector, newest first, and what their `runs` left.
        approvals: who approved what models are told. `refused`: why the version cannot be enabled whatever was tried.
    """

    version: ToolVersion
    environment: Environment
    schema_faults: tuple[str, ...]
    cases: tuple[CaseResult, ...]
    approval_version: int | None
    trials: tuple[Trial, ...]
    runs: Mapping[UUID, TrialRun] = field(default_factory=dict[UUID, TrialRun])
    approvals: tuple[ToldApproval, ...] = ()


def judge(evidence: Evidence) -> tuple[Point, ...]:
    """The eight points in their order."""
    return (
        _schema(evidence),
        _authorization(evidence),
        _approval_policy(evidence),
        _dry_run(evidence),
        _idempotency(evidence),
        _disable_path(evidence),
        _description(evidence),
        _examples(evidence),
    )


def _point(name: PointName, holds: bool, evidence: str, way_out: str = "") -> Point:
    return Point(number=_NUMBER[name], name=name, holds=holds, evidence=evidence, way_out="" if holds else way_out)


def _called(evidence: Evidence) -> str:
    return f"{evidence.version.tool.name}@{evidence.version.version}"


def _schema(evidence: Evidence) -> Point:
    found, version = evidence.schema_faults, evidence.version
    if version.input_schema is None or version.connector_version is None:
        said = (
            f"connector {version.tool.connector} is not live in {evidence.environment.name}, or has no such operation"
        )
        return _point(PointName.SCHEMA, False, said, f"Apply connector {version.tool.connector}.")
    if found:
        said = f"{len(found)} faults: {found[0]}"
        return _point(PointName.SCHEMA, False, said, "Publish a version that fits its connector as it is live.")
    said = (
        f"input schema {digest(dict(version.input_schema))[:19]} fits {version.tool.operation} of"
        f" {version.tool.connector}@{version.connector_version}"
    )
    return _point(PointName.SCHEMA, True, said)


def _authorization(evidence: Evidence) -> Point:
    name, cases = PointName.AUTHORIZATION, evidence.cases
    if not cases:
        return _point(name, False, "no case", "Add `authorization` cases: at least one permit and one deny.")
    unread = next((one for one in cases if one.unread), None)
    if unread is not None:
        return _point(name, False, unread.unread, "Try again when the policies can be read.")
    failed = [one for one in cases if not one.passes]
    if failed:
        told = "; ".join(f"{one.case.name}: {_said(one)}" for one in failed[:5])
        out = "Release a policy of type authorization that decides as the cases say, or correct the cases."
        return _point(name, False, f"{len(failed)} of {len(cases)} fail: {told}", out)
    if missing := _one_sided(evidence):
        return _point(name, False, missing[0], missing[1])
    told = "; ".join(f"{one.case.name}: {_said(one)}" for one in cases)
    return _point(name, True, f"{len(cases)} of {len(cases)} pass ({told})")


def _one_sided(evidence: Evidence) -> tuple[str, str] | None:
    """What shows that the cases would pass without any policy: where nothing is permitted, a denial says nothing of the
    policy; where nothing is denied, neither does a permit."""
    if not any(not one.case.permit for one in evidence.cases):
        return "no case is denied", "Add a case that must be denied: they show nothing where everything passes."
    here = evidence.environment
    permits = [one.case for one in evidence.cases if one.case.permit]
    if not any((one.environment, one.production) == (here.name, here.production) for one in permits):
        said = f"no case is permitted in {here.name}, so that denials would pass with the policy missing"
        way_out = f"Add a permit case for {here.name} (production: {str(here.production).lower()})."
        return said, way_out
    return None


def _said(result: CaseResult) -> str:
    verdict = result.verdict
    if verdict is None:
        return result.unread
    if verdict.refusals:
        return f"denied only because {verdict.refusals[0]}"
    decided = ", ".join(verdict.because) or "nothing permits it"
    return f"{'permitted' if verdict.permitted else 'denied'} by {decided}" if verdict.because else f"denied, {decided}"


def _approval_policy(evidence: Evidence) -> Point:
    tool, name = evidence.version.tool, PointName.APPROVAL_POLICY
    if tool.approval is not None:
        if evidence.approval_version is None:
            said = f"policy {tool.approval} is not live in {evidence.environment.name}"
            return _point(name, False, said, f"Apply the approval policy {tool.approval}.")
        return _point(name, True, f"{tool.approval}@{evidence.approval_version} judges each call")
    if tool.effect == "read" and tool.no_approval:
        return _point(name, True, f"nobody is asked: {tool.no_approval}")
    if tool.effect == "read":
        return _point(name, False, "not said", "Name a policy in `approval`, or say why there is `none`.")
    return _point(
        name, False, f"none, and it is a {tool.effect}", "Name the policy that judges each call in `approval`."
    )


def _dry_run(evidence: Evidence) -> Point:
    name, way_out = PointName.DRY_RUN, f"stanchion tool check {_called(evidence)} --try"
    tried = [one for one in evidence.trials if one.point == "dry_run" and one.run_id in evidence.runs]
    if not tried:
        return _point(name, False, "never tried with this content and this connector", way_out)
    faults: list[str] = []
    for trial in tried:
        run = evidence.runs[trial.run_id] if trial.run_id is not None else None
        if run is None:
            continue
        fault = dry_run_fault(run, evidence.version.tool.effect)
        if not fault:
            return _point(name, True, _shown(run, evidence.version.tool.effect))
        faults.append(f"run {run.run_id}: {fault}")
    return _point(name, False, faults[0] if faults else "no run of it is left", way_out)


def _shown(run: TrialRun, effect: str) -> str:
    if effect == "read":
        return f"run {run.run_id} {run.status}, its start and its end are recorded; a read has no effect"
    return f"run {run.run_id} {run.status}; effect {run.effects[0][0]}: attempt and end recorded, DONE, simulated"


def dry_run_fault(run: TrialRun, effect: str) -> str:
    """Why a run does not show intent and outcome, or nothing if it does."""
    if not run.dry_run or not run.pinned:
        return "it is no dry run of this version"
    if run.status != "SUCCEEDED":
        return f"it is {run.status}"
    if not (run.started and run.ended):
        return "its start or its end is not recorded"
    if effect == "read":
        return "" if not run.effects else "a read left an effect"
    return _effect_fault(run.effects)


def _effect_fault(effects: tuple[tuple[str, str, bool, bool, bool], ...]) -> str:
    if len(effects) != 1:
        return f"the ledger has {len(effects)} effects of it, and not one"
    _, state, simulated, attempted, completed = effects[0]
    if state != "DONE" or not simulated:
        return f"its effect is {state}{'' if simulated else ' and was not simulated'}"
    return "" if attempted and completed else "the audit log has not both its attempt and its end"


def _idempotency(evidence: Evidence) -> Point:
    tool, name = evidence.version.tool, PointName.IDEMPOTENCY
    if tool.effect == "destructive" and tool.idempotency == "none":
        way_out = "Use an operation whose connector declares key, natural or probe."
        return _point(name, False, "declared none, and it is destructive", way_out)
    declared = "a read repeats without harm" if tool.effect == "read" else f"declared {tool.idempotency}"
    tried = next((one for one in evidence.trials if one.point == "idempotency"), None)
    if tried is None:
        way_out = f"stanchion tool check {_called(evidence)} --try"
        return _point(name, False, f"{declared}, never tried", way_out)
    return _point(name, True, f"{declared}; {tried.detail}")


def _disable_path(evidence: Evidence) -> Point:
    name = PointName.DISABLE_PATH
    tried = next((one for one in evidence.trials if one.point == "disable_path"), None)
    if tried is None:
        return _point(name, False, "never tried", f"stanchion tool check {_called(evidence)} --try")
    return _point(name, True, f"{tried.detail}; meanwhile: {evidence.version.tool.fallback}")


def _description(evidence: Evidence) -> Point:
    name, version = PointName.DESCRIPTION, evidence.version
    way_out = f"Let somebody else than {version.author} read it and run: stanchion tool approve {_called(evidence)}"
    others = [one for one in evidence.approvals if one.told == version.told and one.by != version.author]
    if others:
        return _point(
            name, True, f"{others[0].by} approved {version.told[:19]} at {others[0].at:%Y-%m-%d %H:%M:%S} UTC"
        )
    if evidence.approvals:
        return _point(name, False, f"only its author {version.author} approved it", way_out)
    return _point(name, False, f"nobody approved {version.told[:19] or 'it'}", way_out)


def _examples(evidence: Evidence) -> Point:
    found = evidence.version.tool.examples
    if not found:
        return _point(PointName.EXAMPLES, False, "none", "Add `examples` with arguments that show its use.")
    return _point(PointName.EXAMPLES, True, f"{len(found)}: {', '.join(one.name for one in found[:5])}")


def question_of(version: ToolVersion, case_actor: Actor, tenant: str, *, environment: Environment,
                arguments: Mapping[str, Json], connector_environment: str) -> CallQuestion:  # fmt: skip
    """What policy is asked about a call of this version."""
    tool = version.tool
    return CallQuestion(
        tenant=tenant,
        actor=case_actor,
        effect=tool.effect,
        verb=tool.verb,
        connector=tool.connector,
        resource=tool.called,
        operation=tool.called if tool.verb == "execute" else tool.verb,
        connector_environment=connector_environment,
        connector_digest=version.connector_digest or "",
        environment=environment,
        arguments={name: value for name, value in arguments.items() if value is not None},
        tool=tool.name,
        tool_digest=tool.digest,
    )


def actor_of_case(
    tenant: str, principal: str, kind: Literal["user", "service", "schedule"], roles: Iterable[str]
) -> Actor:
    """The principal of an authorization case."""
    return Actor(
        tenant=tenant,
        principal=principal,
        principal_id=f"case:{principal}",
        kind=kind,
        roles=frozenset(roles),
        credential="system",
    )


def gated(version: ToolVersion, points: Sequence[Point]) -> Conflict:
    """The gate's no: each point that does not hold, with its way out."""
    failing = [point for point in points if not point.holds]
    called = f"{version.tool.name}@{version.version}"
    return Conflict(
        "tool.gated",
        f"Tool {called} stays disabled: {len(failing)} of {len(points)} points do not hold.",
        hint=f"stanchion tool check {called} shows every point with its evidence.",
        errors=[
            {"place": f"{point.number} {point.name}", "message": point.evidence, "hint": point.way_out}
            for point in failing
        ],
    )


def check_reason(reason: str) -> str:
    """The reason without the spaces around it. Raises Invalid `tool.no_reason` if it is empty or too long."""
    said = reason.strip()
    if not 1 <= len(said) <= REASON_CHARS_MAX:
        raise Invalid(
            "tool.no_reason",
            f"A reason has 1 to {REASON_CHARS_MAX} characters; this has {len(said)}.",
            hint="Say why: whoever meets the tool in this state reads it.",
        )
    return said


def points_json(points: Iterable[Point]) -> list[Json]:
    """Points as the state keeps them."""
    return [
        {"number": one.number, "point": one.name.value, "holds": one.holds, "evidence": one.evidence} for one in points
    ]


def points_audited(points: Iterable[Json]) -> list[dict[str, object]]:
    """The same in an audit record, which holds no content: the evidence by its digest; the state keeps its words."""
    found = [one for one in points if isinstance(one, dict)]
    return [{"number": one["number"], "holds": one["holds"], "evidence": digest(one["evidence"])} for one in found]


def stays_usable(version: ToolVersion, environment: Environment) -> bool:
    """Whether a version may be used here now: what its state says of this content and this connector; without a state,
    only a read outside production."""
    state = version.state
    if state is None or state.digest != version.tool.digest:
        return version.tool.effect == "read" and not environment.production
    return state.enabled and state.connector_digest == version.connector_digest
