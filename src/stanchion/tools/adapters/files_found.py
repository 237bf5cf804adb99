"""Looking whether a connector's files are there and can be used, without changing any."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.adapters import files_lines as lines
from stanchion.tools.adapters.paths import inside
from stanchion.tools.records import types_of
from stanchion.tools.types import Connector, Resource

# A header stands within the first so many bytes.
_HEAD_BYTES = 65_536


def form_of(resource: Resource) -> lines.Format:
    """The format of a resource's file, as its connector says it."""
    settings = resource.settings
    return lines.format_of(str(settings["file"]), str(settings.get("delimiter", ","))) or lines.Format("jsonl")


def find_files(connector: Connector, folder: Path) -> str:
    """What was found, if a fetch, lookup and push of every resource would find what they need.

    Raises AdapterProblem with everything that is wrong: `adapter.missing_file`, `adapter.unreachable`,
    `adapter.bad_file`, `adapter.missing_field`, whichever comes first. Paths in it are as the connector says them, never the machine's.
    """
    root, wrong, found = str(connector.settings["root"]), list[tuple[str, str, str]](), list[str]()
    if not folder.is_dir():
        raise AdapterProblem(
            "adapter.missing_file",
            f"{connector.name} has no folder {root!r} to look into.",
            hint="The connector's `root` is relative to the connectors' folder: make it there, or correct `root`.",
            retryable=False,
        )
    for name, resource in connector.resources.items():
        complaints = list(_complaints(resource, folder))
        wrong += [(code, f"{connector.name}.{name} {words}", hint) for code, words, hint in complaints]
        if not complaints:
            found.append(f"{name} ({resource.settings['file']}, {_can(resource, folder)})")
    if wrong:
        hint = " ".join(dict.fromkeys(hint for _, _, hint in wrong if hint))
        raise AdapterProblem(wrong[0][0], f"{'; '.join(words for _, words, _ in wrong)}.", hint=hint, retryable=False)
    return f"All files are as needed: {', '.join(found)}."


def _can(resource: Resource, folder: Path) -> str:
    there = (folder / str(resource.settings["file"])).exists()
    words = ["read"] * ("fetch" in resource.operations or "lookup" in resource.operations)
    words += ["written to" if there else "made by the first push"] * ("push" in resource.operations)
    return f"can be {' and '.join(words)}"


def _complaints(resource: Resource, folder: Path) -> Iterator[tuple[str, str, str]]:
    """(code, words after the resource's name, hint) of what an operation of the resource would fail at."""
    file = str(resource.settings["file"])
    path = inside(folder, file)
    reads = bool({"fetch", "lookup"} & set(resource.operations))
    if "push" in resource.operations:
        yield from _unwritable(path, file)
    if reads or path.exists():
        try:
            with lines.opened(path, write=False) as descriptor:
                yield from _unusable(descriptor, resource, file)
        except FileNotFoundError:
            hint = "The connector's `root` is relative to the connectors' folder."
            yield "adapter.missing_file", f"has no file {file!r} in its folder", hint
        except OSError as error:
            yield "adapter.unreachable", f"cannot read {file!r}: {os.strerror(error.errno or 0)}", ""


def _unwritable(path: Path, file: str) -> Iterator[tuple[str, str, str]]:
    if not path.parent.is_dir():
        yield "adapter.missing_file", f"has no folder for {file!r}", "A push makes the file, never its folder."
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        yield "adapter.unreachable", f"cannot write into the folder of {file!r}", ""
    elif path.exists() and not os.access(path, os.R_OK | os.W_OK):
        yield "adapter.unreachable", f"cannot write to {file!r}", ""


def _unusable(descriptor: int, resource: Resource, file: str) -> Iterator[tuple[str, str, str]]:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        yield "adapter.unreachable", f"has something else than a file at {file!r}", ""
        return
    form = form_of(resource)
    if form.name != "csv":
        return
    head = os.read(descriptor, _HEAD_BYTES)
    if len(head) == _HEAD_BYTES:
        head = head[: head.rfind(b"\n") + 1] or head
    try:
        header = lines.header_of(head, form)
        lines.check_header(header, form, resource.fields)
    except lines.BadFile as error:
        yield "adapter.bad_file", str(error), error.hint
        return
    needed = [name for name, schema in resource.fields.items() if "null" not in types_of(schema)]
    if "push" in resource.operations:
        needed = [*resource.fields, lines.KEY_FIELD]
    if header and (missing := [name for name in needed if name not in header]):
        yield (
            "adapter.missing_field",
            f"has no column {', '.join(missing)} in {file!r}",
            f"It has: {', '.join(header)}.",
        )
