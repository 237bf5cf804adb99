"""Mail over a real socket and real TLS, to a server that logs."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import SystemClock
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.adapters.smtp_message import BadMessage, address_of, allowed, mail_of
from stanchion.tools.egress import EgressProblem
from tests.support.certificates import Authority
from tests.support.smtp import Mailbox, serving
from tests.tools.adapters.support import KEY, complaints, document, target

FIELDS: dict[str, Any] = {
    "to": {"type": "array", "items": {"type": "string"}},
    "cc": {"type": ["string", "null"]},
    "bcc": {"type": ["array", "null"]},
    "reply_to": {"type": ["string", "null"]},
    "subject": {"type": "string"},
    "text": {"type": ["string", "null"]},
    "html": {"type": ["string", "null"]},
    "attachments": {"type": ["array", "null"]},
}
MAILS = {"mails": {"fields": FIELDS, "push": {"idempotency": "none"}}}
RECORD: dict[str, Any] = {
    "to": ["Ada Lovelace <ada@example.org>", "bob@example.org"],
    "cc": None,
    "bcc": None,
    "reply_to": None,
    "subject": "Case C1 is closed",
    "text": "Dear Ada,\n.\n..the case is closed.\nGrüße\n",
    "html": None,
    "attachments": None,
}
PASSWORD = "pass word"


def plain(part: Any) -> str:
    """A text as it was before it travelled: MIME's line ends are CRLF."""
    return part.get_content().replace("\r\n", "\n")


class Post:
    """A server, and a connector to it."""

    def __init__(self, box: Mailbox, adapters: Adapters, body: dict[str, Any]) -> None:
        self.box, self.adapters, self.body = box, adapters, body
        self.adapter = adapters.get("smtp")

    def target(self, timeout_s: float = 5.0, password: str = PASSWORD) -> Any:
        return target(self.body, "mails", "push", timeout_s, auth__password=password)

    async def push(self, timeout_s: float = 5.0, password: str = PASSWORD, **changes: Any) -> Any:
        return await self.adapter.push(self.target(timeout_s, password), {**RECORD, **changes}, KEY)

    async def failed(self, **kwargs: Any) -> AdapterProblem:
        with pytest.raises(AdapterProblem) as caught:
            await self.push(**kwargs)
        said = str(caught.value) + repr(caught.value.fields)
        assert PASSWORD not in said
        assert base64.b64encode(PASSWORD.encode()).decode() not in said
        return caught.value


@pytest.fixture(params=["starttls", "tls"])
async def post(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Post]:
    async with opened(tmp_path, request.param) as found:
        yield found


@pytest.fixture
async def starttls(tmp_path: Path) -> AsyncIterator[Post]:
    async with opened(tmp_path, "starttls") as found:
        yield found


class opened:
    def __init__(self, root: Path, tls: str, *names: str) -> None:
        self.root, self.tls, self.names = root, tls, names or ("127.0.0.1",)

    async def __aenter__(self) -> Post:
        box = Mailbox()
        self._server = serving(box, Authority(self.root).context(*self.names), tls=self.tls == "tls")
        port = await self._server.__aenter__()
        self.adapters = Adapters(self.root, SystemClock())
        body = document(
            "smtp",
            MAILS,
            host="127.0.0.1",
            port=port,
            tls=self.tls,
            **{"from": "Stanchion <noreply@casework.example>"},
            recipients=["*@example.org", "eve@partner.example"],
            auth={"username": "stanchion", "password": "secret://local/mail#password"},
            egress={"private": ["127.0.0.1"], "ca_file": "ca.pem"},
        )
        assert complaints(self.adapters, body) == []
        return Post(box, self.adapters, body)

    async def __aexit__(self, *error: object) -> None:
        await self.adapters.close()
        await self._server.__aexit__(*error)


async def test_a_mail_arrives_as_it_was_meant(post: Post) -> None:
    envelope = await post.push()
    assert envelope.metadata["applied"] is True
    ((sender, recipients, data),) = post.box.mails
    assert (sender, recipients) == ("noreply@casework.example", ["ada@example.org", "bob@example.org"])
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert message["Message-ID"] == f"<{KEY}@casework.example>"
    assert message["To"] == "Ada Lovelace <ada@example.org>, bob@example.org"
    assert message["From"] == "Stanchion <noreply@casework.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert plain(message) == RECORD["text"]
    assert post.box.commands[-1] == "QUIT"


