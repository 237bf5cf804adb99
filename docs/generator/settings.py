"""Every setting, by group."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.tables import code, table

from stanchion.base.config import PREFIX, entries, settings_reference


def _settings() -> str:
    secret = {entry.key for entry in entries() if entry.option.secret}
    groups: dict[str, list[dict[str, str]]] = {}
    for row in settings_reference():
        groups.setdefault(row["key"].rpartition(".")[0], []).append(row)
    out: list[str] = []
    for group, rows in groups.items():
        heading = f"### `[{group}]`" if group else "### Top level"
        shown = [
            (
                code(row["key"].rpartition(".")[2]),
                code(row["variable"]),
                row["type"],
                code(row["default"]) if row["default"] else "–",
                row["help"] + (" Secret: never shown." if row["key"] in secret else ""),
            )
            for row in rows
        ]
        out.append(f"{heading}\n\n{table(('key', 'variable', 'type', 'default', 'meaning'), shown)}")
    return "\n".join(out)


PARTS: Mapping[str, Callable[[], str]] = {"settings.all": _settings, "settings.prefix": lambda: code(PREFIX)}
