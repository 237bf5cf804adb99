"""A stand-in for Vault and OpenBao: the part of their HTTP API that the provider uses, by their documentation.

It checks what it receives as a server does (method, path, token, namespace, body), keeps a log of it, and answers with whole
bodies in their form: AppRole login, token renewal, KV version 2 with deleted and destroyed versions, policies, sealing.
It is no Vault: what a real one does otherwise, the tests over this do not see.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from stanchion.base import Clock


@dataclass
class Token:
    text: str
    made_at: float
    ttl_s: float
    ends_at: float
    renewable: bool = True


@dataclass
class KvVersion:
    data: dict[str, Any]
    deletion_time: str = ""
    destroyed: bool = False


@dataclass(kw_only=True)
class Vault:
    clock: Clock
    role_id: str = "role-1"
    secret_ids: set[str] = field(default_factory=lambda: {"sid-1"})
    token_ttl_s: float = 60.0
    token_max_ttl_s: float = 180.0
    renewable: bool = True
    mount: str = "secret"
    namespace: str = ""
    readable: str = "stanchion/"
    sealed: bool = False
    answer_with: tuple[int, bytes] | None = None
    secrets: dict[str, list[KvVersion]] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    log: list[tuple[str, str, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def put(self, path: str, **data: Any) -> int:
        versions = self.secrets.setdefault(path, [])
        versions.append(KvVersion(data))
        return len(versions)

    def revoke_all(self) -> None:
        self.tokens.clear()

    @property
    def calls(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.log]

    @asynccontextmanager
    async def serving(self, **more: Any) -> AsyncIterator[str]:
        """Listen on a free port of this machine; the address."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, **more)
        await site.start()
        port = runner.addresses[0][1]
        try:
            yield f"{'https' if more else 'http'}://127.0.0.1:{port}"
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        answer = await self._answer(request)
        self.log.append((request.method, request.path_qs, answer.status))
        return answer

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/v1/")
        if not request.path.startswith("/v1/"):
            return _errors(404, "unsupported path")
        if self.answer_with is not None:
            return web.Response(status=self.answer_with[0], body=self.answer_with[1])
        if self.sealed:
            return _errors(503, "Vault is sealed")
        if request.headers.get("X-Vault-Request") != "true":
            self.faults.append("no X-Vault-Request")
        if request.headers.get("X-Vault-Namespace", "") != self.namespace:
            return _errors(404, f'no handler for route "{path}"')
        if path == "auth/approle/login":
            return await self._login(request)
        token = self.tokens.get(request.headers.get("X-Vault-Token", ""))
        if token is None or token.ends_at <= self.clock.monotonic():
            return _errors(403, "permission denied", "invalid token")
        if path == "auth/token/renew-self":
            return self._renew(request, token)
        if request.method == "GET" and path.startswith(f"{self.mount}/data/"):
            return self._read(path.removeprefix(f"{self.mount}/data/"), request.query.get("version"))
        return _errors(404, f'no handler for route "{path}"')

    async def _login(self, request: web.Request) -> web.Response:
        if request.method != "POST" or request.content_type != "application/json":
            return _errors(405, "unsupported operation")
        body = json.loads(await request.text())
        if set(body) != {"role_id", "secret_id"}:
            self.faults.append(f"login with {sorted(body)}")
        if body.get("role_id") != self.role_id or body.get("secret_id") not in self.secret_ids:
            return _errors(400, "invalid role or secret ID")
        if "X-Vault-Token" in request.headers:
            self.faults.append("login with a token")
        now = self.clock.monotonic()
        token = Token(f"hvs.{len(self.tokens)}-{now:g}", now, self.token_ttl_s, now + self.token_ttl_s, self.renewable)
        self.tokens[token.text] = token
        return self._auth(token)

    def _renew(self, request: web.Request, token: Token) -> web.Response:
        if request.method != "POST":
            return _errors(405, "unsupported operation")
        if not token.renewable:
            return _errors(400, "lease is not renewable")
        now = self.clock.monotonic()
        left = token.made_at + self.token_max_ttl_s - now
        if left <= 0:
            return _errors(403, "permission denied")
        token.ttl_s = min(self.token_ttl_s, left)
        token.ends_at = now + token.ttl_s
        return self._auth(token)

    def _auth(self, token: Token) -> web.Response:
        auth = {
            "client_token": token.text,
            "accessor": "acc",
            "policies": ["default", "stanchion"],
            "token_policies": ["default", "stanchion"],
            "metadata": {"role_name": "stanchion"},
            "lease_duration": int(token.ttl_s),
            "renewable": token.renewable,
            "entity_id": "e",
            "token_type": "service",
            "orphan": True,
        }
        return _body({"auth": auth})

    def _read(self, path: str, version: str | None) -> web.Response:
        if not path.startswith(self.readable):
            return _errors(403, "1 error occurred:\n\t* permission denied\n\n")
        versions = self.secrets.get(path)
        if not versions:
            return _errors(404)
        number = int(version) if version and version != "0" else len(versions)
        if number > len(versions):
            return _errors(404)
        found = versions[number - 1]
        metadata = {
            "created_time": "2026-11-22T04:52:04.800823Z",
            "custom_metadata": None,
            "deletion_time": found.deletion_time,
            "destroyed": found.destroyed,
            "version": number,
        }
        gone = bool(found.deletion_time) or found.destroyed
        return _body({"data": {"data": None if gone else found.data, "metadata": metadata}}, 404 if gone else 200)


def _body(more: dict[str, Any], status: int = 200) -> web.Response:
    whole = {
        "request_id": "7b5b2e8f-2c4f-4e2b-8b9c-0f9a3c1d2e3f",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": None,
        "wrap_info": None,
        "warnings": None,
        "auth": None,
    }
    return web.json_response({**whole, **more}, status=status)


def _errors(status: int, *said: str) -> web.Response:
    return web.json_response({"errors": list(said)}, status=status)
