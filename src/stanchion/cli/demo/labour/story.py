"""`stanchion demo labour`: a month's time sheets become cost postings in two systems, exactly once, on a bad day."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from stanchion.base.config import load_settings
from stanchion.base.errors import Unavailable
from stanchion.cli import output
from stanchion.cli.client import Api, path
from stanchion.cli.demo.instance import Instance
from stanchion.cli.demo.labour.scene import BLUEPRINT, PERIOD, Example, Ledger, Systems, load_example, running
from stanchion.cli.demo.scene import cancel_earlier, command, data_of, heading, second_person, stage
from stanchion.cli.follow import ENDED, follow
from stanchion.cli.kit import Session
from stanchion.cli.sealing import keep_secret

_RUN_S = 90.0
_WRITE_S = 30.0
_POLL_S = 0.05
_REASON = "The hours agree with the crews' plan."


def tell(session: Session, *, keep: bool) -> None:
    """Run the demo. Raises Problem where a cost was lost, posted twice, or another amount than it has to be."""
    data = data_of(session)
    example = load_example()
    heading(f"Stanchion demo: labour-costs, {len(example.sheets)} time sheets of {PERIOD}")
    with Instance(data, keep=keep, say=output.note) as instance, running(example) as systems:
        if not instance.started:
            stage("instance", f"the one running in {data} is used")
        admin = instance.api
        ledger = _set_up(session, admin, data, example, systems)
        supervisor = second_person(session, admin, data)
        run_id = _run(session, admin, data, systems)
        _decide(admin, supervisor, run_id)
        _prove(example, systems, ledger)
        _what_next(data, run_id, running=keep or not instance.started)


def _set_up(session: Session, admin: Api, data: Path, example: Example, systems: Systems) -> Ledger:
    """Seed, keep the credentials, publish."""
    settings = load_settings(session.environment, overrides={"data": str(data)}).settings
    cancel_earlier(admin, BLUEPRINT)
    ledger = Ledger.make(example, data, settings.connectors_root)
    stage(
        "systems", f"field system at {systems.field_system.origin}, ERP at {systems.erp.origin}, ledger in PostgreSQL"
    )
    for name, (connector, value) in systems.credentials.items():
        keep_secret(admin, name, {"value": value}, connectors=[connector])
    stage("secrets", f"{', '.join(systems.credentials)}: sealed here, opened by the broker alone")
    documents = example.documents(systems.addresses)
    answer: dict[str, Any] = admin.post("/api/artifacts/apply", {"documents": documents})
    stage("published", ", ".join(f"{c['kind']} {c['name']} v{c['version']}" for c in answer["changes"]))
    return ledger


def _run(session: Session, admin: Api, data: Path, systems: Systems) -> str:
    run_id = str(admin.post(path("blueprints", BLUEPRINT, "runs"), {"input": {"period": PERIOD}})["run_id"])
    stage("run", run_id)
    run = follow(
        admin,
        run_id,
        live=session.live,
        say=lambda said: output.note(f"  {said}"),
        until=lambda v: v.settled_items,
        timeout_s=_RUN_S,
    )
    items = _settled(admin, run_id, run)
    if run["status"] in ENDED or items.get("failed", 0) or not items.get("waiting", 0):
        raise Unavailable(
            "demo.unexpected",
            f"The run is {run['status']} with {items}: {run.get('error')}.",
            hint=command(f"run show {run_id}", data),
        )
    facts = systems.erp.facts()
    faults = ", ".join(f"{n} × {what}" for what, n in sorted(facts.faults.items())) or "none"
    stage("posted", f"{items.get('succeeded', 0)} cost centres; faults of the ERP meanwhile: {faults}")
    return run_id


def _settled(admin: Api, run_id: str, run: dict[str, Any]) -> dict[str, int]:
    """How the items stand once none waits for anything but a person: an item that is about to be tried again waits, too."""
    give_up = time.monotonic() + _WRITE_S  # noqa: TID251 - the client's own wait
    while True:
        items: dict[str, int] = run.get("items") or {}
        asked = len(list(admin.items(path("approvals"), status="PENDING", run=run_id)))
        if items.get("waiting", 0) == asked or run["status"] in ENDED or time.monotonic() > give_up:  # noqa: TID251 - as above
            return items
        time.sleep(_POLL_S)  # noqa: TID251 - as above
        run = admin.get(path("runs", run_id))


def _decide(admin: Api, supervisor: Api, run_id: str) -> None:
    waiting = list(admin.items(path("approvals"), status="PENDING", run=run_id))
    stage("waiting", f"{len(waiting)} postings above €12,000 wait for a controller")
    for asked in waiting:
        body = {"reason": _REASON, "args_digest": asked["args_digest"]}
        decided: dict[str, Any] = supervisor.post(path("approvals", str(asked["id"]), "approve"), body)
        stage("approved", f"{asked['title']} Yes, says {decided['decided_by']}.")
    give_up = time.monotonic() + _WRITE_S  # noqa: TID251 - the client's own wait
    while (run := admin.get(path("runs", run_id)))["status"] not in ENDED:
        if time.monotonic() > give_up:  # noqa: TID251 - as above
            raise Unavailable(
                "demo.unexpected", f"Run {run_id} is still {run['status']}.", hint="stanchion run show shows why."
            )
        time.sleep(_POLL_S)  # noqa: TID251 - as above
    if run["status"] != "SUCCEEDED":
        raise Unavailable("demo.unexpected", f"Run {run_id} is {run['status']}: {run.get('error')}.")


def _prove(example: Example, systems: Systems, ledger: Ledger) -> None:
    """Both systems have each posting once, with the amount that this command computes itself."""
    expected, posted, facts = example.totals(), ledger.postings(), systems.erp.facts()
    in_erp = {str(r["cost_centre"]): Decimal(str(r["amount_eur"])) for r in facts.postings.values()}
    rows = [
        {"cost centre": name, "expected": str(amount), "ledger": str(posted.get(name)), "ERP": str(in_erp.get(name))}
        for name, amount in sorted(expected.items())
    ]
    click.echo("", err=True)
    output.write_table(rows, output.columns("cost centre", "expected", "ledger", "ERP"))
    click.echo("", err=True)
    twice = ledger.twice() + sum(n > 1 for n in systems.amounts().values())
    if posted != expected or in_erp != expected or twice:
        raise Unavailable(
            "demo.broken_promise",
            f"Ledger {posted}, ERP {in_erp}, expected {expected}; posted twice: {twice}.",
            hint="Please report this.",
            retryable=False,
        )
    said = f"Every cost centre is posted once in both systems, and to the cent ({facts.received} requests reached the ERP's books)."
    click.echo(click.style(said, bold=True), err=True)


def _what_next(data: Path, run_id: str, *, running: bool) -> None:
    click.echo("", err=True)
    said = [("See the effects, their keys and receipts:", f"effect list --run {run_id}")]
    said.append(("See which secrets there are, for what and for whom, never their values:", "secret list"))
    if not running:
        heading(f"Everything is stopped; the data stays in {data}")
        said.insert(0, ("Start it again:", "up"))
    for words, line in said:
        click.echo(f"  {click.style(words, dim=True)}\n    {command(line, data)}", err=True)
