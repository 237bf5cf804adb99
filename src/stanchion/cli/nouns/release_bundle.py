"""`stanchion release` between deployments: export, import, bundles, keys, trust, verify, and promote from one to another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from stanchion.base.errors import Conflict, Invalid, LimitExceeded
from stanchion.cli import output
from stanchion.cli.client import Api, path
from stanchion.cli.kit import Session, limit_options, local, reason_option, remote
from stanchion.cli.nouns import apply_plan
from stanchion.cli.nouns.named import ARTIFACT
from stanchion.cli.profiles import find_profile

# As the server reads (releases.bundles); a larger file is not even sent.
FILE_BYTES_MAX = 16 << 20
_HELD = output.columns("kind", "name", "version", "live", "evidence", "digest")
_ARRIVED = output.columns("kind", "name", "there=origin_version", "here=version", "change", "live", "digest")
_CARRIED = output.columns("kind", "name", "from=origin_version", "to=version", "before", "change", "digest")
_BUNDLES = output.columns(
    "imported=imported_at", "by=imported_by", "from=origin.environment", "exported by=origin.exported_by", "reason", "digest",
)  # fmt: skip
_KEY = output.columns("public key=public_key", "fingerprint", "environment", "tenant")
_TRUSTED = output.columns(
    "name", "tenant", "environment", "added=added_at", "by=added_by", "reason", "removed=removed_at", "fingerprint",
)  # fmt: skip
_VERIFIED = output.columns("kind", "name", "version", "author", "evidence", "digest")


@click.command()
@click.argument("artifacts", type=ARTIFACT, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Everything that is live.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@reason_option
@remote
def export(session: Session, artifacts: tuple[dict[str, Any], ...], everything: bool, out: Path, reason: str) -> None:
    """Write a signed bundle: the versions named (the live ones, or KIND/NAME@VERSION) and everything they refer to."""
    if bool(artifacts) == everything:
        raise Invalid("cli.usage", "Nothing or too much is named.", hint="Name KIND/NAME[@VERSION] …, or give --all.")
    body = {"artifacts": list(artifacts), "everything": everything, "reason": reason}
    made: dict[str, Any] = session.api.post(path("bundles", "export"), body)
    try:
        out.write_bytes(made["bundle"].encode("ascii"))
    except OSError as error:
        raise Conflict("cli.unwritable", f"{out} cannot be written: {error.strerror}.", hint="Name another.") from error
    if session.form in {"table", "id"}:
        session.list(made["artifacts"], _HELD, key="digest")
    else:
        output.write_document(session.form, {name: value for name, value in made.items() if name != "bundle"})
    output.note(f"Wrote {out}: bundle {made['digest']}, signed by {made['fingerprint']}.")


def _read(file: Path) -> str:
    """The text of a bundle's file. Raises Invalid as the server would."""
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid("cli.usage", f"{file} cannot be read: {error.strerror}.") from error
    if len(data) > FILE_BYTES_MAX:
        raise Invalid("bundle.too_large", f"{file} has more than {FILE_BYTES_MAX} bytes.", hint="Is it a bundle?")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise Invalid(
            "bundle.malformed", f"{file} is no bundle.", hint="`stanchion release export` writes one."
        ) from None


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Make every check, and keep nothing.")
@click.option("--apply", "live", is_flag=True, help="Make it live here afterwards, with the gates of this environment.")
@click.option("--environment", help="Refuse if the server is another environment.")
@reason_option
@remote
def import_(session: Session, file: Path, dry_run: bool, live: bool, environment: str | None, reason: str) -> None:
    """Take a bundle in: verified, computed again, published with the same digests. Nothing is live by it."""
    done = _import(session.api, _read(file), reason, dry_run=dry_run, live=live, environment=environment)
    if done["applied"] is not None and not dry_run:
        done = {**done, "artifacts": [{**one, "live": True} for one in done["artifacts"]]}
    if session.form in {"table", "id"}:
        session.list(done["artifacts"], _ARRIVED, key="digest")
    else:
        output.write_document(session.form, done)
    _tell(done, dry_run=dry_run)


