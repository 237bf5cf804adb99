"""Bundles: releases that travel between deployments, and the plan of an apply.

A bundle is a DSSE envelope over canonical JSON: versions with everything that they refer to, what gates know of them, and
where they come from, signed with the deployment's key. A deployment takes in what a key signed that the tenant trusts, after
computing every digest again; versions keep their digests and get the numbers of this deployment. Nothing becomes live by it.
"""

from stanchion.releases.bundles.exporting import export
from stanchion.releases.bundles.importing import list_imports, origins, origins_of, show_import, take_in
from stanchion.releases.bundles.keys import PublicKey, SigningKey
from stanchion.releases.bundles.planning import ApplyPlan, Planned, plan
from stanchion.releases.bundles.trusting import distrust, list_trusted, trust
from stanchion.releases.bundles.types import (
    Arrived,
    Bundle,
    Exported,
    ImportChange,
    Imported,
    ImportRecord,
    Member,
    Origin,
    OriginOf,
    TrustedKey,
)

__all__ = [
    "ApplyPlan",
    "Arrived",
    "Bundle",
    "Exported",
    "ImportChange",
    "ImportRecord",
    "Imported",
    "Member",
    "Origin",
    "OriginOf",
    "Planned",
    "PublicKey",
    "SigningKey",
    "TrustedKey",
    "distrust",
    "export",
    "list_imports",
    "list_trusted",
    "origins",
    "origins_of",
    "plan",
    "show_import",
    "take_in",
    "trust",
]
