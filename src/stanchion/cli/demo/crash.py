"""`stanchion demo crash`: kill the worker mid-run with SIGKILL, and let the target's own log say what became of it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import click

from stanchion.base.errors import Unavailable
from stanchion.cli import output
from stanchion.cli.client import Api, path
from stanchion.cli.demo.instance import Instance
from stanchion.cli.demo.scene import Scene, command, data_of, heading, set_up, stage, start_run
from stanchion.cli.follow import follow
from stanchion.cli.kit import Session

_RUN_S = 90.0
_BEFORE_S = 30.0
_POLL_S = 0.02
# The worker is killed when about so many of the cases are written: in the middle of its work.
_KILL_AT = 0.25


def tell(session: Session, *, keep: bool) -> None:
    """Run the demo. Raises Problem where a case was lost or written twice."""
    data = data_of(session)
    heading("Stanchion demo: a worker is killed in the middle of a run")
    with Instance(data, keep=keep, say=output.note) as instance:
        if not instance.started:
            stage("instance", f"the one running in {data} is used")
        scene = set_up(session, instance)
        run_id = start_run(scene)
        stage("run", run_id)
        killed = _kill(scene, run_id)
        recovered = _recovered(scene, killed)
        run = follow(
            scene.admin,
            run_id,
            live=session.live,
            say=lambda said: output.note(f"  {said}"),
            until=lambda v: v.settled_items,
            timeout_s=_RUN_S,
        )
        _prove(scene, run, killed, recovered)


def _workers(api: Api) -> list[dict[str, Any]]:
    return [worker for worker in api.items(path("workers"), limit=200) if worker["state"] == "live"]


def _kill(scene: Scene, run_id: str) -> dict[str, Any]:
    """SIGKILL to the worker while it holds RUNNING items; what was so at that moment."""
    give_up = time.monotonic() + _BEFORE_S  # noqa: TID251 - the client's own wait
    wanted = int(len(scene.example.cases) * _KILL_AT)
    while time.monotonic() < give_up:  # noqa: TID251 - as above
        items: dict[str, int] = scene.admin.get(path("runs", run_id)).get("items") or {}
        if items.get("succeeded", 0) >= wanted:
            busy = [worker for worker in _workers(scene.admin) if int(worker["pid"]) > 0]
            if busy:
                os.kill(int(busy[0]["pid"]), signal.SIGKILL)
                at = time.monotonic()  # noqa: TID251 - as above
                held = list(scene.admin.items(path("runs", run_id, "items"), status="RUNNING"))
                facts = scene.register.facts()
                said = f"worker {busy[0]['pid']} with SIGKILL, {facts['outcomes']} of {len(scene.example.cases)} cases written, {len(held)} in its hands"
                stage("killed", said)
                return {
                    "pid": busy[0]["pid"],
                    "worker": busy[0]["id"],
                    "at": at,
                    "written": facts["outcomes"],
                    "held": len(held),
                }
        time.sleep(_POLL_S)  # noqa: TID251 - as above
    raise Unavailable(
        "demo.unexpected",
        f"Run {run_id} did not get so far as to be disturbed.",
        hint=command(f"run show {run_id}", scene.data),
    )


def _recovered(scene: Scene, killed: dict[str, Any]) -> float:
    """Seconds from the kill to the next outcome in the register."""
    while (now := time.monotonic()) < killed["at"] + _BEFORE_S:  # noqa: TID251 - the client's own stopwatch
        if scene.register.facts()["outcomes"] > killed["written"]:
            workers = [worker for worker in _workers(scene.admin) if worker["id"] != killed["worker"]]
            pid = workers[0]["pid"] if workers else "?"
            stage(
                "recovered", f"worker {pid} took over and wrote the next case {now - killed['at']:.1f} s after the kill"
            )
            return now - killed["at"]
        time.sleep(_POLL_S)  # noqa: TID251 - as above
    raise Unavailable("demo.unexpected", "No case was written after the kill.", hint="stanchion worker list")


def _prove(scene: Scene, run: dict[str, Any], killed: dict[str, Any], recovered: float) -> None:
    facts, written = scene.register.facts(), scene.register.written()
    everyone = {str(case["case_id"]) for case in scene.example.cases}
    waiting = {
        str(a["facts"]["case_id"]) for a in scene.admin.items(path("approvals"), status="PENDING", run=str(run["id"]))
    }
    lost = everyone - written - waiting
    rows = [
        {"what": "cases", "count": len(everyone), "said by": "the casebook"},
        {"what": "written", "count": len(written), "said by": "the outcome register"},
        {"what": "wait for a supervisor", "count": len(waiting), "said by": "Stanchion"},
        {"what": "lost", "count": len(lost), "said by": "cases, less written, less waiting"},
        {"what": "writes received", "count": facts["received"], "said by": "the register's own log, a trigger"},
        {"what": "cases written twice", "count": facts["twice"], "said by": "the register's own log"},
        {"what": "runs in the killed worker's hands", "count": killed["held"], "said by": "Stanchion"},
        {"what": "seconds to the next write", "count": f"{recovered:.1f}", "said by": "this command"},
    ]
    click.echo("", err=True)
    output.write_table(rows, output.columns("what", "count", "said by"))
    click.echo("", err=True)
    if lost or facts["twice"] or facts["received"] != len(written):
        raise Unavailable(
            "demo.broken_promise",
            f"Lost: {sorted(lost)}; written twice: {facts['twice']}.",
            hint="Please report this.",
            retryable=False,
        )
    click.echo(click.style("No case was lost, and none was written twice.", bold=True), err=True)
    click.echo(f"  See each case: {command('run items ' + str(run['id']), scene.data)}", err=True)
