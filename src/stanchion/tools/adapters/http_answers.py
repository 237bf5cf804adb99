"""What an answer over HTTP means: a read's JSON, whether a write was applied, what JSON-RPC says. Pure.

A write's status, unless its connector's `answers` say otherwise:

| status | means |
|---|---|
| 2xx | applied |
| 307, 308, other 4xx | refused: certainly not applied |
| 425, 429 | refused where the key is recognised, so that a mistake of this rule repeats nothing; else unsure |
| 301-303, 408, 409, 5xx | unsure: it may have been applied |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from yarl import URL

from stanchion.base import Json
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.http_client import Answer
from stanchion.tools.adapters.http_operations import MEANINGS, Meaning
from stanchion.tools.adapters.http_paging import pointed

_RETRYABLE: Final = {408, 425, 429, 500, 502, 503, 504}
_UNSURE: Final = {301, 302, 303, 408, 409}
_DECLINED: Final = {425, 429}
# JSON-RPC 2.0, section 5.1: what these name was never begun; the rest of the reserved range fails on the server's side.
_RPC_NOT_BEGUN: Final = {-32700, -32600, -32601, -32602}
_RPC_RESERVED: Final = range(-32768, -31999)


def checked_json(target: Target, method: str, path: str, answer: Answer) -> Json:
    """The JSON of a read's answer. Raises AdapterProblem."""
    if answer.status >= 300:
        raise status_problem(target, method, path, answer, sent=False)
    if not answer.is_json():
        raise target.problem(
            "adapter.wrong_content_type",
            "answered with something other than JSON.",
            hint="Does the path lead to the API, or to a page for people (a sign-in, an error page)?",
            status=answer.status,
        )
    try:
        return answer.json()
    except ValueError:
        raise target.problem("adapter.not_json", "answered with a body that is not JSON.") from None


def status_problem(target: Target, method: str, path: str, answer: Answer, *, sent: bool) -> AdapterProblem:
    """A status that is a refusal, or that leaves open what happened."""
    more: dict[str, Any] = {} if answer.retry_after_s is None else {"retry_after_s": answer.retry_after_s}
    return target.problem(
        "adapter.status",
        f"answered with status {answer.status}.",
        hint=_status_hint(target, method, path, answer.status),
        retryable=answer.status in _RETRYABLE or (sent and answer.status == 409),
        sent=sent,
        status=answer.status,
        **more,
    )


def _status_hint(target: Target, method: str, path: str, status: int) -> str:
    """The declared path that was called, without the values in it, the host or a query; and what to do."""
    called = f"{method} {URL(str(target.connector.settings['base_url'])).path.rstrip('/')}{path} was called"
    if status in _RETRYABLE:
        return f"{called}. It may pass: give the step `retry`."
    if status in {401, 403}:
        auth = cast("Mapping[str, Json]", target.connector.settings.get("auth") or {})
        if not auth:
            return f"{called}, without credentials: the connector declares none under `auth`."
        return f"{called}, with {', '.join(auth)}. Check the secret, and what it may do there."
    if 300 <= status < 400:
        return f"{called}. A write is not redirected: correct `base_url` or the operation's `path`."
    return f"{called}. Check `base_url` and the operation's `path`."


def written(target: Target, method: str, answer: Answer) -> bool:
    """Whether the answer to a write says that it was applied now; False: the target had it already.

    Raises AdapterProblem, `sent` where it may have been applied.
    """
    settings = target.operation.settings
    meaning = _meaning(target, answer.status)
    if meaning == "applied" and "applied_if" in settings:
        meaning = _declared_applied(target, answer)
    if meaning in {"applied", "already"}:
        return meaning == "applied"
    raise status_problem(target, method, str(settings["path"]), answer, sent=meaning == "unsure")


def _meaning(target: Target, status: int) -> Meaning:
    declared = cast("Mapping[str, list[Json]]", target.operation.settings.get("answers") or {})
    for meaning in MEANINGS:
        if status in declared.get(meaning, []):
            return meaning
    if 200 <= status < 300:
        return "applied"
    if status in _DECLINED:
        return "unsure" if target.operation.idempotency == "none" else "refused"
    return "unsure" if status in _UNSURE or status >= 500 else "refused"


