"""The tail decides: no huge file, no huge function, no reaching into another domain's rooms.

What is over a bound stands in `ratchet.json` with its size and may only shrink; a new entry needs a reason in the
commit that adds it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FILE_LINES = 500
FUNCTION_LINES = 60
PRIVATE_ROOMS = {"store", "rules", "service"}
RATCHET = Path(__file__).with_name("ratchet.json")


def modules(repo: Path) -> Iterator[Path]:
    yield from sorted((repo / "src" / "stanchion").rglob("*.py"))


def ratchet() -> dict[str, int]:
    return json.loads(RATCHET.read_text())


def sizes(repo: Path) -> dict[str, int]:
    """What is over a bound: `file` or `file::function` -> lines."""
    found: dict[str, int] = {}
    for path in modules(repo):
        name = path.relative_to(repo).as_posix()
        text = path.read_text()
        if (count := text.count("\n")) > FILE_LINES:
            found[name] = count
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES:
                    found[f"{name}::{node.name}"] = count
    return found


def test_nothing_is_longer_than_the_bounds_or_its_ratchet(repo: Path) -> None:
    allowed = ratchet()
    over = {name: count for name, count in sizes(repo).items() if count > allowed.get(name, 0)}
    assert not over, f"longer than {FILE_LINES} lines a file, {FUNCTION_LINES} a function (or than its ratchet): {over}"


def test_the_ratchet_only_names_what_is_still_too_long(repo: Path) -> None:
    now = sizes(repo)
    stale = {name: bound for name, bound in ratchet().items() if now.get(name, 0) < bound}
    assert not stale, f"these shrank: lower or remove them in ratchet.json: {stale}"


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def test_no_domain_reaches_into_the_rooms_of_another(repo: Path) -> None:
    reaching = []
    for path in modules(repo):
        own = path.relative_to(repo / "src" / "stanchion").parts[0]
        for line, module in imports(path):
            parts = module.split(".")
            if len(parts) >= 3 and parts[0] == "stanchion" and parts[1] != own and parts[2] in PRIVATE_ROOMS:
                reaching.append(f"{path.relative_to(repo)}:{line} imports {module}")
    assert not reaching, "import by package name only:\n" + "\n".join(reaching)


@pytest.mark.parametrize("library", ["fastapi", "starlette"])
def test_web_libraries_stay_at_the_edges(repo: Path, library: str) -> None:
    edges = {"web", "http", "processes", "console", "testing"}
    wrong = [
        f"{path.relative_to(repo)}:{line}"
        for path in modules(repo)
        for line, module in imports(path)
        if module.split(".")[0] == library
        and path.relative_to(repo / "src" / "stanchion").parts[0] not in edges
        and path.relative_to(repo / "src" / "stanchion").as_posix() != "bootstrap/web.py"
        and path.name not in {"routes.py", "routes_models.py", "pages.py", "streams.py"}
    ]
    assert not wrong, f"{library} belongs in routes.py, pages.py, http/ and web/: {wrong}"


STATEMENT = re.compile(r"^\s*(select|insert into|update|delete from|with)\s", re.IGNORECASE)
SQL_ROOMS = {"db", "adapters", "demo"}  # `demo` plays the customer whose database it is


def test_sql_stands_in_stores_and_db(repo: Path) -> None:
    """A statement is a literal in a store (or in `db`, or in an adapter, whose business it is)."""
    wrong = []
    for path in modules(repo):
        if path.name.startswith("store") or SQL_ROOMS & set(path.parts) or "processes" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                wrong += [f"{path.relative_to(repo)}:{node.lineno}" for text in texts if STATEMENT.match(text)]
    assert not wrong, f"SQL outside a store: {wrong}"


def test_no_leftovers(repo: Path) -> None:
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")
    wrong = [
        f"{path.relative_to(repo)}:{number}"
        for path in modules(repo)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(word in line for word in words)
    ]
    assert not wrong, f"unfinished work: {wrong}"
