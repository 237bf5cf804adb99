"""Who may ask the broker what: a ticket of one's own, a user or a certificate that is named, and the person behind it."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from typing import Any

import pytest

from stanchion.base import Denied, Problem
from stanchion.secrets import forwarding
from stanchion.tools import AdapterProblem, triggers
from stanchion.tools.broker import peers, proofs, tokens, wire
from stanchion.tools.broker.asking import Asks, Persons
from stanchion.tools.broker.client import BrokerClient, unix_route
from stanchion.tools.broker.server import BrokerServer
from stanchion.tools.broker.sessions import kinds_by_name, kinds_by_uid, unix_peer
from stanchion.tools.broker.types import OPS, PEER_KINDS, BrokerAsk, Peer
from tests.tools.broker.calls import a_call
from tests.tools.broker.held import PEER, WEB, Held, Principals
from tests.tools.broker.worlds import CLOCK, Service, a_listener, an_env

MASTER = bytes(range(32))
ASKS = (*forwarding.OPERATIONS, triggers.VERIFY)


class Noted:
    """Answers every question, and notes who asked what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Peer]] = []

    async def __call__(self, ask: BrokerAsk, peer: Peer) -> dict[str, Any]:
        tokens.verify_ask(ask, peer.session_key, CLOCK.now().timestamp())
        peers.check_may(peer, ask.operation)
        self.asked.append((ask.operation, peer))
        return {}


@pytest.fixture
async def supervised(tmp_path):
    """A broker that was told the master key, its service, and what was asked of it."""
    service, noted = Service(), Noted()
    server = BrokerServer(service, an_env(), answer_ask=noted, master=MASTER)
    uids = kinds_by_uid((), own=os.geteuid(), supervised=True)
    await server.listen(a_listener(tmp_path / "b"), lambda t, k: unix_peer(t, uids, k))
    yield tmp_path / "b", service, noted
    await server.drain(0)


def client(path, ticket: proofs.Ticket | None) -> BrokerClient:
    return BrokerClient(unix_route(path), where=str(path), clock=CLOCK, rng=random.Random(7), ticket=ticket)


def test_every_operation_is_in_the_table_and_a_worker_asks_nothing_of_the_broker_itself():
    assert set(peers.MAY) == {*OPS, *ASKS}
    assert not any("worker" in peers.MAY[operation] for operation in (*ASKS, "test", "discover"))
    assert set(peers.PERSON) == {*ASKS, "test", "discover"} - {triggers.VERIFY}


@pytest.mark.parametrize("operation", [*OPS, *ASKS, "secrets.reveal"])
@pytest.mark.parametrize("kind", PEER_KINDS)
def test_the_table_is_what_decides(operation, kind):
    peer = replace(PEER, kinds=frozenset({kind}))
    expected = {"web": {*ASKS, "test", "discover"}, "worker": {"fetch", "lookup", "push", "probe", "execute"}}
    if operation in expected.get(kind, set()):
        peers.check_may(peer, operation)
    else:
        with pytest.raises(Denied) as caught:
            peers.check_may(peer, operation)
        assert caught.value.code == "broker.not_for_peer"


async def test_a_process_is_what_its_ticket_says(supervised):
    path, service, noted = supervised
    web = client(path, proofs.issue(MASTER, "web", "web", 1))
    worker = client(path, proofs.issue(MASTER, "worker", "worker-1", 2))
    assert await web.ask("secrets.rekey", {"fresh": True}) == {}
    assert [(op, peer.name, set(peer.kinds)) for op, peer in noted.asked] == [("secrets.rekey", "web/web/1", {"web"})]
    assert await worker.call(a_call()) == {"echo": a_call().arguments}
    assert [set(peer.kinds) for peer in service.peers] == [{"worker"}]
    with pytest.raises(Denied) as caught:
        await worker.ask("secrets.rekey", {"fresh": True})
    assert caught.value.code == "broker.not_for_peer"
    for one in (web, worker):
        await one.close()


