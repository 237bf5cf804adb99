"""Artifacts: immutable, content-addressed, versioned things that change behaviour.

A version is inserted once and never changed (the database roles hold no UPDATE). Numbers of a name are gapless from 1,
also under concurrent publishes; a digest occurs once per name. Which version is live is `releases`' business.
"""

from stanchion.artifacts.routes import KindPath, NamePath, VersionQuery, build_router
from stanchion.artifacts.rules import BODY_BYTES_MAX, Placed, place, unstorable
from stanchion.artifacts.service import content_digest, history, list_artifacts, load, publish, show, versions
from stanchion.artifacts.types import ArtifactSummary, ArtifactVersion, KindSpec, PublishChange
from stanchion.blueprints import Document, Parsed

__all__ = [
    "BODY_BYTES_MAX",
    "ArtifactSummary",
    "ArtifactVersion",
    "Document",
    "KindPath",
    "KindSpec",
    "NamePath",
    "Parsed",
    "Placed",
    "PublishChange",
    "VersionQuery",
    "build_router",
    "content_digest",
    "history",
    "list_artifacts",
    "load",
    "place",
    "publish",
    "show",
    "unstorable",
    "versions",
]
