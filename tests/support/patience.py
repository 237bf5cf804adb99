"""What a process knows may be older than usual, where a test is not about its age."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_KNOWN = (
    "stanchion.controls.kills.rules",
    "stanchion.controls.withdrawals.rules",
    "stanchion.releases.policies.snapshot",
    "stanchion.tools.catalogue.snapshot",
)


@contextmanager
def patient() -> Iterator[None]:
    """A machine that stands still for seconds makes what was read last too old, and everything waits or is refused then:
    right, and nothing that the tests in the block ask for."""
    with pytest.MonkeyPatch.context() as patch:
        for module in _KNOWN:
            patch.setattr(f"{module}.AGE_S_MAX", 100.0)
        yield
