"""Releases: which version of an artifact is live in an environment, and how it gets there.

`apply` is the one way in: a set of documents, checked together, published and made live in one transaction. A run
resolves the closure of its Blueprint's references once and keeps it for life (I7); `Resolver` serves that from memory
and notices a release within half a second.
"""

from stanchion.releases.resolver import MAX_AGE_S, Compile, Resolver
from stanchion.releases.rules import issue_json
from stanchion.releases.service import (
    apply,
    diff_with_live,
    list_blueprints,
    list_releases,
    retire,
    show_blueprint,
    usage,
    validate,
)
from stanchion.releases.types import Applied, BlueprintSummary, Change, Checked, Release, ReleaseChange

__all__ = [
    "MAX_AGE_S",
    "Applied",
    "BlueprintSummary",
    "Change",
    "Checked",
    "Compile",
    "Release",
    "ReleaseChange",
    "Resolver",
    "apply",
    "diff_with_live",
    "issue_json",
    "list_blueprints",
    "list_releases",
    "retire",
    "show_blueprint",
    "usage",
    "validate",
]
