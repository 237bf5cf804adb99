"""Sending a secret's value: sealed on this machine, for the broker alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stanchion.base.clock import SystemClock
from stanchion.base.errors import Conflict, Denied
from stanchion.base.ids import SystemIds
from stanchion.cli.client import Api, path


def send_sealed(
    api: Api, where: str, body: Mapping[str, Any], fields: Mapping[str, str], *, wanted_key: str | None = None
) -> tuple[dict[str, Any], str]:
    """Seal `fields` and post them with `body`, whose `name` they belong to; once more if the broker's key was changed in
    between.

    Returns the answer, and the fingerprint of the key that the value was sealed to.

    Raises Denied `cli.other_sealing_key` if that is not `wanted_key`, and what the server says.
    """
    try:
        return _sent(api, where, body, fields, wanted_key)
    except Conflict as problem:
        if problem.code != "secret.other_sealing_key":
            raise
    return _sent(api, where, body, fields, wanted_key)


def keep_secret(api: Api, name: str, fields: Mapping[str, str], *, connectors: Sequence[str]) -> None:
    """Set a secret of this deployment's environment; one that is there gets the new value at once, its old one ends."""
    try:
        send_sealed(api, path("secrets"), {"name": name, "connectors": list(connectors)}, fields)
    except Conflict as problem:
        if problem.code != "secret.exists":
            raise
        send_sealed(api, path("secrets", "rotate"), {"name": name, "grace_s": 0}, fields)


def _sent(
    api: Api, where: str, body: Mapping[str, Any], fields: Mapping[str, str], wanted_key: str | None
) -> tuple[dict[str, Any], str]:
    from stanchion.secrets import SecretRef  # noqa: PLC0415 - cryptography loads when it is needed
    from stanchion.secrets.sealing import fingerprint, public_key, sealed  # noqa: PLC0415 - as above

    key: dict[str, str] = api.get(path("secrets", "sealing-key"))
    public = public_key(key["public"])
    found = fingerprint(public)  # of the key itself: what the server calls it is not believed
    if wanted_key is not None and found != wanted_key:
        raise Denied(
            "cli.other_sealing_key",
            f"The server's sealing key is {found}, not {wanted_key}; nothing was sent.",
            hint="Ask who runs the broker for its fingerprint: between you and it there may be somebody else.",
        )
    local = SecretRef.named(str(body["name"])).path
    text = sealed(public, fields, tenant=key["tenant"], path=local, ids=SystemIds(SystemClock()))
    return api.post(where, {**body, "key_id": found, "sealed": text}), found
