"""A small stand-in for S3: list, get, head, put with preconditions, over HTTP on the loopback interface.

It keeps objects in memory and a log of the writes it applied. It is no S3: it knows one bucket, checks that a request names
the access key it knows in a signature of version 4 (not the signature itself), and answers with the fields that clients
read. `faults` holds handlers, each answering one request in place of it.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

_DATE = "Wed, 12 Aug 2026 17:50:00 GMT"


@dataclass(kw_only=True)
class Bucket:
    """What the stand-in holds, and what it was asked. `key_id`: who may call; empty for everybody."""

    name: str = "exports"
    key_id: str = ""
    page: int = 2
    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[web.Request] = field(default_factory=list)
    received: list[tuple[str, bytes]] = field(default_factory=list)
    faults: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.faults:
            return await self.faults.pop(0)(request)
        signed = f"AWS4-HMAC-SHA256 Credential={self.key_id}/"
        if self.key_id and not request.headers.get("Authorization", "").startswith(signed):
            return _error(403, "AccessDenied")
        bucket, _, path = request.path.removeprefix("/").partition("/")
        if bucket != self.name:
            return _error(404, "NoSuchBucket")
        if not path:
            return self._list(request)
        return await {"GET": self._get, "HEAD": self._get, "PUT": self._put}[request.method](request, path)

    def _list(self, request: web.Request) -> web.Response:
        prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
        after = request.query.get("continuation-token") or request.query.get("start-after", "")
        found = sorted(path for path in self.objects if path.startswith(prefix) and path > after)
        common: list[str] = []
        if delimiter:
            deep = [p for p in found if delimiter in p[len(prefix) :]]
            common = sorted({prefix + p[len(prefix) :].split(delimiter)[0] + delimiter for p in deep})
            found = [p for p in found if p not in deep]
        part, more = found[: self.page], found[self.page :]
        contents = "".join(
            f"<Contents><Key>{escape(p)}</Key><LastModified>2026-08-12T17:50:00.000Z</LastModified>"
            f"<ETag>{escape(_etag(self.objects[p]))}</ETag><Size>{len(self.objects[p])}</Size></Contents>"
            for p in part
        )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>" for p in common)
        token = f"<NextContinuationToken>{escape(part[-1])}</NextContinuationToken>" if more else ""
        return web.Response(
            content_type="application/xml",
            text=f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>{self.name}</Name>'
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{contents}{prefixes}{token}</ListBucketResult>",
        )

    async def _get(self, request: web.Request, path: str) -> web.Response:
        if path not in self.objects:
            return _error(404, "NoSuchKey", head=request.method == "HEAD")
        data = self.objects[path]
        headers = {"ETag": _etag(data), "Last-Modified": _DATE}
        if request.method == "HEAD":
            return web.Response(headers={**headers, "Content-Length": str(len(data))})
        return web.Response(body=data, headers=headers)

    async def _put(self, request: web.Request, path: str) -> web.Response:
        data = await request.read()
        now = self.objects.get(path)
        if request.headers.get("If-None-Match") == "*" and now is not None:
            return _error(412, "PreconditionFailed")
        wanted = request.headers.get("If-Match")
        if wanted is not None and (now is None or wanted != _etag(now)):
            return _error(412, "PreconditionFailed")
        self.objects[path] = data
        self.received.append((path, data))
        return web.Response(headers={"ETag": _etag(data)})


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _error(status: int, code: str, *, head: bool = False) -> web.Response:
    text = "" if head else f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")


@asynccontextmanager
async def serving(bucket: Bucket, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The stand-in's URL; over TLS with a `context`."""
    app = web.Application(client_max_size=64 * 1_048_576)
    app.router.add_route("*", "/{path:.*}", bucket.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
