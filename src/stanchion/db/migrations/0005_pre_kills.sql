-- Kill switches: what must not be used now, and a number that tells every process when that changed.

-- One kill switch. `version` null stops every version; `digest` is that version's, by which points of use know it.
create table kills (
    tenant      text not null references tenants (name),
    id          uuid primary key,
    kind        text not null,
    name        text not null,
    version     integer check (version > 0),
    digest      text,
    reason      text not null check (length(reason) between 1 and 500),
    set_by      text not null,
    set_at      timestamptz not null default clock_timestamp(),
    lifted_by   text,
    lifted_at   timestamptz,
    lift_reason text,
    check ((version is null) = (digest is null)),
    check ((lifted_at is null) = (lifted_by is null)),
    check ((lifted_at is null) = (lift_reason is null))
);
-- At most one in force per target.
create unique index kills_in_force on kills (tenant, kind, name, coalesce(version, 0)) where lifted_at is null;
create index kills_by_tenant on kills (tenant, id);

-- How often the kills of a tenant were changed. Every process asks four times a second for the sum of these, across tenants,
-- hence readable by all: it holds a number and no more.
create table kill_revisions (
    tenant text primary key references tenants (name),
    rev    bigint not null
);

alter table kills enable row level security;
alter table kills force row level security;
create policy tenant_wall on kills to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy engine on kills to stanchion_engine using (true) with check (true);
alter table kill_revisions enable row level security;
alter table kill_revisions force row level security;
create policy read_all on kill_revisions for select to stanchion_app using (true);
create policy own_insert on kill_revisions for insert to stanchion_app with check (tenant = current_setting('stanchion.tenant'));
create policy own_update on kill_revisions for update to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy engine on kill_revisions to stanchion_engine using (true) with check (true);
grant select, insert, update on kills, kill_revisions to stanchion_app;
grant select on kills, kill_revisions to stanchion_engine;

-- A run may wait for a kill to be lifted. The rows that are there fulfil the narrower check of before, so that they need
-- not be looked at again, which would hold up every run meanwhile.
alter table runs drop constraint runs_waiting_kind_check;
alter table runs add constraint runs_waiting_kind_check check (waiting_kind in ('approval', 'child', 'retry', 'concurrency', 'effect', 'worker', 'worker_lost', 'killed')) not valid;
