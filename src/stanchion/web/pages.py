"""Two pages: signing in, and what waits for whom is signed in. Rendered here, no script, no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Annotated, Final, Literal
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stanchion.base import Denied, Problem, Unauthenticated
from stanchion.context import Ctx, Env
from stanchion.http import CtxDep, request_id_of, set_session_cookie, status_of
from stanchion.identity import SESSION_TTL, Authenticator, redeem
from stanchion.web.access import is_secure
from stanchion.web.settings import WebSettings

Shape = Literal["attention", "fail", "active", "ok", "neutral"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One line of the front page: `count` of `what`, in the status `shape`, with the path of the JSON list."""

    what: str
    count: int
    path: str
    shape: Shape = "attention"


# Counts what waits in a domain for this actor. Raises Denied where the actor may not see it: the line is left out.
Counter = Callable[[Ctx], Awaitable[Waiting]]

_STYLE: Final = """
:root{color-scheme:light dark;--bg:#f6f7f9;--surface:#fff;--line:#dde1e7;--ink:#1b1f26;--ink2:#566070;--accent:#3a55c4;
--on:#fff;--ok:#1d776a;--active:#3f66ad;--attention:#8a5f10;--fail:#862402;--neutral:#3f4650}
@media (prefers-color-scheme:dark){:root{--bg:#0f1216;--surface:#161a20;--line:#2b323c;--ink:#e8ebf0;--ink2:#a3acb9;
--accent:#8ea6ff;--on:#0f1216;--ok:#93e8d2;--active:#5b9bff;--attention:#efbe20;--fail:#f56a3f;--neutral:#a6adb8}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:13px/18px Inter,system-ui,sans-serif;
font-variant-numeric:tabular-nums}
header,main,footer{max-width:640px;margin:0 auto;padding:16px 20px}
header{display:flex;align-items:baseline;gap:12px;padding-top:32px}
header b{font-size:18px;line-height:24px;font-weight:650}
header span{color:var(--ink2)}
.env{margin-left:auto;border:1px solid var(--line);border-radius:6px;padding:2px 8px;color:var(--ink2)}
h1{font-size:18px;line-height:24px;font-weight:650;margin:0 0 8px}
h2{font-size:13px;font-weight:650;margin:24px 0 8px}
section{background:var(--surface);border:1px solid var(--line);border-radius:8px;overflow:hidden}
.card{padding:20px}
.card p{margin:0 0 16px;max-width:56ch}
ul{list-style:none;margin:0;padding:0}
li a{display:flex;align-items:center;gap:12px;min-height:44px;padding:4px 16px;color:inherit;text-decoration:none}
li+li{border-top:1px solid var(--line)}
li a:hover{background:var(--bg)}
li .n{font-size:20px;line-height:24px;min-width:3ch;text-align:right}
li code{margin-left:auto;color:var(--ink2)}
code{font:12px/18px "JetBrains Mono",ui-monospace,monospace}
svg{width:14px;height:14px;flex:none}
.ok{color:var(--ok)}.active{color:var(--active)}.attention{color:var(--attention)}.fail{color:var(--fail)}
.neutral{color:var(--neutral)}
.note{color:var(--ink2);font-size:12px}
button{font:inherit;font-weight:600;min-height:36px;padding:0 16px;border:1px solid transparent;border-radius:6px;
background:var(--accent);color:var(--on);cursor:pointer}
button.plain{background:none;border-color:var(--line);color:var(--ink);font-weight:400}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
footer{display:flex;align-items:center;gap:16px;color:var(--ink2)}
footer a{color:var(--accent)}footer form{margin-left:auto}
"""
_POLICY: Final = (
    "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
)
# Never colour alone: each status has a shape and its word.
_SHAPES: Final[dict[Shape, str]] = {
    "attention": '<path d="M1 1h12v12H1z" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    '<path d="M5 4.5v5M9 4.5v5" stroke="currentColor" stroke-width="1.5"/>',
    "fail": '<path d="M4.5 1h5L13 4.5v5L9.5 13h-5L1 9.5v-5z" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    '<path d="M5 5l4 4M9 5l-4 4" stroke="currentColor" stroke-width="1.5"/>',
    "active": '<circle cx="7" cy="7" r="6" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    '<path d="M7 1a6 6 0 0 1 0 12z" fill="currentColor"/>',
    "ok": '<circle cx="7" cy="7" r="6" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    '<path d="M4 7.2l2 2 4-4.4" fill="none" stroke="currentColor" stroke-width="1.5"/>',
    "neutral": '<circle cx="7" cy="7" r="6" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    '<path d="M3 11l8-8" stroke="currentColor" stroke-width="1.5"/>',
}
_LISTS: Final = (
    ("Runs", "/api/runs"),
    ("Approvals", "/api/approvals"),
    ("Dead letters", "/api/dlq"),
    ("Effects", "/api/effects"),
    ("Blueprints", "/api/blueprints"),
    ("Connectors", "/api/connectors"),
    ("Tools", "/api/tools"),
    ("Triggers", "/api/triggers"),
    ("Workers", "/api/workers"),
    ("Audit records", "/api/audit"),
)
_EXAMPLE: Final = "<!doctype html><title>Stanchion</title>"
_FORM: Final[dict[str, object]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["token"],
                    "properties": {"token": {"type": "string", "maxLength": 128}},
                },
                "example": {"token": "0199c1f05c7e7d319a546f1f0a4f5d11." + "0" * 43},
            }
        },
    }
}
_FORM_MAX: Final = 4096
Token = Annotated[str, Query(max_length=128, description="The token of the link.")]


