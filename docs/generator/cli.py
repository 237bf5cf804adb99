"""Every command of the command line, from Click itself, and the exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
from docs.generator.tables import code, table

from stanchion.cli import problems
from stanchion.cli.app import root

_EXITS = {
    problems.OK: "done; with `--wait` the run SUCCEEDED",
    problems.FAILED: "failed, or the run did not succeed, or a document has errors",
    problems.USAGE: "the command line or a setting is wrong",
    problems.NOT_FOUND: "there is no such thing",
    problems.DENIED: "no valid credential, or policy says no",
    problems.CONFLICT: "the thing is in a state in which this makes no sense",
    problems.GATE: "a gate says no",
    problems.TIMEOUT: "`--timeout` is over; what was waited for goes on",
    problems.UNREACHABLE: "the server, or something it needs, is away",
    problems.INTERRUPTED: "interrupted by Ctrl-C",
}
# Options that every command of its kind takes; they are said once, above the commands.
_COMMON = {"--help", "-h, --help", "-o, --output", "--data", "--profile", "--url"}


def _commands() -> str:
    return "\n".join(_sections(root, "stanchion"))


def _sections(group: click.Group, called: str) -> Iterator[str]:
    ctx = click.Context(group, info_name=called)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        full = f"{called} {name}"
        if isinstance(command, click.Group):
            yield f"## {full}\n\n{_help(command)}\n"
            if command.invoke_without_command:
                yield _options(command, full)
            yield from _sections(command, full)
        else:
            yield f"{'##' if group is root else '###'} {full}\n\n{_help(command)}\n\n{_usage(command, full)}\n"
            yield _options(command, full)


def _help(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split()) + "".join(
        "\n\n" + " ".join(part.split()) for part in (command.help or "").split("\n\n")[1:]
    )


def _usage(command: click.Command, full: str) -> str:
    ctx = click.Context(command, info_name=full)
    return f"```text\n{full} {' '.join(command.collect_usage_pieces(ctx))}\n```\n"


def _options(command: click.Command, full: str) -> str:
    ctx = click.Context(command, info_name=full)
    rows: list[tuple[str, str, str]] = []
    for parameter in command.get_params(ctx):
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        name = ", ".join([*parameter.opts, *parameter.secondary_opts])
        if name in _COMMON:
            continue
        said = f"{parameter.help or _choices(parameter)}{_range(parameter)}"
        rows.append((code(_shown(parameter, name, ctx)), _default(parameter), said))
    return table(("option", "default", "meaning"), rows) if rows else ""


def _shown(option: click.Option, name: str, ctx: click.Context) -> str:
    if option.is_flag or option.count:
        return name
    if isinstance(option.type, click.IntRange | click.FloatRange):
        return f"{name} N"
    return f"{name} {option.make_metavar(ctx)}"


def _default(option: click.Option) -> str:
    if option.required:
        return "**needed**"
    value: Any = option.default
    if option.is_flag or value is None or callable(value) or value in ((), "") or repr(value).startswith("Sentinel"):
        return "–"
    return code(str(value))


def _choices(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "One of " + ", ".join(code(str(choice)) for choice in option.type.choices) + "."
    return ""


def _range(option: click.Option) -> str:
    if not isinstance(option.type, click.IntRange | click.FloatRange):
        return ""
    low, high = option.type.min, option.type.max
    return f" From {low}{f' to {high}' if high is not None else ''}."


def _exits() -> str:
    return table(("code", "when"), [(str(number), said) for number, said in _EXITS.items()])


PARTS: Mapping[str, Callable[[], str]] = {"cli.commands": _commands, "cli.exits": _exits}
