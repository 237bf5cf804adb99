"""Pure decisions of keeping: what may be set, rotated, granted, removed, and what a problem says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from stanchion.base import Conflict, Invalid, NotFound
from stanchion.secrets.keeping.types import Kept, Reference, Version
from stanchion.secrets.references import SecretRef

# An hour is longer than any step's call, and shorter than people forget to end the old credential at its target.
GRACE_S_DEFAULT: Final = 3600
GRACE_S_MAX: Final = 30 * 86_400
CONNECTORS_MAX: Final = 100
VERSION_MAX: Final = 2**31 - 1
# A trigger has its webhook's secret as `trigger:NAME`, which no connector can be called.
_CONNECTOR: Final = re.compile(r"(?:trigger:)?[a-z][a-z0-9-]{0,62}")
_ENVIRONMENT: Final = re.compile(r"[a-z][a-z0-9-]{0,62}")


def local_path(text: str) -> str:
    """The path of a local secret. Raises as `SecretRef.named`; Invalid `secret.read_only` for other providers."""
    ref = SecretRef.named(text)
    if ref.provider != "local":
        raise Invalid(
            "secret.read_only",
            f"Values of provider {ref.provider} are not set here.",
            hint=f"Set it where it is kept; `stanchion secret grant {ref.name} --connector NAME` lets a connector have it.",
        )
    if ref.version is not None:
        raise Invalid("secret.not_whole", f"{ref} names one version.", hint=f"Name the secret: {ref.name}.")
    return ref.path


def check_connectors(names: Iterable[str]) -> tuple[str, ...]:
    """Names of connectors, sorted, each once. Raises Invalid `secret.bad_connector`."""
    found = tuple(sorted(set(names)))
    if len(found) > CONNECTORS_MAX:
        raise Invalid("secret.bad_connector", f"A secret is granted to at most {CONNECTORS_MAX} connectors.")
    for name in found:
        if not _CONNECTOR.fullmatch(name):
            raise Invalid(
                "secret.bad_connector",
                f"{name!r} is no connector's name.",
                hint="`stanchion connector list` shows them.",
            )
    return found


def check_environment(name: str) -> str:
    """The name of an environment. Raises Invalid `secret.bad_environment`."""
    if not _ENVIRONMENT.fullmatch(name):
        raise Invalid(
            "secret.bad_environment",
            f"{name!r} is no name of an environment.",
            hint="Small letters, digits and hyphens, such as `production`.",
        )
    return name


def until(now: datetime, grace_s: int) -> datetime:
    """When a version that is replaced now stops being valid. Raises Invalid `secret.bad_grace`."""
    if not 0 <= grace_s <= GRACE_S_MAX:
        raise Invalid(
            "secret.bad_grace",
            f"The grace is from 0 to {GRACE_S_MAX} seconds (30 days), not {grace_s}.",
            hint="It is how long the target accepts the old value beside the new one.",
        )
    return now + timedelta(seconds=grace_s)


def next_version(last: int) -> int:
    """The number after `last`. Raises Conflict `secret.too_many_versions`."""
    if last >= VERSION_MAX:
        raise Conflict("secret.too_many_versions", "This secret has had all the versions there can be.")
    return last + 1


def new(kept: Kept | None, name: str) -> None:
    """Return if a secret of that name can be made. Raises Conflict `secret.exists`."""
    if kept is not None:
        raise Conflict(
            "secret.exists",
            f"There is a secret {name}, set by {kept.set_by} at {kept.set_at:%Y-%m-%d %H:%M:%S} UTC; nothing was changed.",
            hint=f"stanchion secret rotate {name} replaces its value; `grant` changes who may have it.",
        )


def same_fields(kept: Kept, fields: Sequence[str]) -> None:
    """Return if the new version has the fields of the current one: references name them. Raises Conflict
    `secret.other_fields`."""
    lacking, added = set(kept.fields) - set(fields), set(fields) - set(kept.fields)
    if lacking or added:
        raise Conflict(
            "secret.other_fields",
            f"The new value of {kept.name} has the fields {', '.join(sorted(fields))}; the current one has"
            f" {', '.join(kept.fields)}. Nothing was changed.",
            hint="Give the same fields, or make another secret and refer to that.",
        )


def changed_meanwhile(name: str) -> Conflict:
    """The problem of two who change a secret at the same time."""
    return Conflict(
        "secret.changed_meanwhile",
        f"Somebody else changed the secret {name} at the same time; nothing was changed by this.",
        hint="See `stanchion secret list`, and try again if it is still right.",
    )


def unknown(name: str) -> NotFound:
    """The problem of a secret that is not there."""
    return NotFound(
        "secret.unknown",
        f"There is no secret {name}.",
        hint="`stanchion secret list` shows what there is.",
        secret=name,
    )


def may_end(found: Version | None, name: str, number: int) -> Version:
    """The version, if it can be ended before its grace is over. Raises NotFound `secret.unknown_version`, Conflict
    `secret.is_current`, `secret.already_ended`."""
    if found is None:
        raise NotFound("secret.unknown_version", f"The secret {name} has no version {number}.")
    if found.state == "current":
        raise Conflict(
            "secret.is_current",
            f"Version {number} of {name} is the current one; nothing was changed.",
            hint=f"stanchion secret rotate {name} replaces it, stanchion secret rm {name} removes the whole secret.",
        )
    if found.state == "ended":
        raise Conflict("secret.already_ended", f"Version {number} of {name} has ended already.")
    return found


def not_in_use(name: str, references: Sequence[Reference]) -> None:
    """Return if no live connector refers to it. Raises Conflict `secret.in_use`."""
    if references:
        places = ", ".join(f"{one.connector} ({one.place})" for one in references[:5])
        raise Conflict(
            "secret.in_use",
            f"Live connectors refer to the secret {name}: {places}; nothing was changed.",
            hint="Release connectors without it first, or remove it all the same with --force: their calls fail then.",
            connectors=sorted({one.connector for one in references}),
        )
