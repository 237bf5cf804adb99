"""The `smtp` adapter: a push sends one mail, to addresses that the connector allows, over TLS.

A mail server cannot be asked whether it has taken a message, and takes the same one twice. So the idempotency is `none`:
where the answer to a whole message is lost, the effect is UNKNOWN and a person says what happened. The Message-ID is made
of the idempotency key, which is what that person looks for in the server's log.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from stanchion.base import Clock, Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.call import Call, any_target
from stanchion.tools.adapters.paths import check_no_proxy
from stanchion.tools.adapters.plain import PlainAdapter
from stanchion.tools.adapters.smtp_message import ADDRESS_FIELDS, FIELDS, BadMessage, address_of, allowed, mail_of
from stanchion.tools.adapters.smtp_talk import Server, SmtpError, Talk
from stanchion.tools.credentials import Credentials
from stanchion.tools.egress import Egress, Network
from stanchion.tools.records import types_of
from stanchion.tools.types import Connector, Discovery, Envelope, Record

# Submission (RFC 6409) and submission under TLS from the first byte (RFC 8314).
PORTS: Final[Mapping[str, int]] = {"starttls": 587, "tls": 465}
_TYPES: Final[Mapping[str, frozenset[str]]] = {
    **{name: frozenset({"string", "array", "null"}) for name in ADDRESS_FIELDS},
    "subject": frozenset({"string"}),
    "text": frozenset({"string", "null"}),
    "html": frozenset({"string", "null"}),
    "attachments": frozenset({"array", "null"}),
}


class SmtpAdapter(PlainAdapter):
    """See the module. A connection per call."""

    name = "smtp"
    settings_schema: Mapping[str, Schema] = {
        "host": {"type": "string", "minLength": 1, "maxLength": 253},
        "port": {"type": "integer", "minimum": 1, "maximum": 65_535},
        "tls": {"enum": ["starttls", "tls"]},
        "from": {"type": "string", "minLength": 3, "maxLength": 320},
        "recipients": {
            "type": "array",
            "minItems": 1,
            "maxItems": 200,
            "items": {"type": "string", "minLength": 3, "maxLength": 254},
        },
        "auth": {
            "type": "object",
            "required": ["username", "password"],
            "additionalProperties": False,
            "properties": {
                "username": {"type": "string", "minLength": 1, "maxLength": 300},
                "password": {"type": "string", "pattern": "^secret://", "maxLength": 500},
            },
        },
    }
    settings_required: tuple[str, ...] = ("host", "from", "recipients")
    operation_schemas: Mapping[str, Schema] = {
        "push": {
            "type": "object",
            "required": ["idempotency"],
            "additionalProperties": False,
            "properties": {"idempotency": {"enum": ["none"]}, "effect": {"enum": ["write", "destructive"]}},
        }
    }
    refused: Mapping[str, str] = dict.fromkeys(("fetch", "lookup"), "Mail is only sent.")

    def __init__(self, clock: Clock, network: Network) -> None:
        self._clock = clock
        self._network = network

    def check(self, body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
        """The sender, the allowed recipients, and that each resource's fields are those of a mail."""
        yield from check_no_proxy(body)
        if address_of(str(body["from"])) is None:
            yield ConfigIssue(
                pointer="/from",
                code="connector.bad_address",
                message="The sender is no address.",
                hint="ada@example.org, or: Ada Lovelace <ada@example.org>",
            )
        for number, pattern in enumerate(cast("list[Json]", body["recipients"])):
            if address_of(str(pattern).replace("*", "x", 1) if str(pattern).startswith("*@") else str(pattern)) is None:
                yield ConfigIssue(
                    pointer=f"/recipients/{number}",
                    code="connector.bad_address",
                    message=f"{pattern!r} is neither an address nor a whole domain.",
                    hint="ada@example.org, or *@example.org for everybody there.",
                )
        for name, resource in cast("Mapping[str, Mapping[str, Json]]", body["resources"]).items():
            fields = cast("Mapping[str, Mapping[str, Json]]", resource["fields"])
            yield from _check_fields(f"/resources/{name}/fields", fields)

    async def push(self, target: Target, record: Record, idempotency_key: str) -> Envelope:
        """Send one mail. All recipients are allowed and taken by the server, or nothing is sent."""
        call = Call(target=target, clock=self._clock)
        settings = target.connector.settings
        try:
            mail = mail_of(record, str(settings["from"]), idempotency_key, self._clock.now())
        except BadMessage as error:
            raise target.problem("adapter.bad_parameter", f"cannot send the record: its {error}.") from None
        _check_recipients(target, mail.recipients)
        async with self._talk(call) as talk:
            most = talk.size_max()
            if most is not None and len(mail.message) > most:
                raise target.problem(
                    "adapter.too_large", f"takes messages of at most {most} bytes; this one has {len(mail.message)}."
                )
            await talk.send(mail.sender, mail.recipients, mail.message)
        call.bytes = len(mail.message)
        return call.pushed(applied=True, rows=1, idempotency_key=idempotency_key)

    async def test(self, connector: Connector, timeout_s: float, credentials: Credentials | None = None) -> str:
        """Connect, be let in, and send nothing."""
        call = Call(target=any_target(connector, timeout_s, credentials), clock=self._clock)
        async with self._talk(call) as talk:
            await talk.check()
            most = talk.size_max()
        return f"The mail server let us in over TLS{f'; messages may have {most} bytes' if most else ''}."

    async def discover(
        self,
        connector: Connector,  # noqa: ARG002
        timeout_s: float,  # noqa: ARG002
        credentials: Credentials | None = None,  # noqa: ARG002
    ) -> Discovery:
        """What a mail can have; a mail server has no resources of its own."""
        address: dict[str, Json] = {"type": ["array", "null"], "items": {"type": "string", "format": "email"}}
        fields: dict[str, Json] = {
            "to": {"type": "array", "items": {"type": "string", "format": "email"}, "minItems": 1},
            "cc": address,
            "subject": {"type": "string", "minLength": 1, "maxLength": 200},
            "text": {"type": "string"},
            "html": {"type": ["string", "null"]},
        }
        return Discovery(
            resources={"mails": {"description": "Mail.", "fields": fields, "push": {"idempotency": "none"}}},
            capabilities={
                "push": {"idempotency": ["none"], "effects": ["write", "destructive"], "fields": list(FIELDS)}
            },
            narrative="A mail server cannot be asked for what it has; this is what a mail may have.",
        )

    @asynccontextmanager
    async def _talk(self, call: Call) -> AsyncGenerator[Talk]:
        """A conversation in which we are let in. Every failure leaves as an AdapterProblem, `sent` only if the whole
        message went out and no answer came back."""
        target, settings = call.target, call.target.connector.settings
        tls = cast("Any", settings.get("tls", "starttls"))
        sender = address_of(str(settings["from"]))
        server = Server(
            host=str(settings["host"]),
            port=cast("int", settings.get("port", PORTS[tls])),
            tls=tls,
            hello=sender.domain if sender is not None else "localhost",
        )
        egress = Egress.of(target.connector, self._network).beside(server.host, server.port)
        talk: Talk | None = None
        call.calls += 1
        try:
            async with asyncio.timeout(call.left_s()):
                talk = await Talk.begin(server, egress, call.left_s())
                await self._login(target, talk)
                yield talk
        except TimeoutError:
            raise target.problem(
                "adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True, sent=_sent(talk)
            ) from None
        except SmtpError as error:
            raise _refused(target, error, sent=_sent(talk)) from None
        except OSError as error:  # ssl.SSLError is one
            raise _unreachable(target, error, sent=_sent(talk)) from None
        else:
            # The mail is taken: how the conversation ends changes nothing of that.
            await talk.end()
        finally:
            if talk is not None:
                talk.abort()

    async def _login(self, target: Target, talk: Talk) -> None:
        auth = cast("Mapping[str, Json] | None", target.connector.settings.get("auth"))
        if auth is None:
            return
        if target.credentials is None:
            raise target.problem(
                "adapter.no_credentials",
                "was called without its credentials, which the broker resolves.",
                hint="Run a broker (`stanchion serve broker`), or `stanchion up`, which has one.",
            )
        username = str(auth["username"])
        if username.startswith("secret://"):
            username = target.credentials.value("/auth/username")
        await talk.login(username, target.credentials.value("/auth/password"))


