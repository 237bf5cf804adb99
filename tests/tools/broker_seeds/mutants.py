"""Defects that are planted, each of which a few seeds must find."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.adapters.http import HttpAdapter
from stanchion.tools.adapters.sqlite import SqliteDriver
from stanchion.tools.broker import checks, store
from stanchion.tools.broker.client import BrokerClient
from stanchion.tools.effects import rules
from stanchion.tools.effects.ledger import Begun, Ledger
from stanchion.tools.effects.types import EffectState, Next

Plant = Callable[[pytest.MonkeyPatch], None]


def _no_probe(patch: pytest.MonkeyPatch) -> None:
    """An adapter writes again without asking the target first."""
    write = SqliteDriver.write

    async def never(*_: Any) -> bool:
        return False

    async def unasked(self: Any, call: Any, statement: str, values: Any, probe: Any, key: str) -> Any:
        return await write(self, call, statement, values, None, key)

    patch.setattr(HttpAdapter, "_there", never)
    patch.setattr(SqliteDriver, "write", unasked)


def _key_per_attempt(patch: pytest.MonkeyPatch) -> None:
    """What is sent to the target has another key every time."""
    numbers, ask = itertools.count(), _asking()

    async def under_another(adapter: Any, call: Any, target: Any) -> Any:
        return await ask(adapter, replace(call, key=f"{call.key}-{next(numbers)}"), target)

    patch.setattr("stanchion.tools.broker.service._ask", under_another)


def _asking() -> Any:
    from stanchion.tools.broker import service

    return service._ask


def _no_intent(patch: pytest.MonkeyPatch) -> None:
    """The worker calls without an intent, the broker does not look, and the receipt is believed all the same."""
    _unchecked(patch)

    async def begin(self: Any, call: Any, wanted: Any, digest: str) -> Any:
        return Begun(next=Next.CALL, effect=wanted)

    async def end(self: Any, call: Any, effect: Any, state: Any, **said: Any) -> None:
        if state is EffectState.DONE:
            done = replace(effect, state=state, receipt=said.get("receipt"), outcome_at=effect.intent_at)
            from stanchion.tools.effects import store as ledger

            async with self._env.db.engine_tx() as tx:
                await ledger.insert_intent(tx, effect)
                await ledger.set_outcome(tx, effect, state=state, at=effect.intent_at, receipt=done.receipt)

    patch.setattr(Ledger, "begin", begin)
    patch.setattr(Ledger, "end", end)


def _none_retried(patch: pytest.MonkeyPatch) -> None:
    """Where nothing can be recognised the write is repeated, and nobody is asked."""
    judge = rules.next_of

    def silent(effect: Any, idempotency: Any, arguments: str) -> Any:
        return judge(effect, "probe" if idempotency == "none" else idempotency, arguments)

    patch.setattr(rules, "next_of", silent)


def _unchecked(patch: pytest.MonkeyPatch) -> None:
    """The broker does not look whether the ledger has this intent, and whose the run is now."""

    def believed(call: Any, target: Any, record: Any, found: Any) -> Any:
        return found

    _repeated(patch)  # the statement that claims an attempt looks, too
    patch.setattr(checks, "check_standing", believed)


def _repeated(patch: pytest.MonkeyPatch) -> None:
    """The broker performs an attempt as often as it is asked."""
    claim = store.claim_attempt

    async def claimed(*args: Any, **said: Any) -> Any:
        found = await claim(*args, **said)
        return None if found is None else replace(found, claimed=True)

    patch.setattr(store, "claim_attempt", claimed)


def _lost_is_unsent(patch: pytest.MonkeyPatch) -> None:
    """A call whose answer was lost with the connection is taken for one that was not sent."""
    lost = BrokerClient._lost

    def unsent(self: Any, wish: Any) -> AdapterProblem:
        return lost(self, replace(wish, writes=False))

    patch.setattr(BrokerClient, "_lost", unsent)


def _silence_is_unsent(patch: pytest.MonkeyPatch) -> None:
    """A target that did not answer in time is taken for one that got nothing."""
    from stanchion.tools.adapters import http_client

    timeout = http_client._timeout
    patch.setattr(http_client, "_timeout", lambda target, *, sent: timeout(target, sent=False))


def _no_receipt(patch: pytest.MonkeyPatch) -> None:
    """An outcome is not recorded."""

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    patch.setattr(Ledger, "write_end", nothing)


_PLANTS: dict[str, Plant] = {
    "no_probe_before_a_retry": _no_probe,
    "key_per_attempt": _key_per_attempt,
    "receipt_without_intent": _no_intent,
    "none_retried_silently": _none_retried,
    "broker_believes_the_worker": _unchecked,
    "broker_performs_twice": _repeated,
    "lost_means_unsent": _lost_is_unsent,
    "silence_means_unsent": _silence_is_unsent,
    "outcome_not_recorded": _no_receipt,
}


def _planted(plant: Plant) -> Callable[[], AbstractContextManager[None]]:
    @contextmanager
    def for_a_while() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)
            yield

    return for_a_while


MUTANTS = {name: _planted(plant) for name, plant in _PLANTS.items()}
