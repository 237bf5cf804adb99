"""Speaking SMTP (RFC 5321) to one server: TLS always, verified; every answer read before the next command.

asyncio's own streams keep what was received before STARTTLS and would take it for an answer under TLS (command injection,
CVE-2011-0411 and its kin), so lines are read here, and anything that is there before the handshake ends the call.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from stanchion.tools.egress import Egress

_LINE_BYTES_MAX: Final = 4_096
_LINES_MAX: Final = 128
_PART_BYTES: Final = 65_536
_QUIT_S: Final = 2.0
_ANSWER = re.compile(rb"([2-5][0-9][0-9])([ -]?)(.*)", re.DOTALL)
_ENHANCED = re.compile(rb"[245]\.[0-9]{1,3}\.[0-9]{1,3}\b")


class SmtpError(Exception):
    """The server said no, or something that is no answer. `at`: what it was asked; `status`: its three digits, or 0;
    `enhanced`: `5.1.1`, or nothing. The server's words are not kept: they may quote what it was told."""

    def __init__(self, at: str, status: int = 0, enhanced: str = "") -> None:
        super().__init__(f"{at}: {status} {enhanced}".strip())
        self.at = at
        self.status = status
        self.enhanced = enhanced


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where mail goes out, and how."""

    host: str
    port: int
    tls: Literal["starttls", "tls"]
    hello: str


class _Lines(asyncio.Protocol):
    """Received bytes, by line; and whether more may be written."""

    def __init__(self) -> None:
        self.received = bytearray()
        self._lost: Exception | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or ConnectionResetError("closed")
        self._arrived.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def line(self) -> bytes:
        """The next line without its end. Raises ConnectionError, SmtpError for one without end."""
        while (end := self.received.find(b"\n")) < 0:
            if self._lost is not None:
                raise ConnectionResetError("closed") from self._lost
            if len(self.received) > _LINE_BYTES_MAX:
                raise SmtpError("a line")
            self._arrived.clear()
            await self._arrived.wait()
        line = bytes(self.received[: end + 1]).rstrip(b"\r\n")
        del self.received[: end + 1]
        return line

    async def writable(self) -> None:
        """Wait until more may be written. Raises ConnectionError."""
        await self._writable.wait()
        if self._lost is not None:
            raise ConnectionResetError("closed") from self._lost


class Talk:
    """One conversation. `sent` is true from the moment at which the server can have taken a message."""

    def __init__(self, transport: asyncio.WriteTransport, lines: _Lines, server: Server) -> None:
        self._transport = transport
        self._lines = lines
        self._server = server
        self._can: dict[str, str] = {}
        self.sent = False

    @classmethod
    async def begin(cls, server: Server, egress: Egress, timeout_s: float) -> Talk:
        """Connect to a checked address, say hello, and be under TLS, or not at all.

        Raises EgressProblem, OSError, ssl.SSLError, SmtpError.
        """
        loop, lines = asyncio.get_running_loop(), _Lines()
        opened = await egress.dial(server.host, server.port, timeout_s)
        context = egress.tls_context()
        try:
            if server.tls == "tls":
                made = loop.create_connection(lambda: lines, sock=opened, ssl=context, server_hostname=server.host)
            else:
                made = loop.create_connection(lambda: lines, sock=opened)
            transport, _ = await made
        except BaseException:
            opened.close()
            raise
        talk = cls(transport, lines, server)
        try:
            await talk._answer("greeting", 220)
            await talk._hello()
            if server.tls == "starttls":
                await talk._start_tls(context)
        except BaseException:
            talk.abort()
            raise
        return talk

    async def login(self, username: str, password: str) -> None:
        """AUTH PLAIN, or LOGIN where the server has nothing else (RFC 4954). Raises SmtpError at `AUTH`."""
        mechanisms = self._can.get("AUTH", "").upper().split()
        if "PLAIN" in mechanisms:
            said = base64.b64encode(f"\x00{username}\x00{password}".encode()).decode()
            await self._ask(f"AUTH PLAIN {said}", "AUTH", 235)
        elif "LOGIN" in mechanisms:
            await self._ask("AUTH LOGIN", "AUTH", 334)
            await self._ask(base64.b64encode(username.encode()).decode(), "AUTH", 334)
            await self._ask(base64.b64encode(password.encode()).decode(), "AUTH", 235)
        else:
            raise SmtpError("AUTH")

    def size_max(self) -> int | None:
        """The largest message the server takes (RFC 1870), or None if it does not say."""
        said = self._can.get("SIZE", "")
        return int(said) if said.isascii() and said.isdigit() and int(said) > 0 else None

    async def send(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        """One message to all recipients, or to none: if one is refused, nothing is sent.

        `message` has CRLF line ends and only ASCII. Raises SmtpError at `MAIL`, `RCPT n`, `DATA` or `message`,
        ConnectionError.
        """
        size = f" SIZE={len(message)}" if "SIZE" in self._can else ""
        await self._ask(f"MAIL FROM:<{sender}>{size}", "MAIL", 250)
        for number, recipient in enumerate(recipients, start=1):
            await self._ask(f"RCPT TO:<{recipient}>", f"RCPT {number}", 250, 251)
        await self._ask("DATA", "DATA", 354)
        # A line that begins with a point gets another one, so that only ours ends the message.
        stuffed = re.sub(rb"(?m)^\.", b"..", message)
        stuffed = stuffed if stuffed.endswith(b"\r\n") else stuffed + b"\r\n"
        for start in range(0, len(stuffed), _PART_BYTES):
            await self._lines.writable()
            self._transport.write(stuffed[start : start + _PART_BYTES])
        await self._lines.writable()
        self.sent = True
        self._transport.write(b".\r\n")
        try:
            await self._answer("message", 250)
        except SmtpError as error:
            # An answer that is none says nothing of what became of the message.
            self.sent = error.status == 0
            raise

    async def check(self) -> None:
        """NOOP. Raises SmtpError."""
        await self._ask("NOOP", "NOOP", 250)

    async def end(self) -> None:
        """QUIT, politely; that the server has gone already, or takes its time, is no matter."""
        with contextlib.suppress(SmtpError, OSError):  # TimeoutError is one
            async with asyncio.timeout(_QUIT_S):
                await self._ask("QUIT", "QUIT", 221)
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    async def _hello(self) -> None:
        said = await self._ask(f"EHLO {self._server.hello}", "EHLO", 250)
        extensions = (line.decode("ascii", "replace").partition(" ") for line in said[1:])
        self._can = {name.upper(): rest for name, _, rest in extensions}

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        if "STARTTLS" not in self._can:
            raise SmtpError("STARTTLS")
        await self._ask("STARTTLS", "STARTTLS", 220)
        if self._lines.received:
            raise SmtpError("STARTTLS")
        transport = await asyncio.get_running_loop().start_tls(
            self._transport, self._lines, context, server_hostname=self._server.host
        )
        if transport is None:
            raise ConnectionResetError("closed")
        self._transport = transport
        await self._hello()

    async def _ask(self, command: str, at: str, *wanted: int) -> list[bytes]:
        # What is put together here was checked where it came from; a line end in it would be a second command.
        if any(character in command for character in "\r\n\x00"):
            raise SmtpError(at)
        await self._lines.writable()
        self._transport.write(command.encode("ascii") + b"\r\n")
        return await self._answer(at, *wanted)

    async def _answer(self, at: str, *wanted: int) -> list[bytes]:
        """The texts of the answer's lines. Raises SmtpError if it is not one of `wanted`."""
        texts: list[bytes] = []
        while True:
            found = _ANSWER.fullmatch(await self._lines.line())
            if found is None or len(texts) == _LINES_MAX:
                raise SmtpError(at)
            texts.append(found[3])
            if found[2] != b"-":
                break
        status = int(found[1])
        if status not in wanted:
            enhanced = _ENHANCED.match(texts[-1])
            raise SmtpError(at, status, enhanced[0].decode() if enhanced else "")
        return texts
