"""`stanchion init --adapter NAME`: an adapter of one's own in one file, its entry point and its test."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Final

import click

from stanchion.base.errors import Conflict, Invalid
from stanchion.cli import output
from stanchion.cli.kit import Session, local

_GROUP: Final = '[project.entry-points."stanchion.adapters"]'
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}\Z")
_TAKEN: Final = frozenset({"sql", "files", "http", "mcp", "objects", "smtp", "webhook"})
_PROJECT: Final = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["stanchion"]

{group}
{name} = "{module}:{cls}"

[tool.hatch.build.targets.wheel]
include = ["{module}.py"]
"""
_TEST: Final = '''\
"""The adapter, held to what every adapter promises. `pytest {file}` runs it; more tests of your own belong here too."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from stanchion.base import SystemClock
from stanchion.testing import AdapterSuite, Trial
from stanchion.tools import Means
from {module} import {cls}

RECORDS = [{{"case_id": f"C{{n}}", "fine": n * 1000, "note": None if n == 2 else "seen"}} for n in range(1, 6)]
FIELDS = {{
    "case_id": {{"type": "string"}},
    "fine": {{"type": "integer"}},
    "note": {{"type": ["string", "null"]}},
}}
DOCUMENT = {{
    "connector": "trial",
    "owner": "me",
    "adapter": "{name}",
    "environment": "local",
    "root": "data",
    "resources": {{
        "cases": {{"shelf": "cases", "key": "case_id", "fields": FIELDS, "fetch": {{}}, "lookup": {{}}}},
        "outcomes": {{"shelf": "outcomes", "fields": FIELDS, "push": {{"idempotency": "key"}}}},
    }},
}}


class Test{cls}(AdapterSuite):
    @asynccontextmanager
    async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
        """A system of its own for each test: here two folders, for you a server on this machine."""
        data = folder / "data"
        (data / "outcomes").mkdir(parents=True)
        (data / "cases").mkdir()
        for record in RECORDS:
            (data / "cases" / f"{{record['case_id']}}.json").write_text(json.dumps(record))

        @asynccontextmanager
        async def gone() -> AsyncGenerator[None]:
            data.rename(folder / "elsewhere")
            yield
            (folder / "elsewhere").rename(data)

        async def received() -> int:
            return len(list((data / "outcomes").glob("*.json")))

        yield Trial(
            adapter={cls}(Means(root=folder, clock=SystemClock())),
            document=DOCUMENT,
            reads="cases",
            records=RECORDS,
            writes="outcomes",
            record=RECORDS[0],
            received=received,
            faults={{"gone": gone}},
        )
'''


@click.command()
@click.option("--adapter", "name", required=True, metavar="NAME", help="Write an adapter of that name.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@local
def init(session: Session, name: str, folder: Path) -> None:
    """Write an adapter of your own into FOLDER: one file, its test, and its entry point in pyproject.toml.

    What is written works: it keeps records as files, and passes the suite of stanchion.testing. Nothing is overwritten.
    """
    del session
    if not _NAME.match(name) or name in _TAKEN:
        reason = "ships with Stanchion" if name in _TAKEN else "is not lower case letters, digits and dashes"
        raise Invalid("cli.usage", f"The name {name!r} {reason}.", hint="Such as: --adapter field-system")
    module = name.replace("-", "_") + "_adapter"
    cls = "".join(part.capitalize() for part in name.split("-")) + "Adapter"
    test = folder / "tests" / f"test_{module}.py"
    project = folder / "pyproject.toml"
    for path in (folder / f"{module}.py", test):
        if path.exists():
            raise Conflict(
                "cli.exists", f"{path} is there already.", hint="Nothing was written. Give another NAME or FOLDER."
            )
    entry = _project(project, name, module, cls)
    test.parent.mkdir(parents=True, exist_ok=True)
    _write(folder / f"{module}.py", _source(name, cls))
    _write(test, _TEST.format(module=module, cls=cls, name=name, file=f"tests/{test.name}"))
    _write(project, entry)
    output.note(
        f"Next: pip install -e {folder} where the broker and the web process run, and pytest {test}. "
        f"Then connectors can say `adapter: {name}`."
    )


def _source(name: str, cls: str) -> str:
    """The adapter that ships as an example, under another name."""
    text = resources.files("stanchion.testing").joinpath("shelf.py").read_text(encoding="utf-8")
    return (
        text.replace("ShelfAdapter", cls)
        .replace("The `shelf` adapter", f"The `{name}` adapter")
        .replace('name = "shelf"', f'name = "{name}"')
    )


def _project(path: Path, name: str, module: str, cls: str) -> str:
    """The text of pyproject.toml with the entry point: a new file, a new section, or a line more in it."""
    if not path.exists():
        package = f"{name}-adapter"
        return _PROJECT.format(package=package, group=_GROUP, name=name, module=module, cls=cls)
    text, line = path.read_text(encoding="utf-8"), f'{name} = "{module}:{cls}"'
    lines = text.splitlines()
    places = [number for number, found in enumerate(lines) if found.strip().replace("'", '"') == _GROUP]
    if not places:
        return f"{text.rstrip()}\n\n{_GROUP}\n{line}\n"
    return "\n".join([*lines[: places[0] + 1], line, *lines[places[0] + 1 :]]) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    existed = path.exists()
    path.write_text(text, encoding="utf-8")
    click.echo(f"{'changed' if existed else 'wrote'} {path}")
