"""What of the web process can be set. Every bound has a default that serves; none can be switched off."""

from __future__ import annotations

from dataclasses import dataclass, field

from stanchion.controls import RateLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Settings of the web process.

    Attributes:
        public_url: how browsers reach this process (`https://stanchion.example.org`); begins sign-in links, and with
            https makes cookies `__Host-` and `Secure`. Empty: as the request says.
        body_bytes_max: the largest request body, chunked or not.
        header_bytes_max: the largest request head.
        header_timeout_s: from the first byte (or the connection) to the end of the head.
        body_timeout_s: from the end of the head to the end of the body.
        send_timeout_s: how long a client may take to read what is waiting for it.
        per_principal: rate limit of one principal, over all its credentials.
        per_address: rate limit of one client address, before its credential is looked at.
        connections_max: connections and requests at once; one more is answered 503.
        keep_alive_s: how long an idle connection stays open.
        drain_s: how long requests in hand may take after SIGTERM.
        trusted_proxies: addresses whose `X-Forwarded-*` are believed; empty: nobody's.
    """

    public_url: str = ""
    body_bytes_max: int = 1 << 20
    header_bytes_max: int = 64 << 10
    header_timeout_s: float = 10.0
    body_timeout_s: float = 20.0
    send_timeout_s: float = 30.0
    per_principal: RateLimit = field(default_factory=lambda: RateLimit(per_s=200, burst=400))
    per_address: RateLimit = field(default_factory=lambda: RateLimit(per_s=400, burst=800))
    connections_max: int = 1000
    keep_alive_s: int = 15
    drain_s: int = 10
    trusted_proxies: tuple[str, ...] = ()
