"""Dead letters: FAILED runs that wait for a person, who requeues or discards them; each decision is recorded."""

from stanchion.runs.deadletters.service import DeadFilter, discard, list_dead, requeue, retry, show_dead

__all__ = ["DeadFilter", "discard", "list_dead", "requeue", "retry", "show_dead"]
