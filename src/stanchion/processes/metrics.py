"""One page of metrics for all processes of a data folder: each answers on its own socket, the web process asks them.

A process that has gone is simply not there any more; nothing is kept of it (prometheus_client's multiprocess files
never go away). Each series carries the label `process`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from stanchion.processes.sockets import ask_unix
from stanchion.telemetry import Telemetry


class Siblings:
    """The metrics of this process and of its siblings, whose sockets lie in `run_folder`."""

    def __init__(self, run_folder: Path, telemetry: Telemetry) -> None:
        self._folder = run_folder
        self._telemetry = telemetry

    async def expose(self) -> bytes:
        """All series in Prometheus' text format, grouped by family; a sibling that does not answer is left out."""
        own = self._telemetry.process
        sockets = [path for path in sorted(self._folder.glob("*.sock")) if path.stem != own]
        answers = await asyncio.gather(*(asyncio.to_thread(ask_unix, path, "/metrics") for path in sockets))
        pages = [(own, self._telemetry.expose())]
        pages += [(path.stem, body) for path, (status, body) in zip(sockets, answers, strict=True) if status == 200]
        return merged(pages)


def merged(pages: list[tuple[str, bytes]]) -> bytes:
    """Pages of several processes as one: (process, page) -> page. HELP and TYPE are said once per family."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for process, page in pages:
        family = ""
        for line in page.decode().splitlines():
            if line.startswith("# "):
                _, word, family, *_ = line.split(" ", 3)
                head = heads.setdefault(family, [])
                if word not in {said.split(" ", 2)[1] for said in head}:
                    head.append(line)
            elif line:
                samples.setdefault(family, []).append(_labelled(line, process))
    lines = [line for family, head in heads.items() if family in samples for line in (*head, *samples[family])]
    return ("\n".join(lines) + "\n").encode()


def _labelled(sample: str, process: str) -> str:
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f'{name}{{process="{process}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{process="{process}"}} {value}'
