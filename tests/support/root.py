"""Tests that only root can run: skipped elsewhere, and in CI that is a failure unless it was said aloud, since nobody would
notice."""

from __future__ import annotations

import os

import pytest


def need_root(what: str) -> None:
    """Return as root. Elsewhere skip, and fail where CI is set without `CI_WITHOUT_ROOT`."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI") and not os.environ.get("CI_WITHOUT_ROOT"):
        pytest.fail(f"CI must be root for this, or say CI_WITHOUT_ROOT: {what}", pytrace=False)
    pytest.skip(what)


def needs_root(what: str) -> pytest.MarkDecorator:
    """The mark of a test that only root can run. Where CI must run it and cannot, its whole file fails to load."""
    if os.geteuid() != 0 and os.environ.get("CI") and not os.environ.get("CI_WITHOUT_ROOT"):
        pytest.fail(f"CI must be root for this, or say CI_WITHOUT_ROOT: {what}", pytrace=False)
    return pytest.mark.skipif(os.geteuid() != 0, reason=what)
