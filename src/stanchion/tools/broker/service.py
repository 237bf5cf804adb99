"""What the broker does with one authenticated call, between the socket and the adapter.

In this order, and each refuses for itself: the run token · the connector, by digest from the database · policy (Cedar) · kill
switches and revocations · for a write, the run and its effect in the ledger and the approval it stands under · the environment
(I10) · the circuit breaker and the rate limit · the credential, issued to this environment · the call · and what comes back
loses every trace of the credential (I9). See docs/explanation/broker.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import psycopg

from stanchion.base import Denied, Invalid, Json, LimitExceeded, Problem, digest
from stanchion.context import Actor, Env, system_actor
from stanchion.controls.kills import Kills
from stanchion.controls.withdrawals import Withdrawals
from stanchion.identity import CallAuthorizer, CallQuestion, Principals
from stanchion.runs import PinResolver
from stanchion.secrets import Secret, SecretRef, Secrets, TokenKeeping
from stanchion.tools.adapter import Adapter, AdapterProblem, AdapterRegistry, Target
from stanchion.tools.broker import checks, peers, wire
from stanchion.tools.broker.asking import Persons, refused
from stanchion.tools.broker.breaker import Breakers
from stanchion.tools.broker.defects import failed
from stanchion.tools.broker.limits import ConnectorLimits
from stanchion.tools.broker.measures import Measures
from stanchion.tools.broker.published import Published
from stanchion.tools.broker.scrubbing import Scrubber, Scrubbers
from stanchion.tools.broker.standing import Found, Standings
from stanchion.tools.broker.tokens import verify
from stanchion.tools.broker.types import ApprovalBinding, BrokerCall, Peer
from stanchion.tools.broker.using import ToolJudge
from stanchion.tools.connectors import connector_of
from stanchion.tools.credentials import Credentials, resolve
from stanchion.tools.held import held_back
from stanchion.tools.simulated import envelope_of, is_simulated, was_real
from stanchion.tools.types import RECORDS_MAX, Connector, Envelope, Record

Answer = Envelope | Mapping[str, "Json"]
# One call of the target, given its credentials and the seconds left.
Ask = Callable[[Credentials, float], Awaitable[Answer]]
# Asked right before the call: raises if what the checks found stands no more.
Still = Callable[[], Awaitable[None]]
_TEND_S: Final = 0.5
_REFUSED_CREDENTIAL: Final = frozenset({"adapter.not_authenticated", "adapter.token_refused"})
# Of the time a caller waits, what is left for the call itself must be worth beginning.
_LEFT_S_MIN: Final = 0.05
# A write that waited longer than this (seconds) for its turn or its credentials is held to the ledger once more.
_WAITED_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """Whom the broker asks before it calls.

    Attributes:
        policy, principals: the third lock of I10, and who somebody is now.
        persons: whether the person behind a test or a discovery may have it made.
        approvals: the binding of an approval.
        tools: whether a tool may be used, and as what.
        programs: the released Blueprint that a run is pinned to.
        kills, withdrawn: kept fresh in the broker's own process.
        secrets: the only place where references become values. `tokens`: where refresh tokens are kept that servers exchange.
    """

    policy: CallAuthorizer
    principals: Principals
    persons: Persons
    approvals: ApprovalBinding
    tools: ToolJudge
    programs: PinResolver
    kills: Kills
    withdrawn: Withdrawals
    secrets: Secrets
    tokens: TokenKeeping | None = None


class Broker:
    """Performs calls. Built once per broker process, whose `adapters` alone touch the outside."""

    def __init__(self, env: Env, adapters: AdapterRegistry, judges: Judges, scrubbers: Scrubbers | None = None) -> None:
        """`scrubbers`: those by which the process's log is scrubbed, too."""
        self._env = env
        self._adapters = adapters
        self._judges = judges
        self._connectors = Published(env, "connector", connector_of)
        self._limits = ConnectorLimits(env)
        self._measures = Measures(env)
        self._breakers = Breakers(env, self._measures.label)
        self._scrubbers = scrubbers or Scrubbers()
        self._standings = Standings(env, judges.programs, judges.approvals)

    async def perform(self, call: BrokerCall, peer: Peer) -> Answer:
        """Check and perform one call.

        Returns the adapter's envelope for fetch, lookup, push and execute; `{applied}` for probe, `{detail}` for test, what
        the target offers for discover. Raises Problem; an AdapterProblem says by `sent` whether a write may have been
        applied, every other one means that nothing was sent. Nothing that a caller sees holds a credential (I9).
        """
        began = self._env.clock.monotonic()
        try:
            with self._env.telemetry.span("broker", call.traceparent, op=call.op, connector=call.connector):
                answer = await self._checked(call, peer, until=began + call.timeout_s)
        except Problem as problem:
            self._measures.ended(call, self._env.clock.monotonic() - began, problem)
            raise
        except BaseException:
            self._measures.broken_off(call, self._env.clock.monotonic() - began)
            raise
        self._measures.ended(call, self._env.clock.monotonic() - began, None)
        return answer

    async def _checked(self, call: BrokerCall, peer: Peer, *, until: float) -> Answer:
        verify(call, peer.session_key, self._env.clock.now().timestamp())
        await self._check_asked(call, peer)
        connector = await self._connectors.load(call.tenant, call.connector, call.digest)
        if call.op in {"test", "discover"}:
            return await self._looked(call, connector, until)
        target = checks.target_of(call, connector, timeout_s=call.timeout_s)
        # A kill first: what it stops need not be looked at, and waits whatever else there is to say of it.
        self._hold_back(call, None, writes=checks.writes(target))
        target = await self._judges.tools.judged(call, target)
        if checks.writes(target):
            return await self._write(call, target, until)
        found = await self._standings.of_read(call, target)
        await self._authorize(call, target)
        self._hold_back(call, found, writes=False)
        return await self._asked(call, target, until, self._still(call, found, None))

    async def _write(self, call: BrokerCall, target: Target, until: float) -> Answer:
        # Of a write what policy judges is the record; it is put into its canonical form once for all who compare it.
        record_digest = await self._authorize(call, target)
        self._hold_back(call, None, writes=True)
        simulated = is_simulated(target.connector, self._env.environment)
        found = await self._standings.of_write(call, target, record_digest=record_digest, simulated=simulated)
        self._hold_back(call, found, writes=True)
        if simulated and found.was == "simulated":
            return _simulated(call, target, self._env)
        if simulated and call.op != "probe":
            raise was_real(target)  # to ask the target is all that may be done now
        return await self._asked(call, target, until, self._still(call, found, target))

    # --- who may, and what stands in the way

    async def _check_asked(self, call: BrokerCall, peer: Peer) -> None:
        """Whether a process of that type asks for this, and the person behind a test or a discovery may."""
        try:
            peers.check_may(peer, call.op)
            await self._judges.persons.check(call.op, call.tenant, call.principal, name=call.connector)
        except Denied as problem:
            refused(self._env, peer, call.op, problem, principal=call.principal, tenant=call.tenant)
            raise

    async def _authorize(self, call: BrokerCall, target: Target) -> str:
        """The third lock of I10. Returns the digest of the arguments that were judged. Raises Denied `auth.denied`."""
        asker = call.asker
        actor: Actor = (
            system_actor("engine", call.tenant)
            if asker is None
            else await self._judges.principals.actor(call.tenant, asker.principal)
        )
        arguments = checks.asked_arguments(call)
        arguments_digest = digest(dict(arguments))
        connector, operation = target.connector, target.operation
        self._judges.policy.authorize_call(
            CallQuestion(
                tenant=call.tenant,
                actor=actor,
                effect=operation.effect,
                verb=operation.verb,
                connector=connector.name,
                resource=target.resource.name,
                operation=call.operation,
                connector_environment=connector.environment,
                connector_digest=connector.digest,
                environment=self._env.environment,
                arguments=arguments,
                arguments_digest=arguments_digest,
                tool="" if asker is None else asker.tool,
                tool_digest="" if asker is None else asker.tool_digest,
            )
        )
        return arguments_digest

    def _hold_back(self, call: BrokerCall, found: Found | None, *, writes: bool) -> None:
        """Raises Denied `kill.held_back` or `release.held_back`: what was sent is nothing, and the run waits."""
        kills, withdrawn = self._judges.kills, self._judges.withdrawn
        tool, tool_digest = ("", "") if call.asker is None else (call.asker.tool, call.asker.tool_digest)
        named: list[tuple[str, str, str]] = [("connector", call.connector, call.digest)]
        if tool:
            named.append(("tool", tool, tool_digest))
        if found is not None:
            named.append((found.root.kind, found.root.name, found.root.digest))
        for kind, name, version in named:
            blocked = kills.blocked(call.tenant, kind, name, version, strict=writes)
            if blocked is not None:
                self._env.telemetry.emit("kill.stopped", 1.0, "broker")
                raise held_back("killed", blocked.ref, blocked.again_s, f"the {kind} {name!r} was killed")
        uses = (call.digest,) if found is None else found.uses
        stopped = withdrawn.stopped(call.tenant, (*uses, tool_digest) if tool else uses, strict=writes)
        if stopped is not None:
            self._env.telemetry.emit("withdrawal.stopped", 1.0, "broker")
            raise held_back("revoked", stopped.ref, stopped.again_s, "a version that the step uses was revoked")

    def _still(self, call: BrokerCall, found: Found | None, written: Target | None) -> Still:
        """What is asked again right before the call: kills and revocations, and of a write that had to wait, the ledger: its
        run may be another worker's by now, who has asked the target and found nothing."""
        checked_at = self._env.clock.monotonic()

        async def still() -> None:
            if written is not None and found is not None and self._env.clock.monotonic() - checked_at > _WAITED_S:
                await self._standings.again(call, written, found.args)
            self._hold_back(call, found, writes=written is not None)

        return still

    # --- the call

    async def _looked(self, call: BrokerCall, connector: Connector, until: float) -> Answer:
        """A person's test or discovery, which the web process has authorized. It changes nothing."""
        still = self._still(call, None, None)
        await still()
        adapter = self._adapters.get(connector.adapter, tenant=call.tenant)

        async def look(credentials: Credentials, left_s: float) -> Answer:
            if call.op == "test":
                return {"detail": await adapter.test(connector, left_s, credentials)}
            found = await adapter.discover(connector, left_s, credentials)
            return {
                "resources": {name: dict(body) for name, body in found.resources.items()},
                "operations": {name: dict(body) for name, body in found.operations.items()},
                "capabilities": {name: dict(body) for name, body in found.capabilities.items()},
                "narrative": found.narrative,
                "truncated": found.truncated,
            }

        return await self._called(call, connector, until, look, still)

    async def _asked(self, call: BrokerCall, target: Target, until: float, still: Still) -> Answer:
        """A step's call of its operation."""
        adapter = self._adapters.get(target.connector.adapter, tenant=call.tenant)

        async def ask(credentials: Credentials, left_s: float) -> Answer:
            return await _ask(adapter, call, replace(target, timeout_s=left_s, credentials=credentials))

        return await self._called(call, target.connector, until, ask, still)

    async def _called(self, call: BrokerCall, connector: Connector, until: float, ask: Ask, still: Still) -> Answer:
        """Call the target with its credentials, if its breaker and its limits let it; scrub what comes back. `still` is
        asked once more after all waiting, right before the call: it raises if a kill or a revocation came meanwhile."""
        self._breakers.check(call.tenant, connector.name)
        credentials = await self._credentials(call.tenant, connector, self._judges.secrets)
        try:
            return await self._tried(call, connector, until, ask, credentials, still)
        except AdapterProblem as problem:
            if not _is_refused_credential(problem):
                raise
            previous = await self._previous(call.tenant, connector, credentials)
            if previous is None:
                raise
        return await self._tried(call, connector, until, ask, previous, still)

    async def _tried(
        self,
        call: BrokerCall,
        connector: Connector,
        until: float,
        ask: Ask,
        credentials: Credentials,
        still: Still,
    ) -> Answer:
        async with self._limits.admitted(call.tenant, connector, timeout_s=until - self._env.clock.monotonic()):
            left_s = min(connector.timeout_s, until - self._env.clock.monotonic())
            if left_s < _LEFT_S_MIN:
                raise LimitExceeded(
                    "broker.no_time_left",
                    f"Of the time for this {call.op} of {connector.name!r} nothing was left; nothing was sent.",
                    hint="Raise the `timeout` of the step or of the connector.",
                )
            await still()
            admission = await self._breakers.admit(call.tenant, connector.name, timeout_s=left_s)
            credentials.watched(self._scrubbers_of)  # from here on they are in use, and the log must not have them
            try:
                answer = await ask(credentials, left_s)
            except Problem as problem:
                await self._breakers.ended(admission, problem)
                raise self._without(credentials, problem) from None
            except TimeoutError:
                raise TimeoutError from None  # as below: without its words
            except Exception as error:  # noqa: BLE001 - a defect: its words may hold a credential, and a span would keep them
                problem = failed(self._env, wire.name_of(call), error, writes=wire.writes(call))
                await self._breakers.ended(admission, problem)
                raise problem from None
            await self._breakers.ended(admission, None)
        try:
            return _scrubbed(self._scrubbers_of(credentials), answer)
        except Problem as problem:
            if not wire.writes(call):
                raise
            # The target has answered: that its answer cannot be shown is no word that nothing was written (I5).
            raise AdapterProblem(problem.code, "The answer to a write is no JSON.", sent=True) from None

    async def _credentials(self, tenant: str, connector: Connector, secrets: Secrets) -> Credentials:
        """Resolved for this deployment's environment: the second lock of I10 is in the secret."""
        environment, tokens = self._env.environment.name, self._judges.tokens
        return await resolve(connector, secrets, tenant=tenant, environment=environment, tokens=tokens)

    async def _previous(self, tenant: str, connector: Connector, current: Credentials) -> Credentials | None:
        """Those before the current ones, while a rotation lasts and where they differ."""
        before = await self._credentials(tenant, connector, _Before(self._judges.secrets))
        return None if before.plain_values() <= current.plain_values() else before

    def _scrubbers_of(self, credentials: Credentials) -> Sequence[Scrubber]:
        """What takes out the credentials, and what was made of them for this call alone."""
        lasting, passing = self._scrubbers.of(credentials.plain_values()), credentials.passing_values()
        return (self._scrubbers.passing(passing), lasting) if passing else (lasting,)

    def _without(self, credentials: Credentials, problem: Problem) -> Problem:
        for scrubber in self._scrubbers_of(credentials):
            problem = scrubber.problem(problem)
        return problem

    async def tend(self) -> None:
        """Keep what processes share fresh, until cancelled: breakers that others opened, places that are in use."""
        try:
            while True:
                try:
                    await self._breakers.refresh()
                    await self._limits.tend()
                except Exception as error:  # noqa: BLE001 - the last frame of a duty, which must not end unseen
                    self._env.telemetry.emit("duty.failed", duty="connector limits", error=repr(error))
                await self._env.clock.sleep(_TEND_S)
        finally:
            with suppress(psycopg.Error, Problem):
                await self._limits.close()


