"""The embedded PostgreSQL as its owner sees it: start, adopt, stop."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import IO, Literal, Self

import psycopg

from stanchion.base import Clock, Conflict, Problem, SystemClock, SystemIds, Unavailable
from stanchion.db.embedded import roles
from stanchion.db.embedded.binaries import Binaries, find_binaries, inspect_binaries
from stanchion.db.embedded.cluster import (
    check_version,
    create_cluster,
    discard_setup,
    output_file,
    program_problem,
    system_identifier,
    tail,
)
from stanchion.db.embedded.configuration import (
    LOG_FILES_MAX,
    PORT,
    SOCKET_PATH_BYTES_MAX,
    check_settings,
    write_configuration,
)
from stanchion.db.embedded.credentials import (
    DATABASE,
    SUPER,
    ClusterUrls,
    Credentials,
    completed,
    load_credentials,
    save_credentials,
)
from stanchion.db.embedded.layout import claim_home, folder_problem, layout_of, prepare_home
from stanchion.db.embedded.lock import FolderLock, try_lock
from stanchion.db.embedded.postmaster import (
    Process,
    find_server,
    listener,
    orphans,
    peer_pid,
    process_name,
    read_pid_file,
    retire_pid_file,
)
from stanchion.db.embedded.unprivileged import choose_account, spawn

_SOCKET_NAME = f".s.PGSQL.{PORT}"
_POLL_S = 0.01
_ORPHAN_WAIT_S = 5.0
_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class EmbeddedPostgres:
    """A PostgreSQL server of our own below `<data>/postgres`.

    `start` takes the folder's lock and holds it until `stop`: two owners of one folder are impossible, in one
    process or in two. If an owner dies without `stop`, the server lives on, and the next `start` adopts it.

    Args:
        data: the data folder; created if missing. Nothing outside it is touched.
        settings: server settings on top of ours (`{"shared_buffers": "256MB"}`); an adopted server keeps its own.
        durable: False trades the safety of the data for speed. For tests alone.
        binaries: the folder with PostgreSQL's programs; by default `find_binaries()`.
        clock: measures timeouts.
    """

    def __init__(
        self,
        data: Path,
        *,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
        binaries: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._layout = layout_of(data)
        self._settings = dict(settings or {})
        check_settings(self._settings)
        self._durable = durable
        self._folder = binaries
        self._clock = clock or SystemClock()
        self._account = choose_account()
        self._lock = FolderLock(self._layout.lock)
        self._process: Process | None = None
        self._credentials: Credentials | None = None
        self._socket_dir = ""
        self._deadline = 0.0

    @property
    def postmaster_pid(self) -> int | None:
        """The server's process id; None if this object has none running."""
        return self._process.pid if self._process and self._process.alive else None

    @property
    def urls(self) -> ClusterUrls:
        """The URLs of the running server, as `start` returned them. Raises Conflict `db.server_not_started`."""
        if self._credentials is None:
            raise Conflict(
                "db.server_not_started",
                f"The database server of {self._layout.data} was not started by this object.",
                hint="Call start() first.",
            )
        return self._credentials.urls(self._socket_dir)

    @property
    def socket_dir(self) -> str:
        """The folder of the server's socket, or the prefix of its abstract name (`@…`); empty before `start`."""
        return self._socket_dir

    @property
    def cluster_id(self) -> str:
        """The cluster's system identifier, in decimal; empty before `start`."""
        return self._credentials.cluster_id if self._credentials else ""

    def start(self, *, timeout_s: float = 30) -> ClusterUrls:
        """Start the server, or adopt the one that an earlier owner left; a second call changes nothing.

        Makes the cluster, the roles and the database where they are missing.

        Args:
            timeout_s: how long the server may take to accept connections (making a cluster comes on top).

        Raises:
            Conflict: the folder is in use, foreign, another user's, of another major version, damaged.
            Unavailable: the folder cannot be written, the disk is full, the server does not start; with the last
                lines it printed.
        """
        if self._credentials and self.is_running():
            return self.urls
        self._let_go()
        binaries = inspect_binaries(self._folder or find_binaries())
        claim_home(self._layout, self._account)
        try:
            self._lock.acquire()
            return self._start(binaries, timeout_s)
        except OSError as error:
            self._abandon()
            raise folder_problem(error, self._layout) from error
        except BaseException:
            self._abandon()
            raise

    def stop(self, *, mode: Literal["fast", "immediate"] = "fast", timeout_s: float = 30) -> None:
        """End the server and release the folder; nothing happens if this object has not started it.

        Args:
            mode: `fast` breaks connections and writes a checkpoint; `immediate` ends at once, and the next start
                recovers from the log.
            timeout_s: how long that may take.

        Raises:
            Unavailable: `db.server_stop_timeout`; the folder stays locked and the server may still end.
        """
        process = self._process
        if process is not None:
            process.send(_SIGNALS[mode])
            if not process.wait(timeout_s):
                raise Unavailable(
                    "db.server_stop_timeout",
                    f"The database server (pid {process.pid}) did not end within {timeout_s:g} s.",
                    hint=f"Wait, or end it at once: kill -QUIT {process.pid}. Nothing committed is lost.",
                    pid=process.pid,
                )
            with suppress(OSError):  # the folder may be gone by now
                if (keep := self._await_lock_free()) is not None:
                    os.close(keep)
        self._let_go()
        self._lock.release()

    def is_running(self) -> bool:
        """Whether the server this object started or adopted is alive."""
        return self._process is not None and self._process.alive

    def prune_logs(self) -> None:
        """Remove all but the newest eight log files of at most 8 MiB each; `start` does it too."""
        for old in sorted(self._layout.log.glob("postgres-*.log"))[:-LOG_FILES_MAX]:
            old.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _start(self, binaries: Binaries, timeout_s: float) -> ClusterUrls:
        layout, account = self._layout, self._account
        prepare_home(layout, account)
        exists = layout.cluster.exists() or layout.cluster.is_symlink()
        credentials = self._inspect_cluster(binaries) if exists else None
        self._deadline = self._clock.monotonic() + timeout_s
        if credentials is None or not self._adopt(credentials):
            keep = self._lock_server()
            try:
                discard_setup(layout)
                if credentials is None:
                    create_cluster(layout, binaries, account, durable=self._durable, keep=keep)
                    credentials = self._inspect_cluster(binaries)
                    self._deadline = self._clock.monotonic() + timeout_s
                self._clear_remains()
                self._launch(binaries, credentials, keep)
            finally:
                os.close(keep)
        self._credentials = credentials
        self.prune_logs()
        return self.urls

    def _inspect_cluster(self, binaries: Binaries) -> Credentials:
        """The credentials of the cluster that lies there, which must fit it and our programs."""
        check_version(self._layout, binaries)
        credentials = load_credentials(self._layout.credentials)
        self._check_same_cluster(credentials)
        if (more := completed(credentials)) is not None:
            save_credentials(self._layout.credentials, more)
        return more or credentials

    def _check_same_cluster(self, credentials: Credentials) -> None:
        found = system_identifier(self._layout.cluster)
        if found != credentials.cluster_id:
            raise Conflict(
                "db.cluster_swapped",
                f"The passwords in {self._layout.credentials} are those of database {credentials.cluster_id}, "
                f"and {self._layout.cluster} is database {found}.",
                hint="Restore both from the same backup.",
            )

    def _adopt(self, credentials: Credentials) -> bool:
        """Use the server that is running on our data directory. False if there is none (any more)."""
        process = find_server(self._layout)
        if process is None:
            return False
        while not process.wait(_POLL_S):
            written = read_pid_file(self._layout)
            if written and written.status == "ready" and written.socket_dir:
                self._process, self._socket_dir = process, written.socket_dir
                self._verify(process, credentials, adopted=True)
                return True
            if self._left_s() <= 0:
                process.close()
                raise Unavailable(
                    "db.server_unresponsive",
                    f"The database server left by an earlier owner (pid {process.pid}) is "
                    f"{written.status if written and written.status else 'starting'} and takes no connections.",
                    hint=f"Wait and start again, or end it: kill -INT {process.pid}.",
                    pid=process.pid,
                )
        process.close()
        return False

    def _clear_remains(self) -> None:
        """With the server's lock held: make its pid file harmless and remove its socket."""
        layout = self._layout
        retire_pid_file(layout, self._account)
        path = layout.run / _SOCKET_NAME
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.stat(follow_symlinks=False).st_mode):
                raise Conflict(
                    "db.socket_in_use",
                    f"{path} is in the place of the database's socket, and is not a socket.",
                    hint="Move it away.",
                )
            self._refuse_listener(str(path))
            path.unlink()
        (layout.run / f"{_SOCKET_NAME}.lock").unlink(missing_ok=True)

    def _refuse_listener(self, path: str) -> None:
        # A path over the limit cannot have been bound by this name; _choose_socket_dir avoids it as well.
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX and (pid := listener(path)) is not None:
            raise Conflict(
                "db.socket_in_use",
                f"Another program, {process_name(pid)} (pid {pid}), listens on the database's socket {path}.",
                hint=f"Stop it (kill {pid}), or choose another --data.",
                pid=pid,
            )

    def _await_lock_free(self) -> int | None:
        """Wait a while for the server's lock: its logger, for one, ends shortly after it. None if it stays taken."""
        until, pause = self._clock.monotonic() + _ORPHAN_WAIT_S, Event()
        while (keep := try_lock(self._layout.server_lock)) is None and self._clock.monotonic() < until:
            pause.wait(_POLL_S)
        return keep

    def _lock_server(self) -> int:
        """Hold the server's lock: wait for, and end, the processes of one that was killed or is still ending.

        They get the signal its own immediate shutdown would have sent them.
        """
        keep = try_lock(self._layout.server_lock)
        left = orphans(self._layout) if keep is None else []
        for process in left:
            process.send(signal.SIGQUIT)
        if keep is None:
            keep = self._await_lock_free()
        pids = " ".join(str(process.pid) for process in left if process.alive)
        for process in left:
            process.close()
        if keep is not None:
            return keep
        raise Unavailable(
            "db.server_orphans",
            f"The database server in {self._layout.home} was killed, and processes of it still run: "
            f"{pids or 'pids unknown, perhaps in another container'}.",
            hint=f"End them ({f'kill -KILL {pids}' if pids else 'stop that container'}), then start again.",
        )

    def _choose_socket_dir(self) -> str:
        """Our folder, if clients can name it: the path fits into a socket's address and has no comma (libpq takes a
        host with commas for several). Else a fresh name in the abstract namespace.

        An abstract name (unix(7)) lives in the kernel and leaves nothing in any folder. It has no permissions, so
        it is unguessable and new at each start, and both sides prove their passwords (SCRAM, `require_auth`). The
        colon is for psycopg, which takes a host for a local one by a leading `/` or a second character `:`.
        """
        folder = str(self._layout.run)
        if len(os.fsencode(f"{folder}/{_SOCKET_NAME}")) <= SOCKET_PATH_BYTES_MAX and "," not in folder:
            return folder
        return "@:stanchion-" + SystemIds(self._clock).secret(16).hex()

    def _launch(self, binaries: Binaries, credentials: Credentials, keep: int) -> None:
        layout, account = self._layout, self._account
        self._socket_dir = self._choose_socket_dir()
        conf = write_configuration(layout, self._socket_dir, self._settings, durable=self._durable, account=account)
        server = binaries.program("postgres")
        with output_file() as output:
            child = spawn(
                [server, "-D", layout.cluster, "-c", f"config_file={conf}"],
                account=account,
                needs=(*binaries.needs, layout.cluster, conf),
                output=output.fileno(),
                keep=keep,
            )
            try:
                self._process = Process(child.pid, is_child=True)
            except BaseException:
                child.kill()
                child.wait()
                raise
            child.returncode = 0  # the pidfd watches it from here on; Popen need not warn that it outlives us
            self._await_ready(self._process, output)
            self._verify(self._process, credentials, adopted=False)

    def _await_ready(self, process: Process, output: IO[bytes]) -> None:
        while True:
            written = read_pid_file(self._layout)
            if written and written.pid == process.pid and written.status == "ready":
                return
            if process.wait(_POLL_S):
                what = f"The database server in {self._layout.home} does not start"
                raise program_problem("db.server_failed", what, self._said(output), self._layout, self._account)
            if self._left_s() <= 0:
                what = f"The database server in {self._layout.home} takes no connections yet"
                hint = "Recovery after a crash can take a while: start again, with a longer timeout."
                said = self._said(output)
                raise program_problem("db.server_timeout", what, said, self._layout, self._account, hint=hint)

    def _said(self, output: IO[bytes]) -> str:
        """The last lines the server printed, and after its log took over, the last of the log."""
        logs = sorted(self._layout.log.glob("postgres-*.log"))
        parts = [tail(output)]
        if logs:
            handle = os.open(logs[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as log:
                parts.append(tail(log))
        return "\n".join(part for part in parts if part)

    def _verify(self, process: Process, credentials: Credentials, *, adopted: bool) -> None:
        """Believe the server only when it proves to be ours, then complete what it lacks."""
        try:
            with self._connect("postgres", credentials) as connection:
                with socket.socket(fileno=os.dup(connection.fileno())) as client:
                    peer = peer_pid(client)
                row = connection.execute("select system_identifier::text from pg_control_system()").fetchone()
                if peer != process.pid or row is None or row[0] != credentials.cluster_id:
                    raise self._foreign_server(peer)
                ready = roles.is_set_up(connection)
                if not ready:
                    roles.set_up_cluster(connection, credentials)
            if not ready:
                with self._connect(DATABASE, credentials) as connection:
                    roles.set_up_database(connection)
        except psycopg.Error as error:
            what = "left by an earlier owner " if adopted else ""
            over = f" To start over, end it: kill -INT {process.pid}." if adopted else ""
            raise Unavailable(
                "db.server_unusable",
                f"The database server {what}(pid {process.pid}) runs, but cannot be used: {error}",
                hint=f"Its logs are in {self._layout.log}.{over}",
                pid=process.pid,
            ) from error

    def _foreign_server(self, peer: int) -> Problem:
        return Conflict(
            "db.server_foreign",
            f"The server behind the socket in {self._socket_dir} ({process_name(peer)}, pid {peer}) is not the one of "
            f"{self._layout.cluster}.",
            hint=f"Stop it (kill {peer}), or choose another --data.",
            pid=peer,
        )

    def _connect(self, database: str, credentials: Credentials) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=self._socket_dir,
            port=PORT,
            dbname=database,
            user=SUPER,
            password=credentials.passwords[SUPER],
            require_auth="scram-sha-256",
            connect_timeout=max(2, int(self._left_s())),
            application_name="stanchion embedded",
            autocommit=True,
        )

    def _left_s(self) -> float:
        return self._deadline - self._clock.monotonic()

    def _abandon(self) -> None:
        """After a failed start: end a server we launched, leave one we did not."""
        process = self._process
        if process is not None and process.is_child:
            process.send(signal.SIGQUIT)
            process.wait(_ORPHAN_WAIT_S)
        self._let_go()
        self._lock.release()

    def _let_go(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process = None
        self._credentials = None
        self._socket_dir = ""