async def test_what_goes_in_the_clear_before_starttls_is_hello_alone(starttls: Post) -> None:
    await starttls.push()
    assert starttls.box.clear == ["EHLO casework.example", "STARTTLS"]


async def test_text_html_and_attachments(post: Post) -> None:
    await post.push(
        html="<p>closed</p>",
        cc="eve@partner.example",
        bcc=["hidden@example.org"],
        reply_to="desk@elsewhere.example",
        attachments=[
            {
                "filename": "Urteil ü.pdf",
                "content_type": "application/pdf",
                "base64": base64.b64encode(b"\x00%PDF").decode(),
            },
            {"filename": "a.csv", "content_type": "text/csv", "text": "a;b\n"},
        ],
    )
    ((_, recipients, data),) = post.box.mails
    assert recipients == ["ada@example.org", "bob@example.org", "eve@partner.example", "hidden@example.org"]
    assert b"hidden@example.org" not in data
    message = email.message_from_bytes(data, policy=email.policy.default)
    assert message.get_body(("html",)).get_content().strip() == "<p>closed</p>"
    assert plain(message.get_body(("plain",))) == RECORD["text"]
    assert [(a.get_filename(), a.get_content_type()) for a in message.iter_attachments()] == [
        ("Urteil ü.pdf", "application/pdf"),
        ("a.csv", "text/csv"),
    ]
    assert message["Reply-To"] == "desk@elsewhere.example"


async def test_login_where_plain_is_not_offered(post: Post) -> None:
    post.box.mechanisms = "LOGIN"
    await post.push()
    assert len(post.box.mails) == 1


async def test_reaches_the_server_and_sends_nothing(post: Post) -> None:
    found = post.target()
    said = await post.adapter.test(found.connector, 5.0, found.credentials)
    assert said == "The mail server let us in over TLS; messages may have 20000000 bytes."
    assert post.box.mails == []
    found = await post.adapter.discover(found.connector, 5.0, None)
    assert complaints(post.adapters, {**post.body, "resources": dict(found.resources)}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "Hello\r\nBcc: eve@evil.example"},
        {"subject": "Hello\nX: y"},
        {"subject": "Hello\u2028X: y"},
        {"subject": ""},
        {"subject": "x" * 501},
        {"to": ["ada@example.org\r\nRCPT TO:<eve@evil.example>"]},
        {"to": ["ada@example.org>, <eve@evil.example"]},
        {"to": ["Ada\r\nBcc: x <ada@example.org>"]},
        {"to": ["ada@example.org, eve@evil.example"]},
        {"to": ["ada"]},
        {"to": ["a..b@example.org"]},
        {"to": ["ad\u00e4@example.org"]},
        {"to": []},
        {"to": ["ada@example.org"] * 1 + [f"p{n}@example.org" for n in range(100)]},
        {"reply_to": "desk@x.example\nBcc: eve@evil.example"},
        {"text": None, "html": None},
        {"attachments": [{"filename": "a\r\nX: y", "text": "x"}]},
        {"attachments": [{"filename": "../a", "text": "x"}]},
        {"attachments": [{"filename": "a", "content_type": "text/plain\r\nX: y", "text": "x"}]},
        {"attachments": [{"filename": "a", "content_type": "message/rfc822", "base64": ""}]},
        {"attachments": [{"filename": "a", "content_type": "image/png", "base64": "***"}]},
        {"attachments": [{"filename": "a", "content_type": "image/png"}]},
        {"attachments": [{"filename": "a", "text": "x"}] * 21},
        {"attachments": ["a"]},
    ],
)
async def test_what_is_no_mail_is_refused_before_anything_is_sent(starttls: Post, changes: dict[str, Any]) -> None:
    problem = await starttls.failed(**changes)
    assert problem.code == "adapter.bad_parameter"
    assert not problem.sent
    assert not problem.retryable
    assert starttls.box.connections == 0


@pytest.mark.parametrize(
    "to", ["eve@evil.example", "mallory@partner.example", "x@sub.example.org", "x@example.org.evil.example"]
)
async def test_who_is_not_listed_is_not_written_to(starttls: Post, to: str) -> None:
    for name, value in (("to", ["ada@example.org", to]), ("bcc", [to]), ("cc", to)):
        problem = await starttls.failed(**{name: value})
        assert problem.code == "adapter.recipient_not_allowed"
        assert to not in str(problem)
    assert starttls.box.connections == 0


