"""What a call of an MCP server came to: its envelope, or the problem to say, without anything the server said."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from stanchion.base import Json
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.call import Call
from stanchion.tools.adapters.mcp.definitions import Definition, changed, hinted
from stanchion.tools.adapters.mcp.results import outcome_of
from stanchion.tools.types import Envelope

if TYPE_CHECKING:
    from stanchion.tools.adapters.mcp.sessions import Session

# The statuses with which a server refused the credentials of the call in hand, 401 or 403. The SDK runs a request in the
# context of its caller, so that what the transport sees reaches this call and no other.
refusals: ContextVar[list[int] | None] = ContextVar("refusals", default=None)
# MCP's and JSON-RPC's error codes (mcp_types.jsonrpc).
_TIMEOUT, _CLOSED, _BAD_ARGUMENTS, _NO_SUCH = -32001, -32000, -32602, -32601
_DISCOVER = "`stanchion connector discover {name}` shows it; review it, put it into the connector and apply that."


def check_same(target: Target, pinned: Definition, tools: Mapping[str, Definition]) -> None:
    """Raise AdapterProblem unless the server's tool is as it was released."""
    listed = tools.get(pinned.tool)
    name = target.connector.name
    if listed is None:
        raise target.problem(
            "mcp.tool_gone",
            "cannot be called: the server offers no tool of that name any more.",
            hint=_DISCOVER.format(name=name),
        )
    released = str(target.operation.settings["digest"])
    if listed.digest == released and pinned.digest == released:
        return
    parts = changed(pinned, listed)
    raise target.problem(
        "mcp.tool_changed",
        f"is not called: since it was released, the server changed {', '.join(parts) or 'its definition'}.",
        hint=f"A changed tool may do something else than what was approved. {_DISCOVER.format(name=name)}",
        changed=parts,
        digest=listed.digest,
        effect_hint=hinted(listed),
    )


def _refused(target: Target) -> AdapterProblem | None:
    """The problem, if the server refused the credentials of the call in hand: then it was not performed."""
    statuses = refusals.get()
    if not statuses:
        return None
    return target.problem(
        "adapter.status",
        f"was refused by the server with status {statuses[-1]}.",
        hint="Check `auth` of the connector, and its secret: `stanchion secret check`.",
        status=statuses[-1],
    )


def failed(target: Target, code: int, session: Session, *, writes: bool) -> AdapterProblem:
    """The problem for an error of the protocol. Its text is the server's and is not repeated."""
    if (refused := _refused(target)) is not None:
        return refused
    if code == _TIMEOUT:
        # A server that does not answer is asked for its list before it gets the next call.
        session.listed_at = None
        return target.problem(
            "adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True, sent=writes
        )
    if code in {_BAD_ARGUMENTS, _NO_SUCH}:
        return target.problem(
            "mcp.refused",
            f"was refused by the server, which knows no such tool or does not take these arguments (error {code}).",
            hint="Nothing was done. Is the server's own check stricter than the schema that it lists?",
        )
    session.listed_at = None
    if code == _CLOSED:
        return target.problem(
            "mcp.session_lost", "lost its session before an answer came.", retryable=True, sent=writes
        )
    return target.problem("mcp.failed", f"was answered with the error {code}.", retryable=True, sent=writes)


def unreachable(target: Target, ended: Exception) -> AdapterProblem:
    """The problem for a session that could not be opened or asked: nothing was called."""
    if (refused := _refused(target)) is not None:
        return refused
    words = getattr(ended, "words", "") or "did not answer as an MCP server does."
    return target.problem(
        "adapter.unreachable",
        f"cannot be called: the server {words}",
        hint=str(getattr(ended, "hint", "")) or "Is the server up, and does `url` or `command` name it?",
        retryable=bool(getattr(ended, "retryable", True)),
    )


def envelope_of(call: Call, pinned: Definition, answer: Any, idempotency_key: str | None) -> Envelope:
    """The envelope of an answer. Raises AdapterProblem `mcp.tool_failed`, `mcp.input_required`, `mcp.bad_result`."""
    target = call.target
    writes = target.operation.effect != "read"
    raw = cast("dict[str, Json]", answer.model_dump(by_alias=True, mode="json", exclude_unset=True))
    if "inputRequests" in raw or raw.get("resultType") == "input_required":
        raise target.problem(
            "mcp.input_required",
            "asks for input that nobody gives it here.",
            hint="A tool that asks a person or a model in the middle of a call cannot be an operation of a Blueprint.",
            sent=writes,
        )
    content = cast("list[Mapping[str, Json]]", raw.get("content") or [])
    call.bytes += sum(len(str(item.get("text") or item.get("data") or "")) for item in content)
    if raw.get("isError"):
        certain = target.operation.settings.get("error_means") == "nothing_written"
        said = "\n".join(str(item.get("text", "")) for item in content if item.get("type") == "text")
        raise target.problem(
            "mcp.tool_failed",
            "failed, says the tool.",
            hint="What it said is not repeated: it may hold anything. "
            + ("" if certain or not writes else "Whether it wrote something is not known."),
            sent=writes and not certain,
            said_characters=len(said),
        )
    outcome = outcome_of(pinned, content, raw.get("structuredContent"))
    if outcome.problems and not writes:
        raise target.problem(
            "mcp.bad_result",
            f"returned a result that cannot be used: {'; '.join(outcome.problems)}.",
            hint="The result of a write is kept as far as it can be, with its `problems`; a read fails.",
        )
    return call.executed(cast("Json", outcome.result), applied=writes, idempotency_key=idempotency_key)
