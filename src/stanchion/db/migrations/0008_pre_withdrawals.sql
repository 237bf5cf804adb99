-- Versions that are withdrawn: drained ones, on which no new run begins, and revoked ones, which runs that are pinned to
-- them stop using as well. And a number that tells every process when that changed.

-- Points of use know a version by its digest; kind, name and version are those that a person named it by. `emptied_at`: when
-- the last run of a drained version was seen to have ended.
create table withdrawals (
    tenant      text not null references tenants (name),
    id          uuid primary key,
    mode        text not null check (mode in ('drain', 'revoke')),
    kind        text not null,
    name        text not null,
    version     integer not null check (version > 0),
    digest      text not null,
    reason      text not null check (length(reason) between 1 and 500),
    set_by      text not null,
    set_at      timestamptz not null default clock_timestamp(),
    emptied_at  timestamptz,
    lifted_by   text,
    lifted_at   timestamptz,
    lift_reason text,
    check (emptied_at is null or mode = 'drain'),
    check ((lifted_at is null) = (lifted_by is null)),
    check ((lifted_at is null) = (lift_reason is null))
);
-- At most one of each mode in force per version.
create unique index withdrawals_in_force on withdrawals (tenant, mode, digest) where lifted_at is null;
create index withdrawals_by_tenant on withdrawals (tenant, id);
-- What the scheduler looks through each second.
create index withdrawals_draining on withdrawals (id) where mode = 'drain' and lifted_at is null and emptied_at is null;

-- How often the withdrawals of a tenant were changed. Every process asks four times a second for the sum of these, across
-- tenants, hence readable by all: it holds a number and no more.
create table withdrawal_revisions (
    tenant text primary key references tenants (name),
    rev    bigint not null
);

-- What a run that stopped before a revoked version was given in its place: never changed.
create table repins (
    tenant         text not null references tenants (name),
    id             uuid primary key,
    run_id         uuid not null references runs (id),
    withdrawal_id  uuid not null references withdrawals (id),
    kind           text not null,
    name           text not null,
    version_before integer not null,
    version        integer not null,
    digest_before  text not null,
    digest         text not null,
    pins_before    text not null,
    pins           text not null,
    reason         text not null,
    by             text not null,
    at             timestamptz not null
);
create index repins_by_run on repins (tenant, run_id, id);

do $$
declare t text;
begin
    foreach t in array array['withdrawals', 'withdrawal_revisions', 'repins'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
    end loop;
    foreach t in array array['withdrawals', 'repins'] loop
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
    end loop;
end $$;
create policy read_all on withdrawal_revisions for select to stanchion_app using (true);
create policy own_insert on withdrawal_revisions for insert to stanchion_app with check (tenant = current_setting('stanchion.tenant'));
create policy own_update on withdrawal_revisions for update to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
grant select, insert, update on withdrawals, withdrawal_revisions to stanchion_app;
grant select on withdrawals, withdrawal_revisions to stanchion_engine;
grant update (emptied_at) on withdrawals to stanchion_engine;
grant select, insert on repins to stanchion_app;
grant select on repins to stanchion_engine;

-- A run may wait before its next use of a revoked version. The rows that are there fulfil the narrower check of before, so
-- that they need not be looked at again, which would hold up every run meanwhile.
alter table runs drop constraint runs_waiting_kind_check;
alter table runs add constraint runs_waiting_kind_check check (waiting_kind in ('approval', 'child', 'retry', 'concurrency', 'effect', 'worker', 'worker_lost', 'killed', 'revoked')) not valid;