@asynccontextmanager
async def tended(broker: Broker) -> AsyncGenerator[Broker]:
    """The broker, with what it shares with other brokers kept fresh for the block."""
    task = asyncio.create_task(broker.tend())
    try:
        yield broker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Before:
    """`Secrets` as they were before a rotation that is under way."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def resolve(self, tenant: str, ref: SecretRef, *, environment: str, connector: str) -> Secret:
        """The version before the current one, or the current one where there is no other."""
        before = await self.previous(tenant, ref, environment=environment, connector=connector)
        if before is not None:
            return before
        return await self._secrets.resolve(tenant, ref, environment=environment, connector=connector)

    async def previous(self, tenant: str, ref: SecretRef, *, environment: str, connector: str) -> Secret | None:
        """As `Secrets.previous`."""
        return await self._secrets.previous(tenant, ref, environment=environment, connector=connector)


async def _ask(adapter: Adapter, call: BrokerCall, target: Target) -> Answer:
    """The one line in which the outside world is touched."""
    arguments: Mapping[str, Any] = call.arguments
    if call.op == "fetch":
        limit, page = arguments.get("limit", RECORDS_MAX), arguments.get("page")
        if not isinstance(limit, int) or not 0 <= limit <= RECORDS_MAX or not isinstance(page, str | None):
            raise Invalid("broker.bad_call", "A fetch has a `limit` up to 10,000 and a `page` that is a text or null.")
        return await adapter.fetch(target, checks.asked_arguments(call), limit, page)
    if call.op == "lookup":
        return await adapter.lookup(target, arguments.get("key"))
    record = checks.record_of(call)
    if call.op == "probe":
        return {"applied": await adapter.probe(target, record, call.key)}
    if call.op == "execute":
        return await adapter.execute(target, record, call.key or None)
    return await adapter.push(target, record, call.key)


def _simulated(call: BrokerCall, target: Target, env: Env) -> Answer:
    """What the target would have answered. A probe of what was never sent finds nothing."""
    if call.op == "probe":
        return {"applied": False}
    return envelope_of(target, checks.record_of(call), call.key, environment=env.environment)


def _is_refused_credential(problem: AdapterProblem) -> bool:
    """Whether the target did not take the credential, and certainly did nothing."""
    refused = problem.fields.get("status") in {401, 403} or problem.code in _REFUSED_CREDENTIAL
    return refused and not problem.sent


def _scrubbed(scrubbers: Sequence[Scrubber], answer: Answer) -> Answer:
    for scrubber in scrubbers:
        if not scrubber.empty:
            answer = _scrubbed_of(scrubber, answer)
    return answer


def _scrubbed_of(scrubber: Scrubber, answer: Answer) -> Answer:
    if not isinstance(answer, Envelope):
        return cast("Mapping[str, Json]", scrubber.json(dict(answer)))
    records = scrubber.json([dict(record) for record in answer.records])
    return replace(
        answer,
        records=cast("list[Record]", records),
        narrative=scrubber.text(answer.narrative),
        metadata=cast("Mapping[str, Json]", scrubber.json(dict(answer.metadata))),
        trace={name: scrubber.text(value) for name, value in answer.trace.items()},
    )
