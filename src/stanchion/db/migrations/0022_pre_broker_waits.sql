-- A run may wait for a broker that can take its call. The rows that are there fulfil the narrower check of before, so that
-- they need not be looked at again, which would hold up every run meanwhile.
alter table runs drop constraint runs_waiting_kind_check;
alter table runs add constraint runs_waiting_kind_check check (waiting_kind in ('approval', 'child', 'retry', 'concurrency', 'effect', 'worker', 'worker_lost', 'killed', 'revoked', 'broker')) not valid;
