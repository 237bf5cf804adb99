"""The `webhook` adapter: a push is one signed POST (Standard Webhooks), for whoever receives to verify and to know again.

`webhook-id` is the idempotency key, so every attempt of one write carries the same; a receiver that keeps the ids it has
seen applies it once, which is what `idempotency: key` says of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final, cast

import aiohttp
from yarl import URL

from stanchion.base import Clock, Json, dumps
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.call import Call, any_target
from stanchion.tools.adapters.plain import PlainAdapter
from stanchion.tools.credentials import Credentials
from stanchion.tools.egress import Egress, Network, Sessions, origin_of
from stanchion.tools.types import Connector, Discovery, Envelope, Record
from stanchion.tools.webhooks import SIGNATURE_HEADER, sign

_RETRYABLE: Final = {408, 425, 429, 500, 502, 503, 504}
# A receiver that gave up waiting, or knows of a conflict, may have taken it: as the adapter `http` reads them.
_UNSURE: Final = {408, 409}
_RETRY_AFTER_S_MAX: Final = 86_400.0
# What of an answer is read so that its connection can be used again.
_ANSWER_BYTES_MAX: Final = 65_536


class WebhookAdapter(PlainAdapter):
    """See the module."""

    name = "webhook"
    settings_schema: Mapping[str, Schema] = {
        "base_url": {"type": "string", "pattern": "^https?://", "maxLength": 1000},
        "signing": {
            "type": "object",
            "required": ["secrets"],
            "additionalProperties": False,
            "properties": {
                "secrets": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 4,
                    "items": {"type": "string", "pattern": "^secret://", "maxLength": 500},
                }
            },
        },
    }
    settings_required: tuple[str, ...] = ("base_url", "signing")
    resource_schema: Mapping[str, Schema] = {
        "type": {"type": "string", "pattern": r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*\Z", "maxLength": 200},
        "path": {"type": "string", "pattern": r"^/[^?#\s]*\Z", "maxLength": 500},
    }
    resource_required: tuple[str, ...] = ("type",)
    operation_schemas: Mapping[str, Schema] = {
        "push": {
            "type": "object",
            "required": ["idempotency"],
            "additionalProperties": False,
            "properties": {"idempotency": {"enum": ["key", "none"]}, "effect": {"enum": ["write", "destructive"]}},
        }
    }
    refused: Mapping[str, str] = dict.fromkeys(("fetch", "lookup"), "A webhook is only sent.")

    def __init__(self, clock: Clock, network: Network) -> None:
        self._clock = clock
        self._network = network
        self._sessions = Sessions(clock)

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """The base URL: one way to read it, and with TLS unless the receiver is on a listed private host."""
        text = str(body["base_url"])
        try:
            _, endpoint = origin_of(text)
        except ValueError as error:
            yield ConfigIssue(pointer="/base_url", code="connector.bad_base_url", message=f"The URL {error}.")
            return
        if URL(text).query_string or URL(text).fragment:
            yield ConfigIssue(
                pointer="/base_url", code="connector.bad_base_url", message="The URL has a query or fragment."
            )
        egress = cast("Mapping[str, Json]", body.get("egress") or {})
        if URL(text).scheme == "http" and not egress.get("private"):
            yield ConfigIssue(
                pointer="/base_url",
                code="connector.bad_base_url",
                message=f"What is sent to {endpoint.host} could be read and held back on its way.",
                hint="Write https://. Without TLS only private hosts that the connector lists (`egress.private`) are called.",
            )

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """POST `{"type": …, "data": record}`, signed with every secret of the connector. A redirect is not followed."""
        call = Call(target=target, clock=self._clock)
        body = dumps({"type": target.resource.settings["type"], "data": dict(record)})
        headers = {
            "Content-Type": "application/json",
            **self._signed(target, idempotency_key, body),
            **({"traceparent": target.traceparent} if target.traceparent else {}),
        }
        session = await self._sessions.of(Egress.of(target.connector, self._network))
        call.calls += 1
        try:
            async with session.post(
                _url(target.connector, str(target.resource.settings.get("path", ""))),
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=call.left_s()),
            ) as response:
                self._judge(target, response)
                # It is taken. What is said besides is read for the connection's sake, and may break off.
                with suppress(aiohttp.ClientError, TimeoutError):
                    call.bytes += len(await response.content.read(_ANSWER_BYTES_MAX))
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _failed(target, error) from None
        return call.pushed(applied=True, rows=1, idempotency_key=idempotency_key)

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """HEAD the base URL; any answer shows that the receiver is reached. The secrets are looked at as well."""
        target = any_target(connector, timeout_s, credentials)
        if credentials is not None:
            self._signed(target, "test", b"")
        session = await self._sessions.of(Egress.of(connector, self._network))
        try:
            async with session.head(
                _url(connector, ""), allow_redirects=False, timeout=aiohttp.ClientTimeout(total=timeout_s)
            ) as response:
                return f"The receiver answered with status {response.status}."
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _failed(target, error, writes=False) from None

    async def discover(
        self,
        connector: Connector,  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
        credentials: Credentials | None = None,  # noqa: ARG002
    ) -> Discovery:
        """What a push can be; a receiver cannot be asked which types it takes."""
        return Discovery(
            capabilities={"push": {"idempotency": ["key", "none"], "effects": ["write", "destructive"]}},
            narrative="A receiver of webhooks cannot be asked which types it takes.",
        )

    async def close(self) -> None:
        """Close the sessions and their connections."""
        await self._sessions.close()

    def _signed(self, target: Target, message_id: str, body: bytes) -> Mapping[str, str]:
        if target.credentials is None:
            raise target.problem(
                "adapter.no_credentials",
                "was called without its credentials, which the broker resolves.",
                hint="Run a broker (`stanchion serve broker`), or `stanchion up`, which has one.",
            )
        signing = cast("Mapping[str, list[Json]]", target.connector.settings["signing"])
        secrets = [target.credentials.value(f"/signing/secrets/{n}") for n in range(len(signing["secrets"]))]
        try:
            signed = sign(secrets, message_id, int(self._clock.now().timestamp()), body)
        except ValueError as error:
            raise target.problem(
                "adapter.bad_credential",
                f"cannot be signed for: a secret {error}.",
                hint="A secret of Standard Webhooks is `whsec_` and 24 to 64 random bytes in base64.",
            ) from None
        for signature in signed[SIGNATURE_HEADER].split():
            target.credentials.passing(signature.removeprefix("v1,"))
        return signed

    def _judge(self, target: Target, response: aiohttp.ClientResponse) -> None:
        """Return if the receiver took it. After a 5xx, 408 or 409 it may have: then `sent` is true."""
        status = response.status
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise target.problem(
                "adapter.elsewhere",
                "redirected the webhook, which is not followed.",
                hint="Write the receiver's present URL into `base_url`.",
                status=status,
            )
        wait = response.headers.get("Retry-After", "").strip()
        more = {"retry_after_s": min(float(wait), _RETRY_AFTER_S_MAX)} if wait.isascii() and wait.isdigit() else {}
        raise target.problem(
            "adapter.status",
            f"answered with status {status}.",
            hint="The receiver is gone for good: disable what sends this, or correct the connector."
            if status == 410
            else "Does the receiver know the secret, and the path?"
            if status in {401, 403, 404}
            else "",
            retryable=status in _RETRYABLE,
            sent=status >= 500 or status in _UNSURE,
            status=status,
            **more,
        )


def _url(connector: Connector, path: str) -> URL:
    base = str(connector.settings["base_url"])
    return URL(base.rstrip("/") + path if path else base)


def _failed(target: Target, error: aiohttp.ClientError | TimeoutError, *, writes: bool = True) -> AdapterProblem:
    """`sent` for what writes, unless no connection came to be."""
    sent = writes and not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return target.problem("adapter.unreachable", "has a certificate that is not valid.", hint="Check `base_url`.")
    if isinstance(error, TimeoutError):
        return target.problem("adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True, sent=sent)
    if isinstance(error, aiohttp.ClientResponseError):
        return target.problem("adapter.not_http", "answered with something that is not HTTP.", sent=sent)
    return target.problem(
        "adapter.unreachable",
        "cannot be reached, or closed the connection.",
        hint="Check `base_url`, and whether the receiver is up.",
        retryable=True,
        sent=sent,
    )
