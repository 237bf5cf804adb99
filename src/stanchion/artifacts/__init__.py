"""Artifacts: immutable, content-addressed, versioned things that change behaviour.

A version is inserted once and never changed (the database roles hold no UPDATE). Numbers of a name are gapless from 1,
also under concurrent publishes; a digest occurs once per name. Which version is live is `releases`' business.
"""

from stanchion.artifacts.credentials import Credential, credentials_in, secret_issues
from stanchion.artifacts.diff import Diff, Edit, Side, Word, diff_of
from stanchion.artifacts.rules import BODY_BYTES_MAX, Placed, labels_of, place, risk_of, unstorable
from stanchion.artifacts.service import (
    content_digest,
    diff,
    history,
    list_artifacts,
    load,
    publish,
    retire,
    show,
    versions,
)
from stanchion.artifacts.types import (
    KINDS,
    ArtifactSummary,
    ArtifactVersion,
    KindSpec,
    LiveIn,
    PublishChange,
    Referrer,
    Risk,
    Usage,
)
from stanchion.blueprints import Document, Parsed

__all__ = [
    "BODY_BYTES_MAX",
    "KINDS",
    "ArtifactSummary",
    "ArtifactVersion",
    "Credential",
    "Diff",
    "Document",
    "Edit",
    "KindSpec",
    "LiveIn",
    "Parsed",
    "Placed",
    "PublishChange",
    "Referrer",
    "Risk",
    "Side",
    "Usage",
    "Word",
    "content_digest",
    "credentials_in",
    "diff",
    "diff_of",
    "history",
    "labels_of",
    "list_artifacts",
    "load",
    "place",
    "publish",
    "retire",
    "risk_of",
    "secret_issues",
    "show",
    "unstorable",
    "versions",
]
