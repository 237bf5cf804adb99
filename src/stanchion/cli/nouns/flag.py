"""`stanchion flag`: what is on for whom, and switching it."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, reason_option, remote


def _variants(found: Any) -> str:
    return ", ".join(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in found.items())


_SHOWN = output.columns(
    "name", "type", "version", "enabled", "default", "targeted", "candidate", "owner", "by=released_by"
)
_FACTS = output.columns(
    "name", "description", "type", "variants", "default", "enabled", "targeted", "owner", "version", "digest",
    "released=released_at", "by=released_by", "candidate", "rollout", "served by=here.process", "served=here.version",
    "age (s)=here.age_s", variants=_variants,
)  # fmt: skip
_ANSWER = output.columns(
    "flag", "value", "variant", "reason", "error=error_code", "why=message", "version", "rollout", "side=arm",
    value=lambda value: json.dumps(value, ensure_ascii=False),
)  # fmt: skip
_VERSIONS = output.columns("version", "standing", "created=created_at", "author", "changelog", "digest")
_CHANGED = output.columns("name", "version", "change", "digest")
# What the tool gate calls the switch of a version.
_TOOLS_FLAG = re.compile(r"tool\.(?P<name>[a-z][a-z0-9-]{0,62})\.v(?P<version>[1-9][0-9]{0,8})\.enabled")


@click.group()
def flag() -> None:
    """Flags: values that differ by whom they are asked for. They are published by `stanchion apply`."""


def _published(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    """A flag's name; what the tool gate calls its switches is none, and says where they are."""
    if tool := _TOOLS_FLAG.fullmatch(name):
        named = f"{tool['name']}@{tool['version']}"
        raise Invalid(
            "cli.usage",
            f"{name} is the tool gate's: no flag that anybody publishes.",
            hint=f"stanchion tool show {named} says whether it is on; stanchion tool enable|disable {named} switches it.",
        )
    return name


_NAME = click.argument("name", callback=_published)


@flag.command("list")
@limit_options
@remote
def list_flags(session: Session, limit: int, everything: bool) -> None:
    """List the flags that are live."""
    session.list(session.api.items(path("flags"), limit=None if everything else limit), _SHOWN, key="name")


@flag.command()
@_NAME
@remote
def show(session: Session, name: str) -> None:
    """Show what is live of a flag, and which version the web process serves."""
    session.one(session.api.get(path("flags", name)), _FACTS, key="version")


@flag.command()
@_NAME
@click.option("--key", help="The targeting key: the unit that shares are dealt by.")
@click.option("-c", "--context", "attributes", multiple=True, metavar="NAME=VALUE", help="An attribute; JSON or text.")
@click.option("--fallback", help="The value you would use without the flag; JSON or text.")
@remote
def evaluate(session: Session, name: str, key: str | None, attributes: tuple[str, ...], fallback: str | None) -> None:
    """Say what a flag gives for these attributes, and why. Records nothing."""
    context = dict(_attribute(said) for said in attributes)
    if key is not None:
        context["targetingKey"] = key
    body = {"context": context, "fallback": None if fallback is None else _value(fallback)}
    session.one(session.api.post(path("flags", name, "evaluate"), body), _ANSWER, key="variant")


@flag.command()
@_NAME
@limit_options
@remote
def versions(session: Session, name: str, limit: int, everything: bool) -> None:
    """List a flag's versions, the newest first, and which of them is live or a candidate."""
    now: dict[str, Any] = session.api.get(path("flags", name))
    standing = {now["candidate"]: "candidate", now["version"]: "live"}
    most = None if everything else limit
    found = session.api.items(path("artifacts", "flag", name, "versions"), limit=most)
    session.list(({**row, "standing": standing.get(row["version"])} for row in found), _VERSIONS, key="version")


@flag.command()
@_NAME
@reason_option
@remote
def enable(session: Session, name: str, reason: str) -> None:
    """Let a flag's rules decide again. Publishes and releases a version that says so."""
    _change(session, name, "enable", {"reason": reason}, "It is enabled already.")


@flag.command()
@_NAME
@reason_option
@remote
def disable(session: Session, name: str, reason: str) -> None:
    """Let nobody get a flag's value: everybody uses their own. Publishes and releases a version that says so."""
    _change(session, name, "disable", {"reason": reason}, "It is disabled already.")


@flag.command("set-default")
@_NAME
@click.argument("variant")
@reason_option
@remote
def set_default(session: Session, name: str, variant: str, reason: str) -> None:
    """Make VARIANT what whoever matches no rule gets. Publishes and releases a version that says so."""
    _change(session, name, "default", {"variant": variant, "reason": reason}, f"{variant} is the default already.")


def _change(session: Session, name: str, verb: str, body: dict[str, str], already: str) -> None:
    done: dict[str, Any] = session.api.post(path("flags", name, verb), body)
    session.one(done, _CHANGED, key="version")
    if done["change"] == "unchanged":
        output.note(already)
    else:
        output.note(f"Back again: stanchion release rollback flag/{name} --reason …")


def _attribute(said: str) -> tuple[str, Any]:
    name, equals, value = said.partition("=")
    if not equals or not name:
        raise Invalid("cli.usage", f"{said!r} is no attribute.", hint="Write -c team=fines.")
    return name, _value(value)


def _value(said: str) -> Any:
    """JSON where it is JSON, else the text as it stands."""
    try:
        return json.loads(said, parse_constant=_no_json)
    except ValueError:
        return said


def _no_json(said: str) -> None:
    """NaN and its kin, which Python's parser takes and JSON does not have."""
    raise ValueError(said)