async def test_a_recipient_that_the_server_does_not_take(post: Post) -> None:
    post.box.refused = frozenset({"bob@example.org"})
    problem = await post.failed()
    assert problem.code == "adapter.recipient_refused"
    assert "recipient 2 of" not in str(problem)
    assert "(550 5.1.1)" in str(problem)
    assert (problem.sent, problem.retryable) == (False, False)
    assert post.box.mails == []


# (fault, code, sent, retryable, mails that the server has)
FAULTS = [
    ({"greeting": "close"}, "adapter.unreachable", False, True, 0),
    ({"greeting": "554 no\r\n"}, "adapter.refused", False, False, 0),
    ({"greeting": "HTTP/1.1 400 Bad Request\r\n"}, "adapter.not_smtp", False, False, 0),
    ({"greeting": "x" * 5000}, "adapter.not_smtp", False, False, 0),
    ({"EHLO": "250-a\r\n" * 200}, "adapter.not_smtp", False, False, 0),
    ({"MAIL": "451 4.3.0 later\r\n"}, "adapter.refused", False, True, 0),
    ({"MAIL": "close"}, "adapter.unreachable", False, True, 0),
    ({"RCPT": "450 4.2.1 later\r\n"}, "adapter.recipient_refused", False, True, 0),
    ({"DATA": "552 5.3.4 too much\r\n"}, "adapter.refused", False, False, 0),
    ({"DATA": "close"}, "adapter.unreachable", False, True, 0),
    ({"message": "554 5.7.1 spam\r\n"}, "adapter.refused", False, False, 0),
    ({"message": "451 4.7.1 later\r\n"}, "adapter.refused", False, True, 0),
    ({"message": "take-close"}, "adapter.unreachable", True, True, 1),
    ({"message": "hello?\r\n"}, "adapter.not_smtp", True, False, 0),
    ({"QUIT": "close"}, "", False, False, 1),
    ({"QUIT": "500 what\r\n"}, "", False, False, 1),
]


@pytest.mark.parametrize(("faults", "code", "sent", "retryable", "count"), FAULTS)
async def test_faults(post: Post, faults, code, sent, retryable, count) -> None:
    post.box.faults = faults
    if code:
        problem = await post.failed()
        assert (problem.code, problem.sent, problem.retryable) == (code, sent, retryable)
    else:
        assert (await post.push()).metadata["applied"] is True
    assert len(post.box.mails) == count


@pytest.mark.parametrize(("step", "sent"), [("greeting", False), ("RCPT", False), ("message", True)])
async def test_time_is_up(post: Post, step: str, sent: bool) -> None:
    post.box.faults = {step: "hang"}
    problem = await post.failed(timeout_s=1.0)
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.timeout", sent, True)


async def test_a_cancelled_push_leaves_no_connection_behind(post: Post) -> None:
    post.box.faults = {"message": "hang"}
    task = asyncio.create_task(post.push())
    while not post.box.mails:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_wrong_password(post: Post) -> None:
    problem = await post.failed(password="wrong")
    assert problem.code == "adapter.not_authenticated"
    assert "wrong" not in str(problem)
    assert post.box.mails == []


async def test_without_credentials_nothing_is_asked(post: Post) -> None:
    from dataclasses import replace

    with pytest.raises(AdapterProblem) as caught:
        await post.adapter.push(replace(post.target(), credentials=None), RECORD, KEY)
    assert caught.value.code == "adapter.no_credentials"
    assert not any(command.startswith("AUTH") for command in post.box.commands)


async def test_a_server_without_starttls_gets_nothing(starttls: Post) -> None:
    starttls.box.starttls = False
    problem = await starttls.failed()
    assert problem.code == "adapter.no_tls"
    assert starttls.box.clear == ["EHLO casework.example"]


async def test_an_answer_slipped_in_before_tls_ends_the_call(starttls: Post) -> None:
    """Somebody between us and the server adds a line to its answer, to be taken for an answer under TLS."""
    starttls.box.faults = {"STARTTLS": "220 go on\r\n250-evil\r\n250 AUTH PLAIN\r\n"}
    problem = await starttls.failed()
    assert problem.code == "adapter.no_tls"
    assert not any(command.startswith("AUTH") for command in starttls.box.commands)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_certificate_for_another_host(tmp_path: Path, tls: str) -> None:
    async with opened(tmp_path, tls, "mail.example") as post:
        problem = await post.failed()
        assert problem.code == "adapter.unreachable"
        assert "certificate" in str(problem)
        assert not problem.retryable
        assert not any(command.startswith(("AUTH", "MAIL")) for command in post.box.commands)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_an_authority_that_nobody_listed(tmp_path: Path, tls: str) -> None:
    async with opened(tmp_path, tls) as post:
        del post.body["egress"]["ca_file"]
        problem = await post.failed()
        assert "certificate" in str(problem)


