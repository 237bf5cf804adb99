"""`stanchion config`: values that change behaviour, as they are live, and as they are in an environment."""

from __future__ import annotations

import json
from typing import Any, cast

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, reason_option, remote
from stanchion.cli.nouns.artifact_diff import render

_SHOWN = output.columns(
    "name", "version", "candidate", "owner", "released=released_at", "by=released_by", "description"
)
_VERSIONS = output.columns("version", "digest", "author", "created=created_at", "changelog")


def _held(rows: Any) -> str:
    return ", ".join(f"{row['runs']} on version {row['version']}" for row in rows)


def _here(here: Any) -> str:
    """What runs get that the server which answered starts."""
    if here["version"] is None:
        return "none that reads it was started by this server since the last release"
    return f"version {here['version']}, as of {here['age_s']:.1f} s ago"


_FACTS = output.columns(
    "name", "version", "live=live_version", "environment", "candidate", "rollout", "digest", "owner", "description",
    "released=released_at", "by=released_by", "unfinished runs=held", "new runs=here", held=_held, here=_here,
)  # fmt: skip
_VALUES = output.columns("key", "value", "from")
_CHANGED = output.columns("name", "version", "change", "digest")


@click.group()
def config() -> None:
    """Configs: thresholds, limits and texts as versioned artifacts, per environment. Expressions read config.NAME.KEY."""


@config.command("list")
@limit_options
@remote
def list_configs(session: Session, limit: int, everything: bool) -> None:
    """List what is live."""
    session.list(session.api.items(path("configs"), limit=None if everything else limit), _SHOWN, key="name")


@config.command()
@click.argument("name", required=False)
@click.option("--version", type=click.IntRange(1), help="A version; else the live one.")
@click.option("--environment", help="Show the values as they are there; else in the environment of the server.")
@remote
def show(session: Session, name: str | None, version: int | None, environment: str | None) -> None:
    """Show what is live, its values as they are here, and which versions unfinished runs have."""
    if name is None:
        raise Invalid(
            "cli.usage",
            "Which config?",
            hint="Write its name (`stanchion config list`). The settings of this machine: `stanchion settings show`.",
        )
    found: dict[str, Any] = session.api.get(path("configs", name), version=version, environment=environment)
    if session.form != "table":
        session.one(found, _FACTS, key="version")
        return
    session.one(found, _FACTS)
    own = set(found["set_here"])
    rows = [
        {"key": key, "value": text, "from": found["environment"] if pointer in own else "values"}
        for pointer, key, text in _leaves(found["values"], own)
    ]
    click.echo()
    output.write_table(rows, _VALUES)
    if environment is not None and not own:
        output.note(f"It sets nothing of its own for {environment}.")


def _leaves(value: Any, own: set[str], pointer: str = "", key: str = "") -> list[tuple[str, str, str]]:
    """(pointer, dotted key, text) of every value below an object; a list is one value."""
    if isinstance(value, dict) and value and (not key or pointer not in own):
        return [
            leaf
            for name, item in sorted(cast("dict[str, Any]", value).items())
            for leaf in _leaves(item, own, f"{pointer}/{_token(name)}", f"{key}.{name}" if key else name)
        ]
    return [(pointer, key, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))]


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


@config.command()
@click.argument("name")
@limit_options
@remote
def versions(session: Session, name: str, limit: int, everything: bool) -> None:
    """List its versions, the newest first."""
    where = path("artifacts", "config", name, "versions")
    session.list(session.api.items(where, limit=None if everything else limit), _VERSIONS, key="version")


@config.command()
@click.argument("name")
@click.option("--from", "before", type=click.IntRange(1), help="A version; else the one before.")
@click.option("--to", "after", type=click.IntRange(1), help="A version; else the latest.")
@remote
def diff(session: Session, name: str, before: int | None, after: int | None) -> None:
    """Show what changed from one version to another."""
    found = session.api.get(path("artifacts", "config", name, "diff"), **{"from": before, "to": after})
    if session.form == "table":
        for line in render(found):
            click.echo(line)
    elif session.form == "id":
        session.list(found["changes"], (), key="path")
    else:
        output.write_document(session.form, found)


@config.command("set")
@click.argument("name")
@click.argument("values", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option(
    "--environment", help="Set it for this environment alone; else for wherever no environment says otherwise."
)
@click.option("--dry-run", is_flag=True, help="Make every check and say what would be; change nothing.")
@reason_option
@remote
def set_values(
    session: Session, name: str, values: tuple[str, ...], environment: str | None, dry_run: bool, reason: str
) -> None:
    """Set values of the live document, and release what comes of it at once. Its comments and layout stay.

    KEY is dotted, as in by_country.DE; VALUE is JSON, and what is no JSON is a text. Where a change is to reach a few runs first,
    edit the document and use `stanchion release canary -f`.
    """
    body: dict[str, Any] = {"changes": dict(map(_change, values)), "reason": reason, "dry_run": dry_run}
    if environment is not None:
        body["environment"] = environment
    changed: dict[str, Any] = session.api.post(path("configs", name, "set"), body)
    session.one(changed, _CHANGED, key="version")
    if session.form == "table":
        if changed["not_here"]:
            own = ", ".join(pointer.removeprefix("/").replace("/", ".") for pointer in changed["not_here"])
            output.note(f"This environment has a value of its own for {own}, which stays: use --environment to set it.")
        same = changed["change"] == "unchanged"
        output.note(
            "It has these values already: nothing was changed."
            if same
            else "Nothing was changed."
            if dry_run
            else "A file that this config is applied from has the old value."
        )


def _change(said: str) -> tuple[str, Any]:
    key, equals, text = said.partition("=")
    if not (key and equals):
        raise Invalid("cli.usage", f"{said!r} sets nothing.", hint="Write KEY=VALUE, such as fine_eur=50000.")
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    return "/" + "/".join(_token(part) for part in key.split(".")), value
