"""A PostgreSQL of the test's own: on a small disk, or in a network namespace, ended as the test likes.

Stanchion's binaries, but none of its care: what a customer's server looks like from outside.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from stanchion.db import DatabaseUrls, migrate, roles_sql
from stanchion.db.embedded import find_binaries

ROLES = ("stanchion_owner", "stanchion_app", "stanchion_engine")
PORT = 5432


def need(possible: bool, what: str) -> None:
    """Skip where this machine cannot make the fault; in CI that is a failure, since nobody would notice."""
    if not possible:
        if os.environ.get("CI") and not os.environ.get("CI_WITHOUT_NAMESPACES"):
            pytest.fail(f"CI must be able to make this fault: {what}")
        pytest.skip(what)


def in_own_namespaces(*which: str) -> list[str]:
    """The command that runs another in new namespaces, with the rights to mount and to set up links in them.

    As an ordinary user by a user namespace of its own, in which the user stays who he is (PostgreSQL refuses root).
    """
    if os.geteuid() == 0:
        return ["unshare", *which]
    return ["unshare", "--user", "--map-current-user", "--keep-caps", *which]


def can(*which: str) -> bool:
    """Whether namespaces of these kinds can be made here."""
    try:
        return subprocess.run([*in_own_namespaces(*which), "true"], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _as_server_user() -> list[str]:
    """PostgreSQL refuses root: as root, become `postgres` or `nobody`, keeping the right to read a venv of root's."""
    if os.geteuid() != 0:
        return []
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    keep = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *keep, "--"]


@dataclass
class OwnServer:
    """Attributes:
    folder: of the socket and the log (short: a socket's path is). `data`: PGDATA, as the server sees it.
    under: the command that the server is run by, such as one that enters a namespace.
    prepare: a shell line run there first, such as a mount. `host`: a TCP address it listens on as well.
    wal_apart: keep the log of changes in `folder`, and not with the data.
    """

    folder: Path
    data: Path
    under: Sequence[str] = ()
    prepare: str = ":"
    host: str = ""
    wal_apart: bool = True
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the cluster where there is none, and start the server."""
        programs = find_binaries()
        self.folder.mkdir(exist_ok=True)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres" if "postgres" in {e.pw_name for e in pwd.getpwall()} else "nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        drop = " ".join(_as_server_user())
        options = {
            "listen_addresses": self.host, "unix_socket_directories": str(self.folder), "port": str(PORT),
            "dynamic_shared_memory_type": "mmap", "max_connections": "100", "shared_buffers": "16MB", **self.settings,
        }  # fmt: skip
        said = " ".join(f"-c '{name}={value}'" for name, value in options.items())
        wal = f"-X {self.folder / 'wal'}" if self.wal_apart else ""
        script = f"""
            set -e
            {self.prepare}
            if ! test -e {self.data}/PG_VERSION; then
                mkdir -p {self.data}; chmod 700 {self.data}
                {f"chown {user.pw_uid}:{user.pw_gid} {self.data}" if os.geteuid() == 0 else ":"}
                {drop} {programs}/initdb -D {self.data} {wal} -U admin --auth=trust --locale=C.UTF-8 --encoding=UTF8 --no-sync --wal-segsize=1
                echo 'host all all all trust' >> {self.data}/pg_hba.conf
            fi
            exec {drop} {programs}/postgres -D {self.data} {said}
        """
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.under, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}, start_new_session=True,
            )  # fmt: skip
        self.wait_up()

    def wait_up(self, within_s: float = 30) -> None:
        give_up = time.monotonic() + within_s
        while not self.is_up():
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < give_up, self.log()
            time.sleep(0.02)

    def is_up(self) -> bool:
        try:
            psycopg.connect(self.url("admin", "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, role: str, database: str = "stanchion", host: str | None = None) -> str:
        return f"postgresql://{role}@/{database}?host={host or self.folder}&port={PORT}"

    def make_database(self) -> DatabaseUrls:
        """Stanchion's roles, database and schema; URLs by the socket."""
        with psycopg.connect(self.url("admin", "postgres"), autocommit=True) as connection:
            for role in ROLES:
                connection.execute(f"create role {role} login".encode())
            connection.execute(roles_sql().encode())
            connection.execute("create database stanchion owner stanchion_owner")
        migrate(self.url("stanchion_owner"))
        return self.urls()

    def urls(self, host: str | None = None) -> DatabaseUrls:
        return DatabaseUrls(app=self.url("stanchion_app", host=host), engine=self.url("stanchion_engine", host=host))

    def inside(self, path: Path) -> Path:
        """A path that the server sees, as seen from here (its mounts are its own)."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/root{path}")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGQUIT)
            self.process.wait()

    def log(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.log").read_text()
