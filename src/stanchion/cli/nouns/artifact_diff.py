"""How the difference of two versions is shown to people: a line per change, long texts word by word."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow"), "moved": (">", "cyan")}
# Of a value that was added or removed so much is shown on one line; what is larger follows over several.
_ONE_LINE = 88
# Of what is the same in a long text so many characters are shown beside each change.
_AROUND = 60


def render(diff: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a diff as the API gives it. Colour is taken out where stdout is no terminal."""
    yield click.style(f"{diff['kind']} {diff['name']}  {_side(diff['before'])} → {_side(diff['after'])}", bold=True)
    if (said := diff["after"].get("changelog")) and diff["after"]["version"]:
        yield click.style(f"  {' '.join(said.split())}", dim=True)
    for edit in diff["changes"]:
        yield from _edit(edit)
    if not diff["changes"]:
        yield "No change of meaning."
    if diff["order"]:
        yield click.style(f"  order of keys only: {', '.join(diff['order'])}", dim=True)
    for field, sign, colour in (("comments_removed", "-", "red"), ("comments_added", "+", "green")):
        for comment in diff[field]:
            yield click.style(f"{sign} # {comment['text']}", fg=colour, dim=True) + click.style(
                f"  (comment, line {comment['line']})", dim=True
            )
    if diff["cut"]:
        yield click.style("There is more than is shown here.", fg="yellow")


def _side(side: Mapping[str, Any] | None) -> str:
    if side is None:
        return "nothing"
    if side["version"] is None:
        return str(side["source_path"])
    return f"v{side['version']}" + (f" by {side['author']}" if side.get("author") else "")


def _edit(edit: Mapping[str, Any]) -> Iterator[str]:
    sign, colour = _SIGNS[edit["op"]]
    head = click.style(f"{sign} {edit['path']}", fg=colour)
    if edit["op"] == "moved":
        yield f"{head}  moved from {_place(edit['before'])} to {_place(edit['after'])}"
    elif edit["words"]:
        yield head
        yield from textwrap.indent(_words(edit["words"]), "    ").splitlines()
    elif edit["op"] == "changed":
        before, after = _one_line(edit["before"]), _one_line(edit["after"])
        if len(before) + len(after) <= _ONE_LINE:
            yield f"{head}  {click.style(before, fg='red')} → {click.style(after, fg='green')}"
        else:
            yield head
            yield "    " + click.style(before, fg="red")
            yield "    " + click.style(after, fg="green")
    else:
        value = edit["after"] if edit["op"] == "added" else edit["before"]
        said = _one_line(value)
        if len(said) <= _ONE_LINE:
            yield f"{head}  {click.style(said, fg=colour)}"
        else:
            yield head
            yield from (
                "    " + click.style(line, fg=colour)
                for line in json.dumps(value, ensure_ascii=False, indent=2).splitlines()
            )


def _place(value: Any) -> str:
    return f"place {value}" if isinstance(value, int) else str(value)


def _one_line(value: Any) -> str:
    return value if isinstance(value, str) and value and "\n" not in value else json.dumps(value, ensure_ascii=False)


def _words(words: Sequence[Mapping[str, str]]) -> str:
    """A text with its changes in it: `[-removed-]{+added+}`, so that they are seen without colour as well."""
    out: list[str] = []
    for number, word in enumerate(words):
        text = word["text"]
        if word["op"] == "removed":
            out.append(click.style(f"[-{text}-]", fg="red"))
        elif word["op"] == "added":
            out.append(click.style(f"{{+{text}+}}", fg="green"))
        else:
            out.append(_shortened(text, first=number == 0, last=number == len(words) - 1))
    return "".join(out)


def _shortened(text: str, *, first: bool, last: bool) -> str:
    """What is the same, as far as it stands beside a change."""
    if len(text) <= 2 * _AROUND + 10:
        return text
    head = "" if first else text[:_AROUND]
    tail = "" if last else text[-_AROUND:]
    return f"{head} … {tail}"
