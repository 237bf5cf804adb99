"""A small mail server for tests: it speaks SMTP over a real socket and TLS, takes mail, and logs what it was told.

`faults`: a step (`greeting`, `EHLO`, `STARTTLS`, `AUTH`, `MAIL`, `RCPT`, `DATA`, `message`) -> what happens there in place of
the usual answer: a text is sent as it is, `close` drops the connection, `hang` waits for ever, `take-close` takes the message
and drops the connection without an answer.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Mailbox:
    """The server's state. `mails`: (sender, recipients, message as received) of each message taken."""

    user: str = "stanchion"
    password: str = "pass word"
    mechanisms: str = "PLAIN LOGIN"
    size: int = 20_000_000
    starttls: bool = True
    refused: frozenset[str] = frozenset()
    faults: dict[str, str] = field(default_factory=dict)
    mails: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    clear: list[str] = field(default_factory=list)
    connections: int = 0


class _Gone(Exception):  # noqa: N818 - no error: the server leaves
    pass


class _Conversation:
    def __init__(self, box: Mailbox, reader, writer, context: ssl.SSLContext, *, secure: bool) -> None:
        self.box, self.reader, self.writer, self.context = box, reader, writer, context
        self.secure = secure
        self.let_in = not box.user
        self.sender, self.recipients = "", []

    async def say(self, step: str, usual: str) -> bool:
        """Answer; whether it was the usual answer."""
        fault = self.box.faults.get(step)
        if fault == "close":
            raise _Gone
        if fault == "hang":
            await asyncio.Event().wait()
        self.writer.write((fault if fault is not None else usual + "\r\n").encode())
        await self.writer.drain()
        return fault is None

    async def line(self) -> str:
        line = await self.reader.readline()
        if not line:
            raise _Gone
        text = line.decode("latin-1").rstrip("\r\n")
        self.box.commands.append(text)
        if not self.secure:
            self.box.clear.append(text)
        return text

    async def run(self) -> None:
        await self.say("greeting", "220 mail.test ESMTP")
        while True:
            text = await self.line()
            word = text.split(" ")[0].split(":")[0].upper()
            if word == "QUIT":
                await self.say("QUIT", "221 bye")
                return
            handler = getattr(self, f"on_{word.lower()}", None)
            if handler is None:
                await self.say(word, "500 what?")
            else:
                await handler(text)

    async def on_ehlo(self, text: str) -> None:
        offers = ["mail.test", f"SIZE {self.box.size}"]
        offers += ["STARTTLS"] * (self.box.starttls and not self.secure)
        offers += [f"AUTH {self.box.mechanisms}"] * self.secure
        lines = [f"250{'-' if n < len(offers) else ' '}{offer}" for n, offer in enumerate(offers, start=1)]
        await self.say("EHLO", "\r\n".join(lines))

    async def on_starttls(self, text: str) -> None:
        if not await self.say("STARTTLS", "220 go on") and not self.box.faults["STARTTLS"].startswith("220"):
            return
        await self.writer.start_tls(self.context)
        self.secure = True

    async def on_noop(self, text: str) -> None:
        await self.say("NOOP", "250 ok")

    async def on_rset(self, text: str) -> None:
        await self.say("RSET", "250 ok")

    async def on_auth(self, text: str) -> None:
        _, mechanism, *given = text.split(" ")
        if mechanism == "PLAIN":
            said = base64.b64decode(given[0]).decode().split("\x00")[1:]
        else:
            self.writer.write(b"334 VXNlcm5hbWU6\r\n")
            user = base64.b64decode(await self.line()).decode()
            self.writer.write(b"334 UGFzc3dvcmQ6\r\n")
            said = [user, base64.b64decode(await self.line()).decode()]
        self.let_in = said == [self.box.user, self.box.password]
        # A server that echoes what it was told.
        await self.say("AUTH", "235 2.7.0 welcome" if self.let_in else f"535 5.7.8 no such user or password {said[-1]}")

    async def on_mail(self, text: str) -> None:
        self.sender, self.recipients = text.partition("<")[2].partition(">")[0], []
        await self.say("MAIL", "250 ok" if self.let_in else "530 5.7.0 sign in first")

    async def on_rcpt(self, text: str) -> None:
        recipient = text.partition("<")[2].partition(">")[0]
        fine = recipient not in self.box.refused
        if await self.say("RCPT", "250 ok" if fine else "550 5.1.1 no such mailbox") and fine:
            self.recipients.append(recipient)

    async def on_data(self, text: str) -> None:
        if not await self.say("DATA", "354 go on"):
            return
        data = b""
        while (line := await self.reader.readline()) != b".\r\n":
            if not line:
                raise _Gone
            data += line.removeprefix(b".") if line.startswith(b".") else line
        fault = self.box.faults.get("message")
        if fault in {None, "take-close", "hang"}:
            self.box.mails.append((self.sender, self.recipients, data))
        if fault == "take-close":
            raise _Gone
        await self.say("message", "250 2.0.0 taken")


@asynccontextmanager
async def serving(box: Mailbox, context: ssl.SSLContext, *, tls: bool = False) -> AsyncIterator[int]:
    """The server's port on 127.0.0.1. `tls`: from the first byte, else by STARTTLS."""
    tasks: set[asyncio.Task] = set()

    async def serve(reader, writer) -> None:
        box.connections += 1
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await _Conversation(box, reader, writer, context, secure=tls).run()
        except (_Gone, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if tls else None)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
