"""How a command says what the gates of a release say, and the option that moves it against them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from stanchion.cli import output

BREAK_GLASS = click.option(
    "--break-glass",
    is_flag=True,
    help="Move although the gates say no; with a permission of its own, reviewed afterwards.",
)


def tell(ruling: Mapping[str, Any] | None) -> None:
    """Say on stderr what each gate says and what to do, and warn of a move that was made against them."""
    if not ruling:
        return
    for finding in ruling["findings"]:
        output.note(f"gate {finding['gate']} ({finding['rule']}): {finding['verdict']}: {finding['why']}")
        if finding["way_out"]:
            output.note(f"    {finding['way_out']}")
    if ruling["broken_glass"]:
        warn(ruling["broken_glass"])


def warn(broken: str) -> None:
    """Warn, on stderr, of a move that was made against its gates."""
    click.echo(
        f"{click.style('Warning:', fg='yellow', bold=True)} it moved although its gates say no. This stays open until"
        f" somebody else reviews it: stanchion release review {broken} --finding … --reason …",
        err=True,
    )
