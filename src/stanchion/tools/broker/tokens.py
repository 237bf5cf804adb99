"""Run tokens: what one call may do, for minutes, signed with the key of the connection it travels on. Pure.

A token binds the tenant, the run, the step's path, the epoch of its claim, the connector's digest, the resource, the
operation, the idempotency key and the tool. It is of no use on another connection, for another step, for another tool, or later.
Its times are the broker's: the client learns that clock when it connects, so hosts whose clocks differ understand each other.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from stanchion.base import Denied, digest
from stanchion.tools.broker.types import BrokerAsk, BrokerCall

# How long a token that a client signs is good, and the longest that a broker accepts.
TOKEN_S: Final = 60
TOKEN_S_MAX: Final = 300
KEY_BYTES: Final = 32
_FORM: Final = "1"
_TEXT_MAX: Final = 128


def sign(call: BrokerCall, key: bytes, now_s: float) -> str:
    """The token for `call`; what `call.token` holds is ignored.

    Args:
        call: what is to be done.
        key: of the session, `KEY_BYTES` long.
        now_s: seconds since 1970 on the broker's clock.
    """
    return _signed(_bound(call), key, now_s)


def sign_ask(ask: BrokerAsk, key: bytes, now_s: float) -> str:
    """The token for something asked of the broker itself, with all that is said; arguments as of `sign`."""
    return _signed(_bound_ask(ask), key, now_s)


def verify(call: BrokerCall, key: bytes, now_s: float) -> None:
    """Return if `call.token` was signed with `key` for exactly this call and is not over.

    Raises Denied `broker.bad_token` or `broker.token_expired`.
    """
    _verify(call.token, _bound(call), key, now_s, call.op)


def verify_ask(ask: BrokerAsk, key: bytes, now_s: float) -> None:
    """As `verify`, for something asked of the broker itself."""
    _verify(ask.token, _bound_ask(ask), key, now_s, ask.operation)


def _signed(parts: tuple[str, ...], key: bytes, now_s: float) -> str:
    expires_at = int(now_s) + TOKEN_S
    return f"{_FORM}.{expires_at}.{_mac(parts, key, expires_at)}"


def _verify(token: str, parts: tuple[str, ...], key: bytes, now_s: float, op: str) -> None:
    form, _, rest = token.partition(".")
    said, _, mac = rest.partition(".")
    if len(token) > _TEXT_MAX or form != _FORM or not (said.isascii() and said.isdigit()) or len(said) > 12:
        raise _bad()
    expires_at = int(said)
    if not hmac.compare_digest(_mac(parts, key, expires_at).encode(), mac.encode()):
        raise _bad()
    if expires_at > now_s + TOKEN_S_MAX:
        raise _bad()
    if expires_at <= now_s:
        raise Denied(
            "broker.token_expired",
            f"The token of this {op} was over {now_s - expires_at:.0f} s ago; nothing was sent.",
            hint="The next attempt of the step brings its own.",
        )


def _bound(call: BrokerCall) -> tuple[str, ...]:
    asker = call.asker
    who = (call.principal,) if asker is None else (
        str(asker.run_id), str(asker.root_id), asker.path, str(asker.epoch), asker.principal, asker.tool, asker.tool_digest,
    )  # fmt: skip
    return (
        call.op,
        call.tenant,
        call.connector,
        call.digest,
        call.resource,
        call.operation,
        call.key,
        *who,
    )


def _bound_ask(ask: BrokerAsk) -> tuple[str, ...]:
    return ("ask", ask.operation, ask.tenant, ask.principal, digest(dict(ask.said)))


def _mac(parts: tuple[str, ...], key: bytes, expires_at: int) -> str:
    # Each part with its length before it: no two calls give the same bytes.
    bound = b"".join(
        len(part).to_bytes(4, "big") + part for part in (text.encode() for text in (str(expires_at), *parts))
    )
    return hmac.new(key, bound, hashlib.sha256).hexdigest()


def _bad() -> Denied:
    return Denied(
        "broker.bad_token",
        "The run token was not made for this call on this connection; nothing was sent.",
        hint="A token is good for one step, one tool and one connection, for a minute.",
    )