def _sent(talk: Talk | None) -> bool:
    return talk is not None and talk.sent


def _check_fields(pointer: str, fields: Mapping[str, Mapping[str, Json]]) -> Iterable[ConfigIssue]:
    for name, schema in fields.items():
        if name not in FIELDS:
            yield ConfigIssue(
                pointer=f"{pointer}/{name}",
                code="connector.bad_field",
                message=f"A mail has no field {name!r}.",
                hint=f"It has: {', '.join(FIELDS)}.",
            )
        elif wrong := set(types_of(schema)) - _TYPES[name]:
            yield ConfigIssue(
                pointer=f"{pointer}/{name}",
                code="connector.bad_field",
                message=f"{name} cannot be of the type {', '.join(sorted(wrong))}.",
                hint=f"It may be: {', '.join(sorted(_TYPES[name]))}.",
            )
    for group in (("to", "cc", "bcc"), ("subject",), ("text", "html")):
        if not any(name in fields for name in group):
            yield ConfigIssue(
                pointer=pointer, code="connector.missing_field", message=f"A mail needs {' or '.join(group)}."
            )


def _check_recipients(target: Target, recipients: Iterable[str]) -> None:
    patterns = [str(pattern) for pattern in cast("list[Json]", target.connector.settings["recipients"])]
    for number, recipient in enumerate(recipients, start=1):
        address = address_of(recipient)
        if address is None or not allowed(address, patterns):
            raise target.problem(
                "adapter.recipient_not_allowed",
                f"does not allow recipient {number} of the mail; nothing was sent.",
                hint="The connector's `recipients` lists who may be written to.",
            )


