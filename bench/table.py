"""bench/latest.json as Markdown, and its place in docs/explanation/performance.md.

usage: python -m bench.table [--docs] [FILE]   prints the tables; with --docs, writes them between the marks
`<!-- bench:begin -->` and `<!-- bench:end -->` of the document. Nothing in between is written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import curve, sustained
from bench.rows import LATEST, Row, load

DOCUMENT = Path(__file__).parent.parent / "docs" / "explanation" / "performance.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
# Metrics of which less is better.
LESS = ("added", "evaluate", "served", "cpu", "start_to_result", "commit", "rss", "size", "waiting")
# Figures that are shown without a verdict.
PLAIN = ("steps", "checkpoints_per_commit")

PARTS: tuple[tuple[str, str, Callable[[Sequence[Row]], str] | None], ...] = (
    ("engine", "Durable steps", None),
    ("jobs", "One-step runs, beside job queues", None),
    ("curve", "More worker processes", curve.sentence),
    ("sustained", "500,000 steps in one go", sustained.sentence),
    ("flags", "Flags, evaluated from memory", None),
    ("broker", "A call over the broker", None),
)


def _figure(value: float, unit: str) -> str:
    if abs(value) >= 100:
        text = f"{value:,.0f}"
    elif abs(value) >= 1:
        text = f"{value:.1f}"
    else:
        text = f"{value:.3f}"
    return f"{text} {unit}".strip()


def _verdict(metric: str) -> str:
    if metric in PLAIN or "_cores_" in metric:
        return ""
    return "lower is better" if any(word in metric for word in LESS) else "higher is better"


def _line(one: Row) -> str:
    theirs = "" if one["theirs"] is None else _figure(one["theirs"], "")
    ratio = "" if one["ratio"] is None else f"**{one['ratio']:.2f}**"
    ours = _figure(one["ours"], one["unit"])
    return f"| `{one['metric']}` | {ours} | {one['peer']} | {theirs} | {ratio} | {_verdict(one['metric'])} |"


def _place(own: Sequence[Row]) -> list[str]:
    """Where a part was measured and what a commit cost there, from its row that says so."""
    costs = [one for one in own if one["metric"] == "commit_cost"]
    return [f"{one['peer'].partition('; ')[2]}; a commit cost {one['ours']:.2f} ms.\n" for one in costs]


def tables(rows: Sequence[Row]) -> str:
    """A section for each part that has rows."""
    sections: list[str] = []
    for bench, title, sentence in PARTS:
        own = [one for one in rows if one["bench"] == bench]
        if not own:
            continue
        lines = [f"### {title}", "", *_place(own)]
        if sentence is not None:
            lines += [sentence(own), ""]
        lines += ["| metric | Stanchion | beside it | theirs | ratio | |", "|---|---|---|---|---|---|"]
        shown = [one for one in own if one["metric"] != "commit_cost"]
        sections.append("\n".join([*lines, *map(_line, shown)]))
    return "\n\n".join(sections)


def main() -> None:
    said = [word for word in sys.argv[1:] if word != "--docs"]
    text = tables(load(Path(said[0]) if said else LATEST))
    if "--docs" not in sys.argv:
        print(text)
        return
    page = DOCUMENT.read_text()
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{DOCUMENT} has no {BEGIN} … {END}: put the two marks where the tables belong.")
    head, rest = page.split(BEGIN, 1)
    DOCUMENT.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{rest.split(END, 1)[1]}")
    print(f"{DOCUMENT}: tables written")


if __name__ == "__main__":
    main()
