"""An external PostgreSQL 15 (Debian's), reached over TCP with TLS only: what a customer's managed server looks like."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psycopg

from stanchion.db import PROCESS_TYPES, login, roles_sql

BINARIES = Path("/usr/lib/postgresql/15/bin")
ROLES = ("stanchion_owner", "stanchion_app", "stanchion_engine")


@dataclass(frozen=True)
class Server:
    """A running server. `url(role)` is verified by its certificate; `folder` holds `root.crt`."""

    folder: Path
    port: int

    def url(self, role: str, *, sslmode: str = "verify-full", root: Path | None = None) -> str:
        certificate = root or self.folder / "root.crt"
        tls = f"sslmode={sslmode}" + (f"&sslrootcert={certificate}" if sslmode.startswith("verify") else "")
        return f"postgresql://{role}:pw-{role}@localhost:{self.port}/stanchion?{tls}"


def _as_server_user() -> dict[str, object]:
    """PostgreSQL refuses root: as root, run it as `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _run(*command: str | Path, **kwargs: object) -> None:
    done = subprocess.run([str(c) for c in command], check=False, capture_output=True, text=True, cwd="/", **kwargs)  # type: ignore[call-overload]
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")


def _certificates(folder: Path) -> None:
    """An authority of our own and a certificate for `localhost` that it signed."""
    subject = ("-subj", "/CN=Stanchion test authority")
    _run(
        "openssl",
        "req",
        "-new",
        "-x509",
        "-days",
        "2",
        "-nodes",
        *subject,
        "-out",
        folder / "root.crt",
        "-keyout",
        folder / "root.key",
    )
    _run(
        "openssl",
        "req",
        "-new",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-out",
        folder / "server.csr",
        "-keyout",
        folder / "server.key",
    )
    (folder / "san").write_text("subjectAltName=DNS:localhost\n")
    _run(
        "openssl",
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        folder / "server.csr",
        "-CA",
        folder / "root.crt",
        "-CAkey",
        folder / "root.key",
        "-CAcreateserial",
        "-extfile",
        folder / "san",
        "-out",
        folder / "server.crt",
    )


def start(folder: Path) -> Server:
    """Create and start a server below `folder`, with database, roles and passwords as an administrator would make them."""
    _certificates(folder)
    data = folder / "data"
    data.mkdir(mode=0o700)
    account = _as_server_user()
    for name in ("server.key", "server.crt"):
        shutil.copy(folder / name, data / name)
        (data / name).chmod(0o600)
    if account:
        for path in (folder, data, data / "server.key", data / "server.crt"):
            os.chown(path, account["user"], account["group"])  # type: ignore[arg-type]
    keys = {name: (data / name).read_bytes() for name in ("server.key", "server.crt")}
    for name in keys:
        (data / name).unlink()
    _run(
        BINARIES / "initdb",
        "-D",
        data,
        "-U",
        "admin",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        **account,
    )
    for name, content in keys.items():
        (data / name).write_bytes(content)
        (data / name).chmod(0o600)
        if account:
            os.chown(data / name, account["user"], account["group"])  # type: ignore[arg-type]
    (data / "pg_hba.conf").write_text(
        "local all admin trust\nhostssl all all 127.0.0.1/32 scram-sha-256\nhostssl all all ::1/128 scram-sha-256\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-c listen_addresses=localhost -p {port} -c unix_socket_directories={data} -c ssl=on -c fsync=off"
    _run(BINARIES / "pg_ctl", "-D", data, "-w", "-l", data / "log", "-o", options, "start", **account)
    with psycopg.connect(f"host={data} port={port} user=admin dbname=postgres", autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"create role {role} login password 'pw-{role}'")
        connection.execute(roles_sql().encode())
        for process in PROCESS_TYPES:
            connection.execute(f"alter role {login(process)} password 'pw-{login(process)}'")
        connection.execute("create database stanchion owner stanchion_owner")
    return Server(folder, port)


def stop(server: Server) -> None:
    _run(BINARIES / "pg_ctl", "-D", server.folder / "data", "-m", "immediate", "stop", **_as_server_user())
