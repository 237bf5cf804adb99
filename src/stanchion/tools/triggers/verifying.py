"""Verifying a webhook: asked of the broker, which alone has the secret (I9), and done there.

The broker reads the live trigger itself; nothing that asks it says which secret is compared. For a trigger that does not
exist it does the same work with a secret that nobody has, so that the time of an answer does not tell which ones do.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from stanchion.base import Invalid, Json, Problem, Unavailable
from stanchion.context import Env
from stanchion.secrets import SecretRef, Secrets
from stanchion.tools.triggers import rules, store
from stanchion.tools.triggers.types import Webhook
from stanchion.tools.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, BadWebhook, verify

VERIFY: Final = "triggers.verify"
SIGNED: Final = (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER)
# The current secret and the one before it, while its grace lasts.
_SECRETS: Final = 2
_DECOY: Final = SecretRef(provider="local", path="no-such-trigger")
_DECOY_TENANT: Final = "-"
Ask = Callable[[str, Mapping[str, Json]], Awaitable[Mapping[str, Json]]]


class Verify(Protocol):
    """Asks whether a request is what a trigger's sender signed."""

    async def __call__(self, tenant: str, trigger: str, headers: Mapping[str, str], body: bytes) -> str:
        """Why it is refused, as a code for the metric; empty if it is believed. Raises Unavailable."""
        ...


def grantee_of(trigger: str) -> str:
    """By which name a secret is granted to a trigger; no connector can be called so."""
    return f"trigger:{trigger}"


@dataclass(frozen=True, slots=True)
class RemoteVerify:
    """Fills `Verify` over the broker's socket."""

    ask: Ask

    async def __call__(self, tenant: str, trigger: str, headers: Mapping[str, str], body: bytes) -> str:
        """As `Verify`."""
        signed: Json = {name: headers[name] for name in SIGNED if name in headers}
        said = await self.ask(
            VERIFY,
            {"tenant": tenant, "trigger": trigger, "headers": signed, "body": base64.b64encode(body).decode()},
        )
        refused = said.get("refused")
        return refused if isinstance(refused, str) else "unknown_answer"


async def _nobody(tenant: str, trigger: str, headers: Mapping[str, str], body: bytes) -> str:
    del tenant, trigger, headers, body
    raise Unavailable(
        "trigger.broker_away",
        "This process is connected to no broker, which alone can verify a webhook.",
        hint="Start `stanchion serve broker`, or see its log.",
    )


AWAY: Final[Verify] = _nobody


class Verifier:
    """Verifies inside the broker process."""

    def __init__(self, env: Env, secrets: Secrets) -> None:
        self._env = env
        self._secrets = secrets
        self._decoy = "whsec_" + base64.b64encode(env.ids.secret(32)).decode()

    async def answer(self, operation: str, said: Mapping[str, Json]) -> Mapping[str, Json]:
        """Do what a RemoteVerify asks. Raises Invalid `trigger.bad_call` for what none sends."""
        tenant, trigger, headers, text = (said.get(name) for name in ("tenant", "trigger", "headers", "body"))
        if not (
            operation == VERIFY
            and isinstance(tenant, str)
            and isinstance(trigger, str)
            and isinstance(headers, dict)
            and isinstance(text, str)
        ):
            raise Invalid("trigger.bad_call", "What is asked of the broker about a webhook has another form.")
        try:
            body = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise Invalid("trigger.bad_call", "The body of a webhook that is to be verified is no base64.") from None
        return {"refused": await self(tenant, trigger, {name: str(value) for name, value in headers.items()}, body)}

    async def __call__(self, tenant: str, trigger: str, headers: Mapping[str, str], body: bytes) -> str:
        """As `Verify`, with the secrets."""
        async with self._env.db.tenant_tx(tenant) as tx:
            found = await store.live_one(tx, tenant, self._env.environment.name, trigger)
        webhook = None if found is None else rules.webhook_of(found.body)
        known, problem = await self._known(tenant, trigger, webhook)
        tried = [*known, *[self._decoy] * (_SECRETS - len(known))]
        tolerance_s = 0.0 if webhook is None else webhook.tolerance_s
        try:
            verified = verify(tried, headers, body, now_s=self._env.clock.now().timestamp(), tolerance_s=tolerance_s)
        except BadWebhook as refused:
            return problem or refused.reason
        except ValueError:  # without its words: a secret that is none
            return "bad_secret"
        return "" if verified.secret < len(known) else "unknown"

    async def _known(self, tenant: str, trigger: str, webhook: Webhook | None) -> tuple[list[str], str]:
        """The secrets in force, and what kept them away."""
        place, ref = (_DECOY_TENANT, _DECOY) if webhook is None else (tenant, webhook.secret)
        asked, environment = grantee_of(trigger), self._env.environment.name
        try:
            current = await self._secrets.resolve(place, ref, environment=environment, connector=asked)
            previous = await self._secrets.previous(place, ref, environment=environment, connector=asked)
        except Problem as problem:
            return [], "unknown" if webhook is None else problem.code
        return [one.reveal() for one in (current, previous) if one is not None], ""
