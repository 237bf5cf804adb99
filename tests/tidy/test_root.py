"""No test skips silently because CI is an ordinary user: it fails, or that was said aloud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.root import need_root, needs_root

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(("ci", "said", "ends"), [("", "", "skip"), ("1", "", "fail"), ("1", "1", "skip")])
def test_an_ordinary_user_skips_and_ci_fails_unless_it_was_said(monkeypatch, ci: str, said: str, ends: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("CI_WITHOUT_ROOT", said)
    outcome = {"skip": pytest.skip.Exception, "fail": pytest.fail.Exception}[ends]
    with pytest.raises(outcome, match="only root may"):
        need_root("only root may")
    if ends == "fail":
        with pytest.raises(outcome, match="CI_WITHOUT_ROOT: only root may"):
            needs_root("only root may")
    else:
        assert needs_root("only root may").args == (True,)


def test_root_runs_them(monkeypatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("CI", "1")
    need_root("only root may")
    assert needs_root("only root may").args == (False,)


def test_every_test_for_root_alone_goes_this_way() -> None:
    own = {TESTS / "support" / "root.py", Path(__file__)}
    silent = [
        f"{path.relative_to(TESTS)}:{number}"
        for path in sorted(TESTS.rglob("*.py"))
        if path not in own
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if "skipif(" in line and ("geteuid" in line or "getuid" in line)
    ]
    assert silent == []
