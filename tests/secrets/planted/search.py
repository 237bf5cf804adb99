"""A search for planted texts, in six encodings: in the memory of processes, in files, in answers."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

# So many bytes of a process's memory are looked at together; each look begins where a text may have been cut in two.
_CHUNK = 8 * 1_048_576
_OVERLAP = 4096


def encodings(text: str) -> dict[str, bytes]:
    """The text as it may have been written somewhere: encoding → bytes to look for."""
    raw = text.encode()
    found = {
        "plain": raw,
        "json": json.dumps(text)[1:-1].encode(),
        "percent": quote(text, safe="").encode(),
        "form": quote_plus(text).encode(),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
    }
    for offset in range(3):
        # Within a longer text the groups of three bytes begin at any of three places; what surrounds the text is not known.
        for name, encode in (("base64", base64.b64encode), ("base64url", base64.urlsafe_b64encode)):
            whole = encode(b"\0" * offset + raw)
            found[f"{name}+{offset}"] = whole[(4 if offset else 0) : len(whole) - 4]
    return found


class Search:
    """Looks for planted texts, named; what it finds is (text's name, encoding, place)."""

    def __init__(self, planted: Mapping[str, str]) -> None:
        self._what: dict[bytes, tuple[str, str]] = {}
        for name, text in planted.items():
            for encoding, needle in encodings(text).items():
                assert len(needle) >= 12, f"{name} is too short to be told apart"
                self._what.setdefault(needle, (name, encoding))
        longest_first = sorted(self._what, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first)))

    def within(self, data: bytes, place: str) -> Iterator[tuple[str, str, str]]:
        """What is found in bytes."""
        for match in self._pattern.finditer(data):
            yield (*self._what[match[0]], place)

    def in_files(self, folder: Path) -> set[tuple[str, str, str]]:
        """What is found in the files below a folder."""
        return {
            hit
            for file in folder.rglob("*")
            if file.is_file() and not file.is_symlink()
            for hit in self.within(file.read_bytes(), str(file.relative_to(folder)))
        }

    def in_memory(self, pid: int) -> set[tuple[str, str, str]]:
        """What is found in the memory of a process that may be looked into (as root). Raises OSError if it may not."""
        found: set[tuple[str, str, str]] = set()
        with Path(f"/proc/{pid}/maps").open(encoding="ascii", errors="replace") as maps:
            regions = [line.split() for line in maps]
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        try:
            for span, modes, *rest in regions:
                if "r" in modes and (not rest or rest[-1] not in {"[vvar]", "[vsyscall]"}):
                    first, last = (int(part, 16) for part in span.split("-"))
                    for data in _read(memory, first, last):
                        found |= set(self.within(data, f"memory of {pid}"))
        finally:
            os.close(memory)
        return found


def _read(memory: int, first: int, last: int) -> Iterator[bytes]:
    at = first
    while at < last:
        try:
            data = os.pread(memory, min(_CHUNK, last - at), at)
        except OSError:  # a hole in a shared mapping
            return
        if not data:
            return
        yield data
        at += len(data) if at + len(data) >= last else max(1, len(data) - _OVERLAP)


def tree_of(pid: int) -> dict[int, str]:
    """A process and all below it: pid → command line, or its name where it has none."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    return dict(_named(pid, parents))


def _named(pid: int, parents: Mapping[int, Iterable[int]]) -> Iterator[tuple[int, str]]:
    try:
        yield pid, Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return
    for child in parents.get(pid, ()):
        yield from _named(child, parents)
