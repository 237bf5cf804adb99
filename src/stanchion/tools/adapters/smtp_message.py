"""From a record to a message (RFC 5322, MIME). Pure: the date and the key are passed in, and the same ones give the same bytes."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from stanchion.base import Json
from stanchion.tools.types import Record

RECIPIENTS_MAX: Final = 100
ATTACHMENTS_MAX: Final = 20
MESSAGE_BYTES_MAX: Final = 10 * 1_048_576
SUBJECT_MAX: Final = 500
ADDRESS_FIELDS: Final = ("to", "cc", "bcc", "reply_to")
TEXT_FIELDS: Final = ("subject", "text", "html")
FIELDS: Final = (*ADDRESS_FIELDS, *TEXT_FIELDS, "attachments")
# RFC 5321's Mailbox without quoted local parts, comments, address literals and non-ASCII: what every server takes.
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_NAMED = re.compile(r"\s*(?P<name>[^<>@,;:\r\n]*?)\s*<(?P<address>[^<>\r\n]+)>\s*")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


class BadMessage(Exception):  # noqa: N818 - becomes an AdapterProblem, which knows the resource
    """The record is no message. The text names the field, and follows "the record's ". It quotes no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What is sent: the envelope's addresses, and the message."""

    sender: str
    recipients: Sequence[str]
    message: bytes


def address_of(text: str) -> Address | None:
    """`ada@example.org` or `Ada Lovelace <ada@example.org>`; None if it is neither."""
    named = _NAMED.fullmatch(text)
    name, plain = (named["name"].strip('" '), named["address"]) if named else ("", text.strip())
    local, _, domain = plain.partition("@")
    if not _ADDRESS.fullmatch(plain) or len(local) > 64 or len(plain) > 254 or _CONTROL.search(text):
        return None
    return Address(display_name=name, username=local, domain=domain)


def allowed(address: Address, patterns: Sequence[str]) -> bool:
    """Whether one of `*@example.org`, `ada@example.org` holds for the address; upper and lower case are the same."""
    plain = address.addr_spec.lower()
    return any(
        plain == pattern.lower() or (pattern.startswith("*@") and plain.partition("@")[2] == pattern[2:].lower())
        for pattern in patterns
    )


def mail_of(record: Record, sender: str, key: str, at: datetime) -> Mail:
    """The mail that a record says. `sender`: of the connector; `key`: names the message; `at`: its date. Raises BadMessage."""
    found: dict[str, list[Address]] = {name: _addresses(record, name) for name in ADDRESS_FIELDS}
    recipients = [address.addr_spec for name in ("to", "cc", "bcc") for address in found[name]]
    recipients = list(dict.fromkeys(recipients))
    if not recipients:
        raise BadMessage("`to`, `cc` and `bcc` name nobody")
    if len(recipients) > RECIPIENTS_MAX:
        raise BadMessage(f"`to`, `cc` and `bcc` name {len(recipients)} addresses; at most {RECIPIENTS_MAX} are allowed")
    own = address_of(sender)
    if own is None:
        raise BadMessage("sender, which the connector names, is no address")
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit"))
    message["From"] = own
    for name, header in (("to", "To"), ("cc", "Cc"), ("reply_to", "Reply-To")):
        if found[name]:
            message[header] = found[name]
    message["Subject"] = _header(record.get("subject"), "subject")
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{key}@{own.domain}>"
    # RFC 3834: so that vacation notices do not answer a machine.
    message["Auto-Submitted"] = "auto-generated"
    _fill(message, record)
    _bound(message, key)
    data = message.as_bytes()
    if len(data) > MESSAGE_BYTES_MAX:
        raise BadMessage(f"message has {len(data)} bytes; at most {MESSAGE_BYTES_MAX} are sent")
    return Mail(sender=own.addr_spec, recipients=recipients, message=data)


def _addresses(record: Record, name: str) -> list[Address]:
    value = record.get(name)
    texts = [] if value is None else value if isinstance(value, list) else [value]
    found: list[Address] = []
    for number, text in enumerate(texts, start=1):
        address = address_of(text) if isinstance(text, str) else None
        if address is None:
            raise BadMessage(f"`{name}` has no address at place {number}")
        found.append(address)
    return found


def _header(value: Json, name: str) -> str:
    text = value if isinstance(value, str) else ""
    if _CONTROL.search(text):
        # A line end in a header begins another header.
        raise BadMessage(f"`{name}` holds a line end or another control character")
    if not text.strip() or len(text) > SUBJECT_MAX:
        raise BadMessage(f"`{name}` is empty or longer than {SUBJECT_MAX} characters")
    return text


def _fill(message: EmailMessage, record: Record) -> None:
    text, html = record.get("text"), record.get("html")
    if isinstance(text, str):
        message.set_content(text)
    if isinstance(html, str):
        if isinstance(text, str):
            message.add_alternative(html, subtype="html")
        else:
            message.set_content(html, subtype="html")
    if not isinstance(text, str) and not isinstance(html, str):
        raise BadMessage("`text` and `html` are both missing")
    attachments = record.get("attachments")
    listed = attachments if isinstance(attachments, list) else []
    if len(listed) > ATTACHMENTS_MAX:
        raise BadMessage(f"`attachments` are {len(listed)}; at most {ATTACHMENTS_MAX} are allowed")
    for number, item in enumerate(listed, start=1):
        if not isinstance(item, dict):
            raise BadMessage(f"`attachments` has no object at place {number}")
        _attach(message, item, number)


def _attach(message: EmailMessage, item: Mapping[str, Json], number: int) -> None:
    """One of `{filename, content_type, text | base64}`."""
    name, media = item.get("filename"), item.get("content_type", "text/plain" if "text" in item else None)
    if not isinstance(name, str) or not name or len(name) > 200 or _CONTROL.search(name) or "/" in name or "\\" in name:
        raise BadMessage(f"`attachments` has no usable `filename` at place {number}")
    if not isinstance(media, str) or not _MEDIA_TYPE.fullmatch(media):
        raise BadMessage(f"`attachments` has no `content_type` such as application/pdf at place {number}")
    if unknown := item.keys() - {"filename", "content_type", "text", "base64"}:
        raise BadMessage(f"`attachments` has at place {number} the unknown field {min(unknown)!r}")
    main, _, sub = media.lower().partition("/")
    if main in {"multipart", "message"}:
        raise BadMessage(f"`attachments` cannot hold a {main} at place {number}")
    message.add_attachment(_bytes(item, number), maintype=main, subtype=sub, filename=name)


def _bytes(item: Mapping[str, Json], number: int) -> bytes:
    match item.get("text"), item.get("base64"):
        case str() as text, None:
            return text.encode()
        case None, str() as encoded:
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise BadMessage(f"`attachments` has no base64 at place {number}") from None
        case _:
            raise BadMessage(f"`attachments` has neither `text` nor `base64`, or both, at place {number}")


def _bound(message: EmailMessage, key: str) -> None:
    """Boundaries from the key: nobody who wrote a part could know them, and the same write is the same bytes."""
    for number, part in enumerate(message.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_{key[-40:]}_{number}")
