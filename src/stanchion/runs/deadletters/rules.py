"""Pure decisions of dead letters: what to say of a run that is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stanchion.base import Json
from stanchion.runs.deadletters.types import RunState
from stanchion.runs.types import RunStatus

# Of how many runs the message tells; `runs` names all.
_TOLD_MAX: Final = 3


def not_dead(states: Sequence[RunState], asked: int) -> tuple[str, str, list[Json]]:
    """Message, hint and `runs` [{run_id, status}] of a problem: these runs, of `asked` in all, are no dead letters."""
    told = [f"Run {state.id} is {_words(state)}" for state in states[:_TOLD_MAX]]
    if len(states) > _TOLD_MAX:
        told.append(f"and {len(states) - _TOLD_MAX} more")
    if asked == 1:
        message = f"{told[0]}: it is no dead letter."
    else:
        some = (
            "1 of {} runs is no dead letter" if len(states) == 1 else f"{len(states)} of {{}} runs are no dead letters"
        )
        message = f"{some.format(asked)}, so nothing was decided: {'; '.join(told)}."
    hint = _way_out(states[0])
    runs: list[Json] = [{"run_id": str(state.id), "status": str(state.status)} for state in states]
    return message, hint, runs


def _words(state: RunState) -> str:
    return f"{state.status} and discarded" if state.discarded_at is not None else str(state.status)


def _way_out(state: RunState) -> str:
    match RunStatus(state.status):
        case RunStatus.FAILED if state.parent_id is not None:
            return f"It is an item: `stanchion run retry {state.root_id}` retries the run that fanned out."
        case RunStatus.FAILED:
            return f"`stanchion run retry {state.id}` runs it again from the step it failed in."
        case RunStatus.SUCCEEDED:
            return f"Nothing is left to do: `stanchion run show {state.id}` has its output."
        case RunStatus.CANCELLED:
            return "A cancelled run does not go on; start a new one."
        case _:
            return f"It has not ended: `stanchion run watch {state.id}` follows it."
