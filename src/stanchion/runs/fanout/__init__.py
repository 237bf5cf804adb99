"""Fan-outs over a block: child runs, released a few at a time.

Children are inserted by the parent's claim as SUSPENDED `concurrency`; then the parent suspends as `child`. From there
on `advance` decides, under a lock on the parent's row: release more, or wake the parent. It runs after each commit
that may matter (a child's end or wait, the parent's suspension), and the sweep repeats it, so that no wake-up is lost.
"""

from stanchion.runs.fanout.service import advance, advance_all, advance_in, cancel_queued, create, ended_items
from stanchion.runs.fanout.store import EndedItem, Opening

__all__ = ["EndedItem", "Opening", "advance", "advance_all", "advance_in", "cancel_queued", "create", "ended_items"]
