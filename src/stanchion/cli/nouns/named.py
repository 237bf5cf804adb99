"""Words that name an artifact on the command line."""

from __future__ import annotations

import re
from typing import Any

import click


class Artifact(click.ParamType[dict[str, Any]]):
    """`KIND/NAME`, and where a verb takes one, `@VERSION`."""

    name = "KIND/NAME"
    _FORM = re.compile(r"(?P<kind>[a-z_]{1,32})/(?P<name>[a-z][a-z0-9-]{0,62})(?:@(?P<version>[1-9][0-9]{0,8}))?")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The artifact as the API names it."""
        if isinstance(value, dict):
            return value  # pyright: ignore[reportUnknownVariableType]
        found = self._FORM.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no artifact: write KIND/NAME or KIND/NAME@VERSION.", param, ctx)
        version = found["version"]
        return {"kind": found["kind"], "name": found["name"], **({"version": int(version)} if version else {})}


class Name(Artifact):
    """`KIND/NAME` for verbs that go by what is live: a version would be passed over, so it is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The artifact as the API names it."""
        named = super().convert(value, param, ctx)
        if "version" in named:
            whole = f"{named['kind']}/{named['name']}"
            self.fail(
                f"{value!r} names a version, and this goes by what is live: write {whole}."
                f" One version: stanchion artifact show {whole} --version {named['version']}.",
                param,
                ctx,
            )
        return named


ARTIFACT = Artifact()
NAME = Name()
