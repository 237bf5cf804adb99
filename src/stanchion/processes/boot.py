"""What a process is told by its parent, over a socket or a pipe: neither arguments nor environment ever hold a
credential (I9)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from stanchion.base import Invalid, dumps, loads
from stanchion.base.config import Loaded, load_settings, read_environment
from stanchion.base.settings import Settings
from stanchion.processes.lifecycle import die_with
from stanchion.tools.broker.proofs import Ticket

_STDIN = 0
_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """What one process is told and no other, over a descriptor that only it reads: not even the loader it is forked from
    ever has it in its memory, of which every other process is a copy.

    Attributes:
        ticket: by which the broker knows this process.
        master: the broker's alone: the key from which those of tickets follow.
        environment: the broker's alone: the variables in which secrets are.
    """

    ticket: Ticket | None = None
    master: bytes | None = field(default=None, repr=False)
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


def hand_over(private: Private) -> int:
    """A descriptor from which `read_private` reads it, in memory and in no file. The caller closes it."""
    said = {
        "ticket": None if private.ticket is None else {"text": private.ticket.text, "key": private.ticket.key.hex()},
        "master": None if private.master is None else private.master.hex(),
        "environment": dict(private.environment),
    }
    handle = os.memfd_create("stanchion", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(handle), "wb") as file:
        file.write(dumps(said))
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def read_handed_over(handle: int) -> Private:
    """What the parent handed over; the descriptor is closed."""
    with os.fdopen(handle, "rb") as file:
        said = cast("dict[str, Any]", loads(file.read()))
    return Private(
        ticket=_ticket_of(said["ticket"]),
        master=None if said["master"] is None else bytes.fromhex(said["master"]),
        environment=said["environment"],
    )


def _ticket_of(said: Any) -> Ticket | None:
    return None if not said else Ticket(text=said["text"], key=bytes.fromhex(said["key"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """How this process runs.

    Attributes:
        name: unique within the data folder.
        config: the settings file that was named, for children.
        listen_fd: an inherited listening socket.
        probation_of: the worker this one executes runs on probation for.
        private: what this process alone was told.
    """

    settings: Settings
    name: str
    config: str | None = None
    listen_fd: int | None = None
    probation_of: UUID | None = None
    private: Private = field(default_factory=Private)

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


def boot_of(said: Mapping[str, object], *, listen_fd: int | None = None, private: Private | None = None) -> Boot:
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
        private=private or Private(),
    )


def write_boot(said: Mapping[str, object], ticket: Ticket | None = None) -> bytes:
    """A boot as the one line that `read_boot` reads from standard input. `ticket`: of the parent, whose type it has."""
    shown = None if ticket is None else {"text": ticket.text, "key": ticket.key.hex()}
    return dumps({"parent": os.getpid(), "boot": said, "ticket": shown}) + b"\n"


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
    private = Private(ticket=_ticket_of(said.get("ticket")))
    return boot_of(cast("dict[str, object]", said["boot"]), private=private)
