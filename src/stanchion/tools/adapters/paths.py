"""Paths in a connector's document: relative, and never out of the folder that the deployment gave to the tenant's connectors.

A connector is published by an author, who must not reach the files of the deployment by it: the engine's own
database URL is a private file too. Nor those of another tenant: each has a folder of its own (adr/0032).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from stanchion.base import Denied, Json
from stanchion.blueprints import ConfigIssue

# The folder of who has none: nothing can be there.
NO_FOLDER: Final = Path("/dev/null/connectors")
_TENANT: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")


def tenant_folder(root: Path, tenant: str, home: str) -> Path:
    """The folder that the paths of a tenant's connectors are relative to: `<root>/<tenant>`.

    Before tenants had folders all paths were relative to `root`. As long as there is no `<root>/<home>`, that layout stands:
    the home tenant has all of `root`, and the others have NO_FOLDER, since what is called as a tenant there may be the home
    tenant's. A link is nobody's folder: the operator makes folders, while links may come from whoever can write there.
    """
    if not _is_folder(root / home):
        return root if tenant == home else NO_FOLDER
    own = root / tenant
    return NO_FOLDER if _TENANT.fullmatch(tenant) is None or own.is_symlink() else own


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


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
    """The path `text` below `root`. Raises Denied `connector.path_escapes`, also where a link leads out; `connector.no_folder`."""
    if root == NO_FOLDER:
        raise Denied(
            "connector.no_folder",
            "The tenant has no connectors' folder.",
            hint="Below `tools.connectors_root` each tenant has a folder of its name, once what was there before stands in"
            " `default`, the home tenant's.",
            sent=False,
        )
    resolved = root.resolve()
    found = (resolved / text).resolve()
    if path_complaint(text) is not None or not found.is_relative_to(resolved):
        raise Denied(
            "connector.path_escapes",
            f"The connector's path {text!r} leads out of the connectors' folder.",
            hint="Use a path below it, without links that lead elsewhere.",
            sent=False,
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
