"""`stanchion release`: which versions are live, and how a change gets there and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from stanchion.base.errors import Conflict, Invalid
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, reason_option, remote
from stanchion.cli.nouns import release_bundle, release_drain, release_gates, release_guards, release_revoke, ruling
from stanchion.cli.nouns.apply import read_documents
from stanchion.cli.nouns.named import ARTIFACT as _ARTIFACT
from stanchion.cli.nouns.named import NAME

_SHOWN = output.columns("kind", "name", "version", "environment", "released=released_at", "by=released_by", "digest")


def _moves(members: Any) -> str:
    return ", ".join(f"{m['kind']}/{m['name']} {m['stable_version']} → {m['candidate_version']}" for m in members)


def _steps(steps: Any) -> str:
    """`10 % (1h), 50 % (1h), 100 %`."""
    said: list[str] = []
    for step in steps:
        who = [*step["rings"], *([f"{step['share']} %"] if step["share"] or not step["rings"] else [])]
        hold = "" if step["hold_s"] is None else f" ({_span(step['hold_s'])})"
        said.append(" and ".join(who) + hold)
    return ", ".join(said)


def _span(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _where(after: Any) -> str:
    if after["state"] == "DONE":  # the share of its last step says nothing any more: everybody has it
        return "DONE 100 %"
    return f"{after['state']} {', '.join(after['rings'])} {after['share']} %".replace("  ", " ")


_ROLLOUTS = output.columns(
    "id", "state", "strategy", "moves=members", "step", "share", "author", "due=due_at", "changed=changed_at",
    members=_moves,
)  # fmt: skip
_ROLLOUT = output.columns(
    "id", "state", "strategy", "moves=members", "unit", "steps", "step", "share", "rev", "due=due_at", "author", "reason",
    "created=created_at", "changed by=changed_by", "changed=changed_at", "ended=ended_at", members=_moves, steps=_steps,
)  # fmt: skip
_RELEASE = output.columns(
    "kind", "name", "version", "environment", "released=released_at", "by=released_by", "digest", "rollout=rollout.id",
    "state=rollout.state", "moves=rollout.members", "steps=rollout.steps", "step=rollout.step", "share=rollout.share",
    "due=rollout.due_at", "guards=judgement.verdict", "why=judgement.why",
    **{"rollout.members": _moves, "rollout.steps": _steps, "judgement.verdict": str.upper},
)  # fmt: skip
_HISTORY = output.columns("at", "event", "from=version_before", "to=version", "now=after", "by", "reason", after=_where)
_BEGUN = output.columns(
    "id=rollout.id", "state=rollout.state", "strategy=rollout.strategy", "moves=rollout.members", "unit=rollout.unit",
    "steps=rollout.steps", "guards=rollout.guards", "reaches=blueprints",
    **{"rollout.members": _moves, "rollout.steps": _steps, "rollout.guards": release_guards.named},
)  # fmt: skip
_PLANNED = tuple(column for column in _BEGUN if column.title not in ("id", "state"))
_MOVED = output.columns("kind", "name", "from=version_before", "to=version")


@click.group()
def release() -> None:
    """Releases: which version of each artifact is live, and how a change gets there and back."""


@release.command("list")
@click.option("--rollouts", is_flag=True, help="List rollouts, the newest first, instead of what is live.")
@click.option("--state", help="With --rollouts: only those in this state, or `open`.")
@click.option("--waiting", is_flag=True, help="List sets that are prepared and wait for their gates.")
@click.option(
    "--unreviewed", is_flag=True, help="List moves that were made against the gates and that nobody has reviewed."
)
@limit_options
@remote
def list_releases(
    session: Session, rollouts: bool, state: str | None, waiting: bool, unreviewed: bool, limit: int, everything: bool
) -> None:
    """List what is live, or rollouts, or what waits for its gates or for a review."""
    most = None if everything else limit
    if rollouts + waiting + unreviewed > 1 or (state and not rollouts):
        raise Invalid(
            "cli.usage",
            "--state goes with --rollouts." if state else "These are different lists.",
            hint="Give one of --rollouts (with or without --state), --waiting and --unreviewed.",
        )
    if waiting:
        release_gates.list_waiting(session, most)
    elif unreviewed:
        release_gates.list_unreviewed(session, most)
    elif rollouts:
        found = session.api.items(path("rollouts"), state=state, limit=most)
        session.list((_stands(session, one) for one in found), _ROLLOUTS)
    else:
        session.list(session.api.items(path("releases"), limit=most), _SHOWN, key="name")


@release.command()
@click.argument("artifact", type=NAME)
@remote
def show(session: Session, artifact: dict[str, Any]) -> None:
    """Show what is live of an artifact, its rollout under way, and what the guards of that have found."""
    shown = _show(session, artifact)
    session.one(shown, _RELEASE, key="version")
    if session.form == "table" and shown["rollout"] is not None:
        release_guards.show(shown["judgement"], shown["rollout"]["guards"])


@release.command()
@click.argument("artifact", type=NAME)
@limit_options
@remote
def history(session: Session, artifact: dict[str, Any], limit: int, everything: bool) -> None:
    """What happened to an artifact here: who, when, why, before and after; the newest first."""
    where = path("releases", artifact["kind"], artifact["name"], "history")
    session.list(session.api.items(where, limit=None if everything else limit), _HISTORY, key="no")


def _plan_options(command: Any) -> Any:
    for decorate in reversed(
        [
            click.argument("artifacts", type=_ARTIFACT, nargs=-1),
            click.option(
                "-f", "--file", "files", type=click.Path(path_type=Path, exists=True), multiple=True,
                help="Documents, or folders of them, whose changed ones are published for this.",
            ),
            click.option("--with", "also", type=_ARTIFACT, multiple=True, help="What moves together with it."),
            click.option(
                "--strategy", type=click.Choice(["canary", "rings", "blue_green", "all_at_once"]),
                help="How it comes to everybody (rings if --ring is given, else canary).",
            ),
            click.option("--steps", help="Percents and rings, each with a hold: 10:1h,50:1h,100 or pilot,25,100."),
            click.option("--unit", default="run", show_default=True, help="What keeps its side: run, principal, tenant, or input:PATH."),
            click.option("--ring", "rings", multiple=True, metavar="NAME=UNIT,…", help="A named list of units."),
            click.option("--salt", help="What the sides are drawn with; else a new one."),
            *release_guards.OPTIONS,
        ]
    ):  # fmt: skip
        command = decorate(command)
    return command


@release.command()
@_plan_options
@click.option("--reason", help="Not needed and not kept: as `canary` takes it.")
@remote
def plan(session: Session, **said: Any) -> None:
    """Say what a rollout would do, with every check it would make. Changes nothing."""
    said["reason"] = said["reason"] or "planned"  # what the server asks for; of a plan nothing is kept
    planned: dict[str, Any] = session.api.post(path("rollouts", "plan"), _body(**said))
    session.one(planned, _PLANNED, key="rollout.id")
    ruling.tell(planned["gates"])
    output.note("Nothing was changed.")


@release.command()
@_plan_options
@reason_option
@ruling.BREAK_GLASS
@remote
def canary(session: Session, break_glass: bool, **said: Any) -> None:
    """Begin a rollout: of published versions (KIND/NAME@VERSION), or of the documents of -f."""
    body = {**_body(**said), **({"break_glass": True} if break_glass else {})}
    begun: dict[str, Any] = session.api.post(path("rollouts"), body)
    session.one(begun, _BEGUN, key="rollout.id")
    if begun["gates"]["broken_glass"]:
        ruling.warn(begun["gates"]["broken_glass"])


def _body(
    *, artifacts: tuple[dict[str, Any], ...], files: tuple[Path, ...], also: tuple[dict[str, Any], ...],
    strategy: str | None, steps: str | None, unit: str, rings: tuple[str, ...], salt: str | None, reason: str,
    guards_file: Path | None = None, guard: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    if not artifacts and not files:
        raise Invalid("cli.usage", "Nothing is named.", hint="Give KIND/NAME@VERSION, or -f FOLDER with documents.")
    named = dict(_ring(said) for said in rings)
    chosen = strategy or ("rings" if named else "canary")
    if chosen in ("canary", "rings") and not steps:
        raise Invalid("cli.usage", "No steps are given.", hint="Give --steps 10:1h,50:1h,100, or another --strategy.")
    found = [_step(part.strip(), named) for part in steps.split(",")] if steps else []
    documents = [{"path": d["path"], "source": d["source"]} for d in read_documents(files)] if files else []
    return {
        "strategy": chosen,
        "steps": found,
        "unit": unit,
        "rings": named,
        "salt": salt,
        "guards": release_guards.declared(guards_file, guard),
        "members": [*artifacts, *also],
        "documents": documents,
        "reason": reason,
    }


def _ring(said: str) -> tuple[str, list[str]]:
    name, equals, units = said.partition("=")
    if not equals or not units:
        raise Invalid("cli.usage", f"{said!r} is no ring.", hint="Write --ring pilot=acme,umbra.")
    return name, [unit.strip() for unit in units.split(",")]


def _step(said: str, rings: dict[str, list[str]]) -> dict[str, Any]:
    """One step from `10`, `10:1h` or `pilot:1d`."""
    who, _, hold = said.partition(":")
    hold_s: int | None = None
    if hold:
        if not (lasts := re.fullmatch(r"(\d{1,6})([smhd])", hold)):
            raise Invalid("cli.usage", f"{hold!r} is no length of time.", hint="Write 30m, 12h or 2d.")
        hold_s = int(lasts[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[lasts[2]]
    if who in rings:
        return {"rings": [who], "hold_s": hold_s}
    if not who.rstrip("%").isdigit():
        raise Invalid(
            "cli.usage",
            f"{who!r} is neither a percentage nor a ring.",
            hint="Write 10, or define it: --ring NAME=UNIT,…",
        )
    return {"share": int(who.rstrip("%")), "hold_s": hold_s}


def _show(session: Session, artifact: dict[str, Any]) -> dict[str, Any]:
    return session.api.get(path("releases", artifact["kind"], artifact["name"]))


def _opened(session: Session, artifact: dict[str, Any]) -> dict[str, Any]:
    rollout = _show(session, artifact)["rollout"]
    if rollout is None:
        raise Conflict(
            "cli.no_rollout",
            f"{artifact['kind']} {artifact['name']} has no rollout under way.",
            hint=f"See `stanchion release history {artifact['kind']}/{artifact['name']}`.",
        )
    return rollout


def _change(session: Session, artifact: dict[str, Any], verb: str, reason: str, **more: object) -> dict[str, Any]:
    """Change the open rollout of an artifact as it was just seen: who is second is told who was first."""
    seen = _opened(session, artifact)
    body = {"reason": reason, "rev": seen["rev"], **{name: value for name, value in more.items() if value is not None}}
    changed: dict[str, Any] = session.api.post(path("rollouts", seen["id"], verb), body)
    session.one(_stands(session, changed), _ROLLOUT)
    return changed


def _stands(session: Session, rollout: dict[str, Any]) -> dict[str, Any]:
    """A rollout as people read it: the step it ended at says nothing any more."""
    return (
        rollout if session.form != "table" or rollout["ended_at"] is None else {**rollout, "step": None, "share": None}
    )


@release.command()
@click.argument("artifacts", type=_ARTIFACT, nargs=-1, required=True)
@click.option(
    "--to", metavar="STEP|PROFILE", help="A later step, from 1; one past the last makes it live. With --from: where to."
)
@click.option("--from", "source", metavar="PROFILE", help="Take it from this deployment to the one of --to instead.")
@click.option("--yes", is_flag=True, help="With --from: do not ask.")
@click.option("--dry-run", is_flag=True, help="With --from: make every check there, and change nothing.")
@reason_option
@ruling.BREAK_GLASS
@remote
def promote(
    session: Session,
    artifacts: tuple[dict[str, Any], ...],
    to: str | None,
    source: str | None,
    yes: bool,
    dry_run: bool,
    break_glass: bool,
    reason: str,
) -> None:
    """Take an artifact's rollout to its next step; past the last, the candidate is live.

    With --from PROFILE --to PROFILE: make what is live in one deployment live in the other, with the same digests.
    """
    if source is not None:
        release_bundle.carry(session, artifacts, source, to, reason=reason, yes=yes, dry_run=dry_run)
        return
    if (
        len(artifacts) != 1
        or "version" in artifacts[0]
        or dry_run
        or (to is not None and not (to.isascii() and to.isdigit() and 0 < int(to) < 1000))
    ):
        raise Invalid(
            "cli.usage",
            "A rollout is promoted alone, to a step.",
            hint="Write KIND/NAME, without a version, and --to N if not the next. From one deployment to another: --from.",
        )
    step = None if to is None else int(to)
    changed = _change(session, artifacts[0], "promote", reason, to=step, break_glass=True if break_glass else None)
    if break_glass:
        release_gates.warn_of_rollout(session, str(changed["id"]))


@release.command()
@click.argument("artifact", type=NAME)
@reason_option
@remote
def pause(session: Session, artifact: dict[str, Any], reason: str) -> None:
    """Keep an artifact's rollout where it is."""
    _change(session, artifact, "pause", reason)


