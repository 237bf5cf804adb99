"""Settings from `STANCHION_*` variables, then `stanchion.toml`, then defaults, in this precedence.

Everything wrong is reported at once, each with its place (file and line, or variable), the reason and the way out.
An unknown key or variable is refused with the nearest right name, so that a misspelt limit is never silently absent;
one that would change behaviour is refused with the artifact that owns it (`base.behaviour`).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlsplit, urlunsplit

from stanchion.base.behaviour import Owned, owner_of
from stanchion.base.errors import Invalid
from stanchion.base.nearest import nearest
from stanchion.base.settings import (
    BrokerSettings,
    DatabaseSettings,
    EnvironmentSettings,
    IdentitySettings,
    Option,
    ReleasesSettings,
    SecretsSettings,
    Settings,
    TelemetrySettings,
    ToolsSettings,
    WebSettings,
    WorkerSettings,
)

PREFIX = "STANCHION_"
FILE_NAME = "stanchion.toml"
# Variables of the command line client and of this module: no settings, so never in the file.
CLIENT_VARIABLES = {
    "STANCHION_CONFIG": "path of the settings file, instead of ./stanchion.toml",
    "STANCHION_URL": "address of the server the command line talks to",
    "STANCHION_TOKEN": "API key the command line presents",
    "STANCHION_PROFILE": "name of the profile the command line uses",
    "STANCHION_OUTPUT": "form of the command line's output: table, json, yaml, id or ndjson",
}
_GROUPS: Mapping[str, type[Any]] = {
    "database": DatabaseSettings,
    "web": WebSettings,
    "worker": WorkerSettings,
    "environment": EnvironmentSettings,
    "telemetry": TelemetrySettings,
    "tools": ToolsSettings,
    "identity": IdentitySettings,
    "releases": ReleasesSettings,
    "secrets": SecretsSettings,
    "broker": BrokerSettings,
}
_FILE_BYTES_MAX = 1_048_576
# So alike to a setting's name that it is rather misspelt than about something else: one letter of eight.
_MISSPELT = 0.87


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One setting there is: its key (`web.port`), its variable (`STANCHION_WEB_PORT`), its default, its metadata."""

    key: str
    variable: str
    default: object
    option: Option


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong. `place`: `stanchion.toml:4` or `STANCHION_WEB_PORT`."""

    place: str
    key: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and where each value came from: `default`, a file with its line, a variable, `command line`."""

    settings: Settings
    sources: Mapping[str, str]


def read_environment() -> dict[str, str]:
    """The process's environment variables: the one place that reads them."""
    return dict(os.environ)  # noqa: TID251 - this is the one place that reads it


def replace_environment(variables: Mapping[str, str]) -> None:
    """Have exactly these variables from now on, in this process and in what it starts."""
    os.environ.clear()  # noqa: TID251 - this is the one place that touches it
    os.environ.update(variables)  # noqa: TID251 - as above


def entries() -> tuple[Entry, ...]:
    """All settings, in the order of the reference."""
    found: list[Entry] = []
    for name, owner in {"": Settings, **_GROUPS}.items():
        for item in fields(owner):
            if isinstance(meta := item.metadata.get("option"), Option):
                key = f"{name}.{item.name}" if name else item.name
                variable = PREFIX + key.upper().replace(".", "_")
                found.append(Entry(key=key, variable=variable, default=item.default, option=meta))
    return tuple(found)


def settings_reference() -> list[dict[str, str]]:
    """The documentation of every setting: rows of key, variable, type, default and help."""
    return [
        {
            "key": entry.key,
            "variable": entry.variable,
            "type": entry.option.type,
            "default": _plain(entry.default) or "",
            "help": entry.option.help,
        }
        for entry in entries()
    ]


def load_settings(
    environment: Mapping[str, str],
    *,
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    overrides_source: str = "command line",
) -> Loaded:
    """Read, check and join all sources.

    Args:
        environment: the process's variables, see `read_environment`.
        file: the settings file; else `STANCHION_CONFIG`, else `stanchion.toml` in the working folder if it is there.
        overrides: values by key that win over all else, such as the command line's `--data`.
        overrides_source: what `settings show` says of those.

    Raises:
        Invalid: `config.invalid`, with every fault in the message and in the field `errors`.
    """
    known = {entry.key: entry for entry in entries()}
    faults: list[Fault] = []
    raw: dict[str, tuple[object, str, Path | None]] = {}
    path = _locate(environment, file)
    if path is not None:
        raw.update(_from_file(path, known, faults))
    raw.update(_from_environment(environment, known, faults))
    raw.update({key: (value, overrides_source, None) for key, value in (overrides or {}).items() if value is not None})
    values: dict[str, object] = {}
    for key, (value, place, base) in raw.items():
        try:
            parsed = known[key].option.parse(value)
        except ValueError as error:
            faults.append(Fault(place=place, key=key, message=f"{key} {error}.", hint=known[key].option.help))
            continue
        # A path in the file is relative to the file; in a variable or an argument, to the working folder.
        values[key] = (base or Path.cwd()) / parsed if isinstance(parsed, Path) else parsed
    sources = {key: raw[key][1] if key in raw else "default" for key in known}
    faults += _together(values, sources)
    if faults:
        raise _invalid(faults)
    return Loaded(settings=_build(values), sources=sources)


