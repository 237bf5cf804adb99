"""Which server the command line talks to, with which key.

In this order: `--url` or `STANCHION_URL` (key from `STANCHION_TOKEN`), `--data` (the instance `up` runs there),
`--profile` or `STANCHION_PROFILE`, the current profile, the instance of the default data folder.
A profile file holds keys, so it is made with mode 0600.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from stanchion.base.errors import Conflict, Invalid, NotFound
from stanchion.processes.folder import local_file, write_private


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An address and a key. `source` says where they were found."""

    url: str
    token: str | None
    source: str


class ProfileStore:
    """The user's profiles: `$XDG_CONFIG_HOME/stanchion/profiles.json`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME') or '~'}/.config"
        self.path = Path(home).expanduser() / "stanchion" / "profiles.json"

    def load(self) -> dict[str, Any]:
        """`{"current": name or None, "profiles": {name: {url, token}}}`. Raises Conflict `cli.profiles` if damaged."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return {"current": None, "profiles": {}}
        except (OSError, ValueError) as error:
            raise Conflict(
                "cli.profiles", f"The file {self.path} cannot be read: {error}.", hint="Repair or remove it."
            ) from error
        if not isinstance(content, dict) or not isinstance(content.get("profiles"), dict):  # pyright: ignore[reportUnknownMemberType]
            raise Conflict(
                "cli.profiles", f"The file {self.path} holds no profiles.", hint="Remove it and log in again."
            )
        return cast("dict[str, Any]", content)

    def put(self, name: str, url: str, token: str) -> None:
        """Keep a profile and make it the current one."""
        content = self.load()
        content["profiles"][name] = {"url": url, "token": token}
        content["current"] = name
        write_private(self.path, content)

    def remove(self, name: str) -> bool:
        """Forget a profile; whether there was one."""
        content = self.load()
        found = content["profiles"].pop(name, None) is not None
        if content["current"] == name:
            content["current"] = next(iter(content["profiles"]), None)
        if found:
            write_private(self.path, content)
        return found


def local_profile(data: Path, name: str | None = None) -> Profile | None:
    """The profile `up` left in its data folder, `{url, token}`; with a name, another one kept beside it."""
    file = local_file(data, None if name is None else check_name(name))
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Profile(url=content["url"], token=content["token"], source=str(file))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise Conflict(
            "cli.profile_unreadable",
            f"The key in {file} belongs to another user.",
            hint="Run the command as that user, or sign in with a key of your own: `stanchion auth login URL`.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Conflict(
            "cli.profile_damaged", f"The file {file} is damaged.", hint="Restart `stanchion up`; it writes it anew."
        ) from error


def find_profile(environment: Mapping[str, str], *, url: str | None, name: str | None, data: Path | None) -> Profile:
    """The profile to use, by the order of this module's docstring. Raises NotFound `cli.no_server`."""
    token = environment.get("STANCHION_TOKEN") or None
    if said := url or (None if data or name else environment.get("STANCHION_URL")):
        return Profile(url=said, token=token, source="--url" if url else "STANCHION_URL")
    if data is not None:
        if found := local_profile(data, name):
            return _with(found, token)
        raise NotFound(
            "cli.no_server", f"No Stanchion has been started in {data}.", hint=f"Start it: stanchion up --data {data}"
        )
    folder = Path(environment.get("STANCHION_DATA") or ".stanchion").expanduser()
    named = name or environment.get("STANCHION_PROFILE")
    if named and (found := local_profile(folder, named)):
        return _with(found, token)
    content = ProfileStore(environment).load()
    wanted = named or content["current"]
    if wanted:
        kept = content["profiles"].get(wanted)
        if not isinstance(kept, dict):
            known = ", ".join(content["profiles"]) or "none"
            raise NotFound(
                "cli.no_profile",
                f"There is no profile {wanted!r}; there are: {known}.",
                hint="Make one: stanchion auth login URL",
            )
        return _with(Profile(url=str(kept["url"]), token=str(kept["token"]), source=f"profile {wanted}"), token)  # pyright: ignore[reportUnknownArgumentType]
    if found := local_profile(folder):
        return _with(found, token)
    raise NotFound(
        "cli.no_server",
        f"No server is named, and none was started in {folder}.",
        hint="Start one with `stanchion up`, or sign in to one: stanchion auth login URL",
    )


def _with(profile: Profile, token: str | None) -> Profile:
    return Profile(url=profile.url, token=token or profile.token, source=profile.source)


def check_name(name: str) -> str:
    """A profile's name as given. Raises Invalid `cli.usage`."""
    if not name or len(name) > 64 or not name.replace("-", "").replace("_", "").isalnum():
        raise Invalid("cli.usage", f"{name!r} is no name for a profile.", hint="Use letters, digits, - and _.")
    return name
