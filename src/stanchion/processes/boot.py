"""What the supervisor tells a child, through a pipe: neither arguments nor environment ever hold a credential (I9).

The child imports its code first and reads afterwards, so that it is loaded by the time the database is there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from stanchion.base import Invalid, dumps, loads
from stanchion.base.config import Loaded, load_settings, read_environment
from stanchion.base.settings import Settings
from stanchion.processes.lifecycle import die_with

_STDIN = 0
_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How this process runs. `name` is unique within the data folder; `listen_fd` is an inherited listening socket."""

    settings: Settings
    name: str
    listen_fd: int | None = None

    @property
    def socket_path(self) -> Path:
        """Where this process answers about its health."""
        return self.settings.run_folder / f"{self.name}.sock"


def boot_alone(loaded: Loaded, kind: str) -> Boot:
    """The boot of a process that nobody supervises."""
    return Boot(settings=loaded.settings, name=kind if kind != "worker" else f"worker-{os.getpid()}")


def write_boot(overrides: Mapping[str, object], *, config: str | None, name: str, listen_fd: int | None) -> bytes:
    """What the supervisor writes: one line."""
    said = {"overrides": overrides, "config": config, "name": name, "listen_fd": listen_fd, "parent": os.getpid()}
    return dumps(said) + b"\n"


def read_boot() -> Boot:
    """Wait for the supervisor's line on standard input. Raises Invalid `process.boot` if it hangs up or says else."""
    data = b""
    while not data.endswith(b"\n"):
        part = os.read(_STDIN, _BYTES_MAX)
        data += part
        if not part or len(data) > _BYTES_MAX:
            raise Invalid(
                "process.boot",
                "The supervisor said nothing; this option is for `stanchion up`.",
                hint="Leave out --supervised.",
            )
    said = loads(data)
    if not isinstance(said, dict):
        raise Invalid("process.boot", "The supervisor's line is no object.")
    die_with(cast("int", said["parent"]))
    overrides = cast("dict[str, object]", said["overrides"])
    config = said["config"]
    loaded = load_settings(
        read_environment(),
        file=Path(config) if isinstance(config, str) else None,
        overrides=overrides,
        overrides_source="supervisor",
    )
    listen = said["listen_fd"]
    return Boot(settings=loaded.settings, name=str(said["name"]), listen_fd=listen if isinstance(listen, int) else None)