def _refused(target: Target, error: SmtpError, *, sent: bool) -> AdapterProblem:
    said = f"{error.status} {error.enhanced}".strip()
    if error.at == "STARTTLS" and error.status == 0:
        return target.problem(
            "adapter.no_tls",
            "offers no TLS, or spoke before it began; nothing is sent in the clear.",
            hint="Does the port belong to submission (587), or to TLS from the first byte (465, `tls: tls`)?",
        )
    if error.at == "AUTH":
        return target.problem(
            "adapter.not_authenticated",
            f"did not let us in ({said})." if error.status else "offers no way to sign in that is known here.",
            hint="Check `auth`: the user, and the password that the reference names.",
            retryable=400 <= error.status < 500,
        )
    if error.status == 0:
        return target.problem("adapter.not_smtp", "answered with something that is not SMTP.", sent=sent)
    if error.at.startswith("RCPT"):
        return target.problem(
            "adapter.recipient_refused",
            f"was told by the mail server that it does not take recipient {error.at[5:]} ({said}); nothing was sent.",
            retryable=error.status < 500,
            status=error.status,
        )
    return target.problem(
        "adapter.refused",
        f"was refused by the mail server at {error.at} ({said}).",
        retryable=error.status < 500,
        status=error.status,
        sent=sent,
    )


def _unreachable(target: Target, error: OSError, *, sent: bool) -> AdapterProblem:
    tls = isinstance(error, ssl.SSLCertVerificationError)
    return target.problem(
        "adapter.unreachable",
        "has a certificate that is not valid." if tls else "cannot be reached, or closed the connection.",
        hint="Check `host` and `port`; for an authority of your own, `egress.ca_file`."
        if tls
        else "Check `host` and `port`.",
        retryable=not tls,
        sent=sent,
    )