async def test_without_a_ticket_the_same_user_is_no_more_than_a_worker(supervised):
    path, _service, noted = supervised
    other = client(path, None)
    await other.call(a_call())
    with pytest.raises(Denied):
        await other.ask("secrets.encrypt", {})
    assert noted.asked == []
    await other.close()


@pytest.mark.parametrize(
    "ticket",
    [
        proofs.Ticket(text="web/web/1", key=bytes(32)),
        proofs.Ticket(text="web/web/2", key=proofs.issue(MASTER, "web", "web", 1).key),
        proofs.Ticket(text="web/worker-1/2", key=proofs.issue(MASTER, "worker", "worker-1", 2).key),
        proofs.Ticket(text="root/web/1", key=proofs.issue(MASTER, "web", "web", 1).key),
    ],
    ids=["no key", "another start", "another type", "no type"],
)
async def test_a_ticket_without_its_key_is_worth_nothing(supervised, ticket):
    path, _service, noted = supervised
    forger = client(path, ticket)
    with pytest.raises(AdapterProblem) as caught:
        await forger.ask("secrets.rekey", {}, 0.3)
    assert caught.value.code == "broker.unavailable"
    assert noted.asked == []
    await forger.close()


async def test_a_process_with_a_ticket_asks_nothing_of_who_does_not_know_it(tmp_path):
    """Another process of the same user may put a socket of its own in the broker's place."""
    noted = Noted()
    for master in (None, bytes(32)):
        server = BrokerServer(Service(), an_env(), answer_ask=noted, master=master)
        everything = kinds_by_uid((), own=os.geteuid(), supervised=False)
        await server.listen(a_listener(tmp_path / "b"), lambda t, k, uids=everything: unix_peer(t, uids, k))
        web = client(tmp_path / "b", proofs.issue(MASTER, "web", "web", 1))
        with pytest.raises(AdapterProblem) as caught:
            await web.ask("secrets.sealing_key", {}, 0.3)
        assert caught.value.code == "broker.unavailable"
        await web.close()
        await server.drain(0)
    assert noted.asked == []


async def test_who_sits_between_has_no_key_for_a_question_of_its_own(supervised):
    """What a relay sees is the nonces and what both show; the key of the session is on no wire."""
    path, _service, noted = supervised
    ticket = proofs.issue(MASTER, "web", "web", 1)
    reader, writer = await asyncio.open_unix_connection(str(path))

    async def heard() -> dict[str, Any]:
        head = await reader.readexactly(4)
        return wire.message_of(await reader.readexactly(int.from_bytes(head, "big")))

    hello = (await heard())["hello"]
    nonce, mine = bytes.fromhex(hello["nonce"]), bytes(32)
    shown = proofs.Proof(ticket=ticket.text, nonce=mine, mac=proofs.mac_of_client(ticket.key, nonce, mine))
    writer.write(wire.frame(wire.proof_said(shown)))  # relayed, as the web process showed it
    assert set(await heard()) == {"proven"}
    ask = BrokerAsk(operation="secrets.rekey", said={}, tenant="", principal="", timeout_s=1.0, token="")
    signed = replace(ask, token=tokens.sign_ask(ask, bytes.fromhex(hello["key"]), CLOCK.now().timestamp()))
    writer.write(wire.frame(wire.ask_said(1, signed)))
    assert (await heard())["problem"]["code"] == "broker.bad_token"
    writer.write(wire.frame(wire.proof_said(shown)))  # nor is it shown a second time
    while await reader.read(65536):
        pass  # hung up on, after it was told why
    assert noted.asked == []
    writer.close()


async def test_what_is_said_with_a_question_is_signed(supervised):
    key, now = bytes(32), CLOCK.now().timestamp()
    ask = BrokerAsk(
        operation="secrets.check", said={"tenant": "acme"}, tenant="acme", principal="ada", timeout_s=1.0, token=""
    )
    signed = replace(ask, token=tokens.sign_ask(ask, key, now))
    tokens.verify_ask(signed, key, now)
    for changed in (
        replace(signed, said={"tenant": "globex"}),
        replace(signed, principal="grace"),
        replace(signed, tenant="globex"),
        replace(signed, operation="secrets.rekey"),
    ):
        with pytest.raises(Denied) as caught:
            tokens.verify_ask(changed, key, now)
        assert caught.value.code == "broker.bad_token"


