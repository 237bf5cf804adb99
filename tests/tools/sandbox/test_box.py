"""What a boxed program can reach. Each attempt is made by the same program outside of a box too, where it succeeds: a
probe that cannot succeed anywhere would show nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from stanchion.base import Denied, landlock
from stanchion.tools.sandbox import Box, Folder, Sandbox, Started
from stanchion.tools.sandbox.box import ENVIRONMENT
from tests.conftest import Cluster
from tests.tools.mcp.support import need, need_box

SECRET = "hunter2-of-the-broker"
# Runs in the box with Node, which both servers and boxes have: one attempt a line, "yes" where it succeeded.
PROBE = """
const fs = require("fs"), net = require("net"), http = require("http"), os = require("os");
const { execFileSync } = require("child_process");
const [database, port, metadata, folder, outside] = process.argv.slice(1);
const attempt = (name, run) => Promise.resolve().then(run).then((v) => [name, v], (e) => [name, `no: ${e.code ?? e.message}`]);
const connect = (to) => new Promise((done, failed) => {
  const s = net.connect(to); s.once("connect", () => { s.destroy(); done("yes"); }); s.once("error", failed);
});
const get = (url) => new Promise((done, failed) => {
  http.get(url, { timeout: 3000 }, (r) => { r.resume(); done("yes"); }).once("error", failed);
});
const environs = () => {
  for (const pid of fs.readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
    let text = "";
    try { text = fs.readFileSync(`/proc/${pid}/environ`, "utf8"); } catch { continue; }
    if (text.includes("SECRET_OF_THE_PARENT")) return "yes";
  }
  return "no";
};
Promise.all([
  attempt("database socket", () => connect({ path: database })),
  attempt("loopback port", () => connect({ host: "127.0.0.1", port: Number(port) })),
  attempt("metadata address", () => get(metadata)),
  attempt("environment of others", environs),
  attempt("own environment", () => (process.env.SECRET_OF_THE_PARENT ? "yes" : "no")),
  attempt("signal to the parent", () => { process.kill(Number(process.argv.at(-1)), 0); return "yes"; }),
  attempt("file outside", () => { fs.readFileSync(outside); return "yes"; }),
  attempt("write outside", () => { fs.writeFileSync(`${outside}.new`, "x"); return "yes"; }),
  attempt("write to a folder to read", () => { fs.writeFileSync(`${folder}/new`, "x"); return "yes"; }),
  attempt("write to the system", () => { fs.accessSync("/usr", fs.constants.W_OK); return "yes"; }),
  attempt("kernel settings", () => { fs.closeSync(fs.openSync("/proc/sys/kernel/core_pattern", "r+")); return "yes"; }),
  attempt("host name", () => (os.hostname() === "box" ? "no" : "yes")),
  attempt("new namespace", () => { execFileSync("unshare", ["--user", "true"], { stdio: "ignore" }); return "yes"; }),
]).then((all) => process.stdout.write(JSON.stringify(Object.fromEntries(all))));
"""


class Quiet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def metadata() -> Iterator[str]:
    """Where a cloud has its metadata, on this machine if it lets us; else a loopback server of the same meaning."""
    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/latest/meta-data/"
        server.shutdown()
        thread.join()


@contextmanager
def bare(box: Box, root: Path) -> Iterator[Started]:
    """The command as it is: the control of every attempt."""
    yield Started(command=box.command, pass_fds=(), cwd=str(root), environment=ENVIRONMENT)


async def said(opening: AbstractContextManager[Started], **more: str) -> str:
    """What a started command wrote, once it has ended."""
    with opening as started:
        process = await asyncio.create_subprocess_exec(
            *started.command,
            stdout=asyncio.subprocess.PIPE,
            env={**started.environment, **more},
            cwd=started.cwd,
            pass_fds=started.pass_fds,
        )
    out, _ = await process.communicate()
    return out.decode()


@pytest.fixture
async def sandbox() -> Sandbox:
    need_box()
    found = Sandbox()
    assert await found.admit("production")
    return found


async def test_what_a_boxed_program_cannot_reach(
    sandbox: Sandbox, cluster: Cluster, metadata: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PARENT", SECRET)
    (tmp_path / "read").mkdir()
    (tmp_path / "secret.txt").write_text(SECRET)
    at = conninfo_to_dict(cluster.urls.app)
    database = f"{at['host']}/.s.PGSQL.{at.get('port', 5432)}"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        rest = [database, str(listening.getsockname()[1]), metadata]
        inside = ["/connectors/read", str(tmp_path / "secret.txt"), str(os.getpid())]
        outside = [str(tmp_path / "read"), str(tmp_path / "secret.txt"), str(os.getpid())]
        folders = (Folder(name="read", path=tmp_path / "read"),)
        boxed = Box(command=("node", "-e", PROBE, *rest, *inside), folders=folders)
        free = Box(command=("node", "-e", PROBE, *rest, *outside), folders=folders)
        found = json.loads(await said(sandbox.opened(boxed)))
        control = json.loads(await said(bare(free, tmp_path), SECRET_OF_THE_PARENT=SECRET))
    assert {name for name, how in found.items() if how == "yes"} == set(), found
    expected = set(found) - ({"write to the system", "kernel settings"} if os.geteuid() else set())
    assert {name for name, how in control.items() if how == "yes"} >= expected, control
    assert (tmp_path / "secret.txt.new").read_text() == "x", (
        "the control wrote it, and the box did not: a file of its own"
    )
    (tmp_path / "read" / "new").unlink()


async def test_a_writable_folder_and_a_declared_network(sandbox: Sandbox, tmp_path: Path) -> None:
    folders = (Folder(name="out", path=tmp_path, writable=True),)
    wrote = await said(sandbox.opened(Box(command=("sh", "-c", "id -u; echo x > out/new; echo $?"), folders=folders)))
    assert wrote.split() == ["65534", "0"]
    assert (tmp_path / "new").read_text() == "x\n"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        line = f"require('net').connect({port}, '127.0.0.1').once('connect', () => {{ console.log('yes'); process.exit(0) }})"
        assert await said(sandbox.opened(Box(command=("node", "-e", line), network=True))) == "yes\n"


async def test_a_network_is_for_the_operator_to_allow(tmp_path: Path) -> None:
    for environment in ("local", "production"):
        with pytest.raises(Denied) as caught:
            await Sandbox(unboxed=True).admit(environment, network=True)
        assert caught.value.code == "sandbox.network"
        assert "broker.networked_commands" in caught.value.hint
    need_box()
    assert await Sandbox(networked=True).admit("production", network=True) is True


LOOK = """
import pathlib, sys
def tried(name, path):
    try:
        pathlib.Path(path).open("rb").close()
        print(name, "yes")
    except OSError as error:
        print(name, error.strerror)
