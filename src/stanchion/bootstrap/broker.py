"""What the broker is made of: secrets, adapters, and those that judge a call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from stanchion import approvals, identity, tools
from stanchion.base import Json
from stanchion.base.settings import Settings
from stanchion.bootstrap.parts import build_parts
from stanchion.context import Env
from stanchion.controls.kills import Kills
from stanchion.controls.withdrawals import Withdrawals
from stanchion.releases import policies
from stanchion.secrets import SecretHolder, forwarding
from stanchion.secrets.holding import holding
from stanchion.tools import catalogue, triggers
from stanchion.tools.broker.asking import Asks, Persons
from stanchion.tools.broker.scrubbing import Scrubbers
from stanchion.tools.broker.server import AnswerAsk, CallService
from stanchion.tools.broker.service import Broker, Judges, tended
from stanchion.tools.broker.using import ToolsNow


@asynccontextmanager
async def built_broker(
    env: Env,
    settings: Settings,
    environment: Mapping[str, str],
    *,
    switches: Kills,
    withdrawn: Withdrawals,
    scrubbers: Scrubbers | None = None,
) -> AsyncGenerator[tuple[CallService, AnswerAsk]]:
    """What performs calls, and what answers about secrets; both hold what they hold until the block ends.

    `environment`: the variables in which secrets are. `scrubbers`: by which the process's log loses credentials.
    """
    async with (
        holding(env, settings, environment) as held,
        policies.kept(env, role="engine", withdrawn=withdrawn) as live_policies,
        catalogue.kept(env, role="engine") as states,
    ):
        parts = build_parts(env, settings, pages=tools.Pages(partial(held.derived, tools.PAGE_PURPOSE)))
        principals = identity.PrincipalsNow(env, role="engine")
        judges = Judges(
            policy=identity.CedarCalls(live_policies),
            principals=principals,
            persons=Persons(env, principals),
            approvals=approvals.ApprovalCheck(),
            tools=ToolsNow(env, states),
            programs=parts.resolver,
            kills=switches,
            withdrawn=withdrawn,
            secrets=held.secrets,
            tokens=held.tokens,
        )
        try:
            async with tended(Broker(env, parts.adapters, judges, scrubbers)) as broker:
                answer = partial(_answer, held.holder, triggers.Verifier(env, held.secrets))
                yield broker, Asks(env, judges.persons, answer)
        finally:
            await held.tokens.close()  # first: an exchange under way needs the adapters' connections
            await parts.adapters.close()


async def _answer(
    holder: SecretHolder, verifier: triggers.Verifier, operation: str, said: Mapping[str, Json]
) -> Mapping[str, Json]:
    if operation == triggers.VERIFY:
        return await verifier.answer(operation, said)
    return await forwarding.answer(holder, operation, said)
