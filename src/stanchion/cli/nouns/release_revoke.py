"""`stanchion release revoke` and what follows it: see which runs stopped, give them another version, cancel them, reinstate."""

from __future__ import annotations

import re
import sys
from typing import Any, cast

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, reason_option, remote
from stanchion.cli.nouns.named import ARTIFACT

_SHOWN = output.columns(
    "kind", "name", "version", "by=set_by", "since=set_at", "reason", "digest", "reinstated=lifted_at"
)
_FACTS = output.columns(
    "kind", "name", "version", "digest", "reason", "revoked by=set_by", "since=set_at", "reinstated by=lifted_by",
    "reinstated=lifted_at", "why reinstated=lift_reason",
)  # fmt: skip
_DONE = output.columns(
    "kind=version.kind", "name=version.name", "from=version.version", "to=to.version", "repinned", "cancelled",
    "still running=running", "refused",
)  # fmt: skip
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")


class _Version(click.ParamType[Any]):
    """A digest, or enough of its beginning; or KIND/NAME@VERSION."""

    name = "DIGEST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The digest as the API takes it, or the artifact and its version."""
        if isinstance(value, str) and "/" not in value and _DIGEST.fullmatch(value) is None:
            self.fail(
                f"{value!r} is none: write KIND/NAME@VERSION, or a digest or at least its first 8 digits.", param, ctx
            )
        if isinstance(value, dict) or (found := _DIGEST.fullmatch(str(value))) is None:
            named = ARTIFACT.convert(value, param, ctx)
            if "version" not in named:
                self.fail(f"{value!r} names no version: write KIND/NAME@VERSION, or a digest.", param, ctx)
            return named
        return f"sha256:{found[1]}"


VERSION = _Version()


def digest_of(session: Session, said: Any) -> str:
    """The digest of what was named."""
    if isinstance(said, str):
        return said
    found: dict[str, Any] = session.api.get(path("artifacts", said["kind"], said["name"]), version=said["version"])
    return str(found["digest"])


@click.command()
@click.argument("version", type=VERSION)
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@remote
def revoke(session: Session, version: Any, reason: str, yes: bool) -> None:
    """Stop a version: no run begins on it, and runs pinned to it stop before their next use of it, within a second.

    VERSION is a digest (or its first 8 characters or more), or KIND/NAME@VERSION. Shows what is in flight, and asks.
    """
    digest = digest_of(session, version)
    impact: dict[str, Any] = session.api.get(path("revocations", digest, "impact"))
    what = f"{impact['kind']}/{impact['name']}@{impact['version']}"
    tell(impact, what)
    confirm(f"Revoke {what}? Starts are refused, and these runs stop before their next use of it.", yes=yes)
    made: dict[str, Any] = session.api.post(path("revocations"), {"digest": impact["digest"], "reason": reason})
    session.one(made, _FACTS, key="digest")
    _say_next(impact, what)


def tell(impact: dict[str, Any], what: str) -> None:
    """Say where a version stands and which runs are pinned to it."""
    for one in impact["standing"]:
        output.note(f"{what} is {_STANDING[one['standing']]} in {one['environment']}.")
    output.note(f"{what}: {counts(impact)}")
    if impact["newest"]:
        click.echo(runs_table(impact["newest"]), err=True)


_STANDING = {
    "live": "live: new runs get it",
    "candidate": "the candidate of a rollout: a part of the new runs get it",
    "stable": "what a rollout goes back to",
}


