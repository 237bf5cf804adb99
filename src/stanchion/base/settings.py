"""The settings there are: infrastructure only, one frozen tree, each with its parser, its help and whether it is secret.

`base.config` fills the tree from the environment, a file and the defaults; the reference in docs/ is generated from
the same metadata. What changes the behaviour of an application is an artifact, never a setting.
"""

# ruff: noqa: RUF009, TRY004 - `option` is dataclasses.field with our metadata; a parser refuses with ValueError alone

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

# A parser takes a TOML value or the text of a variable, and returns the value or raises ValueError with the reason.
Parser = Callable[[object], object]
# As what a process may call the broker.
PEER_KINDS = ("web", "worker", "scheduler", "cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is known of one setting. `type` is said in the reference; `path` values are relative to their source."""

    parse: Parser
    type: str
    help: str
    secret: bool = False


def option(default: Any, parser: tuple[str, Parser], help_text: str, *, secret: bool = False) -> Any:
    """A field of the tree below; its metadata is the Option."""
    type_name, parse = parser
    metadata = {"option": Option(parse=parse, type=type_name, help=help_text, secret=secret)}
    return field(default=default, metadata=metadata)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {value!r}")
    if not value.strip() or any(ord(c) < 32 for c in value):
        raise ValueError("must not be empty or hold control characters")
    return value


def _matching(pattern: str, what: str) -> tuple[str, Parser]:
    compiled = re.compile(pattern)

    def parse(value: object) -> str:
        if not compiled.fullmatch(text := _text(value)):
            raise ValueError(f"must be {what}, not {text!r}")
        return text

    return (what, parse)


def _choice(*allowed: str) -> tuple[str, Parser]:
    def parse(value: object) -> str:
        if (text := _text(value)) not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {text!r}")
        return text

    return (" | ".join(allowed), parse)


def _integer(low: int, high: int) -> tuple[str, Parser]:
    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,18}", value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"must be a whole number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}, not {value}")
        return value

    return (f"integer, {low} to {high}", parse)


def _number(low: float, high: float) -> tuple[str, Parser]:
    def parse(value: object) -> float:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise ValueError(f"must be a number, not {value!r}") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must be a number, not {value!r}")
        if not low <= value <= high:  # refuses NaN too
            raise ValueError(f"must be from {low:g} to {high:g}, not {value:g}")
        return float(value)

    return (f"number, {low:g} to {high:g}", parse)


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in {"true", "1", "yes", "on", "false", "0", "no", "off"}:
        return value.strip().lower() in {"true", "1", "yes", "on"}
    raise ValueError(f"must be true or false, not {value!r}")


def _names(value: object) -> tuple[str, ...]:
    items = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise ValueError(f"must be a list of names, not {value!r}")
    found: list[str] = []
    for item in items:  # pyright: ignore[reportUnknownVariableType] - a TOML array of anything
        if not isinstance(item, str) or not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", item):
            raise ValueError(f"has {item!r}, which is not a name (lower case, digits, dashes)")
        found.append(item)
    return tuple(dict.fromkeys(found))


def _addresses(value: object) -> tuple[str, ...]:
    items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ValueError(f"must be a list of addresses, not {value!r}")
    found: list[str] = []
    for item in items:  # pyright: ignore[reportUnknownVariableType] - a TOML array of anything
        try:
            found.append(str(ip_network(str(item))))  # pyright: ignore[reportUnknownArgumentType]
        except (ValueError, TypeError):
            raise ValueError(f"has {item!r}, which is no IP address or network") from None
    return tuple(found)


def _texts(value: object) -> tuple[str, ...]:
    items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ValueError(f"must be a list of texts, not {value!r}")
    return tuple(dict.fromkeys(_text(item) for item in items))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - a TOML array of anything


def _peers(name: Callable[[str], str]) -> Parser:
    """Who may call the broker as which types of process: `name=type+type`, each name once. `name` checks a name."""

    def parse(value: object) -> tuple[str, ...]:
        found: dict[str, str] = {}
        for item in _texts(value):
            who, equals, said = item.rpartition("=")
            kinds = [part.strip() for part in said.split("+")]
            if not equals or not set(kinds) <= set(PEER_KINDS):
                raise ValueError(
                    f"has {item!r}, which does not say as which of {', '.join(PEER_KINDS)} it may call;"
                    f" write {who if equals else item}=worker, or join several by +"
                )
            who = name(who.strip())
            if who in found:
                raise ValueError(f"has {who!r} twice")
            found[who] = "+".join(kind for kind in PEER_KINDS if kind in kinds)
        return tuple(f"{who}={kinds}" for who, kinds in found.items())

    return parse


