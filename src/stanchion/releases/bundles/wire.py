"""What bundles, trusted keys and plans look like over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from stanchion.artifacts import Document
from stanchion.artifacts.routes import DiffReply
from stanchion.http import Model, Reply, example
from stanchion.releases.bundles.planning import ApplyPlan
from stanchion.releases.bundles.types import (
    FILE_BYTES_MAX,
    MEMBERS_MAX,
    Exported,
    ImportChange,
    Imported,
    TrustedKey,
)
from stanchion.releases.gates.answers import RulingReply
from stanchion.releases.rollouts import Target
from stanchion.releases.routes import AppliedReply, ChangeReply, IssueReply
from stanchion.releases.types import Applied, ReleaseChange

_DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_BUNDLE = "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
_FINGERPRINT = "sha256:9f4e5c2d8a6b1c3f7e0d9b8a7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d"
# The public key of RFC 8032 §7.1, TEST 1.
PUBLIC_KEY = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
_ORIGIN: dict[str, Any] = {
    "environment": "staging",
    "production": False,
    "tenant": "default",
    "exported_by": "ada",
    "exported_at": "2026-11-18T09:00:00Z",
    "reason": "Warmer words, tried for a week.",
    "stanchion": "0.1.0",
}
_FILE = '{"payload":"…","payloadType":"application/vnd.stanchion.release-bundle.v1+json","signatures":[…]}\n'
_HELD: dict[str, Any] = {"kind": "policy", "name": "supervisor-approval", "version": 2, "digest": _DIGEST}

_Kind = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
_Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
_Text = Annotated[str, StringConstraints(max_length=1_048_576, pattern=r"^[^\x00]*$")]
_FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]
_Tenant = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f]+$")]


class VersionBody(Model):
    """An artifact, and a version of it; without one, the live one."""

    kind: _Kind
    name: _Name
    version: int | None = Field(default=None, ge=1, le=2**31 - 1)


class ExportRequest(Model):
    """What to take along; everything that it refers to comes with it."""

    model_config = example(
        {"artifacts": [{"kind": "policy", "name": "supervisor-approval"}], "reason": "Next: production."}
    )

    artifacts: list[VersionBody] = Field(default_factory=list[VersionBody], max_length=MEMBERS_MAX)
    everything: bool = Field(default=False, description="Everything that is live, instead of `artifacts`.")
    reason: _Reason

    def read(self) -> list[Target]:
        """The artifacts, as the verb takes them."""
        return [Target(kind=a.kind, name=a.name, version=a.version) for a in self.artifacts]


class OriginReply(Reply):
    """Where a bundle was made, by whom, when and why, in the words of its signer."""

    model_config = example(_ORIGIN)

    environment: str
    production: bool
    tenant: str
    exported_by: str
    exported_at: datetime
    reason: str
    stanchion: str


class HeldReply(Reply):
    """A version in a bundle. `selected`: it was asked for, and is not only referred to; `evidence`: records with it."""

    model_config = example({**_HELD, "live": True, "selected": True, "evidence": 0})

    kind: str
    name: str
    version: int
    digest: str
    live: bool
    selected: bool
    evidence: int


class ExportReply(Reply):
    """A bundle: `bundle` is the text of its file, byte for byte; the rest says what is in it."""

    model_config = example(
        {
            "bundle": _FILE,
            "digest": _BUNDLE,
            "content": _DIGEST,
            "fingerprint": _FINGERPRINT,
            "origin": _ORIGIN,
            "artifacts": [{**_HELD, "live": True, "selected": True, "evidence": 0}],
        }
    )

    bundle: str
    digest: str
    content: str
    fingerprint: str
    origin: OriginReply
    artifacts: list[HeldReply]

    @classmethod
    def of(cls, made: Exported) -> ExportReply:
        """The reply of an export."""
        selected = set(made.bundle.selected)
        return cls(
            bundle=made.data.decode("ascii"),
            digest=made.bundle.digest,
            content=made.bundle.content,
            fingerprint=made.fingerprint,
            origin=OriginReply.model_validate(made.bundle.origin),
            artifacts=[
                HeldReply(
                    kind=m.kind,
                    name=m.name,
                    version=m.version,
                    digest=m.digest,
                    live=m.live,
                    selected=m.key in selected,
                    evidence=len(m.evidence),
                )
                for m in made.bundle.members
            ],
        )


class ImportRequest(Model):
    """A bundle to take in. `apply`: make what it holds live afterwards, with the gates of this environment."""

    model_config = example({"bundle": _FILE, "reason": "Tried in staging.", "dry_run": True})

    bundle: str = Field(min_length=1, max_length=FILE_BYTES_MAX, description="The text of the file, byte for byte.")
    reason: _Reason
    dry_run: bool = False
    apply: bool = False
    environment: _Name | None = Field(
        default=None, description="The environment that you mean; 409 if this deployment is another one."
    )
    break_glass: _Reason | None = Field(
        default=None, description="With `apply`: why it is made live although its gates say no. Reviewed afterwards."
    )


class ArrivedReply(Reply):
    """One artifact of an import: `version` is its number here, `origin_version` there; `live`: before any apply."""

    model_config = example({**_HELD, "change": "new", "live": False, "origin_version": 7})

    kind: str
    name: str
    version: int
    digest: str
    change: ImportChange
    live: bool
    origin_version: int


def applied_reply(applied: Applied) -> AppliedReply:
    """What an apply did, as its own route says it."""
    return AppliedReply(
        environment=applied.environment,
        changes=[ChangeReply.model_validate(change) for change in applied.changes],
        warnings=[IssueReply.model_validate(issue) for issue in applied.warnings],
        gates=RulingReply.of(applied.ruling),
    )


class ImportReply(Reply):
    """What an import did, or for a dry run would do. `known`: this very bundle was here before. `misfits`: why making it
    live as it is would be refused."""

    model_config = example(
        {
            "digest": _BUNDLE,
            "content": _DIGEST,
            "fingerprint": _FINGERPRINT,
            "signer": "staging",
            "origin": _ORIGIN,
            "environment": "production",
            "known": False,
            "artifacts": [{**_HELD, "change": "new", "live": False, "origin_version": 7}],
            "misfits": [],
            "applied": None,
        }
    )

    digest: str
    content: str
    fingerprint: str
    signer: str
    origin: OriginReply
    environment: str
    known: bool
    artifacts: list[ArrivedReply]
    misfits: list[str]
    applied: AppliedReply | None

    @classmethod
    def of(cls, imported: Imported, applied: Applied | None) -> ImportReply:
        """The reply of an import."""
        return cls(
            digest=imported.bundle.digest,
            content=imported.bundle.content,
            fingerprint=imported.fingerprint,
            signer=imported.signer,
            origin=OriginReply.model_validate(imported.bundle.origin),
            environment=imported.environment,
            known=imported.known,
            artifacts=[ArrivedReply.model_validate(one) for one in imported.arrived],
            misfits=list(imported.misfits),
            applied=None if applied is None else applied_reply(applied),
        )


class ImportedReply(Reply):
    """A bundle that was taken in."""

    model_config = example(
        {
            "digest": _BUNDLE,
            "content": _DIGEST,
            "fingerprint": _FINGERPRINT,
            "origin": _ORIGIN,
            "imported_at": "2026-11-18T09:05:00Z",
            "imported_by": "bob",
            "reason": "Tried in staging.",
        }
    )

    digest: str
    content: str
    fingerprint: str
    origin: OriginReply
    imported_at: datetime
    imported_by: str
    reason: str


class OriginOfReply(Reply):
    """A bundle that a version came with, its author and number there, and the records of gates that came along."""

    model_config = example({"bundle": _BUNDLE, "author": "ada", "origin_version": 7, "origin": _ORIGIN, "evidence": []})

    bundle: str
    author: str
    origin_version: int
    origin: OriginReply
    evidence: list[dict[str, Any]]


class OriginsReply(Reply):
    """Where a version came from, the newest bundle first; empty if it was written here."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"origins": []}]})

    origins: list[OriginOfReply]


