"""Dead letters: FAILED runs that wait for a person, who requeues or discards them; each decision is recorded."""

from stanchion.runs.deadletters.service import count_dead, discard, list_dead, requeue, retry, show_dead
from stanchion.runs.deadletters.types import DeadDetail, DeadFilter

__all__ = ["DeadDetail", "DeadFilter", "count_dead", "discard", "list_dead", "requeue", "retry", "show_dead"]
