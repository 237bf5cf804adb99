"""`stanchion auth`: signing in, keys, principals, roles."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import urlsplit

import click

from stanchion.base.errors import Invalid, NotFound
from stanchion.cli import output
from stanchion.cli.client import Api, path
from stanchion.cli.kit import Session, limit_options, local, remote
from stanchion.cli.profiles import ProfileStore, check_name

ROLES = ("viewer", "analyst", "author", "approver", "operator", "admin", "auditor", "service")
_ME = output.columns(
    "principal=principal.name", "tenant", "kind=principal.kind", "roles=principal.roles", "scopes", "credential", "environment", "server", "actions",
)  # fmt: skip
_KEYS = output.columns(
    "id", "principal", "label", "scopes", "created=created_at", "expires=expires_at", "revoked=revoked_at"
)
_PRINCIPALS = output.columns(
    "name", "kind", "roles", "display name=display_name", "created=created_at", "disabled=disabled_at"
)


@click.group()
def auth() -> None:
    """Who you are here, and what principals may do."""


@auth.command()
@click.argument("url")
@click.option("--name", default="default", show_default=True, help="Name of the profile to keep.")
@click.option("--token-stdin", is_flag=True, help="Read the API key from standard input.")
@local
def login(session: Session, url: str, name: str, token_stdin: bool) -> None:
    """Keep an API key for a server in a profile, and make it the current one.

    The key comes from STANCHION_TOKEN, with --token-stdin from standard input, or from a prompt on a terminal; never
    from an argument, which other users of the machine could read.
    """
    check_name(name)
    parts = urlsplit(url)
    server = f"{parts.scheme}://{parts.netloc}"
    if token_stdin:
        token = sys.stdin.readline().strip()
    elif sys.stdin.isatty() and not session.environment.get("STANCHION_TOKEN"):
        token = str(click.prompt("API key", hide_input=True, err=True)).strip()
    else:
        token = session.environment.get("STANCHION_TOKEN", "").strip()
    if not token:
        raise Invalid(
            "cli.usage", "There is no API key to keep.", hint="Set STANCHION_TOKEN, or pipe it in with --token-stdin."
        )
    api = Api(server, token)
    me: dict[str, Any] = api.get("/api/whoami")
    api.close()
    store = ProfileStore(session.environment)
    store.put(name, server, token)
    session.one({**me, "server": server}, _ME, key="principal.name")
    output.note(f"Signed in as {me['principal']['name']}; kept as profile {name} in {store.path}.")


@auth.command()
@click.option("--name", help="The profile; else the current one.")
@remote
def logout(session: Session, name: str | None) -> None:
    """Forget a profile. The key itself stays valid: `auth token revoke` ends it."""
    store = ProfileStore(session.environment)
    wanted = name or store.load()["current"]
    if not wanted or not store.remove(wanted):
        raise NotFound(
            "cli.no_profile",
            f"There is no profile {wanted or '(current)'}.",
            hint=f"Profiles are kept in {store.path}.",
        )
    output.note(f"Forgot profile {wanted}.")


@auth.command()
@remote
def whoami(session: Session) -> None:
    """Show who the key speaks for."""
    me: dict[str, Any] = session.api.get("/api/whoami")
    session.one({**me, "server": session.api.url}, _ME, key="principal.name")


@auth.command()
@click.option("--principal", help="For someone else; else for yourself.")
@remote
def link(session: Session, principal: str | None) -> None:
    """Make a one-time link that signs a browser in."""
    whom = principal or str(session.api.get("/api/whoami")["principal"]["name"])
    made: dict[str, Any] = session.api.post(path("sign-in-links"), {"principal": whom})
    session.one(made, output.columns("url", "principal", "expires=expires_at"), key="url")


@auth.group()
def token() -> None:
    """API keys: shown once, expiring, revocable, scoped."""


@token.command("list")
@limit_options
@remote
def list_tokens(session: Session, limit: int, everything: bool) -> None:
    """List keys, without the keys themselves."""
    session.list(session.api.items(path("keys"), limit=None if everything else limit), _KEYS)


@token.command("create")
@click.option("--principal", required=True, help="Whom it speaks for.")
@click.option("--label", required=True, help="What it is for.")
@click.option("--scope", "scopes", multiple=True, help="Limit it to this action, such as runs.start; may be repeated.")
@click.option("--expires-in", "lasts", default="90d", show_default=True, help="How long it is valid: 12h, 90d.")
@remote
def create_token(session: Session, principal: str, label: str, scopes: tuple[str, ...], lasts: str) -> None:
    """Make a key. It is written to standard output once, and kept nowhere."""
    body = {"principal": principal, "label": label, "scopes": list(scopes), "expires_at": session.until(lasts)}
    made: dict[str, Any] = session.api.post(path("keys"), body)
    if session.form in {"table", "id"}:
        click.echo(made["text"])
        output.note("This is the only time the key is shown.")
    else:
        output.write_document(session.form, made)


@token.command("revoke")
@click.argument("key_id")
@remote
def revoke_token(session: Session, key_id: str) -> None:
    """End a key at once."""
    whole = session.whole_id("keys", key_id)
    session.one(session.api.post(path("keys", whole, "revoke")), _KEYS)
    output.note("Revoked.")


@auth.group()
def principal() -> None:
    """Principals: who acts."""


@principal.command("list")
@limit_options
@remote
def list_principals(session: Session, limit: int, everything: bool) -> None:
    """List principals and their roles."""
    session.list(session.api.items(path("principals"), limit=None if everything else limit), _PRINCIPALS, key="name")


@principal.command("create")
@click.argument("name")
@click.option("--kind", type=click.Choice(["user", "service"]), default="user", show_default=True)
@click.option("--display-name", help="For people; else the name.")
@click.option("--role", "roles", multiple=True, type=click.Choice(ROLES), help="May be repeated.")
@remote
def create_principal(session: Session, name: str, kind: str, display_name: str | None, roles: tuple[str, ...]) -> None:
    """Create a principal."""
    body = {"name": name, "kind": kind, "display_name": display_name or name, "roles": list(roles)}
    session.one(session.api.post(path("principals"), body), _PRINCIPALS, key="name")


@principal.command("disable")
@click.argument("name")
@remote
def disable_principal(session: Session, name: str) -> None:
    """Disable a principal: its keys and sessions end at once."""
    session.one(session.api.post(path("principals", name, "disable")), _PRINCIPALS, key="name")


@auth.command()
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@remote
def grant(session: Session, name: str, role: str) -> None:
    """Give a principal a role."""
    session.one(session.api.post(path("principals", name, "grant"), {"role": role}), _PRINCIPALS, key="name")


@auth.command()
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
@remote
def revoke(session: Session, name: str, role: str) -> None:
    """Take a role from a principal."""
    session.one(session.api.post(path("principals", name, "revoke"), {"role": role}), _PRINCIPALS, key="name")
