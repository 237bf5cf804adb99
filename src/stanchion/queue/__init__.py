"""Wake-ups: who waits for work hears of it at once. Never the state: losing every wake-up loses no run (DESIGN §4).

Five channels of PostgreSQL's NOTIFY: `stanchion_ready` (payload: names of queues in which something became ready),
`stanchion_runs` (ids of runs that changed, for watchers; `*` means "look at all you watch"), `stanchion_cancel`
(ids of runs to break off), `stanchion_kills` and `stanchion_withdrawals` (a kill switch or a revocation changed; rare, so
sent within its transaction). The others are sent after the commit, on a connection of their own, since NOTIFY inside a transaction halves insert throughput
(measured), a few at once and then one per 5 ms, without waiting for the disk.
"""

from stanchion.queue.listener import Listener, hear
from stanchion.queue.notifier import Notifier

__all__ = ["Listener", "Notifier", "hear"]
