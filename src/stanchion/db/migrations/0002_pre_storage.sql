-- Room on a page for the next version of a row, so that an update stays on its page and touches no index (HOT). A
-- StepRun is inserted small and updated once with its output; a run is updated six times in five steps. Measured over
-- five-step runs at full speed (docs/howto/size-and-tune.md): HOT updates of step_runs 0.58 -> 0.83, updates of runs
-- that leave their page a quarter fewer, 5 % less log per step, the primary key of step_runs 12 % smaller. The price:
-- the two tables take a fifth more, which is 7 % of all that a run leaves.
-- It is for pages written from now on: nothing is rewritten, and neither statement blocks reads or writes.
alter table runs set (fillfactor = 60);
alter table step_runs set (fillfactor = 60);
