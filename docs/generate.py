"""Write docs/reference anew from the code: `make docs`. `--check` writes nothing and fails if a page is out of date."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from docs.generator import REFERENCE, pages


def main(arguments: list[str]) -> int:
    """Write what changed and say so; the exit code."""
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    extra = [path for path in REFERENCE.glob("*.*") if path not in made]
    for path in [*stale, *extra]:
        sys.stdout.write(f"{path.relative_to(REFERENCE.parent.parent)}\n")
    if "--check" in arguments:
        return 1 if stale or extra else 0
    for path in stale:
        path.write_text(made[path], encoding="utf-8")
    for path in extra:
        path.unlink()
    sys.stdout.write(f"{len(stale)} written, {len(made) - len(stale)} unchanged, {len(extra)} removed.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
