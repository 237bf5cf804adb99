"""The root of the command: which words there are, loaded when they are called."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import cast

import click

from stanchion import __version__
from stanchion.base.errors import Problem
from stanchion.base.nearest import nearest
from stanchion.cli import problems
from stanchion.cli.kit import Session

# word -> (module, attribute, help of one line). The help stands here so that `--help` imports nothing.
COMMANDS: Mapping[str, tuple[str, str, str]] = {
    "demo": ("machine.demo", "demo", "Run the case-triage example from nothing, and prove a crash harmless."),
    "up": ("machine.up", "up", "Start everything on this machine: database, web, worker, scheduler, broker."),
    "init": ("machine.init", "init", "Write an adapter of your own: one file, its entry point, its test."),
    "apply": ("nouns.apply", "apply", "Publish the artifacts of a folder; what did not change stays."),
    "blueprint": ("nouns.blueprint", "blueprint", "Blueprints: list, show, validate, graph."),
    "run": ("nouns.run", "run", "BlueprintRuns: start, list, show, watch, cancel, retry."),
    "task": ("nouns.task", "task", "Tasks: a run as its end user sees it."),
    "approval": ("nouns.approval", "approval", "What waits for a person: list, show, approve, reject."),
    "dlq": ("nouns.dlq", "dlq", "Dead letters: list, show, requeue, discard."),
    "effect": ("nouns.effect", "effect", "Effects on external systems: list, show, resolve."),
    "connector": ("nouns.connector", "connector", "Connectors: list, show, test, discover, import."),
    "tool": ("nouns.tool", "tool", "Tools: list, show, call, check, approve, enable, disable, kill."),
    "trigger": ("nouns.trigger", "trigger", "Triggers: list, show, deliveries, test."),
    "artifact": ("nouns.artifact", "artifact", "Immutable versions: list, show, diff, usage, history, retire."),
    "release": (
        "nouns.release",
        "release",
        "Which versions are live: plan, canary, promote, roll back, revoke, move on.",
    ),
    "config": ("nouns.config", "config", "Values that change behaviour: list, show, versions, diff, set."),
    "flag": ("nouns.flag", "flag", "Flags: list, show, evaluate, enable, disable, set the default."),
    "kill": ("nouns.kill", "kill", "Kill switches: stop a thing at once, list, show, lift."),
    "secret": ("nouns.secret", "secret", "Credentials of connectors: set, rotate, grant, list, check, remove."),
    "audit": ("nouns.audit", "audit", "The record of every change: list."),
    "auth": ("nouns.auth", "auth", "Sign in, keys, principals, roles."),
    "tenant": ("nouns.tenant", "tenant", "Tenants: list, create."),
    "worker": ("nouns.worker", "worker", "Workers: list."),
    "settings": ("machine.settings", "settings", "The settings of this machine and where each comes from."),
    "doctor": ("machine.doctor", "doctor", "Check this machine and the instance on it."),
    "migrate": ("machine.migrate", "migrate", "Bring the database's schema to this version."),
    "serve": ("machine.serve", "serve", "Run one process: web, worker, scheduler or broker."),
}


class Root(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All words, in the order of COMMANDS."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command behind a word."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        return cast("click.Command", getattr(import_module(f"stanchion.cli.{module}"), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(word, said) for word, (_, _, said) in COMMANDS.items()])


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, "-V", "--version", prog_name="stanchion", message="%(prog)s %(version)s")
def root() -> None:
    """Stanchion runs Blueprints durably, with every effect behind one policy.

    Begin with `stanchion demo`, or `stanchion up` and `stanchion apply -f FOLDER`.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code (DESIGN §7). Nothing but a defect of ours shows a traceback."""
    session = Session()
    if session.environment.get("NO_COLOR"):
        # Click takes colour from the stream; this is the one switch it has for both streams.
        colour: bool | None = False
    else:
        colour = None
    try:
        result = root.main(list(arguments), prog_name="stanchion", standalone_mode=False, obj=session, color=colour)
    except Problem as problem:
        with click.Context(root, color=colour):
            problems.report(problem, as_json=session.as_json)
        return problems.exit_code(problem)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        with click.Context(root, color=colour):
            _usage(error, session)
        return problems.USAGE
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return problems.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader left: not an error, and nothing more can be said
        return problems.OK
    finally:
        session.close()
    return result if isinstance(result, int) else problems.OK


def _usage(error: click.ClickException, session: Session) -> None:
    hint = ""
    ctx = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        hint = f"Did you mean {error.possibilities[0]}?"
    elif (
        isinstance(error, click.UsageError) and isinstance(ctx, click.Context) and isinstance(ctx.command, click.Group)
    ):
        words = ctx.command.list_commands(ctx)
        said = error.message.partition("'")[2].rpartition("'")[0]
        if near := nearest(said, words, likeness=0.5):
            hint = f"Did you mean {near}?"
    if "Did you mean" in error.format_message():  # click, since 8.2 or so, has found it itself
        hint = ""
    if session.as_json:
        problems.report(Problem("cli.usage", error.format_message(), hint=hint), as_json=True)
        return
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # its message is the help of the group
        click.echo(error.format_message(), err=True)
        return
    if isinstance(ctx, click.Context):
        click.echo(ctx.get_usage(), err=True)
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {error.format_message()} {hint}".rstrip(), err=True)
    if isinstance(ctx, click.Context):
        click.echo(click.style(f"{ctx.command_path} --help says more.", dim=True), err=True)
