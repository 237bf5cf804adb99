"""The how-tos, run as they are written: three on one running instance, one against PostgreSQL 15 over TLS."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.docs.fences import Shell, fences, run_page
from tests.support import debian_postgres
from tests.tools.mcp.support import need, need_box

_START = """
python3 -m venv .venv && . .venv/bin/activate && pip install --quiet stanchion || return 1
stanchion up > up.log 2>&1 &
for _ in $(seq 900); do grep -q "is ready" up.log && return; sleep 0.1; done
cat up.log; return 1
"""


# Two deployments, each with a profile of its own; one after the other, for each has the time that a fence has.
_INSTALL = "python3 -m venv .venv && . .venv/bin/activate && pip install --quiet stanchion"
_START_ONE = """
name={name}
STANCHION_ENVIRONMENT_NAME=$name stanchion up --data $name/.stanchion > $name.log 2>&1 &
for _ in $(seq 900); do grep -q "is ready" $name.log && break; sleep 0.1; done
grep -q "is ready" $name.log || {{ cat $name.log; return 1; }}
read -r url token <<< $(python3 -c "import json; p = json.load(open('$name/.stanchion/profile.json')); print(p['url'], p['token'])")
STANCHION_TOKEN=$token stanchion auth login $url --name $name > /dev/null 2>&1
"""


@pytest.fixture(scope="module")
def running(reader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in a folder in which `stanchion up` runs, shared by the pages that need no more."""
    shell = Shell(tmp_path_factory.mktemp("howto"), reader)
    try:
        code, said = shell.run(_START)
        assert code == 0, said
        yield shell
    finally:
        shell.close()


@pytest.mark.parametrize(
    "page",
    [
        "allow-a-private-host.md",
        "ask-for-approval.md",
        "keep-a-credential.md",
        "keep-thresholds-in-a-config.md",
        "recover-failed-runs.md",
        "require-approvals-and-evals.md",
        "review-changes.md",
        "roll-out-a-change.md",
        "use-the-http-api.md",
        "size-and-tune.md",
        "stop-something-now.md",
        "try-it-in-a-sandbox.md",
        "turn-something-on-for-some.md",
        "write-to-an-http-api.md",
    ],
)
def test_howto(repo, running, page) -> None:
    assert run_page(repo / "docs/howto" / page, running) >= 3


@pytest.mark.parametrize("page", ["release-a-tool.md", "start-a-run-from-a-webhook.md"])
def test_howto_from_nothing(repo, reader, tmp_path, page) -> None:
    """Pages whose words count versions and secrets: a deployment that no other page has used."""
    shell = Shell(tmp_path, reader)
    try:
        code, said = shell.run(_START)
        assert code == 0, said
        assert run_page(repo / "docs/howto" / page, shell) >= 4
    finally:
        shell.close()


def test_mcp_tools(repo, running) -> None:
    need_box()
    need(Path("/usr/bin/python3").exists(), "a Python in /usr/bin, which the box has")
    assert run_page(repo / "docs/howto/use-an-mcp-servers-tools.md", running) >= 6


def test_between_two_deployments(repo, reader, tmp_path) -> None:
    shell = Shell(tmp_path, reader | {"XDG_CONFIG_HOME": str(tmp_path / "config")})
    try:
        for script in (_INSTALL, *(_START_ONE.format(name=name) for name in ("staging", "production"))):
            code, said = shell.run(script)
            assert code == 0, said
        assert run_page(repo / "docs/howto/move-a-release-between-deployments.md", shell) >= 15
    finally:
        shell.close()


def test_own_adapter(repo, reader, tmp_path) -> None:
    shell = Shell(tmp_path, reader)
    try:
        code, said = shell.run(_INSTALL)
        assert code == 0, said
        assert run_page(repo / "docs/howto/add-your-own-adapter.md", shell) >= 2
    finally:
        shell.close()


def _sql(repo) -> str:
    page = (repo / "docs/howto/use-your-own-postgresql.md").read_text()
    return next(fence.text for fence in fences(page) if fence.words.get("title") == "roles.sql")


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder that the server's own user can reach, which pytest's folders of root are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(
    not debian_postgres.BINARIES.exists() and not os.environ.get("CI"),
    reason="PostgreSQL 15 of Debian is not installed; CI installs it and skips nothing",
)
def test_own_postgresql(repo, reader, tmp_path, server_folder) -> None:
    folder = tmp_path
    server = debian_postgres.start(server_folder)
    admin = f"host={server_folder / 'data'} port={server.port} user=admin dbname=postgres"
    shell = Shell(folder, {**reader, "PGPORT": str(server.port), "ADMINISTRATOR": admin})
    try:
        # The support makes roles of the same names; the page's own administrator begins on an empty server.
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("drop database stanchion")
            names = connection.execute("select rolname from pg_roles where rolname like 'stanchion%'").fetchall()
            for (role,) in names:
                connection.execute(f"drop role {role}")
            for statement in _sql(repo).split(";\n"):
                if statement.strip():
                    connection.execute(statement)
        shutil.copy(server_folder / "root.crt", folder / "root.crt")
        code, said = shell.run("python3 -m venv .venv && . .venv/bin/activate && pip install --quiet stanchion")
        assert code == 0, said
        assert run_page(repo / "docs/howto/use-your-own-postgresql.md", shell) >= 5
    finally:
        shell.close()
        debian_postgres.stop(server)