def _uid(text: str) -> str:
    return str(_integer(0, 2**32 - 2)[1](text))


def _host_port(value: object) -> str:
    text = _text(value)
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if not parts.hostname or port is None or parts.path or parts.username is not None:
        raise ValueError(f"must be host:port, not {text!r}")
    return text


def _path(value: object) -> Path:
    return Path(_text(value)).expanduser()


def _postgres_url(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        _ = parts.port
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError as error:
        # The reason without the value: it may hold a password.
        raise ValueError(f"is not a URL ({type(error).__name__})") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise ValueError("must begin with postgresql://")
    if not parts.path.strip("/"):
        raise ValueError("must name a database: postgresql://user:password@host:5432/database")
    return text


def _http_url(value: object) -> str:
    text = _text(value)
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    return text.rstrip("/")


def _https_url(value: object) -> str:
    """Plain http is for what listens on this machine alone."""
    text = _http_url(value)
    parts = urlsplit(text)
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must have neither user, nor query, nor fragment")
    if parts.scheme != "https" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise ValueError("must begin with https://")
    return text


def _secret_reference(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"secret://(env|file|vault)/\S+", text):
        # Without the value: it may be the password itself.
        raise ValueError("must be a reference: secret://env/…, secret://file/… or secret://vault/…")
    return text


TEXT: tuple[str, Parser] = ("text", _text)
SECRET_REFERENCE: tuple[str, Parser] = ("secret:// reference", _secret_reference)
BOOLEAN: tuple[str, Parser] = ("boolean", _boolean)
NAMES: tuple[str, Parser] = ("list of names", _names)
HTTPS_URL: tuple[str, Parser] = ("https URL", _https_url)
ADDRESSES: tuple[str, Parser] = ("list of addresses", _addresses)
PATH: tuple[str, Parser] = ("path", _path)
TEXTS: tuple[str, Parser] = ("list of texts", _texts)
UIDS: tuple[str, Parser] = ("list of user id=type", _peers(_uid))
CERTIFICATES: tuple[str, Parser] = ("list of name=type", _peers(_text))
HOST_PORT: tuple[str, Parser] = ("host:port", _host_port)
POSTGRES_URL: tuple[str, Parser] = ("PostgreSQL URL", _postgres_url)
HTTP_URL: tuple[str, Parser] = ("http(s) URL", _http_url)
NAME = _matching(r"[a-z][a-z0-9-]{0,62}", "a name in lower case")
_VARIABLE_PREFIX = _matching(
    r"(?!STANCHION_)[A-Z][A-Z0-9_]{0,62}_",
    "capital letters, digits and _ that end in _ and do not begin with STANCHION_",
)
_SEGMENT = _matching(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", "names joined by /")
_SSLMODES = _choice("disable", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """An external PostgreSQL, 15 or newer. Without `url`, the embedded one in the data folder is used."""

    url: str | None = option(
        None,
        POSTGRES_URL,
        "As stanchion_web, stanchion_worker, … ({process} stands for the type); empty: embedded PostgreSQL.",
        secret=True,
    )
    engine_url: str | None = option(
        None,
        POSTGRES_URL,
        "Only where all process types share two roles: as stanchion_engine, and url as stanchion_app.",
        secret=True,
    )
    password: str | None = option(
        None,
        SECRET_REFERENCE,
        "Where the password is, `secret://…`, read again for each new connection; {process} stands for the type.",
    )
    password_file: Path | None = option(
        None,
        PATH,
        "File with the password or token, read again for each new connection; {process} stands for the type.",
    )
    connection_lifetime_s: float = option(
        1800.0, _number(10, 86_400), "How old a connection may get before another takes its place, in seconds."
    )
    owner_url: str | None = option(
        None, POSTGRES_URL, "The schema's owner, for `stanchion migrate` and `up` alone.", secret=True
    )
    sslmode: str | None = option(None, _SSLMODES, "TLS of the three URLs; verify-full is right for production.")
    sslrootcert: Path | None = option(None, PATH, "Certificate authority that the server's certificate must have.")
    sslcert: Path | None = option(None, PATH, "Our certificate, where the server asks for one.")
    sslkey: Path | None = option(None, PATH, "Its key, mode 0600.")
    app_connections_max: int = option(10, _integer(1, 200), "Connections per process as stanchion_app.")
    engine_connections_max: int = option(6, _integer(1, 200), "Connections per process as stanchion_engine.")
    acquire_timeout_s: float = option(5.0, _number(0.1, 60), "Longest wait for a free connection, in seconds.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The HTTP surface."""

    host: str = option("127.0.0.1", TEXT, "Address to listen on; 0.0.0.0 for all.")
    port: int = option(
        7080,
        _integer(0, 65535),
        "Port to listen on. `up` takes the next free one if the default is taken; one that you set is that one, or an error.",
    )
    public_url: str | None = option(None, HTTP_URL, "How users reach it, for links; else derived from host and port.")
    body_bytes_max: int = option(1_048_576, _integer(1024, 1 << 30), "Largest request body, in bytes (413 above).")
    principal_requests_per_s: float = option(200.0, _number(0.1, 1e6), "Sustained requests a second per principal.")
    principal_burst: int = option(400, _integer(1, 1_000_000), "Requests a principal may make at once.")
    address_requests_per_s: float = option(400.0, _number(0.1, 1e6), "Sustained requests a second per client address.")
    address_burst: int = option(800, _integer(1, 1_000_000), "Requests an address may make at once.")
    header_timeout_s: float = option(
        10.0, _number(0.1, 600), "Longest time a client may take to send a request's head."
    )
    body_timeout_s: float = option(20.0, _number(0.1, 3600), "Longest time a client may take to send a request's body.")
    send_timeout_s: float = option(30.0, _number(0.1, 3600), "Longest time a client may leave an answer unread.")
    connections_max: int = option(1000, _integer(1, 100_000), "Connections and requests at once; 503 above.")
    trusted_proxies: tuple[str, ...] = option(
        (), ADDRESSES, "Addresses or networks whose X-Forwarded-* headers are believed; empty: nobody's."
    )
    grace_s: int = option(3, _integer(0, 300), "Seconds for open requests and streams to end when asked to stop.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Workers: they claim and execute BlueprintRuns."""

    count: int = option(1, _integer(1, 64), "Worker processes that `up` starts.")
    capacity: int = option(256, _integer(1, 4096), "Runs one worker holds at once.")
    queues: tuple[str, ...] = option(("default",), NAMES, "Queues it takes runs from.")
    grace_s: float = option(20.0, _number(0.1, 3600), "Time to finish or hand back its runs when asked to stop.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettings:
    """The one environment this deployment is (I10)."""

    name: str = option("local", NAME, "local, development, staging, sandbox, production, or a name of yours.")
    production: bool | None = option(None, BOOLEAN, "Whether effects here are real production; default: by its name.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySettings:
    """Traces and logs. Metrics are always there."""

    sample: float = option(0.1, _number(0, 1), "Share of traces that are recorded.")
    log_format: str = option("auto", _choice("auto", "text", "json"), "auto: text on a terminal, else JSON.")
    log_level: str = option("info", _choice("debug", "info", "warning", "error"), "Least level that is logged.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsSettings:
    """Where connectors reach the machine's files."""

    connectors_root: Path | None = option(
        None, PATH, "Folder of connectors' files, in it one of each tenant's name; default: <data>/connectors."
    )
    proxy: str | None = option(
        None,
        HTTP_URL,
        "HTTP proxy that connectors go through unless they name their own; variables of the environment are ignored.",
        secret=True,
    )
    ca_file: Path | None = option(
        None,
        PATH,
        "Certificate authorities (PEM) that connectors trust beside the system's, such as those of your network.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """Keys of identity."""

    pepper_file: Path | None = option(
        None, PATH, "0600 file with the secret that API keys are hashed with; default: <data>/pepper, made once."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasesSettings:
    """The key that releases are signed with when they leave."""

    signing_key_file: Path | None = option(
        None,
        PATH,
        "0600 file with the Ed25519 key that bundles are signed with; default: <data>/signing-key, made once.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Where the broker takes calls, from whom, and where others find it."""

    socket: Path | None = option(
        None, PATH, "Unix socket on which it takes calls from this machine; default: <data>/run/broker.calls."
    )
    uids: tuple[str, ...] = option(
        (),
        UIDS,
        "Users whose processes may call it there, and as what: `1001=worker`, `1002=web+scheduler`. Its own may, too: as what"
        " `up` started them as, without `up` as everything, unless it is listed here.",
    )
    listen: str | None = option(
        None, HOST_PORT, "Address on which it takes calls from other machines, over mTLS; empty: none."
    )
    address: str | None = option(
        None, HOST_PORT, "A broker on another machine that web and workers call, over mTLS; empty: the socket."
    )
    certificate: Path | None = option(None, PATH, "PEM certificate of this end of mTLS; read again when it changes.")
    key: Path | None = option(None, PATH, "Its key.")
    authority: Path | None = option(None, PATH, "PEM certificates that the other end's certificate must come from.")
    names: tuple[str, ...] = option(
        (),
        CERTIFICATES,
        "Names of certificates that may call from other machines, and as what: `worker-1.example=worker`; needed with `listen`.",
    )
    user: str | None = option(None, TEXT, "User (name or id) that `up` as root runs it as; empty: as everything else.")
    calls_max: int = option(1024, _integer(1, 65536), "Calls it has in hand at once; more are told to try again.")
    connections_max: int = option(256, _integer(1, 65536), "Connections of one user or one certificate at once.")
    grace_s: float = option(20.0, _number(0.1, 3600), "Time for calls in hand to end when asked to stop.")
    unboxed_commands: bool = option(
        False,
        BOOLEAN,
        "Where no box can be made, run commands of connectors without one, those of the environment local alone.",
    )
    networked_commands: bool = option(False, BOOLEAN, "Give the broker's own network to boxes that declare `network`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsSettings:
    """Where the broker has credentials from."""

    key_file: Path | None = option(
        None,
        PATH,
        "0600 file with the keys that local secrets are encrypted under, outside the data folder;"
        " default: <data>.keys/secrets.key, made once. Read by the broker alone.",
    )
    cache_s: float = option(2.0, _number(0, 60), "How long a value that was read is used again, in seconds.")
    env_prefix: str | None = option(
        None, _VARIABLE_PREFIX, "Variables of the broker that `secret://env` may read begin with it; empty: none."
    )
    files: Path | None = option(None, PATH, "Folder that `secret://file` reads; empty: none.")
    vault_url: str | None = option(None, HTTPS_URL, "Vault or OpenBao that `secret://vault` reads; empty: none.")
    vault_mount: str = option("secret", _SEGMENT, "Mount of its secrets engine, KV version 2.")
    vault_prefix: str = option("stanchion", _SEGMENT, "What stands before <tenant>/<path> there.")
    vault_role_id: str | None = option(None, TEXT, "Role id of the AppRole to log in with.")
    vault_secret_id_file: Path | None = option(None, PATH, "0600 file with the AppRole's secret id.")
    vault_namespace: str | None = option(None, TEXT, "Namespace, where it has them.")
    vault_ca_file: Path | None = option(None, PATH, "Certificate authority that its certificate must have.")
    vault_timeout_s: float = option(5.0, _number(0.1, 60), "Longest time of one request to it, in seconds.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a process is told about where it runs."""

    data: Path = option(Path(".stanchion"), PATH, "The data folder: embedded database, sockets, keys of this machine.")
    database: DatabaseSettings = field(default_factory=DatabaseSettings)
    web: WebSettings = field(default_factory=WebSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    environment: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    tools: ToolsSettings = field(default_factory=ToolsSettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    releases: ReleasesSettings = field(default_factory=ReleasesSettings)
    secrets: SecretsSettings = field(default_factory=SecretsSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)

    @property
    def production(self) -> bool:
        """Whether this deployment is production (I10): said, or by the name of the environment."""
        said = self.environment.production
        return self.environment.name == "production" if said is None else said

    @property
    def connectors_root(self) -> Path:
        """The folder of connectors' files."""
        return self.tools.connectors_root or self.data / "connectors"

    @property
    def pepper_file(self) -> Path:
        """The file with the pepper of API keys."""
        return self.identity.pepper_file or self.data / "pepper"

    @property
    def signing_key_file(self) -> Path:
        """The file with the key that bundles are signed with."""
        return self.releases.signing_key_file or self.data / "signing-key"

    @property
    def secrets_key_file(self) -> Path:
        """The file with the keys of local secrets: beside the data folder, never in it."""
        return self.secrets.key_file or self.data.with_name(f"{self.data.name}.keys") / "secrets.key"

    @property
    def broker_socket(self) -> Path:
        """Where the broker takes calls from this machine."""
        return self.broker.socket or self.run_folder / "broker.calls"

    @property
    def run_folder(self) -> Path:
        """Where processes put their health sockets and the supervisor its state."""
        return self.data / "run"