def shown(loaded: Loaded) -> list[dict[str, str]]:
    """Every value with its source, for people: secrets masked."""
    rows: list[dict[str, str]] = []
    for entry in entries():
        value: object = loaded.settings
        for part in entry.key.split("."):
            value = getattr(value, part)
        text = _plain(value)
        rows.append(
            {
                "key": entry.key,
                "value": mask(text) if text and entry.option.secret else (text or ""),
                "source": loaded.sources[entry.key],
                "variable": entry.variable,
            }
        )
    return rows


def mask(url: str) -> str:
    """The URL without its password, or `***` if it cannot be taken apart: `postgresql://stanchion_app:***@host/db`."""
    try:
        parts = urlsplit(url)
        where = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return "***"
    query = re.sub(r"(?i)\b(password|passwd|sslpassword|secret|token)=[^&]*", r"\1=***", parts.query)
    hidden = "" if parts.password is None else ":***"
    named = f"{parts.username}{hidden}@{where}" if parts.username else where
    return urlunsplit((parts.scheme, named, parts.path, query, ""))


def with_tls(url: str, database: DatabaseSettings) -> str:
    """`url` with the TLS parameters of the settings; what the URL itself says wins."""
    wanted = {
        "sslmode": database.sslmode,
        "sslrootcert": database.sslrootcert,
        "sslcert": database.sslcert,
        "sslkey": database.sslkey,
    }
    parts = urlsplit(url)
    said = {pair.split("=", 1)[0] for pair in parts.query.split("&") if pair}
    extra = [f"{name}={quote(str(value), safe='/')}" for name, value in wanted.items() if value and name not in said]
    query = "&".join([parts.query, *extra] if parts.query else extra)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))


def _locate(environment: Mapping[str, str], file: Path | None) -> Path | None:
    said = file or (Path(environment["STANCHION_CONFIG"]) if environment.get("STANCHION_CONFIG") else None)
    if said is not None:
        return said.expanduser()
    here = Path(FILE_NAME)
    return here if here.is_file() else None


def _from_file(
    path: Path, known: Mapping[str, Entry], faults: list[Fault]
) -> dict[str, tuple[object, str, Path | None]]:
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            faults.append(Fault(place=str(path), key="", message="The file is larger than 1 MiB.", hint=""))
            return {}
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode & 0o077
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        place = f"{path}:{line[1]}" if line else str(path)
        faults.append(Fault(place=place, key="", message=f"This is not TOML: {error}.", hint="See https://toml.io."))
        return {}
    except UnicodeDecodeError:
        faults.append(Fault(place=str(path), key="", message="The file is not UTF-8.", hint="Save it as UTF-8."))
        return {}
    except OSError as error:
        said = f"The settings file cannot be read: {error.strerror}."
        faults.append(Fault(place=str(path), key="", message=said, hint="Name another with --config."))
        return {}
    found: dict[str, tuple[object, str, Path | None]] = {}
    for key, value in _flatten(tree):
        place = f"{path}:{_line_of(text, key)}"
        if key not in known:
            faults.append(_unknown(place, key, value, known))
            continue
        found[key] = (value, place, path.parent)
        if known[key].option.secret and mode and isinstance(value, str) and mask(value) != value:
            said = f"{key} may hold a password, and others than its owner may read the file."
            faults.append(Fault(place=place, key=key, message=said, hint=f"chmod 600 {path}"))
    return found


def _flatten(tree: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if name in _GROUPS and isinstance(value, dict):
            yield from ((f"{name}.{inner}", item) for inner, item in cast("dict[str, object]", value).items())
        else:
            yield name, value


def _line_of(text: str, key: str) -> int:
    """The 1-based line of `key`: tomllib gives no positions, and our files have one level of tables."""
    group = key.rpartition(".")[0]
    table, fallback = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if header := re.match(r"\[\s*[\"']?([\w-]+)[\"']?\s*\]", stripped):
            table = header[1]
            if table in {group, key}:
                fallback = number
        elif assigned := re.match(r"([\w.\"' -]+?)\s*=", stripped):
            full = ".".join(part.strip(" \"'") for part in assigned[1].split("."))
            if table:
                full = f"{table}.{full}"
            if full == key:
                return number
            if full == group:  # an inline table
                fallback = number
    return fallback


def _unknown(place: str, key: str, value: object, known: Mapping[str, Entry]) -> Fault:
    if key in _GROUPS:
        said, hint = f"{key} is a table of settings, not {value!r}.", f"Write [{key}] and its settings below."
        return Fault(place=place, key=key, message=said, hint=hint)
    inner = next(iter(cast("dict[str, object]", value)), "") if isinstance(value, dict) else ""
    if owned := _behaviour(key, inner, known):
        return Fault(place=place, key=key, message=f"There is no setting {key}. {owned.message}", hint=owned.hint)
    bare = (name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2])
    guess = nearest(key, known) or next(bare, None)
    hint = f"Did you mean {guess}?" if guess else "`stanchion settings show` lists every setting."
    return Fault(place=place, key=key, message=f"There is no setting {key}.", hint=hint)


