-- Tools: which version may be called here, what was tried of it, who approved what models are told of it. And a number that
-- tells every process when what decides calls has changed: a tool's state, or a live policy.

-- The last word on one version in one environment; none: `write` and `destructive` versions are disabled. It is bound to the
-- content that was judged: `connector_digest` is that of the connector that the tool is an operation of. `evidence`: the points
-- of the gate as they stood.
create table tool_states (
    tenant           text not null references tenants (name),
    environment      text not null,
    name             text not null,
    version          integer not null check (version > 0),
    digest           text not null,
    connector_digest text not null,
    enabled          boolean not null,
    reason           text not null check (length(reason) between 1 and 500),
    by               text not null,
    at               timestamptz not null,
    evidence         jsonb not null,
    primary key (tenant, environment, name, version)
);

-- Who approved what models are told of a tool: never changed. `told` is the digest over exactly that.
create table tool_approvals (
    tenant text not null references tenants (name),
    name   text not null,
    told   text not null,
    by     text not null,
    reason text not null check (length(reason) between 1 and 500),
    at     timestamptz not null,
    primary key (tenant, name, told, by)
);

-- What was tried of a version: never changed. `run_id`: the run that shows it, where one does.
create table tool_trials (
    tenant           text not null references tenants (name),
    id               uuid primary key,
    environment      text not null,
    name             text not null,
    version          integer not null,
    digest           text not null,
    connector_digest text not null,
    point            text not null check (point in ('dry_run', 'idempotency', 'disable_path')),
    run_id           uuid references runs (id),
    detail           text not null check (length(detail) <= 2000),
    by               text not null,
    at               timestamptz not null
);
create index tool_trials_by_version on tool_trials (tenant, environment, name, digest, id);

-- How often what decides a tenant's calls was changed here. Every process that decides calls asks four times a second for the
-- sum of these, across tenants, hence readable by all: it holds a number and no more.
create table call_revisions (
    tenant      text not null references tenants (name),
    environment text not null,
    rev         bigint not null,
    primary key (tenant, environment)
);

do $$
declare t text;
begin
    foreach t in array array['tool_states', 'tool_approvals', 'tool_trials', 'call_revisions'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
    end loop;
    foreach t in array array['tool_states', 'tool_approvals', 'tool_trials'] loop
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
    end loop;
end $$;
create policy read_all on call_revisions for select to stanchion_app using (true);
create policy own_insert on call_revisions for insert to stanchion_app with check (tenant = current_setting('stanchion.tenant'));
create policy own_update on call_revisions for update to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
grant select, insert, update on tool_states, call_revisions to stanchion_app;
grant select, insert on tool_approvals, tool_trials to stanchion_app;
grant select on tool_states, tool_approvals, tool_trials to stanchion_engine;
grant select, insert, update on call_revisions to stanchion_engine;

-- Whoever moves a policy or a tool raises the number, in the same transaction, and tells every process when it commits.
create function call_rules_moved() returns trigger language plpgsql as $$
declare moved_tenant text; moved_environment text;
begin
    if tg_op = 'DELETE' then
        moved_tenant := old.tenant; moved_environment := old.environment;
    else
        moved_tenant := new.tenant; moved_environment := new.environment;
    end if;
    insert into call_revisions as known (tenant, environment, rev) values (moved_tenant, moved_environment, 1)
    on conflict (tenant, environment) do update set rev = known.rev + 1;
    perform pg_notify('stanchion_calls', '');
    return null;
end $$;
create trigger call_rule_released after insert or update on releases for each row when (new.kind in ('policy', 'tool')) execute function call_rules_moved();
create trigger call_rule_withdrawn after delete on releases for each row when (old.kind in ('policy', 'tool')) execute function call_rules_moved();
create trigger tool_state_set after insert or update on tool_states for each row execute function call_rules_moved();
