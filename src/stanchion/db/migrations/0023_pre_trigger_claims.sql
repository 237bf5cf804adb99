-- Which run a delivery is about to start, written down before it is started: a process that ends in between leaves an id by
-- which the next delivery of the same message finds the run, however late. Rows are forgotten with the deliveries.
create table trigger_claims (
    tenant      text not null references tenants (name),
    run_id      uuid primary key,
    environment text not null,
    trigger     text not null,
    dedupe      text not null,
    claimed_at  timestamptz not null default clock_timestamp()
);
create index trigger_claims_by_dedupe on trigger_claims (tenant, environment, trigger, dedupe, run_id);
create index trigger_claims_by_age on trigger_claims (claimed_at);

alter table trigger_claims enable row level security;
alter table trigger_claims force row level security;
create policy tenant_wall on trigger_claims to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy engine on trigger_claims to stanchion_engine using (true) with check (true);
grant select, insert on trigger_claims to stanchion_app;
grant select, delete on trigger_claims to stanchion_engine;
