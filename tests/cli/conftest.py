from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stanchion.base.config import read_environment
from stanchion.cli.app import run
from tests.cli.stub import Stub


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def server() -> Iterator[Stub]:
    stub = Stub()
    yield stub
    stub.close()


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """Each test in an empty folder with an empty HOME and none of our variables."""
    for name in read_environment():
        if name.startswith("STANCHION_") or name == "NO_COLOR":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capsys) -> Callable[..., Result]:
    def call(*arguments: str) -> Result:
        code = run(arguments)
        captured = capsys.readouterr()
        return Result(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def at(server, monkeypatch) -> Stub:
    """The stub as the server that the command line talks to."""
    monkeypatch.setenv("STANCHION_URL", server.url)
    monkeypatch.setenv("STANCHION_TOKEN", "stn_local_test")
    return server
