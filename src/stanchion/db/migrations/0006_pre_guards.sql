-- Guards of rollouts: what is watched while a candidate is out, what was measured of each run, and what is known by now.

-- The declared guards with every default written out; null: none. They never change: evidence belongs to its guard.
alter table rollouts add column guards jsonb;

-- One row per rollout with guards, locked while its runs are counted, so that each is counted once whoever counts.
-- `comparisons` (guard's name -> what is known of it) is null until the first look. Runs are found by their pins in the
-- order of their ids, from `fresh_id` on; a run whose start was committed late stands before that and is found by a patrol,
-- which walks all of them again and again and is at `patrol_id`. `turn_id` is where the look at runs that have not ended
-- yet goes on. `closed`: the rollout is over and what was kept per run is gone.
create table rollout_watches (
    tenant      text not null references tenants (name),
    rollout_id  uuid primary key references rollouts (id),
    environment text not null,
    comparisons jsonb,
    fresh_id    uuid,
    patrol_id   uuid,
    turn_id     uuid,
    counted     bigint not null default 0,
    looked_at   timestamptz,
    closed      boolean not null default false
) with (fillfactor = 50);
create index rollout_watches_open on rollout_watches (environment, rollout_id) where not closed;

-- Which runs were looked at for a rollout while it is open. `arm` is what their recorded assignment says; null: the rollout
-- did not deal them, or dealt the candidate to everybody. `counted_at` is null while the run has not ended.
create table rollout_runs (
    tenant     text not null,
    rollout_id uuid not null,
    run_id     uuid not null,
    arm        text check (arm in ('candidate', 'stable')),
    counted_at timestamptz,
    primary key (rollout_id, run_id)
);
create index rollout_runs_waiting on rollout_runs (rollout_id, run_id) where counted_at is null;

-- What others measured of a run: a cost, a score, an answer to a question. One value for each metric.
create table run_measurements (
    tenant      text not null references tenants (name),
    run_id      uuid not null,
    metric      text not null check (metric ~ '^[a-z][a-z0-9_.-]{0,62}$'),
    value       double precision not null,
    reported_by text not null,
    reported_at timestamptz not null default clock_timestamp(),
    primary key (tenant, run_id, metric)
);

-- The same, for each open rollout with guards that dealt the run: written with it, counted once.
create table rollout_measurements (
    tenant      text not null,
    rollout_id  uuid not null,
    run_id      uuid not null,
    metric      text not null,
    arm         text not null check (arm in ('candidate', 'stable')),
    value       double precision not null,
    reported_at timestamptz not null,
    counted_at  timestamptz,
    primary key (rollout_id, run_id, metric)
);
create index rollout_measurements_waiting on rollout_measurements (rollout_id, reported_at) where counted_at is null;

do $$
declare t text;
begin
    foreach t in array array['rollout_watches', 'rollout_runs', 'run_measurements', 'rollout_measurements'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
    end loop;
end $$;
grant select, insert on rollout_watches, run_measurements, rollout_measurements to stanchion_app;
grant select, update on rollout_watches to stanchion_engine;
grant select, insert, update, delete on rollout_runs to stanchion_engine;
grant select, update, delete on rollout_measurements to stanchion_engine;
