"""Process types, one short file each: supervisor, web, worker, scheduler, broker (DESIGN §3).

A process is started alone (`stanchion serve worker`) or by the supervisor (`stanchion up`). Each says on a socket of
its own whether it lives and is ready, and what it measures. SIGTERM: stop taking work, finish or hand back what is
in hand, flush, exit within grace; a second signal exits at once.
"""
