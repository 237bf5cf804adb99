"""The server's configuration files, written anew at each start into a folder the server's user can only read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from stanchion.base import Invalid
from stanchion.db.embedded.layout import Layout, write_whole
from stanchion.db.embedded.unprivileged import Account

PORT = 5432  # only a part of the socket's name: nothing listens on TCP
# sun_path has 108 bytes on Linux (unix(7)), the last of them NUL; PostgreSQL adds `/.s.PGSQL.5432` to the folder.
SOCKET_PATH_BYTES_MAX = 107
_LOG_FILE_KIB = 8192
LOG_FILES_MAX = 8

# Sized for a laptop or a small virtual machine: four process types with pools of ten to thirty connections each.
_DEFAULTS: Mapping[str, str] = {
    "max_connections": "120",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "max_logical_replication_workers": "0",  # one process less
    "jit": "off",  # our statements are short; compiling them costs more than it saves
    "idle_in_transaction_session_timeout": "10min",
}

# What the rest of this module, or the safety of the data, relies on.
_FIXED: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    # Segments in the data directory: /dev/shm is shared by all users, and has 64 MB in most containers.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_destination": "stderr",
    "logging_collector": "on",
    "log_filename": "postgres-%Y%m%dT%H%M%SZ.log",
    "log_file_mode": "0600",
    "log_rotation_age": "0",
    "log_rotation_size": f"{_LOG_FILE_KIB}kB",
    "log_line_prefix": "%m [%p] %u@%d ",
    # A statement, its parameters and the DETAIL of an error can carry a tenant's data or a credential (I9).
    "log_min_messages": "warning",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
_PLACED = frozenset(
    {"unix_socket_directories", "unix_socket_group", "log_directory", "data_directory", "config_file", "hba_file"}
    | {"ident_file", "external_pid_file", "fsync", "synchronous_commit", "full_page_writes", "include", "include_dir"}
)
_NOT_DURABLE: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_DURABLE: Mapping[str, str] = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_NAME = re.compile(r"[a-z_][a-z0-9_.]*")

_HBA = """\
# Written by Stanchion at each start. Every connection proves a password, over the socket; nothing listens on TCP.
local all all scram-sha-256
"""


def check_settings(settings: Mapping[str, str]) -> None:
    """Refuse settings that are not names, or that belong to this module.

    Raises:
        Invalid: `db.server_setting`, naming the setting.
    """
    for name, value in settings.items():
        if not _NAME.fullmatch(name):
            reason = "is not the name of a PostgreSQL setting"
        elif name in _FIXED or name in _PLACED:
            reason = "is decided by Stanchion for the embedded database"
        elif any(character in value for character in "\n\r\0"):
            reason = "has a value with a line break or a NUL"
        else:
            continue
        raise Invalid("db.server_setting", f"The server setting {name!r} {reason}.", hint="Remove it.", setting=name)


def write_configuration(
    layout: Layout, socket_dir: str, settings: Mapping[str, str], *, durable: bool, account: Account | None
) -> Path:
    """Write `postgresql.conf` and `pg_hba.conf`; the path of the former. The files hold no secret."""
    hba = layout.etc / "pg_hba.conf"
    placed = {
        "unix_socket_directories": '"' + socket_dir.replace('"', '""') + '"',  # a list: quotes protect commas
        "log_directory": str(layout.log),
        "hba_file": str(hba),
        "ident_file": str(layout.cluster / "pg_ident.conf"),
    }
    merged = {**_DEFAULTS, **settings, **_FIXED, **(_DURABLE if durable else _NOT_DURABLE), **placed}
    lines = ["# Written by Stanchion at each start; changes made here are lost."]
    lines += [f"{name} = {_quote(value)}" for name, value in merged.items()]
    conf = layout.etc / "postgresql.conf"
    mode = 0o644 if account else 0o600
    write_whole(hba, _HBA.encode(), mode=mode)
    write_whole(conf, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"), mode=mode)
    return conf


def _quote(value: str) -> str:
    """A value in the syntax of postgresql.conf: in it, backslashes escape and quotes are doubled."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