class SigningKeyReply(Reply):
    """The public half of the key that this deployment signs with, in three forms."""

    model_config = example(
        {
            "public_key": PUBLIC_KEY,
            "fingerprint": _FINGERPRINT,
            "pem": "-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n",
            "environment": "staging",
            "tenant": "default",
        }
    )

    public_key: str
    fingerprint: str
    pem: str
    environment: str
    tenant: str


class TrustRequest(Model):
    """A key to trust: for bundles of one tenant (the one called as this, if left out), and one environment, or any."""

    model_config = example(
        {
            "name": "staging",
            "public_key": PUBLIC_KEY,
            "tenant": "default",
            "environment": "staging",
            "reason": "Our own staging, read over the telephone.",
        }
    )

    name: _Name
    public_key: str = Field(max_length=2000, description="`ed25519:BASE64`, or PEM.")
    tenant: _Tenant | None = None
    environment: _Name | None = None
    reason: _Reason


class DistrustRequest(Model):
    """Why a key is trusted no more."""

    model_config = example({"reason": "Staging got a new key."})

    reason: _Reason


class TrustedReply(Reply):
    """A key that is or was trusted."""

    model_config = example(
        {
            "id": "01a20133-bb93-7061-a222-41b34a2bc8b2",
            "name": "staging",
            "fingerprint": _FINGERPRINT,
            "public_key": PUBLIC_KEY,
            "tenant": "default",
            "environment": "staging",
            "added_by": "ada",
            "added_at": "2026-11-18T09:00:00Z",
            "reason": "Our own staging, read over the telephone.",
            "removed_by": None,
            "removed_at": None,
            "removal_reason": None,
        }
    )

    id: UUID
    name: str
    fingerprint: str
    public_key: str
    tenant: str
    environment: str | None
    added_by: str
    added_at: datetime
    reason: str
    removed_by: str | None
    removed_at: datetime | None
    removal_reason: str | None

    @classmethod
    def of(cls, row: TrustedKey) -> TrustedReply:
        """The reply of a trusted key."""
        return cls(
            id=row.id,
            name=row.name,
            fingerprint=row.fingerprint,
            public_key=row.public_key,
            tenant=row.origin_tenant,
            environment=row.origin_environment,
            added_by=row.added_by,
            added_at=row.added_at,
            reason=row.reason,
            removed_by=row.removed_by,
            removed_at=row.removed_at,
            removal_reason=row.removal_reason,
        )


