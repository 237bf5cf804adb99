"""Run tokens: what one call may do, for minutes, signed with the key of the connection it travels on. Pure.

A token binds the tenant, the run, the step's path, the epoch of its claim, the connector's digest, the resource, the
operation, the idempotency key and the tool. It is of no use on another connection, for another step, for another tool, or later.
Its times are the broker's: the client learns that clock when it connects, so hosts whose clocks differ understand each other.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from stanchion.base import Denied
from stanchion.tools.broker.types import BrokerCall

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
    expires_at = int(now_s) + TOKEN_S
    return f"{_FORM}.{expires_at}.{_mac(call, key, expires_at)}"


def verify(call: BrokerCall, key: bytes, now_s: float) -> None:
    """Return if `call.token` was signed with `key` for exactly this call and is not over.

    Raises Denied `broker.bad_token` or `broker.token_expired`.
    """
    form, _, rest = call.token.partition(".")
    said, _, mac = rest.partition(".")
    if len(call.token) > _TEXT_MAX or form != _FORM or not (said.isascii() and said.isdigit()) or len(said) > 12:
        raise _bad()
    expires_at = int(said)
    if not hmac.compare_digest(_mac(call, key, expires_at).encode(), mac.encode()):
        raise _bad()
    if expires_at > now_s + TOKEN_S_MAX:
        raise _bad()
    if expires_at <= now_s:
        raise Denied(
            "broker.token_expired",
            f"The run token of this {call.op} was over {now_s - expires_at:.0f} s ago; nothing was sent.",
            hint="The next attempt of the step brings its own.",
        )


def _mac(call: BrokerCall, key: bytes, expires_at: int) -> str:
    asker = call.asker
    who = () if asker is None else (
        str(asker.run_id), str(asker.root_id), asker.path, str(asker.epoch), asker.principal, asker.tool, asker.tool_digest,
    )  # fmt: skip
    parts = (
        str(expires_at),
        call.op,
        call.tenant,
        call.connector,
        call.digest,
        call.resource,
        call.operation,
        call.key,
    )
    # Each part with its length before it: no two calls give the same bytes.
    bound = b"".join(len(part).to_bytes(4, "big") + part for part in (text.encode() for text in (*parts, *who)))
    return hmac.new(key, bound, hashlib.sha256).hexdigest()


def _bad() -> Denied:
    return Denied(
        "broker.bad_token",
        "The run token was not made for this call on this connection; nothing was sent.",
        hint="A token is good for one step, one tool and one connection, for a minute.",
    )
