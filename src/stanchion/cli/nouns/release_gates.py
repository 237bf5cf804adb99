"""Gates on the command line: what they say, sets that wait, approvals, evidence, and moves against the gates."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote
from stanchion.cli.nouns.apply import read_documents
from stanchion.cli.nouns.named import ARTIFACT
from stanchion.cli.nouns.ruling import tell, warn

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_reason = click.option("--reason", required=True, help="Why, in 8 to 2000 characters; kept in the audit log.")
_GATES = "release-gates"


def _moving(members: Any) -> str:
    return ", ".join(f"{m['kind']}/{m['name']}" + (f"@{m['version']}" if "version" in m else "") for m in members)


_WAITING = output.columns(
    "id", "moves=members", "author", "reason", "created=created_at", "moved=moved_at", members=_moving
)
_PREPARED = output.columns(
    "id=prepared.id", "moves=members", "set=gates.subject", "policy=gates.policy", members=_moving
)
_EVIDENCE = output.columns(
    "id", "gate", "verdict", "about=members", "by", "made=made_at", "expires=expires_at", "withdrawn=withdrawn_at", "why",
    members=_moving,
)  # fmt: skip
_FACTS = output.columns(
    "id", "gate", "verdict", "about=members", "set=subject", "by", "why", "made=made_at", "expires=expires_at",
    "withdrawn=withdrawn_at", members=_moving,
)  # fmt: skip
_UNREVIEWED = output.columns(
    "id", "moved=members", "move", "by", "at", "review due=review_due_at", "overdue", "reason", members=_moving
)
_REVIEWED = output.columns(
    "id", "moved=members", "move", "by", "at", "reason", "review", "reviewed by=reviewed_by", "reviewed=reviewed_at",
    "why=review_reason", members=_moving,
)  # fmt: skip


def warn_of_rollout(session: Session, rollout_id: str) -> None:
    """Warn of the newest move of a rollout that was made against its gates, if there is one."""
    found = list(session.api.items(path(_GATES, "broken-glass"), rollout_id=rollout_id, limit=1))
    if found:
        warn(str(found[0]["id"]))


def list_waiting(session: Session, limit: int | None) -> None:
    """`release list --waiting`."""
    session.list(session.api.items(path(_GATES, "prepared"), limit=limit), _WAITING)


def list_unreviewed(session: Session, limit: int | None) -> None:
    """`release list --unreviewed`."""
    session.list(session.api.items(path(_GATES, "broken-glass"), limit=limit), _UNREVIEWED)


@click.command()
@click.argument("artifacts", type=ARTIFACT, nargs=-1)
@click.option(
    "-f", "--file", "files", type=click.Path(path_type=Path, exists=True), multiple=True,
    help="Documents, or folders of them, whose changed ones are published.",
)  # fmt: skip
@_reason
@remote
def prepare(session: Session, artifacts: tuple[dict[str, Any], ...], files: tuple[Path, ...], reason: str) -> None:
    """Publish a set without making it live, so that others can look at its exact digests before it moves."""
    documents = [{"path": d["path"], "source": d["source"]} for d in read_documents(files)] if files else []
    body = {"documents": documents, "members": list(artifacts), "reason": reason}
    found: dict[str, Any] = session.api.post(path(_GATES, "prepared"), body)
    session.one(found, _PREPARED, key="prepared.id")
    tell(found["gates"])


@click.command()
@click.argument("which", nargs=-1, required=True)
@click.option(
    "--strategy",
    type=click.Choice(["all_at_once", "canary", "rings", "blue_green"]),
    default="all_at_once",
    show_default=True,
    help="How it is to move.",
)
@click.option(
    "--share", type=click.IntRange(0, 100), default=100, show_default=True, help="Percent that get it after the move."
)
@remote
def gates(session: Session, which: tuple[str, ...], strategy: str, share: int) -> None:
    """Say what the gates say of a set now: an id, KIND/NAME@VERSION…, or KIND/NAME, whose rollout is asked for its next step."""
    found: dict[str, Any] = session.api.post(
        path(_GATES, "judgements"), {**_which(session, which), "strategy": strategy, "share": share}
    )
    if session.form != "table":
        session.one(found, _PREPARED, key="gates.verdict")
        return
    session.one(found, _PREPARED)
    tell(found["gates"])
    output.note(f"{found['gates']['verdict']}.")


@click.command()
@click.argument("which", nargs=-1, required=True)
@_reason
@remote
def approve(session: Session, which: tuple[str, ...], reason: str) -> None:
    """Approve exactly a set of digests: by its id, or KIND/NAME@VERSION…"""
    _decide(session, which, "PASS", reason)


@click.command()
@click.argument("which", nargs=-1, required=True)
@_reason
@remote
def reject(session: Session, which: tuple[str, ...], reason: str) -> None:
    """Reject exactly a set of digests: it does not move until you approve or withdraw."""
    _decide(session, which, "FAIL", reason)


def _decide(session: Session, which: tuple[str, ...], verdict: str, reason: str) -> None:
    """Decide on the set as it is seen now."""
    named = _which(session, which)
    seen: dict[str, Any] = session.api.post(path(_GATES, "judgements"), named)
    body = {**named, "verdict": verdict, "reason": reason, "subject": seen["gates"]["subject"]}
    session.one(session.api.post(path(_GATES, "approvals"), body), _FACTS)


@click.command()
@click.argument("evidence_id")
@_reason
@remote
def withdraw(session: Session, evidence_id: str, reason: str) -> None:
    """Take back what you said yourself."""
    where = path(_GATES, "evidence", session.whole_id(f"{_GATES}/evidence", evidence_id), "withdraw")
    session.one(session.api.post(where, {"reason": reason}), _FACTS)


@click.command()
@click.argument("broken_id")
@click.option(
    "--finding",
    type=click.Choice(["JUSTIFIED", "UNJUSTIFIED"], case_sensitive=False),
    required=True,
    help="What you find.",
)
@_reason
@remote
def review(session: Session, broken_id: str, finding: str, reason: str) -> None:
    """Say whether a move that was made against its gates was right. Somebody else than who made it."""
    which = session.whole_id(f"{_GATES}/broken-glass", broken_id)
    body = {"finding": finding.upper(), "reason": reason}
    session.one(session.api.post(path(_GATES, "broken-glass", which, "review"), body), _REVIEWED)


@click.group()
def evidence() -> None:
    """What was said about releases: list it, report an eval."""


@evidence.command("list")
@click.argument("artifact", type=ARTIFACT, required=False)
@click.option("--gate", help="Only of this gate: approval, eval.")
@limit_options
@remote
def list_evidence(
    session: Session, artifact: dict[str, Any] | None, gate: str | None, limit: int, everything: bool
) -> None:
    """What was said, newest first, also what counts no more."""
    query: dict[str, Any] = {"gate": gate, "limit": None if everything else limit}
    if artifact is not None:
        query |= {"kind": artifact["kind"], "name": artifact["name"]}
        if "version" in artifact:
            query["digest"] = _digest(session, artifact)
    session.list(session.api.items(path(_GATES, "evidence"), **query), _EVIDENCE)


@evidence.command()
@click.argument("artifacts", type=ARTIFACT, nargs=-1, required=True)
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="JSON: report_id, suite, suite_digest, cases, passed, failed, errored, verdict, why.",
)
@remote
def report(session: Session, artifacts: tuple[dict[str, Any], ...], report_file: Path) -> None:
    """Report an eval of exactly these versions, KIND/NAME@VERSION…, with the key of a service."""
    try:
        said: object = json.loads(report_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Invalid("cli.usage", f"{report_file} cannot be read: {error}", hint="Write JSON in UTF-8.") from error
    if not isinstance(said, dict):
        raise Invalid("cli.usage", f"{report_file} holds no object.", hint="See POST /api/release-gates/evals.")
    members = [_numbered(one) for one in artifacts]
    body = {**cast("dict[str, Any]", said), "members": members}
    session.one(session.api.post(path(_GATES, "evals"), body), _FACTS)


def _numbered(artifact: dict[str, Any]) -> dict[str, Any]:
    if "version" not in artifact:
        raise Invalid(
            "cli.usage",
            f"{artifact['kind']}/{artifact['name']} names no version.",
            hint="Write KIND/NAME@VERSION: what is said holds for exactly that.",
        )
    return artifact


def _digest(session: Session, artifact: dict[str, Any]) -> str:
    found = session.api.get(path("artifacts", artifact["kind"], artifact["name"]), version=artifact["version"])
    return str(found["digest"])


def _which(session: Session, said: tuple[str, ...]) -> dict[str, Any]:
    """A set as the API names it: by its id, by versions, or by an artifact whose rollout is open."""
    if len(said) == 1 and "/" not in said[0]:
        whole = said[0] if _ID.fullmatch(said[0]) else session.whole_id(f"{_GATES}/prepared", said[0])
        return {"id": whole}
    named: list[dict[str, Any]] = [ARTIFACT.convert(one, None, None) for one in said]
    if len(named) == 1 and "version" not in named[0]:
        rollout = session.api.get(path("releases", named[0]["kind"], named[0]["name"]))["rollout"]
        if rollout is not None:
            return {"id": rollout["id"]}
        raise Invalid(
            "cli.usage",
            f"{said[0]} names no version, and has no rollout under way.",
            hint=f"Write {said[0]}@VERSION: what is said holds for exactly that.",
        )
    return {"members": [_numbered(one) for one in named]}


COMMANDS = (prepare, gates, approve, reject, withdraw, review, evidence)
