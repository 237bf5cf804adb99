"""`stanchion trigger`: what starts runs when a message comes."""

from __future__ import annotations

import json
from typing import Any

import click

from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.inputs import read_input
from stanchion.cli.kit import Session, limit_options, remote


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


_SHOWN = output.columns("name", "version", "blueprint", "source", "url", "owner")
_FACTS = output.columns(
    "name", "version", "blueprint", "source", "url", "secret", "tolerance_s", "headers", "event", "when", "input",
    "dedupe", "owner", "description", "released=released_at", "by=released_by", "digest",
    headers=_text, event=_text, input=_text, dedupe=_text,
)  # fmt: skip
_DELIVERIES = output.columns("received_at", "source", "outcome", "version", "run_id", "reason")
_TRIED = output.columns("starts", "reason", "input", "dedupe", input=_text)
_OUTCOMES = click.Choice(["started", "repeated", "filtered", "failed"])


@click.group()
def trigger() -> None:
    """Triggers: a signed webhook, or an event with an API key, starts a run, once. Published by `stanchion apply`."""


@trigger.command("list")
@limit_options
@remote
def list_triggers(session: Session, limit: int, everything: bool) -> None:
    """List the live triggers."""
    session.list(session.api.items(path("triggers"), limit=None if everything else limit), _SHOWN, key="name")


@trigger.command()
@click.argument("name")
@remote
def show(session: Session, name: str) -> None:
    """Show the live version of a trigger, and where its messages go."""
    session.one(session.api.get(path("triggers", name)), _FACTS, key="name")


@trigger.command()
@click.argument("name")
@click.option("--outcome", type=_OUTCOMES, help="Only those that came to this.")
@limit_options
@remote
def deliveries(session: Session, name: str, outcome: str | None, limit: int, everything: bool) -> None:
    """List the messages that were believed, and what came of each, newest first. Kept for a week."""
    found = session.api.items(
        path("triggers", name, "deliveries"), limit=None if everything else limit, outcome=outcome
    )
    session.list(found, _DELIVERIES, key="id")


@trigger.command()
@click.argument("name")
@click.option(
    "-e", "--event", "event", multiple=True, required=True, metavar="NAME=VALUE|@FILE|-",
    help="The sample payload; may be repeated.",
)  # fmt: skip
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header; may be repeated.")
@remote
def test(session: Session, name: str, event: tuple[str, ...], headers: tuple[str, ...]) -> None:
    """Put a sample message through filter and mapping, and show what would be started. Starts nothing."""
    given = {name: value for name, _, value in (one.partition("=") for one in headers)}
    body = {"event": read_input(session, "", event, schema={}), "headers": given}
    session.one(session.api.post(path("triggers", name, "test"), body), _TRIED, key="starts")
