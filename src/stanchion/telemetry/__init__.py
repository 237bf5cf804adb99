"""Events, and the metrics, logs and traces that subscribe to them."""

from stanchion.telemetry.catalogue import CATALOGUE, EventSpec
from stanchion.telemetry.telemetry import Telemetry, current_traceparent, is_sampled

__all__ = ["CATALOGUE", "EventSpec", "Telemetry", "current_traceparent", "is_sampled"]