tried("key", sys.argv[1])
tried("beside", sys.argv[2])
tried("memory of the parent", f"/proc/{sys.argv[3]}/mem")
try:
    pathlib.Path("made").write_text("x")
    print("own folder yes")
except OSError as error:
    print("own folder", error.strerror)
"""


async def test_a_command_without_a_box_has_not_what_the_broker_keeps(tmp_path: Path) -> None:
    need(landlock.version() > 0, "Landlock (Linux 5.13)")
    keys, data, root = tmp_path / "data.keys", tmp_path / "data", tmp_path / "data" / "connectors"
    keys.mkdir()
    root.mkdir(parents=True)
    (keys / "secrets.key").write_text(SECRET)
    (data / "beside").write_text("x")
    box = Box(command=(sys.executable, "-c", LOOK, str(keys / "secrets.key"), str(data / "beside"), str(os.getpid())))
    control = dict(line.rsplit(" ", 1) for line in (await said(bare(box, root))).splitlines())
    assert control["key"] == "yes"
    assert control["own folder"] == "yes"
    # This process is dumpable, unlike a broker: without Landlock a program of its user may open its memory.
    assert control["memory of the parent"] == "yes"
    sandbox = Sandbox(unboxed=True, keep=(keys,), needed=(root,), bubblewrap=str(tmp_path / "no-bwrap"))
    assert await sandbox.admit("local") is False
    found = (await said(sandbox.unboxed(box, root))).splitlines()
    assert [line for line in found if line.endswith("yes")] == ["beside yes", "own folder yes"]
    (root / "made").unlink()


async def test_without_a_box_and_without_landlock_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    with pytest.raises(Denied, match="no Landlock") as caught:
        await Sandbox(unboxed=True, bubblewrap=str(tmp_path / "no-bwrap")).admit("local")
    assert caught.value.code == "sandbox.unavailable"


DENIED_CALLS = """
import ctypes, errno, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in map(int, sys.argv[1:]):
    ctypes.set_errno(0)
    print(libc.syscall(number, 0, 0, 0, 0, 0) == -1 and errno.errorcode.get(ctypes.get_errno()))