def test_users_and_certificates_are_what_the_settings_say():
    assert kinds_by_uid(["1001=web+worker"], own=7, supervised=True) == {7: {"worker"}, 1001: {"web", "worker"}}
    assert kinds_by_uid((), own=7, supervised=False) == {7: set(PEER_KINDS)}
    assert kinds_by_uid(["7=worker"], own=7, supervised=False) == {7: {"worker"}}
    assert kinds_by_name(["spiffe://a/b=c=worker"]) == {"spiffe://a/b=c": {"worker"}}


# --- the person behind it


class Authorizer:
    def __init__(self) -> None:
        self.asked: list[Any] = []

    def check(self, actor, action, resource):
        self.asked.append((actor.tenant, actor.principal, action))
        if actor.principal != "ada":
            raise Denied("auth.denied", "No.")


async def asked_of(peer: Peer, operation: str, said: Any = None, **who: str) -> Any:
    env = an_env()
    env.authorizer = Authorizer()
    done: list[Any] = []

    async def answer(operation, said):
        done.append((operation, said))
        return {"done": True}

    ask = BrokerAsk(
        operation=operation, said=said or {}, tenant=who.get("tenant", "acme"), principal=who.get("principal", "ada"),
        timeout_s=1.0, token="",
    )  # fmt: skip
    ask = replace(ask, token=tokens.sign_ask(ask, peer.session_key, CLOCK.now().timestamp()))
    try:
        return await Asks(env, Persons(env, Principals()), answer)(ask, peer), env
    except Problem as problem:
        assert done == []
        return problem.code, env


@pytest.mark.parametrize(("operation", "action"), [(op, action) for op, action in peers.PERSON.items() if op in ASKS])
async def test_the_broker_looks_itself_whether_the_person_may(operation, action):
    answer, env = await asked_of(WEB, operation)
    assert answer == {"done": True}
    assert env.authorizer.asked == [("acme", "ada", action)]
    code, env = await asked_of(WEB, operation, principal="grace")
    assert code == "auth.denied"
    assert (
        b'broker_asks_refused_total{code="auth.denied",operation="%s"} 1.0' % operation.encode()
        in env.telemetry.expose()
    )


@pytest.mark.parametrize("principal", ["", "system:engine", "system:bootstrap", "trigger:mail"])
async def test_nobody_and_nothing_of_ours_asks_from_outside(principal):
    assert (await asked_of(WEB, "secrets.rekey", principal=principal))[0] == "broker.no_principal"


async def test_another_tenants_secrets_are_not_asked_about():
    assert (await asked_of(WEB, "secrets.check", {"tenant": "globex"}))[0] == "broker.other_tenant"
    assert (await asked_of(WEB, "secrets.encrypt", {"tenant": "acme"}))[0] == {"done": True}


async def test_a_worker_is_refused_whoever_it_names():
    for operation in ASKS:
        assert (await asked_of(PEER, operation))[0] == "broker.not_for_peer"


@pytest.fixture
async def held(env, cluster, database_urls) -> Held:
    found = Held(env, cluster.superuser(database_urls))
    await found.begin()
    return found


async def test_calls_are_for_workers_and_tests_for_persons(held: Held):
    for op, peer in (("push", WEB), ("fetch", WEB), ("test", PEER), ("discover", PEER)):
        with pytest.raises(Denied) as caught:
            await held.broker.perform(held.call(op), peer)
        assert caught.value.code == "broker.not_for_peer"
    await held.perform("test")
    assert held.persons.asked == [("test", "acme", "ada", {"name": "casebook"})]
    held.persons.refusal = Denied("auth.denied", "No.")
    with pytest.raises(Denied) as caught:
        await held.perform("test")
    assert caught.value.code == "auth.denied"
    assert [op for op, _ in held.adapter.asked] == ["test"]
