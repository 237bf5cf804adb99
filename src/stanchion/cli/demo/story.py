"""`stanchion demo`: a Blueprint over 131 real cases, up to the 19 that wait for a person, one of them decided."""

from __future__ import annotations

import time
from typing import Any

import click

from stanchion.base.errors import Unavailable
from stanchion.cli import output
from stanchion.cli.client import Api, path
from stanchion.cli.demo.instance import Instance
from stanchion.cli.demo.scene import SUPERVISOR, Scene, command, data_of, heading, set_up, stage, start_run
from stanchion.cli.follow import ENDED, follow
from stanchion.cli.kit import Session

_RUN_S = 90.0
_WRITE_S = 20.0
_POLL_S = 0.05
_SHOWN = 3
_REASON = "The fine is in proportion to the gravity of the case."


def tell(session: Session, *, keep: bool) -> None:
    """Run the demo. Raises Problem where anything is not as it has to be."""
    data = data_of(session)
    heading("Stanchion demo: case-triage over 131 data-protection enforcement cases")
    with Instance(data, keep=keep, say=output.note) as instance:
        if not instance.started:
            stage("instance", f"the one running in {data} is used")
        scene = set_up(session, instance)
        run_id = _run(scene, session)
        waiting = _waiting(scene, run_id)
        _decide(scene, waiting[0])
        _what_next(scene, run_id, waiting[1:], running=keep or not instance.started)


def _run(scene: Scene, session: Session) -> str:
    began = time.monotonic()  # noqa: TID251 - the client's own stopwatch
    run_id = start_run(scene)
    stage("run", run_id)
    run = follow(
        scene.admin,
        run_id,
        live=session.live,
        say=lambda said: output.note(f"  {said}"),
        until=lambda v: v.settled_items,
        timeout_s=_RUN_S,
    )
    seconds = time.monotonic() - began  # noqa: TID251 - as above
    items: dict[str, int] = run.get("items") or {}
    total, done, waits = len(scene.example.cases), items.get("succeeded", 0), items.get("waiting", 0)
    if run["status"] in ENDED or done + waits != total:
        raise Unavailable(
            "demo.unexpected",
            f"The run is {run['status']} with {items}.",
            hint=command(f"run show {run_id}", scene.data),
        )
    facts = scene.register.facts()
    stage(
        "written",
        f"{facts['outcomes']} cases that needed nobody, {facts['received']} writes received, {facts['twice']} twice; {seconds:.1f} s",
    )
    return run_id


def _waiting(scene: Scene, run_id: str) -> list[dict[str, Any]]:
    waiting = list(scene.admin.items(path("approvals"), status="PENDING", run=run_id))
    stage("waiting", f"{len(waiting)} cases above €100,000 wait for a supervisor; they hold no worker and no memory")
    for approval in waiting[:_SHOWN]:
        click.echo(f"                {approval['title']}", err=True)
    if len(waiting) > _SHOWN:
        click.echo(f"                … and {len(waiting) - _SHOWN} more", err=True)
    return waiting


def _decide(scene: Scene, asked: dict[str, Any]) -> None:
    approval_id = str(asked["id"])
    body = {"reason": _REASON, "args_digest": asked["args_digest"]}
    decided: dict[str, Any] = scene.supervisor.post(path("approvals", approval_id, "approve"), body)
    stage("approved", f"{asked['title']} Yes, says {decided['decided_by']}.")
    click.echo(
        f"                ({asked['requested_by']} started the run and may not decide it: the policy says so)", err=True
    )
    _until_ended(scene.admin, str(asked["run_id"]))
    case_id = str(asked["facts"]["case_id"])
    outcome = scene.register.outcome(case_id)
    if outcome is None:
        raise Unavailable(
            "demo.unexpected",
            f"Case {case_id} was approved and has no outcome.",
            hint=command(f"run show {asked['run_id']}", scene.data),
        )
    stage("recorded", f"{case_id}: {outcome['tier']}, {outcome['recommendation']}")


def _until_ended(api: Api, run_id: str) -> None:
    give_up = time.monotonic() + _WRITE_S  # noqa: TID251 - the client's own wait
    while (run := api.get(path("runs", run_id)))["status"] not in ENDED:
        if time.monotonic() > give_up:  # noqa: TID251 - as above
            raise Unavailable(
                "demo.unexpected", f"Run {run_id} is still {run['status']}.", hint="stanchion run show shows why."
            )
        time.sleep(_POLL_S)  # noqa: TID251 - as above
    if run["status"] != "SUCCEEDED":
        raise Unavailable("demo.unexpected", f"Run {run_id} is {run['status']}: {run.get('error')}.")


def _what_next(scene: Scene, run_id: str, left: list[dict[str, Any]], *, running: bool) -> None:
    def line(words: str, said: str) -> None:
        click.echo(f"  {click.style(said, dim=True)}\n    {command(words, scene.data)}", err=True)

    click.echo("", err=True)
    if running:
        link: dict[str, Any] = scene.admin.post(path("sign-in-links"), {"principal": "admin"})
        heading(f"It goes on running at {scene.admin.url}")
        click.echo(f"  {click.style('Sign a browser in, once:', dim=True)}\n    {link['url']}", err=True)
    else:
        heading(f"Everything is stopped; the data stays in {scene.data}, and {len(left)} approvals still wait")
        line("up", "Start it again:")
    if left:
        line(
            f"approval approve {left[0]['id']} --reason 'I read the decision.' --profile {SUPERVISOR}",
            f"Decide the next: {left[0]['title']}",
        )
    line("approval list", "See what else waits:")
    line(f"run show {run_id}", "See the run, and why it waits:")
    line("demo crash", "Kill the worker mid-run, and see that nothing is lost or written twice:")
    if running:
        line("demo stop", "Stop it:")