def _import(
    api: Api, bundle: str, reason: str, *, dry_run: bool, live: bool, environment: str | None
) -> dict[str, Any]:
    body = {"bundle": bundle, "reason": reason, "dry_run": dry_run, "apply": live, "environment": environment}
    try:
        return api.post(path("bundles", "import"), body)
    except LimitExceeded as problem:
        if problem.code != "request.too_large":
            raise
        raise LimitExceeded(
            problem.code,
            f"The bundle has {len(bundle)} bytes; the server takes {problem.fields.get('limit_bytes')} in one call.",
            hint="Export fewer artifacts at a time, what others refer to first, or raise web.body_bytes_max there.",
            retryable=False,
            **problem.fields,
        ) from problem


def _tell(done: dict[str, Any], *, dry_run: bool) -> None:
    origin = done["origin"]
    new = sum(one["change"] == "new" for one in done["artifacts"])
    output.note(
        f"From {origin['environment']}, exported by {origin['exported_by']} at {origin['exported_at'][:19]}Z,"
        f" signed by the key {done['signer']}."
    )
    for misfit in done["misfits"]:
        output.note(f"Not to be made live as it is: {misfit}")
    would = " would be" if dry_run else ""
    state = (
        "The bundle was here before" if done["known"] else f"{new}{would} new, {len(done['artifacts']) - new} unchanged"
    )
    moved = None if done["applied"] is None else sum(c["change"] != "unchanged" for c in done["applied"]["changes"])
    live = ", nothing is live by it" if moved is None else f", {moved} made live"
    output.note(f"{state}{live} in environment {done['environment']}.")


@click.command()
@limit_options
@remote
def bundles(session: Session, limit: int, everything: bool) -> None:
    """List the bundles that were imported here, the newest first."""
    session.list(session.api.items(path("bundles"), limit=None if everything else limit), _BUNDLES, key="digest")


@click.group()
def keys() -> None:
    """The key that this deployment signs bundles with."""


@keys.command("show")
@click.option("--pem", is_flag=True, help="In the form that OpenSSL reads.")
@remote
def show_key(session: Session, pem: bool) -> None:
    """Show the public key and its fingerprint; -o id prints what `trust add` takes. The secret key never leaves its file."""
    found: dict[str, Any] = session.api.get(path("signing-key"))
    if pem:
        click.echo(found["pem"], nl=False)
    else:
        session.one(found, _KEY, key="public_key")


@click.group()
def trust() -> None:
    """Whose bundles are taken in."""


@trust.command("add")
@click.argument("name")
@click.option(
    "--key", "public_key", required=True, help="ed25519:BASE64 as `keys show -o id` prints it; - for standard input."
)
@click.option("--tenant", help="The tenant there (default: the one called as yours).")
@click.option("--environment", help="The environment there (default: any).")
@reason_option
@remote
def add_trust(
    session: Session, name: str, public_key: str, tenant: str | None, environment: str | None, reason: str
) -> None:
    """Take in bundles that a key signs. Compare the fingerprint with its owner on another way first."""
    text = sys.stdin.read(4096) if public_key == "-" else public_key
    body = {"name": name, "public_key": text, "tenant": tenant, "environment": environment, "reason": reason}
    session.one(session.api.post(path("trusted-keys"), body), _TRUSTED, key="name")


@trust.command("list")
@click.option("--removed", is_flag=True, help="Also those that were trusted.")
@limit_options
@remote
def list_trust(session: Session, removed: bool, limit: int, everything: bool) -> None:
    """List the keys whose bundles are taken in."""
    found = session.api.items(path("trusted-keys"), removed=removed or None, limit=None if everything else limit)
    session.list(found, _TRUSTED, key="name")


@trust.command("remove")
@click.argument("name")
@reason_option
@remote
def remove_trust(session: Session, name: str, reason: str) -> None:
    """Take in no more bundles of a key. What came stays; `stanchion release revoke` stops it."""
    session.one(session.api.post(path("trusted-keys", name, "remove"), {"reason": reason}), _TRUSTED, key="name")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", required=True, help="The public key it has to be signed with.")
