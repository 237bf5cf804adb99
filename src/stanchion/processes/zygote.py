"""The loader: imports all code once, then forks each process the supervisor asks for.

A process started by fork is serving some 50 ms later, one started anew after the two seconds of CPU that the imports
take: this is what makes `up` quick and the replacement of a killed worker quicker than a lease. The loader runs one
thread and no event loop, holds no connection and no secret, and only ever forks from that state.

Over a SOCK_SEQPACKET pair, JSON each way: `{"op": "spawn", "id", "kind", "boot"}` with the descriptors [log, what the
process alone is told, listener] (an admin: [log, pipe]); back come `{"loaded": true}`, `{"spawned": id, "pid"}` and `{"exited": pid, "code"}` (negative: a signal). When the
supervisor goes, so does the loader, and with it (PR_SET_PDEATHSIG) each of its children.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, cast

from stanchion.base import Problem, dumps, loads
from stanchion.base.config import read_environment, replace_environment
from stanchion.bootstrap.admin import first_admin
from stanchion.processes import broker, scheduler, web, worker
from stanchion.processes.boot import Boot, boot_of, read_handed_over
from stanchion.processes.database import required_urls
from stanchion.processes.isolation import confine
from stanchion.processes.lifecycle import die_with, name_process
from stanchion.processes.ownuser import account_of, become, keep_files_only

MESSAGE_BYTES_MAX = 65_536
_MAINS: Mapping[str, Callable[[Boot], int]] = {
    "web": web.main,
    "worker": worker.main,
    "scheduler": scheduler.main,
    "broker": broker.main,
}


def main(channel_fd: int, supervisor: int) -> int:
    """Serve the supervisor behind `channel_fd` until it goes."""
    die_with(supervisor)
    name_process("stanchion:load")
    # Ctrl-C is the supervisor's to hear; it ends us by closing the channel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=channel_fd) as channel:
        gc.collect()
        gc.freeze()  # what is loaded stays shared with the children instead of being copied by their collectors
        channel.send(dumps({"loaded": True}))
        _serve(channel)
    return 0


def _serve(channel: socket.socket) -> None:
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    children: dict[int, int] = {}  # pidfd -> pid
    while True:
        for ready, _ in poll.poll():
            if ready == channel.fileno():
                data, fds, _, _ = socket.recv_fds(channel, MESSAGE_BYTES_MAX, 4)
                if not data:
                    return
                said = cast("dict[str, Any]", loads(data))
                pid = _fork(channel, said, fds)
                pidfd = os.pidfd_open(pid)
                children[pidfd] = pid
                poll.register(pidfd, select.POLLIN)
                for fd in fds:
                    os.close(fd)
                channel.send(dumps({"spawned": said["id"], "pid": pid}))
            else:
                poll.unregister(ready)
                pid = children.pop(ready)
                os.close(ready)
                _, status = os.waitpid(pid, 0)
                channel.send(dumps({"exited": pid, "code": os.waitstatus_to_exitcode(status)}))


def _fork(channel: socket.socket, said: dict[str, Any], fds: list[int]) -> int:
    loader = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _become(channel, loader, said, fds)
        except Problem as problem:
            sys.stderr.write(f"{problem}\n")
        except SystemExit as asked:
            code = asked.code if isinstance(asked.code, int) else 1
        except BaseException:  # noqa: BLE001 - the last frame of this process: it says what it was and ends
            traceback.print_exc()
        finally:
            _end(code)
    return pid


def _become(channel: socket.socket, loader: int, said: dict[str, Any], fds: list[int]) -> int:
    """In the child: let go of the loader, and be the process asked for."""
    channel.close()
    os.setsid()
    die_with(loader)
    log, *more = fds
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    kind = str(said["kind"])
    boot_as = cast("dict[str, Any]", said["boot"])
    if kind == "admin":
        boot = boot_of(boot_as)
        name_process(f"stanchion:{boot.name}")
        confine(boot.settings)
        return _admin(boot, said["known_key"], more[0])
    private = read_handed_over(more[0])
    boot = boot_of(boot_as, listen_fd=more[1] if kind == "web" else None, private=private)
    name_process(f"stanchion:{boot.name}")
    if (account := account_of(boot.settings)) is not None:
        if kind == "broker":
            become(account)
            die_with(loader)
        else:
            keep_files_only()
    if kind == "broker":
        # What the loader was not told, so that no process but this one ever has it.
        replace_environment({**read_environment(), **private.environment})
    return _MAINS[kind](boot)


def _admin(boot: Boot, known_key: str | None, answer: int) -> int:
    """Make the first admin and answer over a pipe, so that no key is ever in an argument or a log."""
    made = asyncio.run(first_admin(boot.settings, required_urls(boot.settings, "web"), known_key=known_key))
    os.write(answer, dumps({"key": made.key, "sign_in_path": made.sign_in_path, "created": made.created}))
    return 0


def _end(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
