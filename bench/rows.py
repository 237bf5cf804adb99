"""Rows of bench/latest.json: {bench, metric, ours, peer, theirs, ratio, unit}; a part replaces its own and no others."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

LATEST = Path(__file__).with_name("latest.json")


class Row(TypedDict):
    """One comparison. `ratio` is ours ÷ theirs; both are null where a peer was not measured, and `peer` says why."""

    bench: str
    metric: str
    ours: float
    peer: str
    theirs: float | None
    ratio: float | None
    unit: str


class NotMeasured(Exception):  # noqa: N818 - not always a fault: a server program may be missing
    """A peer could not be measured; the message says why, in one line."""


def row(bench: str, metric: str, ours: float, peer: str, theirs: float | None, unit: str) -> Row:
    ratio = round(ours / theirs, 3) if theirs else None
    short = None if theirs is None else round(theirs, 3)
    return Row(bench=bench, metric=metric, ours=round(ours, 3), peer=peer, theirs=short, ratio=ratio, unit=unit)


class Tally:
    """What the rounds of a part saw, by name, and why a peer gave no figure."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = defaultdict(list)
        self.reasons: dict[str, str] = {}

    def add(self, name: str, value: float) -> None:
        self.seen[name].append(value)

    def attempt(self, name: str, measure: Callable[[], float]) -> None:
        """Add what `measure` returns; a peer that fails is noted and costs no more than its own figure."""
        try:
            self.add(name, measure())
        except NotMeasured as error:
            self.reasons[name] = str(error)
            print(f"  {name}: not measured: {error}", flush=True)

    def median(self, name: str) -> float:
        return statistics.median(self.seen[name])

    def against(self, bench: str, metric: str, ours: float, peer: str, name: str, unit: str) -> Row:
        """A row beside the median of `name`, or one that says why there is none."""
        if not self.seen.get(name):
            return row(
                bench, metric, ours, f"{peer}; not measured: {self.reasons.get(name, 'see its other row')}", None, unit
            )
        return row(bench, metric, ours, peer, self.median(name), unit)

    def tell(self, label: str) -> None:
        """The last value of everything seen, for who watches."""
        print(f"{label}: " + ", ".join(f"{name} {seen[-1]:.4g}" for name, seen in self.seen.items()), flush=True)


def load(file: Path) -> list[Row]:
    return json.loads(file.read_text()) if file.exists() else []


def save(file: Path, rows: list[Row]) -> None:
    """Replace the rows of these benches where they stand in the file, whole or not at all."""
    old = load(file)
    new = {one["bench"] for one in rows}
    benches = dict.fromkeys(one["bench"] for one in [*old, *rows])
    merged = [one for bench in benches for one in (rows if bench in new else old) if one["bench"] == bench]
    half = file.with_suffix(".part")
    half.write_text(json.dumps(merged, indent=1) + "\n")
    half.replace(file)


def show(rows: list[Row]) -> None:
    for one in rows:
        theirs = "-" if one["theirs"] is None else f"{one['theirs']:.3f}"
        ratio = "-" if one["ratio"] is None else f"{one['ratio']:.3f}"
        head = f"{one['bench']:9} {one['metric']:26} {one['ours']:>13.3f} {one['unit']:6}"
        print(f"{head} {theirs:>12} ratio {ratio:>9}  {one['peer']}", flush=True)
