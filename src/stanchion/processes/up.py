"""What `stanchion up` does around the supervisor: the ephemeral folder, the first admin, the profile of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from stanchion.base import SystemClock
from stanchion.base.config import Loaded
from stanchion.processes.folder import kept_key, local_file, write_private
from stanchion.processes.lifecycle import run_process
from stanchion.processes.logs import configure_logs
from stanchion.processes.supervisor import Started, Supervisor, record_started

Say = Callable[[str, str], None]
Welcome = Callable[[Started, Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to bring it up. `config`: the settings file, for the children."""

    loaded: Loaded
    config: str | None
    ephemeral: bool
    show_logs: bool


def run_up(options: Options, say: Say, welcome: Welcome) -> int:
    """Run until asked to stop; the exit code. Raises the Problem that kept it from starting."""
    settings = options.loaded.settings
    folder = Path(tempfile.mkdtemp(prefix="stanchion-")) if options.ephemeral else None
    if folder is not None:
        # mkdtemp closes the folder to everyone else; as root, the database's user must pass through.
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        settings = replace(settings, data=folder)
    configure_logs(
        replace(settings.telemetry, log_level=settings.telemetry.log_level if options.show_logs else "error")
    )
    supervisor = Supervisor(
        settings,
        config=options.config,
        durable=folder is None,
        port_is_said=options.loaded.sources["web.port"] != "default",
        show_logs=options.show_logs,
        known_key=kept_key(settings.data),
        clock=SystemClock(),
        say=say,
    )

    def ready(started: Started) -> None:
        write_private(local_file(settings.data), {"url": started.url, "token": started.key})
        record_started(settings, started, os.getpid())
        welcome(started, settings.data)

    async def main(stop: asyncio.Event) -> int:
        return await supervisor.run(stop, ready)

    grace_s = settings.web.grace_s + settings.worker.grace_s + settings.broker.grace_s + 60
    try:
        return run_process(main, grace_s=grace_s)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            if settings.secrets.key_file is None:
                shutil.rmtree(settings.secrets_key_file.parent, ignore_errors=True)
