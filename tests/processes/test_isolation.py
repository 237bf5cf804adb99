"""The broker's keys and memory, and who cannot get at them: real processes, each beside one that can."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stanchion.base import Unavailable, landlock
from stanchion.base.settings import BrokerSettings, DatabaseSettings, SecretsSettings, Settings
from stanchion.processes import isolation
from stanchion.processes.isolation import Confinement, confine_from, held_by_broker, landlock_version, needed_by_others
from tests.support.root import needs_root

# In CI nothing skips silently: there they run, and fail where the kernel has none.
needs_landlock = pytest.mark.skipif(
    landlock_version() == 0 and not os.environ.get("CI"), reason="this kernel has no Landlock"
)
only_root = needs_root("only root becomes another user")

# What a process that wants the keys would try, and what it needs for its own work.
CHILD = """
import json, os, subprocess, sys
from pathlib import Path
from stanchion.processes.isolation import confine_from

keys, data, pid, confined = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "confined"
if confined:
    confine_from([keys], needed=[data])
key = keys / "secret.key"

def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    except subprocess.CalledProcessError:
        return "CalledProcessError"
    return "done"

def through(descriptor_of):
    folder = os.open(descriptor_of, os.O_PATH)
    os.close(os.open("secret.key", os.O_RDONLY, dir_fd=folder))

print(json.dumps({
    "read": tried(lambda: key.read_bytes()),
    "read through /proc": tried(lambda: Path(f"/proc/self/root{key}").read_bytes()),
    "read through a descriptor": tried(lambda: through(keys)),
    "read through a link": tried(lambda: (data / "link").read_bytes()),
    "read by a child": tried(lambda: subprocess.run(["cat", str(key)], check=True, capture_output=True)),
    "hard link": tried(lambda: os.link(key, data / "hard")),
    "write": tried(lambda: os.close(os.open(key, os.O_WRONLY))),
    "truncate": tried(lambda: os.truncate(key, 3)),
    "put another there": tried(lambda: os.close(os.open(keys / "new", os.O_CREAT | os.O_WRONLY))),
    "move another there": tried(lambda: os.replace(data / "mine", keys / "moved")),
    "move it away": tried(lambda: os.replace(keys / "spare", data / "spare")),
    "remove": tried(lambda: os.unlink(keys / "old")),
    "memory of the holder": tried(lambda: open(f"/proc/{pid}/mem", "rb").close()),
    "own data": tried(lambda: (data / "own").write_text("x") and (data / "own").replace(data / "own2")),
    "own memory": tried(lambda: open("/proc/self/mem", "rb").close()),
    "programs": tried(lambda: subprocess.run(["true"], check=True)),
    "system files": tried(lambda: Path("/etc/hosts").read_bytes()),
}))
"""
HOLDER = """
import ctypes, os, sys
from stanchion.processes.lifecycle import keep_secrets
if sys.argv[2] != "0":
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable, as a process is that was that user's from the start
if sys.argv[1] == "kept":
    keep_secrets()