@local
def verify(session: Session, file: Path, key: str) -> None:
    """Verify a bundle without any server: its form, its signature, every digest in it."""
    from stanchion.releases.bundles import PublicKey, codec, envelope  # noqa: PLC0415 - 300 ms that only this verb pays

    opened = envelope.open_file(_read(file).encode("ascii"))
    envelope.check_signature(opened, PublicKey.parse(key))
    bundle = codec.decode(opened.payload)
    rows: list[dict[str, Any]] = [
        {
            "kind": m.kind,
            "name": m.name,
            "version": m.version,
            "author": m.author,
            "evidence": len(m.evidence),
            "digest": m.digest,
        }
        for m in bundle.members
    ]
    if session.form in {"table", "id"}:
        session.list(rows, _VERIFIED, key="digest")
    else:
        output.write_document(
            session.form,
            {
                "digest": bundle.digest,
                "content": bundle.content,
                "origin": codec.origin_json(bundle.origin),
                "artifacts": rows,
            },
        )
    output.note(f"Bundle {bundle.digest} is whole, and signed by {opened.fingerprint}.")


def carry(
    session: Session,
    artifacts: tuple[dict[str, Any], ...],
    source: str,
    target: str | None,
    *,
    reason: str,
    yes: bool,
    dry_run: bool,
) -> None:
    """Promote from one deployment to another: export there, import and apply here, each by its own HTTP API and with its
    own key and permissions.

    Raises Invalid `cli.usage`; Conflict `cli.promoted_otherwise` if what is live afterwards has other digests.
    """
    if not target or target == source:
        raise Invalid(
            "cli.usage", "Say from where to where.", hint="Write --from staging --to production: two profiles."
        )
    one, other = _api(session, source), _api(session, target)
    try:
        here: dict[str, Any] = other.get("/api/whoami")
        made: dict[str, Any] = one.post(
            path("bundles", "export"), {"artifacts": list(artifacts), "everything": False, "reason": reason}
        )
        environment = str(here["environment"])
        planned = _import(other, made["bundle"], reason, dry_run=True, live=True, environment=environment)
        before = _live(other, planned["artifacts"])
        rows = _rows(planned, before)
        asks = not (yes or dry_run) and apply_plan.is_asked()
        if dry_run or (asks and not _agreed(rows, planned, here)):
            session.list(rows, _CARRIED, key="digest")
            output.note("Nothing was changed.")
            click.get_current_context().exit(1 if asks else 0)
        done = _import(other, made["bundle"], reason, dry_run=False, live=True, environment=environment)
        after = _live(other, done["artifacts"])
        rows = _rows(done, before)
        session.list(rows, _CARRIED, key="digest")
        wrong = [key for m in made["artifacts"] if after.get(key := (m["kind"], m["name"])) != m["digest"]]
        if wrong:
            raise Conflict(
                "cli.promoted_otherwise",
                f"In {environment} another digest is live of {', '.join('/'.join(key) for key in wrong)}.",
                hint="Somebody released it meanwhile; see `stanchion release history`.",
            )
        output.note(
            f"{len(rows)} live in {environment} with the digests of {done['origin']['environment']}; bundle {done['digest']}."
        )
    finally:
        one.close()
        other.close()


def _api(session: Session, profile: str) -> Api:
    found = find_profile(session.environment, url=None, name=profile, data=None)
    return Api(found.url, found.token)


def _live(api: Api, rows: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """The digest that is live of each of these artifacts, where one is."""
    wanted = {(row["kind"], row["name"]) for row in rows}
    found = {(row["kind"], row["name"]): str(row["digest"]) for row in api.items(path("releases"))}
    return {key: found[key] for key in wanted & found.keys()}


def _rows(done: dict[str, Any], before: dict[tuple[str, str], str]) -> list[dict[str, Any]]:
    """What an import with its apply did, or would do, to each artifact. Both answers are in the order of kind and name."""
    return [
        {**row, "before": before.get((row["kind"], row["name"])), "change": change["change"]}
        for row, change in zip(done["artifacts"], done["applied"]["changes"], strict=True)
    ]


def _agreed(rows: list[dict[str, Any]], planned: dict[str, Any], here: dict[str, Any]) -> bool:
    """Whether to go on: the person at the terminal is shown what would become live and what the gates say, and asked."""
    for row in rows:
        click.echo(f"  {row['kind']}/{row['name']} {row['digest'][:19]}…  {row['change']}", err=True)
    for line in apply_plan.gate_lines(planned["applied"].get("gates")):
        click.echo(line, err=True)
    kind = ", production" if here["production"] else ""
    return click.confirm(f"Make these live in {here['environment']}{kind}?", err=True)
