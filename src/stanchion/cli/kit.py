"""What every command shares: the session (where to, which form) and the options `-o --url --profile --data`."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from stanchion.base.clock import SystemClock
from stanchion.base.config import read_environment
from stanchion.base.errors import Conflict, Invalid, NotFound
from stanchion.cli import output
from stanchion.cli.client import Api, path
from stanchion.cli.profiles import Profile, find_profile

Fn = TypeVar("Fn", bound=Callable[..., Any])
# How far back an id's beginning or end is looked for.
_SEARCHED_MAX = 2000
_WHOLE_ID = 36


class Session:
    """One call of the command line."""

    def __init__(self) -> None:
        self.environment = read_environment()
        self.clock = SystemClock()
        self.form = self.environment.get("STANCHION_OUTPUT") or "table"
        self.url: str | None = None
        self.profile_name: str | None = None
        self.data: Path | None = None
        self.keep = False
        self._api: Api | None = None

    @functools.cached_property
    def profile(self) -> Profile:
        """The server and key this call uses."""
        return find_profile(self.environment, url=self.url, name=self.profile_name, data=self.data)

    @property
    def api(self) -> Api:
        """The client, opened at its first use."""
        if self._api is None:
            self._api = Api(self.profile.url, self.profile.token, source=self.profile.source)
        return self._api

    def close(self) -> None:
        """Close the connection to the server, if one was opened."""
        if self._api is not None:
            self._api.close()

    @property
    def as_json(self) -> bool:
        """Whether errors are written as JSON too."""
        return self.form in {"json", "ndjson"}

    @property
    def live(self) -> bool:
        """Whether a person watches stderr on a terminal that can be redrawn."""
        return sys.stderr.isatty() and self.environment.get("TERM") != "dumb"

    def list(self, items: Any, shown: tuple[output.Column, ...], *, key: str = "id") -> int:
        """Write a list to stdout in the chosen form."""
        return output.write_list(self.form, items, shown, key=key)

    def one(self, item: Any, shown: tuple[output.Column, ...], *, key: str = "id") -> None:
        """Write one item to stdout in the chosen form."""
        output.write_one(self.form, item, shown, key=key)

    def since(self, said: str | None) -> str | None:
        """A time from `2026-11-20`, an RFC 3339 time, or an age (`90m`, `24h`, `7d`). Raises Invalid `cli.usage`."""
        if said is None:
            return None
        if age := re.fullmatch(r"(\d{1,6})([smhd])", said):
            seconds = int(age[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[age[2]]
            return (self.clock.now() - timedelta(seconds=seconds)).isoformat()
        try:
            when = datetime.fromisoformat(said)
        except ValueError:
            raise Invalid(
                "cli.usage", f"{said!r} is no time.", hint="Write 2026-11-20, an RFC 3339 time, 24h or 7d."
            ) from None
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).isoformat()

    def until(self, said: str) -> str:
        """A time from now on: `12h`, `90d`. Raises Invalid `cli.usage`."""
        if not (lasts := re.fullmatch(r"(\d{1,5})([smhd])", said)):
            raise Invalid("cli.usage", f"{said!r} is no length of time.", hint="Write 12h or 90d.")
        seconds = int(lasts[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[lasts[2]]
        return (self.clock.now() + timedelta(seconds=seconds)).isoformat()

    def whole_id(self, noun: str, said: str, **query: object) -> str:
        """The full id of a `noun` (`runs`) of which `said` is the beginning or the end.

        Ids made in the same minute begin alike, so the end is accepted as well.

        Raises:
            NotFound: `cli.no_such_id`. Conflict: `cli.ambiguous_id`, with the candidates.
        """
        if len(said) >= _WHOLE_ID:
            return said
        if len(said) < 4 or not set(said.lower()) <= set("0123456789abcdef-"):
            raise Invalid(
                "cli.usage",
                f"{said!r} is no id.",
                hint="Give the whole id, or at least 4 characters of its beginning or end.",
            )
        wanted = said.lower()
        found: set[str] = set()
        for item in self.api.items(path(*noun.split("/")), limit=_SEARCHED_MAX, **query):
            for name in ("id", "run_id"):
                value = str(item.get(name) or "")
                if value.startswith(wanted) or value.endswith(wanted):
                    found.add(value)
        if not found:
            raise NotFound(
                "cli.no_such_id",
                f"Among the latest {noun} none has an id that begins or ends with {said}.",
                hint="Give the whole id" + ("; an item of a run is found by nothing else." if noun == "runs" else "."),
            )
        if len(found) > 1:
            some = ", ".join(sorted(found)[:4])
            raise Conflict(
                "cli.ambiguous_id",
                f"{len(found)} {noun} have an id that begins or ends with {said}: {some}.",
                hint="Give more of it.",
            )
        return found.pop()


pass_session = click.make_pass_decorator(Session, ensure=True)


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value is not None:
            setattr(ctx.ensure_object(Session), name, value)
        return value

    return callback


def output_option(command: Fn) -> Fn:
    """`-o`: the form of what goes to stdout."""
    return click.option(
        "-o", "--output", type=click.Choice(output.FORMS), expose_value=False, is_eager=True, callback=_keep("form"),
        help="Form of the output.",
    )(command)  # fmt: skip


def data_option(command: Fn) -> Fn:
    """`--data`: the data folder."""
    return click.option(
        "--data", type=click.Path(path_type=Path, file_okay=False), expose_value=False, callback=_keep("data"),
        metavar="FOLDER", help="Data folder of an instance on this machine (default: .stanchion).",
    )(command)  # fmt: skip


def remote(command: Fn) -> Fn:
    """A command that calls a server: it receives the Session first, and takes the options that choose the server."""
    named = click.option(
        "--profile", expose_value=False, callback=_keep("profile_name"), metavar="NAME", help="Profile to use."
    )(command)
    addressed = click.option(
        "--url",
        expose_value=False,
        callback=_keep("url"),
        metavar="URL",
        help="Server to use; key from STANCHION_TOKEN.",
    )(named)
    return pass_session(data_option(output_option(addressed)))  # pyright: ignore[reportReturnType]


def local(command: Fn) -> Fn:
    """A command that touches this machine: it receives the Session first."""
    return pass_session(data_option(output_option(command)))  # pyright: ignore[reportReturnType]


def limit_options(command: Fn) -> Fn:
    """`--limit` and `--all` of a list."""
    everything = click.option("--all", "everything", is_flag=True, help="All there are, page by page.")(command)
    return click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most to list.")(
        everything
    )


def reason_option(command: Fn) -> Fn:
    """`--reason` of a change: kept in the audit log."""
    return click.option("--reason", required=True, help="Why; kept in the audit log.")(command)