def confirm(question: str, *, yes: bool) -> None:
    """Return if the person at the terminal says yes; end the command with exit code 1 if not."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Invalid(
            "cli.usage", "This asks before it changes anything, and there is no terminal.", hint="Give --yes."
        )
    if not click.confirm(question, err=True):
        output.note("Nothing was changed.")
        click.get_current_context().exit(1)


def counts(impact: dict[str, Any]) -> str:
    """How many runs are in flight, in words."""
    parts = [f"{impact[name]} {name}" for name in ("running", "waiting", "queued", "stopped") if impact[name]]
    return f"{', '.join(parts)}." if parts else "no run is in flight."


def runs_table(runs: object) -> str:
    """Runs, one a line."""
    rows = cast("list[dict[str, Any]]", runs)
    return "\n".join(
        f"  {row['run_id']}  {row['blueprint']} v{row['version']}  {row['status']}"
        + (f" ({row['waiting_on']})" if row["waiting_on"] else "")
        + (f" at {row['path']}" if row["path"] else "")
        for row in rows
    )


def _say_next(impact: dict[str, Any], what: str) -> None:
    if any(one["standing"] in ("live", "candidate") for one in impact["standing"]):
        output.note(
            "Revoked. Starts that would get it are refused; give new runs another version:"
            f" stanchion release rollback {impact['kind']}/{impact['name']} --reason …"
        )
    else:
        output.note("Revoked.")
    output.note(
        f"Which runs stopped: stanchion release revoked {what}. Give them another version: stanchion release repin {what}."
    )


@click.command()
@click.argument("version", type=VERSION, required=False)
@click.option("--stopped", is_flag=True, help="With a version: only its runs that stopped.")
@click.option("--lifted", is_flag=True, help="Also those that were reinstated.")
@limit_options
@remote
def revoked(session: Session, version: Any | None, stopped: bool, lifted: bool, limit: int, everything: bool) -> None:
    """List the revoked versions; or of one, the runs that stopped and those still before their next use of it."""
    most = None if everything else limit
    if version is None:
        session.list(session.api.items(path("revocations"), lifted=lifted or None, limit=most), _SHOWN, key="digest")
        return
    digest = digest_of(session, version)
    found: dict[str, Any] = session.api.get(path("revocations", digest))
    runs = list(session.api.items(path("revocations", found["digest"], "runs"), stopped=stopped or None, limit=most))
    if session.form in {"ndjson", "id"}:
        session.list(runs, (), key="run_id")
    elif session.form != "table":
        output.write_document(session.form, {**found, "runs": runs})
    else:
        session.one(found, _FACTS, key="digest")
        output.note(f"In flight: {counts(found['impact'])}")
        if runs:
            click.echo(runs_table(runs), err=True)


@click.command()
@click.argument("version", type=VERSION)
@click.option("--to", type=click.IntRange(1), help="The version they get instead; otherwise the live one.")
@reason_option
@remote
def repin(session: Session, version: Any, to: int | None, reason: str) -> None:
    """Give all runs pinned to a revoked version another one that fits; those that stopped go on."""
    body: dict[str, Any] = {"reason": reason} | ({"to": to} if to is not None else {})
    _act(session, digest_of(session, version), "repin", body)


@click.command("cancel-revoked")
@click.argument("version", type=VERSION)
@click.option("--everything", is_flag=True, help="Also those that are still before their next use of it.")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@remote
def cancel_revoked(session: Session, version: Any, everything: bool, reason: str, yes: bool) -> None:
    """Cancel all runs that stopped before a revoked version."""
    digest = digest_of(session, version)
    found: dict[str, Any] = session.api.get(path("revocations", digest))
    output.note(f"In flight: {counts(found['impact'])}")
    which = "all of these" if everything else f"the {found['impact']['stopped']} that stopped"
    confirm(f"Cancel {which}?", yes=yes)
    _act(session, found["digest"], "cancel", {"reason": reason, "everything": everything})
    before = sum(found["impact"][name] for name in ("running", "waiting", "queued"))
    if session.form == "table" and before and not everything:
        output.note(f"{before} before their next use of it are left: they stop there. Those too: --everything.")


def _act(session: Session, digest: str, verb: str, body: dict[str, Any]) -> None:
    """Do it page by page, and say what became of the runs."""
    whole: dict[str, Any] | None = None
    after: str | None = None
    while True:
        found: dict[str, Any] = session.api.post(
            path("revocations", digest, verb), {**body, **({"after": after} if after else {})}
        )
        if whole is None:
            whole = found
        else:
            for name in ("repinned", "cancelled", "running", "refused", "left"):
                whole[name] += found[name]
        after = found["next"]
        if after is None:
            break
    whole["next"] = None
    session.one(whole, _DONE, key="version.digest")
    if session.form == "table":
        for one in whole["left"]:
            click.echo(f"  {one['run_id']}  {one['fate']}: {one['reason']}", err=True)


@click.command()
@click.argument("version", type=VERSION)
@reason_option
@remote
def reinstate(session: Session, version: Any, reason: str) -> None:
    """Take a revocation back: the runs that stopped go on by themselves."""
    done: dict[str, Any] = session.api.post(
        path("revocations", digest_of(session, version), "reinstate"), {"reason": reason}
    )
    session.one(done, _FACTS, key="digest")
    output.note("Reinstated.")


COMMANDS = (revoke, revoked, repin, cancel_revoked, reinstate)