class PlanDocument(Model):
    """A file: its path as the author knows it, and its text."""

    path: _FilePath
    source: _Text


_PLAN_SOURCE = """policy: supervisor-approval
type: approval
owner: casework
facts: {type: object, required: [fine_eur], properties: {fine_eur: {type: number}}}
when: facts.fine_eur > 50000.0
"""


class PlanRequest(Model):
    """A set of documents, as an apply would get them."""

    model_config = example({"documents": [{"path": "policies/supervisor-approval.yaml", "source": _PLAN_SOURCE}]})

    documents: list[PlanDocument] = Field(min_length=1, max_length=500)

    def read(self) -> list[Document]:
        """The documents as the verbs take them."""
        return [Document(path=d.path, source=d.source) for d in self.documents]


_PLANNED: dict[str, Any] = {
    **_HELD,
    "change": "updated",
    "live_version": 1,
    "diff": None,
    "reaches": ["case-triage"],
}


class PlannedReply(Reply):
    """One artifact of a plan: `live_version` is replaced (0: none), `reaches` Blueprints whose new runs get it."""

    model_config = example(_PLANNED)

    kind: str
    name: str
    version: int
    digest: str
    change: ReleaseChange
    live_version: int
    diff: DiffReply | None
    reaches: list[str]


class PlanReply(Reply):
    """What an apply would do. Given `expected`, an apply does this or nothing."""

    model_config = example(
        {
            "environment": "local",
            "production": False,
            "changes": [_PLANNED],
            "warnings": [],
            "gates": None,
            "expected": {"policy/supervisor-approval": 1},
        }
    )

    environment: str
    production: bool
    changes: list[PlannedReply]
    warnings: list[IssueReply]
    gates: RulingReply | None = Field(description="What the gates say of what would move; null if nothing does.")
    expected: dict[str, int]

    @classmethod
    def of(cls, plan: ApplyPlan) -> PlanReply:
        """The reply of a plan."""
        return cls(
            environment=plan.environment,
            production=plan.production,
            changes=[PlannedReply.model_validate(change) for change in plan.changes],
            warnings=[IssueReply.model_validate(issue) for issue in plan.warnings],
            gates=RulingReply.of(plan.ruling),
            expected={f"{kind}/{name}": version for (kind, name), version in plan.expected.items()},
        )
