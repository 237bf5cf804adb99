"""HTTP ground: problem details, paging, the authenticated Ctx of a request.

A domain's `routes.py` needs four things of it: `CtxDep` (who calls), `PageDep` and `Page` (lists), and `Model` (what
bodies look like). Problems raised by verbs become RFC 9457 answers by themselves; a route catches none.
"""

from stanchion.base.paging import PageParams, Slice, bad_cursor, decode_cursor, encode_cursor, id_after, slice_of
from stanchion.http.context import CTX_KEY, REQUEST_ID_KEY, CtxDep, current_ctx, request_id_of
from stanchion.http.cookies import clear_session_cookie, session_cookie, set_session_cookie
from stanchion.http.handlers import install_problem_handlers
from stanchion.http.models import Model, Reply, asks, example, shows
from stanchion.http.paging import Page, PageDep, page_params
from stanchion.http.problems import PROBLEM_JSON, ProblemModel, problem_body, problem_response, status_of

__all__ = [
    "CTX_KEY",
    "PROBLEM_JSON",
    "REQUEST_ID_KEY",
    "CtxDep",
    "Model",
    "Page",
    "PageDep",
    "PageParams",
    "ProblemModel",
    "Reply",
    "Slice",
    "asks",
    "bad_cursor",
    "clear_session_cookie",
    "current_ctx",
    "decode_cursor",
    "encode_cursor",
    "example",
    "id_after",
    "install_problem_handlers",
    "page_params",
    "problem_body",
    "problem_response",
    "request_id_of",
    "session_cookie",
    "set_session_cookie",
    "shows",
    "slice_of",
    "status_of",
]
