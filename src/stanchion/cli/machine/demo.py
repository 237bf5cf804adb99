"""`stanchion demo`: see it work, from nothing."""

from __future__ import annotations

import shutil

import click

from stanchion.cli import output
from stanchion.cli.kit import Session, data_option, local, pass_session


@click.group(invoke_without_command=True)
@click.option("--keep", is_flag=True, help="Leave everything running at the end.")
@data_option
@click.pass_context
def demo(ctx: click.Context, keep: bool) -> None:
    """Run the case-triage example: 131 cases, of which 19 wait for a person. Needs no account, key or container.

    Ends by itself and stops what it started; the data stays.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj.keep = keep
        return
    from stanchion.cli.demo import story  # noqa: PLC0415 - psycopg loads when it is needed

    story.tell(ctx.find_object(Session) or Session(), keep=keep)


@demo.command()
@click.option("--keep", is_flag=True, help="Leave everything running at the end.")
@data_option
@pass_session
def crash(session: Session, keep: bool) -> None:
    """Kill the worker mid-run with SIGKILL; count in the target's own log that no case is lost or written twice."""
    from stanchion.cli.demo import crash as told  # noqa: PLC0415 - psycopg loads when it is needed

    told.tell(session, keep=keep or session.keep)


@demo.command()
@click.option("--keep", is_flag=True, help="Leave Stanchion running at the end; the example's own systems stop.")
@data_option
@pass_session
def labour(session: Session, keep: bool) -> None:
    """Run the labour-costs example: time sheets of a field system become postings in a ledger and an ERP, exactly once."""
    from stanchion.cli.demo.labour import story as told  # noqa: PLC0415 - psycopg loads when it is needed

    told.tell(session, keep=keep or session.keep)


@demo.command()
@click.option("--purge", is_flag=True, help="Remove the data folder too.")
@local
def stop(session: Session, purge: bool) -> None:
    """Stop what `demo --keep` or `up` left running in the data folder."""
    from stanchion.cli.demo.instance import stop_running  # noqa: PLC0415 - loads when it is needed
    from stanchion.cli.demo.scene import data_of  # noqa: PLC0415 - as above

    data = data_of(session)
    pid = stop_running(data)
    output.note(f"Stopped process {pid} and its children." if pid else f"Nothing runs in {data}.")
    if purge and (data / "run").is_dir() and (data / "postgres").is_dir():
        shutil.rmtree(data)
        output.note(f"Removed {data}.")
