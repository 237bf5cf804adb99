"""Which random call comes next."""

from __future__ import annotations

from tests.simulation.contract.choosing import Call
from tests.simulation.contract.engine_calls import EngineCalls
from tests.simulation.contract.fanout_calls import FanoutCalls
from tests.simulation.contract.people_calls import PeopleCalls
from tests.simulation.contract.run_calls import RunCalls

# How every sequence begins: without runs in a worker's hands most calls would find nothing.
_OPENING = ("register", "try_session_lock", "starts", "starts", "claim_all", "register")


class Calls(EngineCalls, RunCalls, FanoutCalls, PeopleCalls):
    """Draws calls of all stores."""

    drawn = 0

    def call(self) -> Call:
        """The next call: an opening, then anything, what makes and moves runs more often than the rest."""
        self.drawn += 1
        if self.drawn <= len(_OPENING):
            return getattr(self, _OPENING[self.drawn - 1])()
        if self.repeat is not None and self.rng.random() < 0.1:
            return self.repeat
        group = self.rng.choices((_PIPELINE, _SWEEP, _FAN, _PEOPLE, _READS), (10, 4, 5, 6, 3))[0]
        return getattr(self, self.rng.choice(group))()

    def locking(self) -> Call:
        """A call that takes locks or changes rows."""
        return getattr(self, self.rng.choice(_LOCKING))()


_PIPELINE = (
    *("starts", "claim", "claim", "checkpoint", "checkpoint", "checkpoint", "insert_items", "tick", "register"),
    *("beat", "wake", "wake", "end_runs", "wake_due"),
)
_SWEEP = (
    *("try_lock", "mark_lost", "lock_stranded", "reclaim", "mark_reclaimed", "wake_due", "delete_old_keys"),
    *("queue_states", "dead_states", "set_worker_state", "hand_back_all", "hand_back", "confirm_crash"),
    *("lock_claimed", "lock_cancelling", "try_session_lock", "try_session_lock", "take_strikes_back"),
)
_FAN = (
    *("insert_items", "insert_items", "counts", "counts", "last_item", "select_ended", "cancel_queued", "lock_parent"),
    *("release", "release", "wake_parent", "waiting_parents", "select_items", "count_items", "load_ancestors"),
    *("load_outputs", "request_cancel"),
)
_PEOPLE = (
    *("insert_approval", "insert_approval", "insert_approval", "get", "find", "settle", "settle", "expire_one", "due"),
    *("cancel_of_runs", "select_approvals", "waiting", "count_pending", "dominating", "dominating", "queue_of"),
    *("insert_intent", "insert_intent", "insert_intent", "lock_of_step", "lock_effect", "by_id", "renew_intent"),
    *("set_outcome", "set_outcome", "select_effects", "leave", "count_unknown", "count_unknown_of", "insert_records"),
    *("request_cancel", "lock_cancelled_below", "revive", "revive", "lock_dead", "discard", "hold"),
)
_READS = (
    *("select_status", "select_keys", "load_steps", "select_run", "lock_run", "select_pins", "count_workers"),
    *("select_workers", "select_runs", "select_changed_steps", "select_revisions", "count_dead", "select_dead"),
    *("select_one", "select_states", "select_audit", "notify", "select_retry_causes", "count_own", "count_whole"),
)
_LOCKING = (
    *("claim", "checkpoint", "checkpoint", "hold", "hold", "wake", "end_runs", "request_cancel", "lock_run", "revive"),
    *("lock_parent", "release", "wake_parent", "insert_items", "cancel_queued", "reclaim", "hand_back_all"),
    *("lock_claimed", "lock_stranded", "mark_lost", "wake_due", "lock_cancelling", "set_worker_state", "settle"),
    *("lock_of_step", "set_outcome", "discard", "lock_dead", "starts", "delete_old_keys", "beat", "mark_reclaimed"),
    *("cancel_of_runs", "insert_approval", "insert_intent", "take_strikes_back", "lock_effect", "expire_one"),
)
