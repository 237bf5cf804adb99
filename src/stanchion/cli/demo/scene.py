"""What both demos begin with: the external systems seeded, the example published, a second person, earlier runs ended."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from stanchion.base.config import load_settings
from stanchion.base.errors import Conflict, NotFound
from stanchion.cli.client import Api, path
from stanchion.cli.demo.casebook import BLUEPRINT, Example, Register, load_example, seed_casebook
from stanchion.cli.demo.instance import Instance
from stanchion.cli.kit import Session
from stanchion.cli.profiles import local_profile
from stanchion.processes.folder import local_file, write_private

SUPERVISOR = "supervisor"
_KEY_LASTS = "30d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything set up. `admin` starts runs; `supervisor` decides."""

    admin: Api
    supervisor: Api
    example: Example
    register: Register
    data: Path


def data_of(session: Session) -> Path:
    """The demo's data folder, absolute. Raises Conflict `demo.external` where an external database is set."""
    loaded = load_settings(session.environment, overrides={"data": str(session.data) if session.data else None})
    if loaded.settings.database.url is not None:
        raise Conflict(
            "demo.external",
            "The settings name an external database, and the demo fills one of its own.",
            hint="Unset STANCHION_DATABASE_URL (or run it where no stanchion.toml is).",
        )
    return loaded.settings.data.resolve()


def stage(name: str, said: str) -> None:
    """One line of the story, on stderr."""
    click.echo(f"{click.style('●', fg='green')} {name:<10}  {said}", err=True)


def heading(said: str) -> None:
    """The title of the story."""
    click.echo(click.style(said, bold=True), err=True)
    click.echo("", err=True)


def set_up(session: Session, instance: Instance, say: Callable[[str, str], None] = stage) -> Scene:
    """Seed, publish, make the second person. Safe to repeat: a demo begins anew, earlier runs of it are cancelled."""
    data, admin = instance.data, instance.api
    settings = load_settings(session.environment, overrides={"data": str(data)}).settings
    ended = cancel_earlier(admin, BLUEPRINT)
    example = load_example()
    root = settings.connectors_root
    seed_casebook(example, root)
    register = Register.make(example, data, root)
    again = f"; {ended} earlier run{'s' if ended != 1 else ''} cancelled" if ended else ""
    say(
        "systems", f"casebook: {len(example.cases)} open cases in SQLite; outcome register: empty, in PostgreSQL{again}"
    )
    answer: dict[str, Any] = admin.post("/api/artifacts/apply", {"documents": example.documents})
    named = ", ".join(f"{change['kind']} {change['name']} v{change['version']}" for change in answer["changes"])
    say("published", named)
    supervisor = second_person(session, admin, data)
    return Scene(admin=admin, supervisor=supervisor, example=example, register=register, data=data)


def start_run(scene: Scene) -> str:
    """Start the run over all cases; its id."""
    return str(scene.admin.post(path("blueprints", BLUEPRINT, "runs"), {"input": {}})["run_id"])


def cancel_earlier(admin: Api, blueprint: str) -> int:
    """Cancel what an earlier demo left open of that Blueprint; how many."""
    ended = 0
    for run in admin.items(path("runs"), blueprint=blueprint, limit=200):
        if run["status"] in {"PENDING", "RUNNING", "SUSPENDED"}:
            admin.post(path("runs", str(run["id"]), "cancel"), {"reason": "A new demo begins."})
            ended += 1
    return ended


def second_person(session: Session, admin: Api, data: Path) -> Api:
    """The supervisor, whose key is kept beside the admin's: `--profile supervisor` on this machine."""
    try:
        admin.get(path("principals", SUPERVISOR))
    except NotFound:
        admin.post(
            path("principals"),
            {"name": SUPERVISOR, "kind": "user", "display_name": "Supervisor", "roles": ["approver"]},
        )
    kept = local_profile(data, SUPERVISOR)
    if kept is not None and _still_valid(admin.url, kept.token):
        token = str(kept.token)
    else:
        body = {"principal": SUPERVISOR, "label": "demo", "expires_at": session.until(_KEY_LASTS)}
        token = str(admin.post(path("keys"), body)["text"])
    write_private(local_file(data, SUPERVISOR), {"url": admin.url, "token": token})
    return Api(admin.url, token)


def _still_valid(url: str, token: str | None) -> bool:
    from stanchion.base.errors import Unauthenticated  # noqa: PLC0415 - beside its one use

    try:
        Api(url, token).get("/api/whoami")
    except Unauthenticated:
        return False
    return True


def command(words: str, data: Path) -> str:
    """`stanchion …` with `--data` where the folder is not the default one of this place."""
    where = "" if data == Path.cwd() / ".stanchion" else f" --data {data}"
    beside = Path(sys.executable).with_name("stanchion")
    if shutil.which("stanchion"):
        name = "stanchion"
    elif beside.is_relative_to(Path.cwd()):
        name = str(beside.relative_to(Path.cwd()))
    else:
        name = str(beside) if beside.exists() else f"{sys.executable} -m stanchion"
    return f"{name} {words}{where}"
