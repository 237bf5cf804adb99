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
# Options that every command of its kind takes, and what is to be said of them beside their own help. They stand in a
# table of their own, above the commands; each group says which of them its commands take.
_COMMON = {
    "-o, --output": "Text in columns is the default; or whole as JSON or YAML; ids alone, one a line; or one JSON object a line.",
    "--data": "",
    "--url": "Instead of `--profile` and `--data`.",
    "--profile": "As `stanchion auth login` keeps them.",
    "-h, --help": "",
}
_HELP = "-h, --help"


def _commands() -> str:
    return "\n".join(_sections(root, "stanchion"))


def _common() -> str:
    """The common options, each with the help that every command gives it. Raises SystemExit where they differ."""
    found: dict[str, tuple[str, str, str]] = {}
    for command, full in _leaves(root, "stanchion"):
        for name, parameter in _shared(command, full).items():
            ctx = click.Context(command, info_name=full)
            row = (
                code(_shown(parameter, name, ctx)),
                _default(parameter),
                f"{parameter.help or ''} {_COMMON[name]}".strip(),
            )
            if found.setdefault(name, row) != row:
                raise SystemExit(f"cli: {full} says something else of {name} than other commands do")
    return table(("option", "default", "meaning"), [found[name] for name in _COMMON])


def _leaves(group: click.Group, called: str) -> Iterator[tuple[click.Command, str]]:
    """Every command that is run, with its whole name."""
    ctx = click.Context(group, info_name=called)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield command, f"{called} {name}"
            yield from _leaves(command, f"{called} {name}")
        else:
            yield command, f"{called} {name}"


def _shared(command: click.Command, full: str) -> dict[str, click.Option]:
    """The common options that a command takes."""
    ctx = click.Context(command, info_name=full)
    options = [p for p in command.get_params(ctx) if isinstance(p, click.Option) and not p.hidden]
    named = {_name(option): option for option in options}
    return {name: named[name] for name in _COMMON if name in named}


def _name(option: click.Option) -> str:
    name = ", ".join([*option.opts, *option.secondary_opts])
    return _HELP if name == "--help" else name


def _takes(commands: list[tuple[click.Command, str]]) -> str:
    """Which common options the commands of a group take; those that differ are named."""
    sets: dict[tuple[str, ...], list[str]] = {}
    for command, full in commands:
        names = tuple(code(name.split(", ")[0]) for name in _shared(command, full) if name != _HELP)
        sets.setdefault(names, []).append(full)
    if len(sets) == 1:
        return f"[Common options](#common-options): {', '.join(next(iter(sets))) or 'none'}.\n"
    said = [f"{', '.join(map(code, fulls))}: {', '.join(names) or 'none'}" for names, fulls in sets.items()]
    return f"[Common options](#common-options): {'; '.join(said)}.\n"


def _sections(group: click.Group, called: str) -> Iterator[str]:
    ctx = click.Context(group, info_name=called)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        full = f"{called} {name}"
        if isinstance(command, click.Group):
            yield f"## {full}\n\n{_help(command)}\n\n{_takes(_in_group(command, full))}"
            if command.invoke_without_command:
                yield _options(command, full)
            yield from _sections(command, full)
        else:
            yield f"{'##' if group is root else '###'} {full}\n\n{_help(command)}\n\n{_usage(command, full)}"
            if group is root:
                yield _takes([(command, full)])
            yield _options(command, full)


def _in_group(group: click.Group, full: str) -> list[tuple[click.Command, str]]:
    """What a group's section describes: its own call and its commands; groups in it have sections of their own."""
    own: list[tuple[click.Command, str]] = [(group, full)] if group.invoke_without_command else []
    ctx = click.Context(group, info_name=full)
    found = [(group.get_command(ctx, name), f"{full} {name}") for name in group.list_commands(ctx)]
    leaves = [(c, name) for c, name in found if c is not None and not c.hidden and not isinstance(c, click.Group)]
    return own + leaves


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
        name = _name(parameter)
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


PARTS: Mapping[str, Callable[[], str]] = {
    "cli.commands": _commands,
    "cli.common": _common,
    "cli.exits": _exits,
}