def build_router(
    env: Env, authenticator: Authenticator, settings: WebSettings, counters: Sequence[Counter]
) -> APIRouter:
    """GET /, GET and POST /sign-in."""
    router = APIRouter(tags=["pages"])
    html: dict[int | str, dict[str, object]] = {
        200: {"content": {"text/html": {"schema": {"type": "string"}, "example": _EXAMPLE}}}
    }

    @router.get("/", summary="What waits for me", response_class=HTMLResponse, responses=html)
    async def front_page(ctx: CtxDep) -> HTMLResponse:
        """A page for a person: what waits, and where the lists are."""
        return _page("Stanchion", _front(ctx, [w for w in [await _counted(ctx, c) for c in counters] if w]))

    @router.get("/sign-in", summary="The sign-in page", response_class=HTMLResponse, responses=html)
    async def sign_in_page(token: Token = "") -> HTMLResponse:
        """Shows a button. Opening the link uses nothing up, so that previews of mail and chat programs do no harm."""
        return _page("Sign in", _sign_in(env, token))

    @router.post(
        "/sign-in",
        summary="Sign in with a one-time link",
        status_code=303,
        response_class=Response,
        responses={303: {"description": "Signed in: the cookie is set, go on to the front page."}},
        openapi_extra=_FORM,
    )
    async def sign_in(request: Request) -> Response:
        """Uses the link up and begins a session of twelve hours."""
        form = parse_qs((await request.body())[:_FORM_MAX].decode("ascii", "replace"), max_num_fields=None)
        token = form.get("token", [""])[0]
        try:
            session = await redeem(env, authenticator.pepper, token, request_id=request_id_of(request.scope))
        except Unauthenticated as problem:
            env.telemetry.emit("auth.refused", 1, problem.code.removeprefix("auth."))
            if "text/html" not in request.headers.get("accept", ""):
                raise
            return _page("Sign in", _refused(env, problem), status=status_of(problem))
        response = RedirectResponse("/", status_code=303)
        set_session_cookie(
            response,
            session.token,
            max_age_s=int(SESSION_TTL.total_seconds()),
            secure=is_secure(request.scope, settings),
        )
        return response

    return router


async def _counted(ctx: Ctx, counter: Counter) -> Waiting | None:
    try:
        return await counter(ctx)
    except Denied:
        return None


def _page(title: str, body: str, *, status: int = 200) -> HTMLResponse:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )
    return HTMLResponse(text, status_code=status, headers={"content-security-policy": _POLICY})


def _head(env: Env, who: str) -> str:
    kind = " (production)" if env.environment.production else ""
    return (
        f"<header><b>Stanchion</b><span>{escape(who)}</span>"
        f'<span class="env">{escape(env.environment.name)}{kind}</span></header>'
    )


def _front(ctx: Ctx, waiting: Sequence[Waiting]) -> str:
    lines = "".join(
        f'<li><a href="{escape(w.path)}"><svg class="{w.shape if w.count else "ok"}" viewBox="0 0 14 14" '
        f'aria-hidden="true">{_SHAPES[w.shape if w.count else "ok"]}</svg><span class="n">{w.count}</span>'
        f"<span>{escape(w.what)}</span><code>{escape(w.path)}</code></a></li>"
        for w in waiting
    )
    lists = "".join(f'<li><a href="{path}">{name}<code>{path}</code></a></li>' for name, path in _LISTS)
    idle = '<div class="card note">Nothing here is yours to see. An admin grants roles.</div>'
    return (
        f"{_head(ctx.env, f'{ctx.actor.principal} in {ctx.tenant}')}<main><h1>What waits</h1>"
        f"<section>{f'<ul>{lines}</ul>' if lines else idle}</section>"
        f"<h2>Lists, as JSON</h2><section><ul>{lists}</ul></section></main>"
        '<footer><a href="/openapi.json">openapi.json</a><span>Times are UTC.</span>'
        '<form method="post" action="/sign-out"><button class="plain">Sign out</button></form></footer>'
    )


def _sign_in(env: Env, token: str) -> str:
    if not token:
        text = (
            "<h1>Sign in</h1><p>It takes a one-time link. <code>stanchion up</code> prints one for the first admin; "
            "for everybody else an admin makes one.</p>"
            '<p class="note">Programs use an API key: <code>Authorization: Bearer stn_…</code></p>'
        )
    else:
        text = (
            "<h1>Sign in</h1><p>This link works once. You stay signed in on this browser for twelve hours.</p>"
            f'<form method="post" action="/sign-in"><input type="hidden" name="token" value="{escape(token)}">'
            "<button autofocus>Sign in</button></form>"
        )
    return f'{_head(env, "")}<main><section class="card">{text}</section></main>'


def _refused(env: Env, problem: Problem) -> str:
    return (
        f'{_head(env, "")}<main><section class="card"><h1>Not signed in</h1>'
        f"<p>{escape(problem.message)} {escape(problem.hint)}</p>"
        "<p>Nothing was changed.</p></section></main>"
    )