"""


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a Python in /usr")
async def test_denied_calls_are_denied_by_the_filter(sandbox: Sandbox) -> None:
    # On x86-64: ptrace(TRACEME), process_vm_readv with no pid, keyctl, io_uring_setup, userfaultfd, kcmp. Outside, the first
    # succeeds and none of the others says EPERM.
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of x86-64")
    numbers = [str(number) for number in (101, 310, 250, 425, 312)]
    line = ("/usr/bin/python3", "-c", DENIED_CALLS, *numbers)
    assert (await said(sandbox.opened(Box(command=line)))).split() == ["EPERM"] * len(numbers)
    control = (await said(bare(Box(command=line), Path("/")))).split()
    assert control[0] == "False"
    assert "EPERM" not in control


async def test_it_dies_with_the_process_that_started_it(sandbox: Sandbox, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from stanchion.tools.sandbox import Box, Folder, Sandbox\n"
        "async def main():\n"
        "    sandbox = Sandbox()\n"
        "    await sandbox.admit('local')\n"
        "    folder = Folder(name='out', path=Path(sys.argv[1]), writable=True)\n"
        "    line = 'trap \"\" TERM HUP; echo started; echo x > out/running; while true; do sleep 0.05; done'\n"
        "    with sandbox.opened(Box(command=('sh', '-c', line), folders=(folder,))) as started:\n"
        "        p = await asyncio.create_subprocess_exec(*started.command, stdout=asyncio.subprocess.PIPE,\n"
        "            env={}, cwd='/', pass_fds=started.pass_fds)\n"
        "    await p.stdout.readline()\n"
        "    print(p.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(60):
        while Path(f"/proc/{pid}/exe").exists() and _state(pid) != "Z":
            await asyncio.to_thread(lambda: None)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "Z"


async def test_what_cannot_be_boxed_is_refused(tmp_path: Path) -> None:
    absent = str(tmp_path / "no-bwrap")
    for environment in ("local", "production"):
        with pytest.raises(Denied) as caught:
            await Sandbox(bubblewrap=absent).admit(environment)
        assert caught.value.code == "sandbox.unavailable"
        assert "broker.unboxed_commands" in caught.value.hint
    # A machine that forbids namespaces: bubblewrap is there and fails.
    failing = tmp_path / "bwrap"
    failing.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    failing.chmod(0o755)
    with pytest.raises(Denied, match="No permissions to create new namespace"):
        await Sandbox(bubblewrap=str(failing)).admit("local")


async def test_the_operators_setting_is_for_the_environment_local_alone(tmp_path: Path) -> None:
    allowed = Sandbox(unboxed=True, bubblewrap=str(tmp_path / "no-bwrap"))
    assert await allowed.admit("local") is False
    with pytest.raises(Denied):
        await allowed.admit("production")


async def test_where_a_box_can_be_made_the_setting_changes_nothing() -> None:
    need_box()
    assert await Sandbox(unboxed=True).admit("local") is True
