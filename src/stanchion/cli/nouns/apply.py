"""`stanchion apply -f FOLDER`: publish and release what changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from stanchion.base.errors import Conflict, Invalid, LimitExceeded
from stanchion.cli import output, problems
from stanchion.cli.kit import Session, remote
from stanchion.cli.nouns import apply_plan, ruling

DOCUMENT_BYTES_MAX = 1_048_576
# As many as the API takes in one request (releases).
DOCUMENTS_MAX = 500
SPLIT = "Split the folder: apply its parts one after the other, what others refer to first."
_SHOWN = output.columns("kind", "name", "version", "change", "digest")


def read_documents(paths: tuple[Path, ...]) -> list[dict[str, str]]:
    """The documents of files and folders (`*.yaml`, `*.yml`, recursively), in the order of their paths.

    Raises Invalid `cli.usage`, naming the file.
    """
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in {".yaml", ".yml"})
        for file in files:
            relative = file if path.is_file() else file.relative_to(path)
            if any(part.startswith(".") for part in relative.parts) or not file.is_file():
                continue
            try:
                if file.stat().st_size > DOCUMENT_BYTES_MAX:
                    raise Invalid("cli.usage", f"{file} is larger than 1 MiB.", hint="Is it an artifact?")
                found[str(file)] = {"path": str(file), "source": file.read_text(encoding="utf-8")}
            except UnicodeDecodeError as error:
                raise Invalid("cli.usage", f"{file} is not UTF-8.", hint="Save it as UTF-8.") from error
            except OSError as error:
                raise Invalid("cli.usage", f"{file} cannot be read: {error.strerror}.") from error
    if not found:
        raise Invalid(
            "cli.usage", f"No *.yaml in {', '.join(str(p) for p in paths)}.", hint="Name a folder with artifacts."
        )
    if len(found) > DOCUMENTS_MAX:
        raise Invalid(
            "cli.usage",
            f"{len(found)} documents are more than {DOCUMENTS_MAX}, the most that one call takes.",
            hint=SPLIT,
        )
    return list(found.values())


def send_documents(session: Session, where: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """POST documents. Raises LimitExceeded `request.too_large` with the sizes and the way out, and what `post` raises."""
    try:
        return session.api.post(where, body)
    except LimitExceeded as problem:
        if problem.code != "request.too_large":
            raise
        limit = problem.fields.get("limit_bytes")
        size = len(json.dumps(body, ensure_ascii=False).encode())
        raise LimitExceeded(
            problem.code,
            f"The {len(body['documents'])} documents are {size} bytes together; the server takes {limit} in one call.",
            hint=f"{SPLIT} Or raise web.body_bytes_max on the server.",
            retryable=False,
            **problem.fields,
        ) from problem


def _expectations(said: tuple[str, ...]) -> dict[str, int]:
    """`policy/limits=3` as the API takes it. Raises Invalid `cli.usage`."""
    found: dict[str, int] = {}
    for one in said:
        key, _, version = one.partition("=")
        if "/" not in key or not (version.isascii() and version.isdigit()):
            raise Invalid("cli.usage", f"{one!r} is no KIND/NAME=VERSION.", hint="Write --expect policy/limits=3.")
        found[key] = int(version)
    return found


@click.command()
@click.option(
    "-f",
    "--file",
    "paths",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder or file; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--changelog", default="", help="Why, kept with each version.")
@click.option(
    "--expect",
    "expected",
    multiple=True,
    metavar="KIND/NAME=VERSION",
    help="Refuse if another version is live by now (0: none); may be repeated.",
)
@click.option("--environment", help="Show the plan, and refuse if the server is another environment.")
@click.option("--yes", is_flag=True, help="Do not ask on a terminal.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="With --dry-run: keep the plan in a file.")
@click.option(
    "--plan",
    "kept",
    type=click.Path(exists=True, path_type=Path, dir_okay=False),
    help="Apply a kept plan, or nothing.",
)
@ruling.BREAK_GLASS
@click.option("--reason", help="With --break-glass: why.")
@remote
def apply(
    session: Session,
    paths: tuple[Path, ...],
    dry_run: bool,
    changelog: str,
    expected: tuple[str, ...],
    environment: str | None,
    yes: bool,
    out: Path | None,
    kept: Path | None,
    break_glass: bool,
    reason: str | None,
) -> None:
    """Publish the artifacts of a folder and make them live. What did not change stays as it is.

    On a terminal the plan is shown first: what changes in meaning, whose runs get it, what the gates say.
    """
    if bool(paths) == bool(kept):
        raise Invalid(
            "cli.usage", "Neither or both of a folder and a plan are named.", hint="Give -f FOLDER or --plan FILE."
        )
    if (out and not dry_run) or (kept and (dry_run or changelog or expected)):
        raise Invalid("cli.usage", "A plan is kept by --dry-run --out FILE, and applied as it is by --plan FILE alone.")
    body: dict[str, Any]
    if kept:
        body = apply_plan.read(kept)
    else:
        body = {"documents": read_documents(paths), "dry_run": dry_run, "changelog": changelog}
        if expected:
            body["expected"] = _expectations(expected)
    if environment:
        body["environment"] = environment
    if break_glass != bool(reason):
        raise Invalid("cli.usage", "--break-glass and --reason go together.", hint="Say why: --break-glass --reason …")
    if reason:
        body["break_glass"] = reason
    person = apply_plan.is_asked()
    shown = not kept and bool(out or environment or (person and not yes))
    if shown and not _planned(session, body, out=out, asks=person and not (yes or dry_run)):
        output.note("Nothing was changed.")
        click.get_current_context().exit(1)
    # The plan, where it was shown, has said already what the gates say.
    _done(session, send_documents(session, "/api/artifacts/apply", body), dry_run=dry_run, told=shown)


def _planned(session: Session, body: dict[str, Any], *, out: Path | None, asks: bool) -> bool:
    """Show the plan; whether to go on. Who was asked gets what was shown, or nothing."""
    plan = send_documents(session, "/api/artifacts/plan", {"documents": body["documents"]})
    here, wanted = plan["environment"], body.get("environment")
    if wanted and wanted != here:
        raise Conflict(
            "release.other_environment",
            f"This deployment is the environment {here}, not {wanted}. Nothing was changed.",
            hint="Name the server of the other one (--profile, --url).",
        )
    apply_plan.show(plan)
    if out:
        apply_plan.keep(out, plan, body)
    if not asks:
        return True
    body["expected"] = {**plan["expected"], **body.get("expected", {})}
    return apply_plan.agreed(plan)


def _done(session: Session, answer: dict[str, Any], *, dry_run: bool, told: bool) -> None:
    problems.report_issues([{**issue, "severity": "warning"} for issue in answer.get("warnings", [])])
    changes: list[dict[str, Any]] = answer["changes"]
    if session.form == "table":
        session.list(changes, _SHOWN)
    elif session.form == "id":
        session.list(changes, _SHOWN, key="name")
    else:
        output.write_document(session.form, answer)
    changed = sum(change["change"] != "unchanged" for change in changes)
    done = "would change" if dry_run else "changed"
    said = f"{changed} {done}, {len(changes) - changed} unchanged" if changed else "Everything is unchanged"
    output.note(f"{said} in environment {answer['environment']}.")
    gates: dict[str, Any] = answer.get("gates") or {}
    if dry_run and not told:
        ruling.tell(gates)
    elif gates.get("broken_glass"):
        ruling.warn(gates["broken_glass"])
