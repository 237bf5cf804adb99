"""What a process is told by its parent, over a socket or a pipe: neither arguments nor environment ever hold a
credential (I9)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

from stanchion.base import Invalid, dumps, loads
from stanchion.base.config import Loaded, load_settings, read_environment
from stanchion.base.settings import Settings
from stanchion.processes.lifecycle import die_with

_STDIN = 0
_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How this process runs.

    Attributes:
        name: unique within the data folder.
        config: the settings file that was named, for children.
        listen_fd: an inherited listening socket.
        probation_of: the worker this one executes runs on probation for.
    """

    settings: Settings
    name: str
    config: str | None = None
    listen_fd: int | None = None
    probation_of: UUID | None = None

    @property
    def socket_path(self) -> Path:
        """Where this process answers about its health."""
        return self.settings.run_folder / f"{self.name}.sock"


def boot_alone(loaded: Loaded, kind: str, config: Path | None) -> Boot:
    """The boot of a process that nobody supervises."""
    name = kind if kind != "worker" else f"worker-{os.getpid()}"
    return Boot(settings=loaded.settings, name=name, config=None if config is None else str(config.resolve()))


def boot_said(
    overrides: Mapping[str, object], *, config: str | None, name: str, probation_of: UUID | None = None
) -> dict[str, object]:
    """A boot as JSON, for `boot_of` in the child."""
    probation = None if probation_of is None else str(probation_of)
    return {"overrides": dict(overrides), "config": config, "name": name, "probation_of": probation}


def boot_of(said: Mapping[str, object], *, listen_fd: int | None = None) -> Boot:
    """The boot of this process, from what its parent said. Raises Invalid `config.invalid`."""
    config, probation = said["config"], said["probation_of"]
    loaded = load_settings(
        read_environment(),
        file=Path(config) if isinstance(config, str) else None,
        overrides=cast("Mapping[str, object]", said["overrides"]),
        overrides_source="supervisor",
    )
    return Boot(
        settings=loaded.settings,
        name=str(said["name"]),
        config=config if isinstance(config, str) else None,
        listen_fd=listen_fd,
        probation_of=UUID(probation) if isinstance(probation, str) else None,
    )


def write_boot(said: Mapping[str, object]) -> bytes:
    """A boot as the one line that `read_boot` reads from standard input."""
    return dumps({"parent": os.getpid(), "boot": said}) + b"\n"


def read_boot() -> Boot:
    """Wait for the parent's line on standard input. Raises Invalid `process.boot` if it hangs up or says else."""
    data = b""
    while not data.endswith(b"\n"):
        part = os.read(_STDIN, _BYTES_MAX)
        data += part
        if not part or len(data) > _BYTES_MAX:
            raise Invalid(
                "process.boot",
                "The parent said nothing; this option is for a worker's child.",
                hint="Leave out --supervised.",
            )
    said = loads(data)
    if not isinstance(said, dict):
        raise Invalid("process.boot", "The parent's line is no object.")
    die_with(cast("int", said["parent"]))
    return boot_of(cast("dict[str, object]", said["boot"]))