async def test_a_private_host_that_is_not_listed(starttls: Post) -> None:
    del starttls.body["egress"]["private"]
    assert ("connector.private_host", complaints(starttls.adapters, starttls.body)[0][1])[0] in dict(
        complaints(starttls.adapters, starttls.body)
    )
    with pytest.raises(EgressProblem) as caught:
        await starttls.push()
    assert caught.value.code == "egress.address_denied"
    assert starttls.box.connections == 0


async def test_a_message_larger_than_the_server_takes(post: Post) -> None:
    post.box.size = 500
    problem = await post.failed(text="x" * 1000)
    assert problem.code == "adapter.too_large"
    assert post.box.mails == []


async def test_a_large_message(post: Post) -> None:
    text = "".join(f"line {n} {'x' * 60}\n" for n in range(20_000))
    await post.push(text=text)
    message = email.message_from_bytes(post.box.mails[0][2], policy=email.policy.default)
    assert plain(message) == text


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"from": "nobody"}, "connector.bad_address"),
        ({"from": "a@b.example\r\nX: y"}, "connector.bad_address"),
        ({"recipients": ["*"]}, None),
        ({"recipients": ["*@*"]}, "connector.bad_address"),
        ({"recipients": ["a*@b.example"]}, None),
        ({"recipients": ["everybody"]}, "connector.bad_address"),
        ({"tls": "none"}, None),
        ({"egress": {"private": ["127.0.0.1"], "proxy": "http://proxy.example:3128"}}, "connector.not_offered"),
        (
            {"resources": {"m": {"fields": {"to": {"type": "string"}}, "push": {"idempotency": "none"}}}},
            "connector.missing_field",
        ),
        ({"resources": {"m": {**MAILS["mails"], "push": {"idempotency": "key"}}}}, None),
        ({"resources": {"m": {**MAILS["mails"], "fetch": {}}}}, "connector.not_offered"),
        (
            {"resources": {"m": {"fields": {**FIELDS, "body": {"type": "string"}}, "push": {"idempotency": "none"}}}},
            "connector.bad_field",
        ),
        (
            {
                "resources": {
                    "m": {"fields": {**FIELDS, "subject": {"type": "integer"}}, "push": {"idempotency": "none"}}
                }
            },
            "connector.bad_field",
        ),
    ],
)
async def test_documents_that_are_refused(starttls: Post, change: dict[str, Any], code: str | None) -> None:
    found = [found for found, _ in complaints(starttls.adapters, {**starttls.body, **change})]
    if change == {"recipients": ["a*@b.example"]}:
        # `*` is a letter of local parts, so this is one address and no pattern.
        assert found == []
    else:
        assert found
        assert code is None or code in found


def test_patterns_of_recipients() -> None:
    address = address_of("Ada@Example.ORG")
    assert address is not None
    assert allowed(address, ["ada@example.org"])
    assert allowed(address, ["*@EXAMPLE.org"])
    assert not allowed(address, ["*@org", "da@example.org", "*"])


TEXTS = st.text(max_size=60)


@given(subject=TEXTS, text=TEXTS, name=TEXTS, filename=TEXTS)
def test_no_text_of_a_record_becomes_a_header(subject: str, text: str, name: str, filename: str) -> None:
    record = {
        "to": f"{name} <ada@example.org>",
        "subject": subject,
        "text": text,
        "attachments": [{"filename": filename, "text": text}],
    }
    try:
        mail = mail_of(record, "s@x.example", KEY, SystemClock().now())
    except BadMessage:
        return
    message = email.message_from_bytes(mail.message, policy=email.policy.default)
    assert sorted(set(message.keys())) == [
        "Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To",
    ]  # fmt: skip
    assert mail.recipients == ["ada@example.org"]
    assert mail.message.isascii()
    assert max(len(line) for line in mail.message.split(b"\r\n")) <= 998


def test_the_same_write_is_the_same_message() -> None:
    at = SystemClock().now()
    record = {**RECORD, "html": "<p>x</p>", "attachments": [{"filename": "a", "text": "x"}]}
    assert mail_of(record, "s@x.example", KEY, at) == mail_of(record, "s@x.example", KEY, at)
