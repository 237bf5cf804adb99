"""Paths in a connector's document: relative, and never out of the folder that the deployment gave to connectors.

A connector is published by an author, who must not reach the files of the deployment by it: the engine's own
database URL is a private file too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from stanchion.base import Denied, Json
from stanchion.blueprints import ConfigIssue


def path_complaint(text: str) -> str | None:
    """Why `text` cannot be a path of a connector, or None if it can."""
    path = PurePosixPath(text)
    if not text.strip() or "\x00" in text:
        return "is empty or holds a zero byte"
    if path.is_absolute():
        return "is absolute; it must be relative to the connectors' folder"
    if ".." in path.parts:
        return "leads out of the connectors' folder by '..'"
    return None


def inside(root: Path, text: str) -> Path:
    """The path `text` below `root`. Raises Denied `connector.path_escapes`, also where a link leads out."""
    resolved = root.resolve()
    found = (resolved / text).resolve()
    if path_complaint(text) is not None or not found.is_relative_to(resolved):
        raise Denied(
            "connector.path_escapes",
            f"The connector's path {text!r} leads out of the connectors' folder.",
            hint="Use a path below it, without links that lead elsewhere.",
        )
    return found


def check_no_proxy(body: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    """A complaint where a connector names a proxy (`egress.proxy`) and its adapter could not go through it."""
    egress = body.get("egress")
    if isinstance(egress, Mapping) and "proxy" in egress:
        yield ConfigIssue(
            pointer="/egress/proxy",
            code="connector.not_offered",
            message=f"The adapter {body['adapter']!r} connects to its system itself and goes through no proxy.",
            hint="Leave it out.",
        )
