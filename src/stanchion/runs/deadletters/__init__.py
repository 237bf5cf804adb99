"""Dead letters: FAILED runs that wait for a person, who requeues or discards them; each decision is recorded."""

from stanchion.runs.deadletters.service import DeadFilter, count_dead, discard, list_dead, requeue, retry, show_dead

__all__ = ["DeadFilter", "count_dead", "discard", "list_dead", "requeue", "retry", "show_dead"]
