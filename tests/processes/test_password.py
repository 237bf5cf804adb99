"""A process that gave up the broker's files goes on reading its own password, also the one that comes later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stanchion.base.settings import DatabaseSettings, SecretsSettings, Settings
from stanchion.processes.isolation import landlock_version
from stanchion.processes.rights import external_findings

pytestmark = pytest.mark.skipif(
    landlock_version() == 0 and not os.environ.get("CI"), reason="this kernel has no Landlock"
)

CHILD = """
import asyncio, sys
from pathlib import Path
from stanchion.base.settings import DatabaseSettings, SecretsSettings, Settings
from stanchion.processes.isolation import confine
from stanchion.processes.password import password_of

folder, how = Path(sys.argv[1]), sys.argv[2]
own = {"password": "secret://file/db/{process}"} if how == "reference" else {"password_file": folder / "db" / "{process}"}
settings = Settings(
    data=folder / "data", database=DatabaseSettings(url="postgresql://h/d", **own), secrets=SecretsSettings(files=folder / "held")
)
confine(settings)
read = password_of(settings, "web")
print(asyncio.run(read()), flush=True)
sys.stdin.readline()
print(asyncio.run(read()), flush=True)
try:
    (folder / "held" / "default" / "erp").read_text()
except PermissionError:
    print("kept")
"""


@pytest.mark.parametrize("how", ["file", "reference"])
def test_a_rotated_file_is_read_and_the_brokers_are_not(tmp_path: Path, how: str) -> None:
    place = tmp_path / "db" if how == "file" else tmp_path / "held" / "0-deployment" / "db"
    for folder in (place, tmp_path / "data", tmp_path / "held" / "default"):
        folder.mkdir(parents=True)
    (tmp_path / "held" / "default" / "erp").write_text("the broker's")
    (place / "web").write_text("first")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "first\n"
    (place / "new").write_text("second")
    (place / "new").replace(place / "web")
    said, _ = child.communicate("\n", timeout=60)
    assert said == "second\nkept\n"


def test_a_folder_above_the_brokers_keys_is_refused_by_doctor(tmp_path: Path) -> None:
    settings = Settings(
        database=DatabaseSettings(url="postgresql://nobody@127.0.0.1:1/d", password_file=tmp_path / "web"),
        secrets=SecretsSettings(files=tmp_path / "held"),
    )
    result, detail, hint = next(external_findings(settings))
    assert result == "failed"
    assert "keys of the broker below it" in detail
    assert "a folder of their own" in hint
