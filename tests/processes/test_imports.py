"""A process imports what its type is made of: each import here would be paid at every start of a worker, and by every test
that starts one."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVING = {"fastapi", "starlette", "uvicorn"}
CALLING = {"aiohttp", "obstore", "mcp", "stanchion.tools.adapters.registry"}
SAID = "import {0}, sys; print(*sorted(sys.modules), sep='\\n')"


def imported_by(module: str) -> set[str]:
    """The modules that a new interpreter has once it imported that one."""
    done = subprocess.run([sys.executable, "-c", SAID.format(module)], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("process", "needless"), [("worker", SERVING | CALLING), ("scheduler", SERVING), ("broker", SERVING)]
)
def test_a_process_imports_nothing_that_only_others_use(process: str, needless: set[str]) -> None:
    there = imported_by(f"stanchion.processes.{process}")
    assert not needless & there
    assert not {name for name in there if name.startswith("stanchion.") and name.rpartition(".")[2] == "routes"}


def test_what_the_others_use_is_what_they_import() -> None:
    """Else the names above would be those of nothing. `obstore` and `mcp` are for connectors that use them, and come later."""
    assert imported_by("stanchion.processes.web") >= SERVING
    assert imported_by("stanchion.processes.broker") >= CALLING - {"obstore", "mcp"}


def test_the_loader_has_imported_what_each_process_needs() -> None:
    """A child that it forks imports nothing of ours any more."""
    ours = {
        name
        for process in ("web", "worker", "scheduler", "broker")
        for name in imported_by(f"stanchion.processes.{process}")
        if name.startswith("stanchion")
    }
    assert ours <= imported_by("stanchion.processes.zygote")
