"""`stanchion secret` over the real application: values come in by prompt, standard input and file, and never go out."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import uvicorn

from stanchion.secrets.keeping import Reference
from stanchion.secrets.keeping.routes import build_router
from tests.secrets.conftest import safe  # noqa: F401 - the fixture

VALUE = "pl4nted-value"
LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")


class Typed(io.TextIOWrapper):
    """Standard input that is no terminal, and holds this."""

    def __init__(self, text: str | bytes) -> None:
        super().__init__(io.BytesIO(text.encode() if isinstance(text, str) else text), encoding="utf-8")


@contextlib.asynccontextmanager
async def serving(app):
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@pytest.fixture
async def secret(safe, cli, monkeypatch):  # noqa: F811 - the fixture
    """`await secret("list", …)`: a call of the command line; `said`: all that was ever written."""
    app = safe.stage.app(build_router(lambda ctx: safe.holder, safe.references))
    async with serving(app) as url:
        monkeypatch.setenv("STANCHION_URL", url)
        monkeypatch.setenv("STANCHION_TOKEN", safe.stage.admin_key)

        async def call(*arguments: str, stdin: str | bytes = "", code: int = 0):
            monkeypatch.setattr("sys.stdin", Typed(stdin))
            done = await asyncio.to_thread(cli, "secret", *arguments)
            assert "pl4nted" not in done.out + done.err
            assert done.code == code, done.err
            # The server is in this process too; its log goes where the command's output does.
            return replace(done, out="".join(line for line in done.out.splitlines(True) if not LOGGED.match(line)))

        call.url = url
        yield call


async def test_the_whole_life_of_a_secret(safe, secret, tmp_path):  # noqa: F811 - the fixture
    done = await secret("set", "erp/api-key", "--connector", "erp", "-o", "json", stdin=f"{VALUE}\n")
    assert (done.json["name"], done.json["version"], done.json["connectors"]) == ("local/erp/api-key", 1, ["erp"])
    assert "secret://local/erp/api-key" in done.err
    assert (await safe.get("secret://local/erp/api-key")).reveal() == VALUE
    file = tmp_path / "new"
    file.write_text("pl4nted-2")
    done = await secret("rotate", "erp/api-key", "--grace", "90m", "--from-file", str(file), "-o", "json")
    assert (done.json["version"], done.json["previous"]) == (2, [1])
    done = await secret("grant", "erp/api-key", "--connector", "ledger")
    assert "erp, ledger" in done.out or "erp,ledger" in done.out
    await secret("ungrant", "erp/api-key", "--connector", "erp")
    await secret("grant", "vault/erp/other", "--connector", "erp", "--environment", "production")
    listed = await secret("list", "-o", "id")
    assert listed.out.split() == ["local/erp/api-key", "vault/erp/other"]
    assert "production" in (await secret("list")).out
    safe.references.rows = [
        Reference(connector="ledger", place="/auth/token", text="secret://local/erp/api-key"),
        Reference(connector="erp", place="/auth/token", text="secret://local/erp/api-key"),
    ]
    checked = await secret("check", code=1)
    assert "stanchion secret grant local/erp/api-key --connector erp" in checked.err
    assert "/auth/token" in checked.out
    safe.references.rows.pop()
    assert (await secret("check", "-o", "json")).json[0]["resolves"] is True
    await secret("rm", "erp/api-key@1", "--yes")
    used = await secret("rm", "erp/api-key", "--yes", code=5)
    assert "--force" in used.err
    asks = await secret("rm", "erp/api-key", "--force", code=2)
    assert "--yes" in asks.err
    await secret("rm", "erp/api-key", "--force", "--yes")
    assert (await secret("list", "-o", "id")).out.split() == ["vault/erp/other"]
    assert (await secret("rekey", "--fresh", "--yes", "-o", "json")).json["data_keys"] == 1


async def test_fields(safe, secret):  # noqa: F811 - the fixture
    both = json.dumps({"user": "erp", "password": VALUE})
    done = await secret("set", "erp/db", "--fields", "--connector", "erp", stdin=both)
    assert "secret://local/erp/db#password, secret://local/erp/db#user" in done.err
    assert (await safe.get("secret://local/erp/db#password")).reveal() == VALUE
    await secret("set", "erp/token", "--field", "token", "--connector", "erp", stdin=VALUE)
    assert (await safe.get("secret://local/erp/token#token")).reveal() == VALUE
    await secret("rotate", "erp/db", stdin=VALUE, code=5)


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (("set", "erp/x", VALUE), "", 2),
        (("set", "erp/x", "a", VALUE), "", 2),
        (("rotate", "erp/x", VALUE), "", 2),
        (("set", "erp/x", "--fields"), '{"a": "pl4nted', 2),
        (("set", "erp/x", "--fields"), "[]", 1),
        (("set", "erp/x", "--fields"), '{"pl4nted name": "x"}', 1),
        (("set", "erp/x", "--fields", "--field", "a"), "{}", 2),
        (("set", "erp/x"), "", 1),
        (("set", "erp/x"), b"pl4nted\xff", 2),
        (("set", "erp/x"), b"pl4nted\x00", 1),
        (("set", "erp/x"), "p" * 20_000, 1),
        (("set", "erp/x", "--from-file", "nothing-there"), "", 2),
        (("set", "vault/x"), VALUE, 1),
        (("set", "secret://pl4nted:x@host/y"), VALUE, 1),
        (("rotate", "erp/x", "--grace", "soon"), VALUE, 2),
        (("rotate", "erp/none"), VALUE, 3),
        (("set", "erp/x", "--connector", "No Name"), VALUE, 1),
    ],
)
async def test_what_is_wrong_is_told_without_what_was_typed(secret, arguments, stdin, code):
    done = await secret(*arguments, stdin=stdin, code=code)
    assert done.out == ""
    assert done.err


async def test_a_sealing_key_that_is_not_the_one_is_refused(safe, secret):  # noqa: F811 - the fixture
    right = (await safe.holder.sealing_key()).id
    done = await secret("set", "erp/x", "--sealing-key", "sha256:" + "0" * 64, stdin=VALUE, code=4)
    assert "cli.other_sealing_key" in done.err
    assert (await secret("list", "-o", "id")).out == ""
    await secret("set", "erp/x", "--sealing-key", right, stdin=VALUE)


async def test_a_key_that_changes_between_sealing_and_sending_is_sealed_again(safe, secret, monkeypatch):  # noqa: F811
    await secret("set", "erp/x", stdin=VALUE)
    original, calls = safe.holder.sealing_key, []

    async def stale():
        calls.append(1)
        found = await original()
        if len(calls) == 1:
            await safe.holder.rekey(fresh=True)
        return found

    monkeypatch.setattr(type(safe.holder), "sealing_key", lambda _: stale())
    await secret("rotate", "erp/x", "--grace", "0s", stdin="pl4nted-2")
    assert len(calls) == 2


async def test_on_a_terminal_it_is_asked_twice_and_not_echoed(safe, secret):  # noqa: F811 - the fixture
    """A real terminal: what is typed does not come back on it."""
    primary, secondary = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STANCHION_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "stanchion", "secret", "set", "erp/typed", "--connector", "erp"],
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        env=environment | {"STANCHION_URL": secret.url, "STANCHION_TOKEN": safe.stage.admin_key, "COLUMNS": "200"},
        start_new_session=True,
    )
    os.close(secondary)
    shown = b""

    def until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(primary, 4096)

    try:
        await asyncio.to_thread(until, b"Value: ")
        os.write(primary, VALUE.encode() + b"\n")
        await asyncio.to_thread(until, b"Repeat for confirmation: ")
        os.write(primary, VALUE.encode() + b"\n")
        await asyncio.to_thread(until, b"Kept.")
    finally:
        code = await asyncio.to_thread(process.wait, 60)
        os.close(primary)
    assert code == 0, shown
    assert b"pl4nted" not in shown
    assert (await safe.get("secret://local/erp/typed")).reveal() == VALUE