def _behaviour(said: str, inner: str, known: Iterable[str]) -> Owned | None:
    """The artifact that owns what a refused key is about, unless the key is a setting with a letter wrong.

    `inner`: the first name within it, if it is a table.
    """
    if nearest(said, known, likeness=_MISSPELT):
        return None
    return owner_of(f"{said}.{inner}" if inner else said)


def _from_environment(
    environment: Mapping[str, str], known: Mapping[str, Entry], faults: list[Fault]
) -> dict[str, tuple[object, str, Path | None]]:
    variables = {entry.variable: entry.key for entry in known.values()}
    found: dict[str, tuple[object, str, Path | None]] = {}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in CLIENT_VARIABLES:
            continue
        if name in variables:
            found[variables[name]] = (value, name, None)
            continue
        if owned := _behaviour(name.removeprefix(PREFIX), "", [v.removeprefix(PREFIX) for v in variables]):
            said = f"There is no setting for the variable {name}. {owned.message}"
            faults.append(Fault(place=name, key="", message=said, hint=owned.hint))
            continue
        near = nearest(name, [*variables, *CLIENT_VARIABLES])
        hint = f"Did you mean {near}?" if near else f"Unset {name}; `stanchion settings show` lists every setting."
        faults.append(Fault(place=name, key="", message=f"There is no setting for the variable {name}.", hint=hint))
    return found


def _together(values: Mapping[str, object], sources: Mapping[str, str]) -> list[Fault]:
    """Rules over several settings."""
    found: list[Fault] = []

    def wrong(key: str, message: str, hint: str) -> None:
        found.append(Fault(place=sources[key], key=key, message=message, hint=hint))

    if values.get("environment.name") == "production" and values.get("environment.production") is False:
        wrong("environment.production", "environment production cannot be marked as no production.", "Remove it.")
    shared = urlsplit(str(values.get("database.url") or "")).username == "stanchion_app"
    if shared and not values.get("database.engine_url"):
        wrong(
            "database.url",
            "database.url is as stanchion_app and database.engine_url is not set: that role is one of two.",
            "Connect as the process type's own role (stanchion_web, …, or stanchion_{process}); or set"
            " database.engine_url (STANCHION_DATABASE_ENGINE_URL) to the same database as stanchion_engine.",
        )
    if values.get("database.password") and values.get("database.password_file"):
        wrong("database.password", "database.password and database.password_file are both set.", "Set one.")
    for key in ("database.engine_url", "database.owner_url", "database.password", "database.password_file"):
        if values.get(key) and not values.get("database.url"):
            wrong(key, f"{key} is set and database.url is not.", "Set database.url too, or neither.")
    mtls = [f"broker.{name}" for name in ("certificate", "key", "authority")]
    for key in (f"broker.{name}" for name in ("listen", "address")):
        if values.get(key) and (missing := [name for name in mtls if not values.get(name)]):
            words = f"{key} is set and {', '.join(missing)} not: across machines both ends show certificates."
            wrong(key, words, "Set all three.")
    if (values.get("database.sslcert") is None) != (values.get("database.sslkey") is None):
        key = "database.sslcert" if values.get("database.sslcert") else "database.sslkey"
        wrong(key, "database.sslcert and database.sslkey belong together.", "Set both or neither.")
    return found


def _build(values: Mapping[str, object]) -> Settings:
    parts: dict[str, Any] = {}
    for name, owner in _GROUPS.items():
        own = {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{name}.")}
        parts[name] = owner(**own)
    data = cast("Path", values.get("data", Path.cwd() / ".stanchion"))
    return Settings(data=data, **parts)


def _invalid(faults: list[Fault]) -> Invalid:
    lines = [f"{fault.place}: {fault.message} {fault.hint}".rstrip() for fault in faults]
    counted = "One setting is wrong" if len(faults) == 1 else f"{len(faults)} settings are wrong"
    errors = [{"place": f.place, "key": f.key, "message": f.message, "hint": f.hint} for f in faults]
    return Invalid("config.invalid", f"{counted}:\n  " + "\n  ".join(lines), errors=errors)


def _plain(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in cast("tuple[object, ...]", value))
    return f"{value:g}" if isinstance(value, float) else str(value)
