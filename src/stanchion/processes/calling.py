"""How web and workers reach the broker: its socket on this machine, or mTLS to another."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

from stanchion.base import Invalid
from stanchion.base.settings import Settings
from stanchion.context import Env
from stanchion.tools.broker.client import BrokerClient, tls_route, unix_route
from stanchion.tools.broker.proofs import Ticket
from stanchion.tools.broker.sessions import Certificates


@asynccontextmanager
async def calling(env: Env, settings: Settings, ticket: Ticket | None = None) -> AsyncGenerator[BrokerClient]:
    """A client of the broker that the settings name; closed after the block. It connects when it is first used.

    `ticket`: what this process is known by to the broker that was started with it.
    """
    address = settings.broker.address
    if address is None:
        dial, where = unix_route(settings.broker_socket), str(settings.broker_socket)
    else:
        parts = urlsplit(f"//{address}")
        files = certificates(settings)
        dial, where = tls_route(parts.hostname or "", parts.port or 0, partial(files.context, "client")), address
    # Across machines the certificate says who this is.
    shown = ticket if address is None else None
    client = BrokerClient(dial, where=where, clock=env.clock, rng=env.rng, ticket=shown)
    try:
        yield client
    finally:
        await client.close()


def certificates(settings: Settings) -> Certificates:
    """The files of this end of mTLS. Raises Invalid `config.invalid` where one is missing."""
    said = settings.broker
    if said.certificate is None or said.key is None or said.authority is None:
        raise Invalid(
            "config.invalid",
            "broker.certificate, broker.key and broker.authority belong together.",
            hint="Set all three: across machines both ends show certificates.",
        )
    return Certificates(certificate=said.certificate, key=said.key, authority=said.authority)
