"""The sweep: finds what nobody else looks after. Any worker and the scheduler call it each second.

Under one try-lock: workers that died (their session lock is free, or their lease is over), their runs, due timers, runs
cancelled while they waited; then fan-outs whose last wake-up was lost. When nothing is due it costs a few index probes.
"""

from stanchion.runs.sweeping.service import Gauges, expire_keys, sweep, wake_due

__all__ = ["Gauges", "expire_keys", "sweep", "wake_due"]
