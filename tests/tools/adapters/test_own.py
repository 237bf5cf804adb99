"""Adapters that a team brings: found by their entry point, held to the contract, and no trouble to others."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from stanchion.base import Conflict, Denied, Invalid, Problem, SystemClock
from stanchion.blueprints import ConfigIssue
from stanchion.cli.app import run as stanchion
from stanchion.testing.shelf import ShelfAdapter
from stanchion.tools import AdapterProblem, Means, NamedAdapters, Target, connector_of
from stanchion.tools.adapters import GROUP, OwnAdapters, adapter_faults, find_own
from stanchion.tools.adapters.registry import Adapters
from tests.tools.adapters.support import KEY, complaints, document

RESOURCES = {"cases": {"shelf": "cases", "key": "case_id", "fields": {"case_id": {"type": "string"}}, "fetch": {}}}


class Made(ShelfAdapter):
    name = "made"


def entry(name: str, value: str = "tests.tools.adapters.test_own:Made") -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


def adapters(root: Path, *entries: EntryPoint) -> Adapters:
    return Adapters(root, SystemClock(), own=find_own(entries))


def shelf(root: Path, adapter: str = "made") -> dict[str, Any]:
    (root / "data" / "cases").mkdir(parents=True, exist_ok=True)
    (root / "data" / "cases" / "1.json").write_text('{"case_id": "C1"}')
    return document(adapter, RESOURCES, root="data")


async def test_an_entry_point_is_an_adapter(tmp_path: Path) -> None:
    found = adapters(tmp_path, entry("made"))
    body = shelf(tmp_path)
    assert complaints(found, body) == []
    connector = connector_of(body)
    resource = connector.resources["cases"]
    target = Target(connector=connector, resource=resource, operation=resource.operations["fetch"], timeout_s=5.0)
    assert (await found.get("made").fetch(target, {}, 10, None)).records == ({"case_id": "C1"},)
    assert {code for code, _ in complaints(found, {**body, "root": "../x"})} == {"connector.path_escapes"}
    await found.close()


class Fails:
    def __init__(self, means: Means) -> None:
        raise RuntimeError("no config")


class NoAdapter:
    def __init__(self, means: Means) -> None:
        pass


class NotAsync(Made):
    def fetch(self, *args):  # type: ignore[override]
        return None


class BadSchema(Made):
    settings_schema = {"root": {"type": "nonsense"}}  # noqa: RUF012


class NoIdempotency(Made):
    operation_schemas = {"push": {"type": "object", "properties": {}}}  # noqa: RUF012


class Invented(Made):
    operation_schemas = {**Made.operation_schemas, "destroy": {"type": "object", "properties": {}}}  # noqa: RUF012


HERE = "tests.tools.adapters.test_own:"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("made", "no.such.module:X", "ModuleNotFoundError"),
        ("made", HERE + "Missing", "AttributeError"),
        ("made", HERE + "HERE", "not a callable"),
        ("made", HERE + "Fails", "RuntimeError: no config"),
        ("made", HERE + "NoAdapter", "close, check; missing, or of another type: name"),
        ("made", HERE + "NotAsync", "no coroutine methods: fetch"),
        ("made", HERE + "BadSchema", "`settings_schema.root` is no JSON Schema"),
        ("made", HERE + "NoIdempotency", "does not require `idempotency`"),
        ("made", HERE + "Invented", "there is no operation 'destroy'"),
        ("other", HERE + "Made", "it calls itself 'made'"),
        ("Made", HERE + "Made", "lower case letters"),
        ("sql", HERE + "Made", "ships with Stanchion"),
    ],
)
async def test_a_broken_one_is_named_and_stops_no_other(tmp_path: Path, name: str, value: str, said: str) -> None:
    others = [entry("good", HERE + "Good")]
    found = adapters(tmp_path, entry(name, value), *others)
    assert "good" in found.by_name
    assert {"sql", "files", "http"} <= set(found.by_name)
    assert said in found.broken[name]
    assert repr(name) in found.broken[name]
    if name == "sql":
        assert found.get("sql").name == "sql"
        return
    with pytest.raises(Invalid) as caught:
        found.get(name)
    assert caught.value.code == "connector.broken_adapter"
    assert said in str(caught.value)
    assert [code for code, _ in complaints(found, shelf(tmp_path, name))] == ["connector.broken_adapter"]
    assert complaints(found, shelf(tmp_path, "good")) == []


class Good(ShelfAdapter):
    name = "good"


def test_two_packages_with_one_name(tmp_path: Path) -> None:
    found = adapters(tmp_path, entry("made"), entry("made", HERE + "Good"))
    assert "made" not in found.by_name
    assert "Several installed packages" in found.broken["made"]


def test_no_entry_points_no_own_adapters(tmp_path: Path) -> None:
    assert find_own([]) == OwnAdapters()
    assert adapter_faults(ShelfAdapter(Means(root=tmp_path, clock=SystemClock())), "shelf") == []


class Careless(Made):
    """Raises what it likes, with a credential in it."""

    def check(self, body):
        if body["root"] == "boom":
            raise KeyError("s3cret")
        return [ConfigIssue(pointer="/root", code="connector.bad_root", message="No.")] if body["root"] == "no" else []

    async def fetch(self, target, where, limit, page):
        raise ValueError("https://user:s3cret@host")

    async def lookup(self, target, key):
        return {"records": []}  # type: ignore[return-value]

    async def push(self, target, record, idempotency_key):
        raise ConnectionError("s3cret")

    async def probe(self, target, record, idempotency_key):
        raise target.problem("adapter.busy", "is busy.", retryable=True)

    async def close(self):
        raise OSError("s3cret")


async def test_what_its_code_raises_is_a_problem_with_its_name(tmp_path: Path) -> None:
    found = adapters(tmp_path, entry("made", HERE + "Careless"))
    body = shelf(tmp_path)
    connector = connector_of(body)
    resource = connector.resources["cases"]
    target = Target(connector=connector, resource=resource, operation=resource.operations["fetch"], timeout_s=5.0)
    adapter = found.get("made")
    for asked, sent in (
        (adapter.fetch(target, {}, 10, None), False),
        (adapter.lookup(target, "C1"), False),
        (adapter.push(target, {}, KEY), True),
    ):
        with pytest.raises(AdapterProblem) as caught:
            await asked
        assert caught.value.code == "adapter.broken"
        assert caught.value.sent is sent
        assert not caught.value.retryable
        assert "'made'" in str(caught.value)
        assert "s3cret" not in str(caught.value) + repr(caught.value.fields)
    with pytest.raises(AdapterProblem) as caught:
        await adapter.probe(target, {}, KEY)
    assert caught.value.code == "adapter.busy"
    assert [code for code, _ in complaints(found, {**body, "root": "boom"})] == ["connector.broken_adapter"]
    assert [code for code, _ in complaints(found, {**body, "root": "no"})] == ["connector.bad_root"]
    await found.close()


class Reticent(Made):
    """Fails writes in each way there is; what it says of them is in the key."""

    async def push(self, target, record, idempotency_key):
        raise {
            "nothing": target.problem("adapter.refused", "refused.", retryable=True),
            "not sent": target.problem("adapter.refused", "refused.", sent=False),
            "sent": target.problem("adapter.refused", "refused.", sent=True),
            "of another kind": Conflict("own.conflict", "Somebody was there before.", hint="Look.", order="4711"),
            "of another kind, not sent": Conflict("own.conflict", "Somebody was there before.", sent=False),
            "a nonsense": Conflict("own.conflict", "Somebody was there before.", sent="no"),
        }[idempotency_key]

    async def execute(self, target, arguments, idempotency_key):
        await self.push(target, arguments, idempotency_key)


@pytest.mark.parametrize(
    ("said", "code", "certain"),
    [
        ("nothing", "adapter.refused", False),
        ("not sent", "adapter.refused", True),
        ("sent", "adapter.refused", False),
        ("of another kind", "own.conflict", False),
        ("of another kind, not sent", "own.conflict", True),
        ("a nonsense", "own.conflict", False),
    ],
)
async def test_a_write_that_does_not_say_it_was_not_sent_is_unknown(
    tmp_path: Path, said: str, code: str, certain: bool
) -> None:
    found = adapters(tmp_path, entry("made", HERE + "Reticent"))
    connector = connector_of(shelf(tmp_path))
    resource = connector.resources["cases"]
    target = Target(connector=connector, resource=resource, operation=resource.operations["fetch"], timeout_s=5.0)
    writing = replace(target, operation=replace(target.operation, verb="execute", effect="write"))
    adapter = found.get("made")
    for asked in (adapter.push(target, {}, said), adapter.execute(writing, {}, said)):
        with pytest.raises(Problem) as caught:
            await asked
        # What the ledger looks at: only a problem with `sent` may have been applied.
        unknown = isinstance(caught.value, AdapterProblem) and caught.value.sent
        assert unknown is not certain
        assert caught.value.code == code
        if said == "of another kind":
            assert (caught.value.hint, caught.value.retryable) == ("Look.", False)
            assert caught.value.fields["order"] == "4711"
    with pytest.raises(Problem) as caught:  # a read is never unknown
        await adapter.execute(replace(target, operation=replace(target.operation, verb="execute")), {}, said)
    assert getattr(caught.value, "sent", False) is (said == "sent")


async def test_a_path_that_was_refused_before_anything_was_opened_is_certain(tmp_path: Path) -> None:
    found = adapters(tmp_path, entry("made"))
    connector = connector_of({**shelf(tmp_path), "root": "../x"})
    resource = connector.resources["cases"]
    target = Target(connector=connector, resource=resource, operation=resource.operations["fetch"], timeout_s=5.0)
    with pytest.raises(Denied) as caught:
        await found.get("made").push(target, {}, KEY)
    assert caught.value.code == "connector.path_escapes"


def install(folder: Path) -> None:
    """What an installer leaves of the project in `folder`: its metadata beside it."""
    project = (folder / "pyproject.toml").read_text()
    points = project.split(f'[project.entry-points."{GROUP}"]')[1].split("[")[0].strip()
    info = folder / "own-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points.replace(chr(34), '')}\n")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    from stanchion.base.config import read_environment

    environment = {**read_environment(), "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, env=environment)


def test_what_init_writes_passes_its_own_test_and_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    done = run(tmp_path, "-m", "stanchion", "init", "--adapter", "field-system", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        word
        for path in ("field_system_adapter.py", "tests/test_field_system_adapter.py", "pyproject.toml")
        for word in ("wrote", str(folder / path))
    ]
    tested = run(folder, "-m", "pytest", "-q", "-rs", "-W", "ignore", "-p", "no:cacheprovider", "tests")
    assert tested.returncode == 0, tested.stdout
    assert "15 passed, 1 skipped" in tested.stdout
    install(folder)
    (folder / "connectors" / "data" / "cases").mkdir(parents=True)
    (folder / "connectors" / "data" / "cases" / "1.json").write_text('{"case_id": "C1"}')
    body = document("field-system", RESOURCES, root="data")
    script = f"""
        import asyncio, json
        from pathlib import Path
        from stanchion.base import SystemClock
        from stanchion.tools import Target, connector_of, find_own_adapters
        from stanchion.tools.adapters.registry import Adapters
        adapters = Adapters(Path("connectors"), SystemClock(), own=find_own_adapters())
        connector = connector_of(json.loads('''{json.dumps(body)}'''))
        resource = connector.resources["cases"]
        target = Target(connector=connector, resource=resource, operation=resource.operations["fetch"], timeout_s=5.0)
        found = asyncio.run(adapters.get("field-system").fetch(target, {{}}, 10, None))
        print(type(adapters.get("field-system")._adapter).__module__, found.records)
    """
    called = run(folder, "-c", textwrap.dedent(script))
    assert called.stdout == "field_system_adapter ({'case_id': 'C1'},)\n", called.stderr


def test_the_generated_test_finds_what_the_author_breaks(tmp_path: Path) -> None:
    assert stanchion(["init", "--adapter", "mine", str(tmp_path)]) == 0
    source = tmp_path / "mine_adapter.py"
    text = source.read_text()
    assert "os.link(draft, path)" in text
    source.write_text(text.replace("os.link(draft, path)", 'os.link(draft, f"{path}.{id(call)}.json")'))
    tested = run(tmp_path, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "tests")
    assert tested.returncode == 1
    assert "test_a_write_is_applied_once_under_its_key" in tested.stdout


def test_init_adds_to_a_project_and_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "ours"  # kept\nversion = "1"\n')
    assert stanchion(["init", "--adapter", "one", str(tmp_path)]) == 0
    assert stanchion(["init", "--adapter", "two", str(tmp_path)]) == 0
    text = project.read_text()
    assert "# kept" in text
    assert tomllib.loads(text)["project"]["entry-points"][GROUP] == {
        "one": "one_adapter:OneAdapter",
        "two": "two_adapter:TwoAdapter",
    }
    assert stanchion(["init", "--adapter", "one", str(tmp_path)]) != 0
    assert "is there already" in capsys.readouterr().err
    assert project.read_text() == text


@pytest.mark.parametrize("name", ["sql", "Bad", "a_b", "", "x" * 60, "../x"])
def test_names_that_no_adapter_can_have(tmp_path: Path, name: str) -> None:
    assert stanchion(["init", "--adapter", name, str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_names_that_ship_are_known_to_init(tmp_path: Path) -> None:
    from stanchion.cli.machine.init import _TAKEN

    assert set(Adapters(tmp_path, SystemClock()).by_name) == _TAKEN


async def test_where_calls_go_through_the_broker_an_own_adapter_is_a_name(tmp_path: Path) -> None:
    known = NamedAdapters()
    assert (known.get("sql").name, known.get("made").name) == ("sql", "made")
    connector = connector_of(shelf(tmp_path))
    resource = connector.resources["cases"]
    target = Target(connector=connector, resource=resource, operation=resource.operations["fetch"], timeout_s=5.0)
    with pytest.raises(AdapterProblem) as caught:
        await known.get("made").fetch(target, {}, 10, None)
    assert caught.value.code == "adapter.not_offered"
    await known.close()
