"""A broker with every check of its own, over a real socket, in this process: for tests of what calls it."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stanchion.base.settings import Settings
from stanchion.bootstrap.broker import built_broker
from stanchion.context import Env
from stanchion.controls import kills, withdrawals
from stanchion.processes.sockets import listen_unix
from stanchion.tools.broker.client import BrokerClient, unix_route
from stanchion.tools.broker.server import BrokerServer
from stanchion.tools.broker.sessions import kinds_by_uid, unix_peer
from tests.support.patience import patient


@asynccontextmanager
async def brokered(env: Env, settings: Settings) -> AsyncIterator[BrokerClient]:
    """A client of a broker that lives as long as the block."""
    path, uids = settings.broker_socket, kinds_by_uid((), own=os.geteuid(), supervised=False)
    with patient():
        async with (
            kills.kept(env, role="engine") as switches,
            withdrawals.kept(env, role="engine") as withdrawn,
            built_broker(env, settings, {}, switches=switches, withdrawn=withdrawn) as (service, answer_ask),
        ):
            server = BrokerServer(service, env, answer_ask=answer_ask)
            await server.listen(listen_unix(path), lambda transport, key: unix_peer(transport, uids, key))
            client = BrokerClient(unix_route(path), where=str(path), clock=env.clock, rng=random.Random(1))
            try:
                yield client
            finally:
                await client.close()
                await server.drain(5)
