"""What `stanchion up` says when it is ready."""

from __future__ import annotations

import json
import os

from stanchion.cli.machine.up import _welcome
from stanchion.cli.profiles import ProfileStore
from stanchion.processes.supervisor import Started

HERE = "http://127.0.0.1:7080"


def test_the_commands_it_names_reach_this_instance(tmp_path, capsys):
    data = tmp_path / ".stanchion"
    data.mkdir()
    (data / "profile.json").write_text(json.dumps({"url": HERE, "token": "stn_local_test"}))
    started = Started(url=HERE, sign_in_path=None, key="stn_local_test", first=True, seconds=1.0, embedded=True)
    _welcome(os.environ, started, data)
    assert "    stanchion auth whoami\n" in capsys.readouterr().err
    ProfileStore(os.environ).put("staging", "http://127.0.0.1:9", "stn_staging_test")
    _welcome(os.environ, started, data)
    assert f"    stanchion auth whoami --data {data}\n" in capsys.readouterr().err