def _declared_applied(target: Target, answer: Answer) -> Meaning:
    """Some targets answer 200 to everything, and say in the body what happened."""
    declared = cast("Mapping[str, Json]", target.operation.settings["applied_if"])
    try:
        body = answer.json()
    except ValueError:
        raise target.problem(
            "adapter.not_json",
            "answered a write with a body that is not JSON, so that `applied_if` cannot be told.",
            sent=True,
            status=answer.status,
        ) from None
    found, wanted = pointed(body, str(declared["at"])), declared["equals"]
    if type(found) is type(wanted) and found == wanted:
        return "applied"
    raise target.problem(
        "adapter.refused",
        f"answered a write with status {answer.status} and not what `applied_if` wants.",
        hint="The target says in its answer that it did not take the write.",
        status=answer.status,
    )


def body_of(answer: Answer) -> Json:
    """The answer to a write as JSON; None if it has none, or none that is JSON: it was applied all the same."""
    if not answer.body or not answer.is_json():
        return None
    try:
        return answer.json()
    except ValueError:
        return None


def rpc_result(
    target: Target, answer: Answer, rpc: Mapping[str, Json], rpc_id: str, *, writes: bool
) -> tuple[Json, bool]:
    """The result of a JSON-RPC call, and whether it was applied now (False: an error code that means `already`).

    Raises AdapterProblem: for an error object by its code, for an answer that is none to this request as unsure.
    """
    try:
        body = answer.json()
    except ValueError:
        body = None
    named = isinstance(body, dict) and body.get("id") == rpc_id and body.get("jsonrpc") == "2.0"
    if isinstance(body, dict) and body.get("error") is not None and (named or body.get("id") is None):
        return None, _rpc_error(target, body["error"], rpc, answer, writes=writes)
    if answer.status >= 300:
        sent = writes and _meaning(target, answer.status) == "unsure"
        raise status_problem(target, "POST", str(target.operation.settings["path"]), answer, sent=sent)
    if not named or "result" not in cast("dict[str, Json]", body):
        raise target.problem(
            "adapter.bad_answer",
            "answered with something other than JSON-RPC 2.0, or to another request.",
            hint="Does the path lead to the JSON-RPC endpoint? Its answers say jsonrpc, id, and result or error.",
            retryable=writes,
            sent=writes,
        )
    return cast("dict[str, Json]", body)["result"], True


def _rpc_error(target: Target, error: Json, rpc: Mapping[str, Json], answer: Answer, *, writes: bool) -> bool:
    """False if the code means that the target has it already. The server's own words are not repeated."""
    code = error.get("code") if isinstance(error, dict) else None
    whole = code if isinstance(code, int) and not isinstance(code, bool) else None
    meaning = _rpc_meaning(whole, rpc)
    if writes and meaning == "already":
        return False
    more: dict[str, Any] = {} if answer.retry_after_s is None else {"retry_after_s": answer.retry_after_s}
    raise target.problem(
        "adapter.rpc_error",
        f"answered {rpc['method']} with the error code {'none' if whole is None else whole}.",
        hint=_RPC_HINTS.get(whole or 0, "Look into the system's own log for what it means."),
        retryable=meaning == "unsure",
        sent=writes and meaning == "unsure",
        rpc_code=whole,
        **more,
    )


def _rpc_meaning(code: int | None, rpc: Mapping[str, Json]) -> str:
    for meaning in ("already", "refused", "unsure"):
        if code in cast("list[Json]", rpc.get(meaning, [])):
            return meaning
    if code is None or (code in _RPC_RESERVED and code not in _RPC_NOT_BEGUN):
        return "unsure"
    return "refused"


_RPC_HINTS: Final[Mapping[int, str]] = {
    -32700: "It could not read the request as JSON.",
    -32600: "It took the request for none of JSON-RPC.",
    -32601: "It has no such method: correct `rpc.method`.",
    -32602: "The parameters do not fit the method: correct `rpc.params`.",
    -32603: "It failed inside; whether anything was done is open.",
}