@release.command()
@click.argument("artifact", type=NAME)
@reason_option
@remote
def resume(session: Session, artifact: dict[str, Any], reason: str) -> None:
    """Let a paused rollout go on; the hold of its step begins anew."""
    _change(session, artifact, "resume", reason)


@release.command()
@click.argument("artifact", type=_ARTIFACT)
@click.option("--with", "also", type=_ARTIFACT, multiple=True, help="What goes back with it.")
@click.option("--to", type=click.IntRange(1), help="A version, where no rollout is under way; else the one before.")
@reason_option
@remote
def rollback(
    session: Session, artifact: dict[str, Any], also: tuple[dict[str, Any], ...], to: int | None, reason: str
) -> None:
    """Take back an artifact's rollout, or go to the version before the live one. In one action, within a second."""
    leaving = _show(session, artifact)["leaving"]
    body: dict[str, Any] = {"reason": reason, "leaving": leaving, "also": list(also)}
    wanted = to if to is not None else artifact.get("version")
    if wanted is not None:
        body["to"] = wanted
    answer = session.api.post(path("releases", artifact["kind"], artifact["name"], "rollback"), body)
    if session.form in {"table", "id"}:
        session.list(answer["moved"], _MOVED, key="version")
    else:
        output.write_document(session.form, answer)


for _command in (
    release_bundle.export,
    release_bundle.import_,
    release_bundle.bundles,
    release_bundle.keys,
    release_bundle.trust,
    release_bundle.verify,
    *release_gates.COMMANDS,
    *release_revoke.COMMANDS,
    *release_drain.COMMANDS,
):
    release.add_command(_command)