print("up", flush=True)
sys.stdin.read()
"""


class Holder:
    """A process that holds something, non-dumpable or not, of root's or of another user."""

    def __init__(self, kept: bool, uid: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, "kept" if kept else "open", str(uid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def __enter__(self) -> int:
        assert self.process.stdout.readline() == "up\n"
        return self.process.pid

    def __exit__(self, *_) -> None:
        self.process.communicate("", timeout=30)


def keys_and_data(folder: Path) -> tuple[Path, Path]:
    keys, data = folder / "data.keys", folder / "data"
    keys.mkdir(mode=0o700)
    data.mkdir()
    for name in ("secret.key", "spare", "old"):
        (keys / name).write_text("key")
    (data / "mine").write_text("x")
    (data / "link").symlink_to(keys / "secret.key")
    return keys, data


def tries(keys: Path, data: Path, pid: int, *, confined: bool) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(keys), str(data), str(pid), "confined" if confined else "free"], capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    return json.loads(done.stdout)


OWN = {"own data", "own memory", "programs", "system files"}


@needs_landlock
def test_a_confined_process_and_its_children_get_at_nothing_of_the_broker(tmp_path):
    with Holder(kept=False) as pid:
        free = tries(*keys_and_data(tmp_path), pid, confined=False)
        (tmp_path / "again").mkdir()
        confined = tries(*keys_and_data(tmp_path / "again"), pid, confined=True)
    # The same process without Landlock does all of it: what stops the other one is Landlock.
    assert set(free.values()) == {"done"}, free
    assert {what for what, how in confined.items() if how == "done"} == OWN, confined


@needs_landlock
def test_even_as_root_a_confined_process_does_not_read_the_memory_of_a_holder_outside(tmp_path):
    with Holder(kept=True) as pid:
        (tmp_path / "again").mkdir()
        confined = tries(*keys_and_data(tmp_path / "again"), pid, confined=True)
    assert confined["memory of the holder"] == "PermissionError"


@only_root
@pytest.mark.parametrize(("kept", "how"), [(False, "done"), (True, "PermissionError")])
def test_without_landlock_another_process_of_the_user_does_not_read_a_non_dumpable_one(kept, how):
    code = """
import os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    open("/proc/" + sys.argv[1] + "/mem", "rb").close()
    print("done")
except OSError as error:
    print(type(error).__name__)
"""
    with Holder(kept=kept, uid=65534) as pid:
        done = subprocess.run(
            [sys.executable, "-c", code, str(pid)], capture_output=True, text=True, timeout=60, check=True
        )
    assert done.stdout == f"{how}\n"


def test_what_a_process_was_started_with_is_not_seen_from_outside_any_more():
    code = """
import os, sys
from stanchion.base.config import read_environment, replace_environment
from stanchion.processes.isolation import wipe_environment
found = read_environment()
assert found["PLANTED"] == "canary"
replace_environment({"PATH": found["PATH"]})
if sys.argv[1] == "wiped":
    wipe_environment()
assert read_environment() == {"PATH": found["PATH"]}
os.environ["LATER"] = "1"
assert os.popen("echo $LATER $PLANTED").read() == "1\\n"
print("up", flush=True)
sys.stdin.read()
"""
    for how, shown in (("kept", True), ("wiped", False)):
        process = subprocess.Popen(
            [sys.executable, "-c", code, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PLANTED": "canary"}
        )  # fmt: skip
        assert process.stdout.readline() == "up\n"
        assert (b"canary" in Path(f"/proc/{process.pid}/environ").read_bytes()) is shown
        process.communicate("", timeout=30)
        assert process.returncode == 0


@needs_landlock
def test_a_process_that_has_threads_is_refused_rather_than_half_confined(tmp_path):
    gate = threading.Event()
    other = threading.Thread(target=gate.wait)
    other.start()
    try:
        with pytest.raises(Unavailable, match="threads already") as caught:
            confine_from([tmp_path])
    finally:
        gate.set()
        other.join()
    assert caught.value.code == "process.isolation"


def test_a_kernel_without_landlock_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert confine_from([tmp_path]) is Confinement.NONE
    assert isolation.tried(Settings(data=tmp_path / "data")) == "this kernel has no Landlock"


@needs_landlock
def test_the_doctor_tries_what_it_says(tmp_path):
    keys, data = keys_and_data(tmp_path)
    settings = Settings(data=data)
    assert held_by_broker(settings) == (keys,)
    assert isolation.tried(settings) == ""
    # A confinement that keeps something else is found out.
    assert "could still read" in isolation.tried_with(keep=[tmp_path / "other"], look=[keys], needed=[data])


def test_keys_in_somebody_elses_folder_are_kept_as_a_file_and_with_them_what_opens_the_providers(tmp_path):
    assert held_by_broker(Settings(data=tmp_path / "data")) == (tmp_path / "data.keys",)
    secrets = SecretsSettings(
        key_file=tmp_path / "etc" / "key", files=tmp_path / "run", vault_secret_id_file=tmp_path / "id"
    )
    settings = Settings(data=tmp_path / "data", secrets=secrets)
    assert held_by_broker(settings) == (tmp_path / "etc" / "key", tmp_path / "run", tmp_path / "id")


@needs_landlock
def test_what_others_need_is_theirs_in_a_folder_of_the_brokers_too(tmp_path):
    files = tmp_path / "run-secrets"
    files.mkdir()
    for name in ("database.key", "worker.pem", "credential"):
        (files / name).write_text(name)
    settings = Settings(
        data=tmp_path,
        secrets=SecretsSettings(files=files),
        database=DatabaseSettings(sslkey=files / "database.key"),
        broker=BrokerSettings(certificate=files / "worker.pem"),
    )
    assert set(needed_by_others(settings)) == {tmp_path, files / "database.key", files / "worker.pem"}
    code = """
import json, sys
from pathlib import Path
from stanchion.processes.isolation import confine_from
files = Path(sys.argv[1])
confine_from([files], needed=[files / "database.key", files / "worker.pem"])
found = []
for path in ("database.key", "worker.pem", "credential"):
    try:
        found.append((files / path).read_text())
    except PermissionError:
        found.append(None)
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(files)], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == ["database.key", "worker.pem", None]
