-- Triggers: an artifact kind of its own, and what came of each delivery.

-- The rows that are there fulfil the narrower check of before, so that they need not be looked at again.
alter table artifacts drop constraint artifacts_kind_check;
alter table artifacts add constraint artifacts_kind_check check (kind in ('blueprint', 'prompt', 'route', 'tool', 'index', 'connector', 'policy', 'config', 'flag', 'eval_suite', 'trigger')) not valid;

-- One delivery that was believed. `dedupe`: SHA-256 of the value by which duplicates are known, in hex; empty where it came to
-- none. `reason`: why nothing was started. Rows with a run are what later duplicates are answered from.
create table trigger_deliveries (
    tenant      text not null references tenants (name),
    id          uuid primary key,
    environment text not null,
    trigger     text not null,
    version     integer not null check (version > 0),
    source      text not null check (source in ('webhook', 'event')),
    received_at timestamptz not null default clock_timestamp(),
    dedupe      text not null,
    outcome     text not null check (outcome in ('started', 'repeated', 'filtered', 'failed')),
    reason      text not null check (length(reason) <= 1000),
    run_id      uuid,
    check ((run_id is not null) = (outcome in ('started', 'repeated')))
);
create index trigger_deliveries_by_trigger on trigger_deliveries (tenant, environment, trigger, id);
create index trigger_deliveries_by_dedupe on trigger_deliveries (tenant, environment, trigger, dedupe, id) where run_id is not null;
create index trigger_deliveries_by_age on trigger_deliveries (received_at);

alter table trigger_deliveries enable row level security;
alter table trigger_deliveries force row level security;
create policy tenant_wall on trigger_deliveries to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy engine on trigger_deliveries to stanchion_engine using (true) with check (true);
grant select, insert on trigger_deliveries to stanchion_app;
grant select, delete on trigger_deliveries to stanchion_engine;
