-- What brokers have written down of each effect that they were asked to perform: the last attempt that was brought to one, so that
-- it is performed once by all of them together and across their restarts, and whether the first was simulated, so that what may
-- be at the target does not end as simulated when the deployment is given another environment.
create table broker_effects (
    tenant    text not null references tenants (name),
    effect_id uuid not null,
    attempt   integer not null check (attempt > 0),
    epoch     bigint not null,
    simulated boolean not null,
    at        timestamptz not null default clock_timestamp(),
    primary key (tenant, effect_id)
);

alter table broker_effects enable row level security;
alter table broker_effects force row level security;
create policy tenant_wall on broker_effects to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy engine on broker_effects to stanchion_engine using (true) with check (true);
grant select on broker_effects to stanchion_app;
grant select, insert, update on broker_effects to stanchion_engine;
