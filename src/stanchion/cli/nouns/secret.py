"""`stanchion secret`: keep credentials, without one ever being shown, logged or sent in plain text."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Fn, Session, limit_options, remote
from stanchion.cli.nouns.release_revoke import confirm
from stanchion.cli.sealing import send_sealed
from stanchion.secrets import DEFAULT_FIELD, SecretRef
from stanchion.secrets.sealing import TOTAL_BYTES_MAX, check_fields

_SHOWN = output.columns(
    "name", "environment", "connectors", "version", "fields", "by=set_by", "since=set_at", "still valid=previous",
    "until=previous_until",
)  # fmt: skip
_CHECKED = output.columns(
    "connector", "place", "reference", "resolves", "version", "issued to=issued_to", "granted", "why not=code"
)
_REKEYED = output.columns("key=key_id", "data keys=data_keys", "dropped")
_GRACE: Final = re.compile(r"(\d{1,7})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _no_value(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> None:
    """What follows the name is, as likely as not, the secret itself: it is not repeated."""
    if given:
        raise Invalid(
            "cli.usage",
            "A value is never an argument: the shell's history and the list of processes would have it.",
            hint="Type it when asked, send it to standard input, or use --from-file. Change it if it was a real one.",
        )


def _value_options(command: Fn) -> Fn:
    """Where a value comes from, and what it is sealed to."""
    for decorate in (
        click.option("--field", metavar="NAME", help="Name of its one field, if not `value`."),
        click.option("--fields", "several", is_flag=True, help="The value is a JSON object: several fields at once."),
        click.option(
            "--from-file", type=click.Path(path_type=Path, dir_okay=False), help="Read the value from a file."
        ),
        click.option("--sealing-key", metavar="FINGERPRINT", help="Refuse to seal to any other key of the broker."),
        click.argument("more", nargs=-1, expose_value=False, callback=_no_value, metavar=""),
    ):
        command = decorate(command)
    return command


@click.group()
def secret() -> None:
    """Credentials of connectors: set, rotate, grant, list, check, remove. No command ever shows a value.

    A value is sealed here, for the broker alone: neither the network nor the web process has it in plain text.
    """


@secret.command("set")
@click.argument("name")
@click.option("--connector", "connectors", multiple=True, metavar="NAME", help="Who may have it; may be repeated.")
@click.option("--environment", metavar="NAME", help="The one it is issued to; else this deployment's.")
@_value_options
@remote
def set_secret(
    session: Session,
    name: str,
    connectors: tuple[str, ...],
    environment: str | None,
    field: str | None,
    several: bool,
    from_file: Path | None,
    sealing_key: str | None,
) -> None:
    """Keep a new secret NAME (`erp/api-key`). Its value comes from a prompt, standard input or --from-file."""
    fields = _fields(field, several=several, file=from_file)
    body = {"name": name, "connectors": list(connectors), "environment": environment}
    made = _send(session, path("secrets"), body, fields, sealing_key)
    session.one(made, _SHOWN, key="name")
    output.note(f"Kept. A connector refers to it by {_refer(made)}")
    if not connectors:
        output.note(f"No connector may have it yet: stanchion secret grant {made['name']} --connector NAME")


@secret.command()
@click.argument("name")
@click.option("--grace", default="1h", show_default=True, metavar="TIME", help="How long the value before stays valid.")
@_value_options
@remote
def rotate(
    session: Session,
    name: str,
    grace: str,
    field: str | None,
    several: bool,
    from_file: Path | None,
    sealing_key: str | None,
) -> None:
    """Give NAME a new value. Calls get it within seconds; the value before stays valid for the grace.

    So make the new credential at its target first, and end the old one there when the grace is over.
    """
    if not (lasts := _GRACE.fullmatch(grace)):
        raise Invalid(
            "cli.usage", f"{grace!r} is no length of time.", hint="Write a number with its unit: 0s, 90m, 12h or 7d."
        )
    fields = _fields(field, several=several, file=from_file)
    body = {"name": name, "grace_s": int(lasts[1]) * _SECONDS[lasts[2]]}
    made = _send(session, path("secrets", "rotate"), body, fields, sealing_key)
    session.one(made, _SHOWN, key="name")
    output.note(f"Rotated. Version {made['version']} is the current one.")


@secret.command("list")
@limit_options
@remote
def list_secrets(session: Session, limit: int, everything: bool) -> None:
    """List the secrets: for which environment, granted to whom, which versions. Never a value."""
    session.list(session.api.items(path("secrets"), limit=None if everything else limit), _SHOWN, key="name")


@secret.command()
@click.argument("name")
@click.option("--connector", "connectors", multiple=True, required=True, metavar="NAME", help="Who; may be repeated.")
@click.option("--environment", metavar="NAME", help="Of env/, file/ and vault/ ones: what it is issued to.")
@remote
def grant(session: Session, name: str, connectors: tuple[str, ...], environment: str | None) -> None:
    """Let connectors have NAME too. `env/…`, `file/…` and `vault/…` are made known by it."""
    body = {"name": name, "connectors": list(connectors), "environment": environment}
    session.one(session.api.post(path("secrets", "grant"), body), _SHOWN, key="name")


@secret.command()
@click.argument("name")
@click.option("--connector", "connectors", multiple=True, required=True, metavar="NAME", help="Who; may be repeated.")
@remote
def ungrant(session: Session, name: str, connectors: tuple[str, ...]) -> None:
    """Let connectors have NAME no more, within seconds."""
    body = {"name": name, "connectors": list(connectors)}
    session.one(session.api.post(path("secrets", "ungrant"), body), _SHOWN, key="name")


@secret.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Though live connectors refer to it.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@remote
def rm(session: Session, name: str, force: bool, yes: bool) -> None:
    """Remove NAME and erase its values, or with NAME@N that previous version of it."""
    confirm(f"Remove the secret {SecretRef.named(name).name}? What is stored of its value is erased.", yes=yes)
    session.one(session.api.post(path("secrets", "remove"), {"name": name, "force": force}), _SHOWN, key="name")
    output.note("Removed.")


@secret.command()
@remote
def check(session: Session) -> None:
    """Say of each reference of the live connectors whether it resolves, for which environment, granted to whom.

    Ends with exit code 1 if one does not.
    """
    found: dict[str, Any] = session.api.get(path("secrets", "check"))
    session.list(found["items"], _CHECKED, key="reference")
    for one in found["items"]:
        if session.form == "table" and not one["resolves"]:
            output.note(f"{one['connector']} {one['place']}: {one['detail']} {one['hint']}".strip())
    if found["unresolved"]:
        click.get_current_context().exit(1)


@secret.command()
@click.option("--fresh", is_flag=True, help="Make a new key; else the first one of the key file is used.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@remote
def rekey(session: Session, fresh: bool, yes: bool) -> None:
    """Change the key-encryption key: the data keys of all tenants are encrypted anew, the secrets stay as they are."""
    confirm("Encrypt the data keys of all tenants anew? Backups of the database before need the old key file.", yes=yes)
    session.one(session.api.post(path("secrets", "rekey"), {"fresh": fresh}), _REKEYED, key="key_id")


def _send(
    session: Session, where: str, body: dict[str, Any], fields: dict[str, str], wanted_key: str | None
) -> dict[str, Any]:
    made, key = send_sealed(session.api, where, body, fields, wanted_key=wanted_key)
    output.note(f"Sealed to {key}")
    return made


def _fields(field: str | None, *, several: bool, file: Path | None) -> dict[str, str]:
    """The fields that were given. Raises Invalid `cli.usage`, `secret.bad_value`; neither repeats what was given."""
    if several and field is not None:
        raise Invalid("cli.usage", "Both --field and --fields are given.", hint="Give one of them.")
    said = _given(several=several, file=file)
    if not several:
        return check_fields({field or DEFAULT_FIELD: said})
    try:
        return check_fields(json.loads(said))
    except ValueError as error:
        # Without the cause, which holds the text.
        at = (
            f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "its beginning"
        )
        raise Invalid(
            "cli.usage",
            f"The value is not JSON at {at}.",
            hint='With --fields it is an object: {"user": …, "password": …}.',
        ) from None


def _given(*, several: bool, file: Path | None) -> str:
    if file is not None:
        return _read(lambda: _head(file), str(file))
    if not sys.stdin.isatty():
        return _read(lambda: sys.stdin.buffer.read(TOTAL_BYTES_MAX * 2), "standard input")
    prompt = "Fields, as JSON" if several else "Value"
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=True, err=True))


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(TOTAL_BYTES_MAX * 2)


def _read(reader: Callable[[], bytes], place: str) -> str:
    """The text without the one line end that `echo` and editors put after it."""
    try:
        text = reader().decode("utf-8")
    except OSError as error:
        raise Invalid("cli.usage", f"{place} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise Invalid("cli.usage", f"What {place} holds is not UTF-8 text.") from None
    return text.removesuffix("\n").removesuffix("\r")


def _refer(made: dict[str, Any]) -> str:
    fields = cast("list[str]", made["fields"])
    return ", ".join(str(SecretRef(provider=made["provider"], path=made["path"], field=field)) for field in fields)
