"""What is asked of the broker itself: who asks, for whom, and whether both may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from stanchion.base import Denied, Json, Problem
from stanchion.context import Env
from stanchion.identity import Principals
from stanchion.tools.broker import peers
from stanchion.tools.broker.tokens import verify_ask
from stanchion.tools.broker.types import BrokerAsk, Peer

# Does what is asked: (operation, what is said with it) -> the answer.
Answering = Callable[[str, Mapping[str, Json]], Awaitable[Mapping[str, Json]]]
# Names that no person and no service has: what runs in Stanchion's own name is asked for by no one from outside.
_NOBODY = ("system:", "trigger:")


class Persons:
    """Whether a person may have something asked: by their roles as the database has them now, and the shipped policies.

    The web process says who it is. What it says is believed as far as that: it has signed them in, and nobody else can.
    """

    def __init__(self, env: Env, principals: Principals) -> None:
        self._env = env
        self._principals = principals

    async def check(self, operation: str, tenant: str, principal: str, **resource: object) -> None:
        """Return if that person may. Raises Denied `broker.no_principal`, `auth.denied`."""
        action = peers.PERSON.get(operation)
        if action is None:
            return
        if not tenant or not principal or principal.startswith(_NOBODY):
            raise Denied(
                "broker.no_principal",
                f"{operation} is asked on behalf of a person, and this names none; nothing was done.",
                hint="A web process that is up to date says who; look at its version.",
            )
        actor = await self._principals.actor(tenant, principal)
        self._env.authorizer.check(actor, action, resource)


class Asks:
    """Answers questions. Built once per broker process; fills `server.AnswerAsk`."""

    def __init__(self, env: Env, persons: Persons, answer: Answering) -> None:
        self._env = env
        self._persons = persons
        self._answer = answer

    async def __call__(self, ask: BrokerAsk, peer: Peer) -> Mapping[str, Json]:
        """Check and answer one.

        Raises Denied: `broker.bad_token`, `broker.token_expired`, `broker.not_for_peer`, `broker.no_principal`,
        `broker.other_tenant`, `auth.denied`; and what the answer raises.
        """
        try:
            verify_ask(ask, peer.session_key, self._env.clock.now().timestamp())
            peers.check_may(peer, ask.operation)
            await self._persons.check(ask.operation, ask.tenant, ask.principal)
            _check_tenant(ask)
        except Problem as problem:
            refused(self._env, peer, ask.operation, problem, principal=ask.principal, tenant=ask.tenant)
            raise
        return await self._answer(ask.operation, ask.said)


def refused(env: Env, peer: Peer, operation: str, problem: Problem, *, principal: str, tenant: str) -> None:
    """Count and say that somebody asked for what is not theirs."""
    known = operation if operation in peers.MAY else "other"
    env.telemetry.emit(
        "broker.ask_refused", 1.0, known, problem.code, peer=peer.name, tenant=tenant, principal=principal
    )


def _check_tenant(ask: BrokerAsk) -> None:
    """Whose rights were looked at is whose secrets are touched."""
    if ask.operation in peers.PERSON and ask.said.get("tenant", ask.tenant) != ask.tenant:
        raise Denied(
            "broker.other_tenant",
            f"{ask.operation} is about another tenant than the person who asks; nothing was done.",
            hint="A web process asks for the tenant of whoever is signed in.",
        )
