"""The tutorial, typed verbatim into a shell in an empty folder with only the wheel installed."""

from __future__ import annotations

from tests.docs.fences import run_page


def test_tutorial(repo, shell) -> None:
    assert run_page(repo / "docs/tutorial/first-blueprint.md", shell) >= 15
    assert not list(shell.folder.glob(".stanchion/run/*.sock")), "something still runs"
