"""Runs the fences of a Markdown page, in order, as a reader would: one shell, one folder.

* A fence with `title=PATH` is a file: it is written (relative to the folder) when the page gets there.
* A `sh` fence is run in the page's one shell, with stderr in stdout; it must end with 0, or with `exit=N` of its line.
* A `text` fence right after a `sh` fence is what that printed. Ids, digests, times, durations, ports, keys and runs of
  spaces are masked on both sides (MASKS); a line `…` stands for any lines.
* Every other fence is only to be read. `console` is for commands that are not run.

`python -m tests.docs.fences PAGE…` runs pages and writes the real output into their `text` fences.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
MASKS = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00| UTC)?"), "TIME"),
    (re.compile(r"stn_\w+"), "KEY"),
    (re.compile(r"token=\S+"), "TOKEN"),
    (re.compile(r"ed25519:[A-Za-z0-9+/]{43}="), "PUBLIC-KEY"),
    (re.compile(r"^id: \d+$", re.MULTILINE), "id: REVISION"),
    (re.compile(r"(?<=00-)([0-9a-f]{32})-[0-9a-f]{16}"), r"\1-SPAN"),
    (re.compile(r"\d+(\.\d+)? ?m?s\b( \(\d+:\d\d:\d\d\))?"), "SECONDS"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), "ADDRESS"),
    (re.compile(r"(/[\w.-]+)+/\.stanchion"), "FOLDER"),
    (re.compile(r"[ \t]+"), " "),
)
_FENCE_S = 240.0
# A page says `sleep 1` where a change is known to every process within a second: on a machine that is busy with other tests
# it is given twice as long.
_PATIENCE = 'sleep() { [[ $1 == 0* ]] || command sleep "$1"; command sleep "$1"; }'


@dataclass(frozen=True)
class Fence:
    """One fence: its language, the words after it (`title=…`), its text, and where the text stands in the page."""

    language: str
    words: Mapping[str, str]
    text: str
    start: int
    end: int
    line: int


def fences(page: str) -> Iterator[Fence]:
    """The fences of a page, without the indentation of lists they stand in."""
    for found in _FENCE.finditer(page):
        language, *rest = found["info"].split() or [""]
        words = dict(word.partition("=")[::2] for word in rest)
        text = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        yield Fence(
            language, words, text, found.start("text"), found.end("text"), page.count("\n", 0, found.start()) + 1
        )


def masked(text: str, folder: Path | None = None) -> list[str]:
    """The lines of an output with everything masked that differs from run to run."""
    if folder is not None:
        text = text.replace(str(folder), "FOLDER")
    for pattern, name in MASKS:
        text = pattern.sub(name, text)
    return [line.rstrip() for line in text.strip().splitlines()]


def matches(expected: list[str], real: list[str]) -> bool:
    """Whether the lines are the same, `…` standing for any lines."""
    if not expected:
        return not real
    if expected[0] == "…":
        return any(matches(expected[1:], real[n:]) for n in range(len(real) + 1))
    return bool(real) and expected[0] == real[0] and matches(expected[1:], real[1:])


class Shell:
    """One bash for a whole page; `close` ends everything it started."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )
        self.run(_PATIENCE)

    def run(self, script: str) -> tuple[int, str]:
        """The exit code and output of a script; AssertionError if it does not end in time."""
        assert self._process.stdin
        assert self._process.stdout
        with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as file:
            file.write(script)
        end = f"--ended-{os.urandom(8).hex()}--"
        self._process.stdin.write(f". {file.name} </dev/null\nprintf '\\n%s %s\\n' {end} $?\n".encode())
        self._process.stdin.flush()
        output, give_up = b"", time.monotonic() + _FENCE_S
        while not (found := re.search(rf"\n{end} (\d+)\n".encode(), output)):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, give_up - time.monotonic()))
            assert ready, f"did not end within {_FENCE_S:g} s:\n{script}\n{output.decode(errors='replace')}"
            part = os.read(self._process.stdout.fileno(), 65536)
            assert part, f"the shell ended:\n{script}\n{output.decode(errors='replace')}"
            output += part
        Path(file.name).unlink()
        return int(found[1]), output[: found.start()].decode()

    def close(self) -> None:
        """Ask the shell's group to end, then make it."""
        try:
            self._end()
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe
                pipe.close()
            self._process.wait(60)

    def _end(self) -> None:
        for how, seconds in ((signal.SIGTERM, 60), (signal.SIGKILL, 60)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, how)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                self._process.poll()
                try:
                    os.killpg(self._process.pid, 0)
                except ProcessLookupError:
                    return
                select.select([], [], [], 0.05)


def run_page(path: Path, shell: Shell, *, update: bool = False) -> int:
    """Run a page; AssertionError names its first line that does not hold. Returns how many `sh` fences were run.

    With `update` the `text` fences are rewritten with what was really printed.
    """
    page = path.read_text(encoding="utf-8")
    found = list(fences(page))
    changed: list[tuple[Fence, str]] = []
    ran = 0
    printed: str | None = None
    for fence in found:
        where = f"{path.name}:{fence.line}"
        if "title" in fence.words:
            file = shell.folder / fence.words["title"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(fence.text, encoding="utf-8")
        elif fence.language == "sh":
            code, printed = shell.run(fence.text)
            ran += 1
            assert code == int(fence.words.get("exit", "0")), f"{where} ended with {code}:\n{fence.text}\n{printed}"
            continue
        elif fence.language == "text" and printed is not None:
            if update:
                changed.append((fence, printed))
            else:
                wanted, real = masked(fence.text), masked(printed, shell.folder)
                assert matches(wanted, real), (
                    f"{where} shows\n{chr(10).join(wanted)}\n\nand this was printed\n{chr(10).join(real)}"
                )
        printed = None
    for fence, real in reversed(changed):
        if "…" not in fence.text:
            page = page[: fence.start] + real.strip("\n") + "\n" + page[fence.end :]
    if update:
        path.write_text(page, encoding="utf-8")
    return ran


def main(pages: list[str]) -> None:
    """Run pages in empty folders and write what they print."""
    from tests.docs.conftest import environment_of

    repo = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as place:
        environment = environment_of(repo, Path(place))
        for page in pages:
            with tempfile.TemporaryDirectory() as folder:
                shell = Shell(Path(folder), environment)
                try:
                    if "howto" in page:
                        from tests.docs.test_howtos import _START

                        shell.run(_START)
                    run_page(Path(page), shell, update=True)
                finally:
                    shell.close()


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
