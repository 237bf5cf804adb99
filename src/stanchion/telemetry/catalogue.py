"""Every event there is: its name, what it measures, its labels. Documented and tested against what is emitted.

An event is the one way code reports: logs, metrics and traces subscribe to it. No run, tenant or principal id is
ever a label (operations.md §7); such ids go into `facts`, which only logs see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSpec:
    """One event.

    Attributes:
        name: dotted, past tense (`run.ended`).
        help: one sentence, the metric's help text and the documentation.
        metric: the Prometheus series without the prefix `stanchion_`; empty for log-only events.
        type: `counter` (adds `value`), `gauge` (sets it), `histogram` (observes it), or `none`.
        labels: label names, each with few values.
        buckets: for histograms, upper bounds in the metric's unit.
        log: the level at which the event is logged, or `none` (nothing on a hot path logs per item).
    """

    name: str
    help: str
    metric: str = ""
    type: Literal["counter", "gauge", "histogram", "none"] = "none"
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    log: Literal["none", "debug", "info", "warning", "error"] = "none"


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def _counter(name: str, metric: str, help_text: str, *labels: str, log: str = "none") -> EventSpec:
    return EventSpec(name=name, metric=metric, help=help_text, type="counter", labels=labels, log=log)  # type: ignore[arg-type]


def _gauge(name: str, metric: str, help_text: str, *labels: str) -> EventSpec:
    return EventSpec(name=name, metric=metric, help=help_text, type="gauge", labels=labels)


def _histogram(name: str, metric: str, help_text: str, *labels: str, sizes: bool = False) -> EventSpec:
    buckets = tuple(float(n) for n in _SIZES) if sizes else _SECONDS
    return EventSpec(name=name, metric=metric, help=help_text, type="histogram", labels=labels, buckets=buckets)


CATALOGUE: dict[str, EventSpec] = {
    spec.name: spec
    for spec in (
        _counter("run.started", "runs_started_total", "Runs accepted.", "queue"),
        _counter("run.ended", "runs_ended_total", "Runs that reached a final state.", "queue", "status"),
        _histogram("run.duration", "run_duration_seconds", "Start to end of a run.", "queue", "status"),
        _histogram("run.queued", "run_queue_wait_seconds", "Ready to claimed.", "queue"),
        _counter("run.suspended", "runs_suspended_total", "Runs that began to wait.", "queue", "waiting_on"),
        _counter("run.dead", "dead_letters_total", "Runs that became dead letters.", "queue", "reason", log="warning"),
        _counter("step.ended", "steps_ended_total", "StepRuns that ended.", "verb", "status"),
        _histogram("step.duration", "step_duration_seconds", "One attempt of a step.", "verb"),
        _counter("step.retried", "step_retries_total", "Attempts that failed and will be repeated.", "verb"),
        _histogram("claim.size", "claim_batch_size", "Runs taken by one claim.", sizes=True),
        _histogram("commit.size", "commit_batch_size", "Checkpoints that shared a commit.", sizes=True),
        _histogram("commit.duration", "commit_seconds", "One group commit, statement to acknowledgement."),
        _counter(
            "write.fenced", "fenced_writes_total", "Writes refused because a newer epoch owns the run.", log="warning"
        ),
        _counter(
            "effect.fenced",
            "fenced_effects_total",
            "Intents and receipts of effects refused because a newer epoch owns the run.",
            log="warning",
        ),
        _counter("worker.lost", "workers_lost_total", "Workers found dead by the sweep.", "how", log="warning"),
        _counter("run.reclaimed", "runs_reclaimed_total", "Runs taken back from lost workers."),
        _gauge("worker.running", "runs_running", "Runs this worker holds."),
        _gauge("worker.capacity", "runs_capacity", "Runs this worker may hold."),
        _gauge("queue.depth", "queue_depth", "Runs per queue and state.", "queue", "state"),
        _gauge("queue.age", "queue_oldest_age_seconds", "Age of the oldest ready run.", "queue"),
        _gauge("dead.waiting", "dead_letters_waiting", "Dead letters that wait for a decision.", "queue", "reason"),
        _gauge("approvals.pending", "approvals_pending", "Approvals that wait for a decision."),
        _gauge("approvals.age", "approvals_oldest_age_seconds", "Age of the oldest pending approval."),
        _counter("release.applied", "releases_total", "Live versions that an apply moved.", "kind", log="info"),
        _counter("rollout.changed", "rollout_changes_total", "Changes of rollouts.", "change", log="info"),
        _counter("guards.counted", "guard_counted_total", "Runs and measurements counted for guarded rollouts."),
        _counter(
            "bundle.moved",
            "bundles_total",
            "Bundles exported, imported and refused; keys trusted and no more.",
            "change",
            log="info",
        ),
        _counter(
            "release.gated",
            "releases_gated_total",
            "Moves that people asked for and their gates refused.",
            "move",
            "verdict",
            log="info",
        ),
        _counter(
            "release.glass_broken",
            "releases_glass_broken_total",
            "Moves that were made although their gates said no.",
            "move",
            log="warning",
        ),
        _gauge("reviews.waiting", "release_reviews_waiting", "Moves against the gates that nobody has reviewed yet."),
        _gauge("reviews.overdue", "release_reviews_overdue", "Those of them that should have been reviewed by now."),
        _counter("approval.decided", "approvals_decided_total", "Approvals that ended.", "status"),
        _counter("effect.ended", "effects_total", "Effects by outcome.", "adapter", "state"),
        _counter("effect.simulated", "effects_simulated_total", "Effects that were simulated.", "adapter"),
        _counter(
            "connector.called",
            "connector_calls_total",
            "Calls that came to the broker: ok, failed (by the target), refused (before anything was sent) or broken_off.",
            "connector",
            "operation",
            "outcome",
        ),
        _histogram("connector.duration", "connector_call_seconds", "One call in the broker.", "connector", "operation"),
        _counter(
            "connector.failed",
            "connector_errors_total",
            "Calls that ended in a problem, by its class and code.",
            "connector",
            "operation",
            "class",
            "code",
        ),
        _counter(
            "connector.retried",
            "connector_retries_total",
            "Attempts of steps after their first, by connector and operation.",
            "connector",
            "operation",
        ),
        _counter(
            "connector.simulated",
            "connector_simulated_total",
            "Writes that were simulated, dry runs among them.",
            "connector",
            "operation",
        ),
        _gauge(
            "connector.breaker", "connector_breaker_open", "1: its breaker is open; 0.5: it may be tried.", "connector"
        ),
        _counter(
            "connector.breaker_opened", "connector_breaker_opened_total", "Breakers opened.", "connector", log="warning"
        ),
        _gauge(
            "effects.open_unknown",
            "effects_unknown_by_connector",
            "Effects whose outcome is unknown, by connector and operation.",
            "connector",
            "operation",
        ),
        _gauge("effects.unknown", "effects_unknown", "Effects whose outcome is unknown."),
        _histogram("adapter.called", "adapter_call_seconds", "One call of an external system.", "adapter", "operation"),
        _gauge("broker.connections", "broker_connections", "Processes that are connected to this broker."),
        _gauge("broker.calls", "broker_calls_in_flight", "Calls that this broker has in hand."),
        _counter("broker.busy", "broker_busy_total", "Calls refused because the broker had too many in hand."),
        _counter(
            "broker.certificate",
            "broker_certificates_total",
            "Changed certificates, read or refused.",
            "result",
            log="info",
        ),
        _counter("broker.failed", "broker_failed_total", "Calls that a defect of the broker ended.", log="error"),
        _counter(
            "broker.stranger",
            "broker_strangers_total",
            "Peers that the broker hung up on, with the reason.",
            log="warning",
        ),
        _counter(
            "broker.ask_refused",
            "broker_asks_refused_total",
            "Calls and questions that the broker refused because of who asked.",
            "operation",
            "code",
            log="warning",
        ),
        _counter(
            "kill.changed", "kills_changed_total", "Kill switches set and lifted.", "kind", "change", log="warning"
        ),
        _counter(
            "trigger.delivered", "trigger_deliveries_total", "Messages of triggers that were believed.", "outcome"
        ),
        _counter("trigger.refused", "trigger_refusals_total", "Webhooks that were not believed.", "reason"),
        _counter("secret.changed", "secrets_changed_total", "Changes of secrets.", "change", log="info"),
        _counter(
            "secret.sealing_key",
            "secrets_sealing_keys_total",
            "Keys that values are sealed to, as the broker read them; its log has each one's fingerprint.",
            log="info",
        ),
        _counter(
            "secret.refresh_token_unstored",
            "refresh_tokens_unstored_total",
            "Refresh tokens that a server exchanged and the database did not take yet.",
            log="error",
        ),
        _counter("kill.stopped", "kill_stopped_total", "Uses that a kill switch stopped, by point of use.", "point"),
        _gauge("kills.active", "kills_active", "Kill switches in force, as this process knows them."),
        _gauge("kills.age", "kills_age_seconds", "Age of what this process knows of kill switches, at its last look."),
        _gauge(
            "policies.age",
            "policies_age_seconds",
            "Age of what this process knows of authorization policies, at its last look.",
        ),
        _gauge("tools.age", "tools_age_seconds", "Age of what this process knows of tools, at its last look."),
        _counter(
            "withdrawal.changed",
            "withdrawals_changed_total",
            "Versions revoked, drained, and taken back.",
            "mode",
            "change",
            log="warning",
        ),
        _counter(
            "withdrawal.stopped",
            "withdrawal_stopped_total",
            "Uses that a withdrawn version stopped, by point of use.",
            "point",
        ),
        _counter(
            "run.repinned", "runs_repinned_total", "Runs given another version in place of a revoked one.", log="info"
        ),
        _counter("drain.emptied", "drains_emptied_total", "Drained versions whose last run ended.", "kind", log="info"),
        _gauge("withdrawals.active", "withdrawals_active", "Versions withdrawn, as this process knows them."),
        _gauge(
            "withdrawals.age",
            "withdrawals_age_seconds",
            "Age of what this process knows of withdrawn versions, at its last look.",
        ),
        _counter("flag.evaluated", "flag_evaluations_total", "Flags evaluated, by the reason of the answer.", "reason"),
        _gauge("flags.live", "flags_live", "Live flags of all tenants, as this process knows them."),
        _gauge("flags.revision", "flags_revision", "How often flags were changed, as far as this process knows."),
        _gauge("flags.age", "flags_age_seconds", "Age of what this process knows of flags, at its last look."),
        _counter(
            "http.answered", "http_requests_total", "HTTP requests by route and status.", "method", "route", "status"
        ),
        _histogram("http.duration", "http_request_seconds", "HTTP request to last byte.", "method", "route"),
        _counter("http.limited", "http_limited_total", "Requests refused by a rate limit.", "scope"),
        _gauge("sse.clients", "sse_clients", "Open event streams."),
        _counter("auth.refused", "auth_refused_total", "Requests refused for their credential.", "reason"),
        EventSpec(name="process.started", help="A process is ready.", log="info"),
        EventSpec(name="process.stopping", help="A process was asked to stop.", log="info"),
        EventSpec(name="process.stopped", help="A process has stopped.", log="info"),
        EventSpec(name="child.exited", help="A child of the supervisor exited.", log="warning"),
        EventSpec(name="duty.failed", help="A periodic duty raised; it runs again at its next time.", log="error"),
        EventSpec(name="defect", help="An unexpected exception: a defect of ours.", log="error"),
    )
}
