"""`stanchion artifact`: immutable versions, what changed between them, and who uses them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Fn, Session, limit_options, reason_option, remote
from stanchion.cli.nouns.apply import read_documents
from stanchion.cli.nouns.artifact_diff import render


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {text}" for name, text in labels.items())


def _holders(rows: list[dict[str, Any]]) -> str:
    return "\n".join(f"{row['kind']} {row['name']} v{row['version']} in {row['environment']}" for row in rows)


def _standings(rows: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"v{row['version']} in {row['environment']}" + ("" if row["standing"] == "live" else f" ({row['standing']})")
        for row in rows
    )


_SHOWN = output.columns(
    "kind", "name", "version", "risk", "digest", "author", "created=created_at", "changelog", "labels", labels=_labels
)
_FACTS = output.columns(
    "kind",
    "name",
    "version",
    "digest",
    "owner",
    "author",
    "risk",
    "labels",
    "created=created_at",
    "retired=retired_at",
    "changelog",
    "source",
    labels=_labels,
)
_USAGE = output.columns(
    "kind",
    "name",
    "version",
    "live",
    "referred to by=referrers",
    "runs",
    "newest runs=newest",
    live=_standings,
    referrers=_holders,
    runs=lambda runs: ", ".join(f"{count} {status}" for status, count in runs.items()),
    newest="\n".join,
)


def _named(command: Fn) -> Fn:
    """The artifact of a command: `KIND/NAME`, or the two apart."""
    second = click.argument("name", required=False, metavar="")(command)
    return click.argument("kind", metavar="KIND/NAME")(second)


def _apart(kind: str, name: str | None) -> tuple[str, str]:
    if name is None:
        kind, _, name = kind.partition("/")
    if not (kind and name) or "/" in name:
        raise Invalid(
            "cli.usage", "Which artifact?", hint="Write KIND/NAME, such as policy/limits; `stanchion artifact list`."
        )
    return kind, name


@click.group()
def artifact() -> None:
    """Artifacts: content-addressed versions of what changes behaviour."""


@artifact.command("list")
@click.option("--kind", help="Only this kind, such as blueprint, connector or policy.")
@limit_options
@remote
def list_artifacts(session: Session, kind: str | None, limit: int, everything: bool) -> None:
    """List the latest version of each artifact."""
    session.list(
        session.api.items(path("artifacts"), kind=kind, limit=None if everything else limit), _SHOWN, key="name"
    )


@artifact.command()
@_named
@click.option("--version", type=click.IntRange(1), help="A version; else the latest.")
@remote
def show(session: Session, kind: str, name: str | None, version: int | None) -> None:
    """Show one version."""
    session.one(session.api.get(path("artifacts", *_apart(kind, name)), version=version), _FACTS, key="digest")


@artifact.command()
@_named
@limit_options
@remote
def history(session: Session, kind: str, name: str | None, limit: int, everything: bool) -> None:
    """List every version of an artifact, the newest first."""
    where = path("artifacts", *_apart(kind, name), "versions")
    session.list(session.api.items(where, limit=None if everything else limit), _SHOWN, key="digest")


@artifact.command()
@click.argument("kind", metavar="[KIND/NAME]", required=False)
@click.argument("name", required=False, metavar="")
@click.option(
    "--from", "before", type=click.IntRange(1), help="A version; else the one before, or for a file the live."
)
@click.option("--to", "after", type=click.IntRange(1), help="A version; else the latest.")
@click.option(
    "-f",
    "--file",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file instead of --to: what applying it would change.",
)
@remote
def diff(
    session: Session, kind: str | None, name: str | None, before: int | None, after: int | None, file: Path | None
) -> None:
    """Show what changed in meaning: by path, steps by their ids, long texts word by word."""
    if file is not None:
        if after is not None or kind is not None:
            raise Invalid(
                "cli.usage",
                "A file names its artifact, and is what is compared to.",
                hint="Use --file alone, or with --from.",
            )
        found: dict[str, Any] = session.api.post(
            "/api/artifacts/diff", {"document": read_documents((file,))[0], "version": before}
        )
    elif kind is None:
        raise Invalid("cli.usage", "Which artifact?", hint="Write KIND/NAME, or --file FILE.")
    else:
        found = session.api.get(path("artifacts", *_apart(kind, name), "diff"), **{"from": before, "to": after})
    if session.form == "table":
        for line in render(found):
            click.echo(line)
    elif session.form == "id":
        session.list(found["changes"], (), key="path")
    else:
        output.write_document(session.form, found)


@artifact.command()
@_named
@click.option("--version", type=click.IntRange(1), help="One version; else all.")
@click.option("--digest", help="The version of this digest.")
@remote
def usage(session: Session, kind: str, name: str | None, version: int | None, digest: str | None) -> None:
    """Show who uses an artifact: where it is live, what refers to it, which runs are pinned to it."""
    found = session.api.get(path("artifacts", *_apart(kind, name), "usage"), version=version, digest=digest)
    if session.form == "id":
        session.list([{"id": run} for run in found["newest"]], ())
        return
    session.one(found, _USAGE)
    if session.form == "table" and found["runs_cut"]:
        output.note("More runs are pinned to it than were counted.")


@artifact.command()
@_named
@click.option("--version", type=click.IntRange(1), required=True, help="Which version.")
@reason_option
@remote
def retire(session: Session, kind: str, name: str | None, version: int, reason: str) -> None:
    """Retire a version that nothing refers to. Its content is kept; applying it again takes it back."""
    body = {"version": version, "reason": reason}
    session.one(session.api.post(path("artifacts", *_apart(kind, name), "retire"), body), _FACTS, key="digest")
