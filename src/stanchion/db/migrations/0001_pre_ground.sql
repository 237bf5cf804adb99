-- The ground: tenants and identity, audit, artifacts and releases, runs and their steps, effects, approvals.
-- Rules: every tenant table has FORCE row-level security, a policy for stanchion_app bound to the tenant of the
-- transaction (setting `stanchion.tenant`, which raises when unset: fails closed) and, where the engine works, a
-- policy for stanchion_engine. Under row-level security only leakproof operators reach an index, hence text,
-- uuid, int and timestamptz keys compared by = and <.

create table tenants (
    name         text primary key check (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    display_name text not null,
    created_at   timestamptz not null default clock_timestamp()
);

create table principals (
    tenant       text not null references tenants (name),
    id           uuid primary key,
    kind         text not null check (kind in ('user', 'service', 'schedule')),
    name         text not null check (name ~ '^[A-Za-z0-9][A-Za-z0-9._@+-]{0,126}$'),
    display_name text not null,
    roles        text[] not null,
    created_at   timestamptz not null default clock_timestamp(),
    disabled_at  timestamptz,
    unique (tenant, name)
);

-- `mac` is HMAC-SHA-256(pepper, secret); the secret itself is shown once and stored nowhere.
create table api_keys (
    tenant       text not null references tenants (name),
    id           uuid primary key,
    principal_id uuid not null references principals (id),
    label        text not null,
    mac          bytea not null,
    scopes       text[] not null,
    created_at   timestamptz not null default clock_timestamp(),
    created_by   text not null,
    expires_at   timestamptz,
    revoked_at   timestamptz
);
create index api_keys_by_principal on api_keys (tenant, principal_id);

create table sign_in_links (
    tenant       text not null references tenants (name),
    id           uuid primary key,
    principal_id uuid not null references principals (id),
    mac          bytea not null,
    created_at   timestamptz not null default clock_timestamp(),
    expires_at   timestamptz not null,
    used_at      timestamptz
);

create table sessions (
    tenant       text not null references tenants (name),
    id           uuid primary key,
    principal_id uuid not null references principals (id),
    mac          bytea not null,
    created_at   timestamptz not null default clock_timestamp(),
    expires_at   timestamptz not null,
    ended_at     timestamptz
);

-- `record` is the canonical JSON text that `leaf` = SHA-256(0x00 || record) commits to. Records commit without a
-- position, in the transaction of their change; one sequencer gives positions later.
create table audit_records (
    tenant      text not null,
    id          uuid primary key,
    recorded_at timestamptz not null default clock_timestamp(),
    event_type  text not null,
    actor       text not null,
    target_kind text not null,
    target_id   text not null,
    run_id      uuid,
    record      text not null,
    leaf        bytea not null
);
create index audit_records_by_time on audit_records (tenant, id);
create index audit_records_by_target on audit_records (tenant, target_kind, target_id, id);
create index audit_records_by_run on audit_records (tenant, run_id, id) where run_id is not null;

-- `refs` is a list of [kind, name]: what this version refers to, so that a release resolves its closure in one read.
create table artifacts (
    tenant     text not null references tenants (name),
    kind       text not null check (kind in ('blueprint', 'prompt', 'route', 'tool', 'index', 'connector', 'policy', 'config', 'flag', 'eval_suite')),
    name       text not null check (name ~ '^[a-z][a-z0-9-]{0,62}$'),
    version    integer not null check (version > 0),
    digest     text not null,
    body       jsonb not null,
    refs       jsonb not null default '[]',
    source     text not null,
    source_path text not null,
    owner      text not null,
    author     text not null,
    changelog  text not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (tenant, kind, name, version),
    unique (tenant, kind, name, digest)
);

-- Which version of an artifact is live in an environment.
create table releases (
    tenant      text not null references tenants (name),
    environment text not null,
    kind        text not null,
    name        text not null,
    version     integer not null,
    digest      text not null,
    released_at timestamptz not null default clock_timestamp(),
    released_by text not null,
    primary key (tenant, environment, kind, name),
    foreign key (tenant, kind, name, version) references artifacts (tenant, kind, name, version)
);

-- The compatible set that a run resolved, stored once per distinct set. `pins` is a list of {kind, name, version, digest}.
create table pin_sets (
    tenant     text not null references tenants (name),
    digest     text not null,
    pins       jsonb not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (tenant, digest)
);

-- One row per worker process. `lock_key` names the session advisory lock that dies with it. A worker with
-- `probation_of` is the child process in which another worker executes a run that has killed two workers; `crashed` is
-- that parent's word that the child died by itself. `reclaimed_at`: no run is left in this dead worker's name.
create table workers (
    id           uuid primary key,
    name         text not null,
    host         text not null,
    pid          integer not null,
    engine_v     integer not null,
    queues       text[] not null,
    capacity     integer not null,
    running      integer not null default 0,
    lock_key     bigint not null unique,
    state        text not null check (state in ('live', 'draining', 'stopped', 'lost')),
    started_at   timestamptz not null default clock_timestamp(),
    beat_at      timestamptz not null default clock_timestamp(),
    lease_until  timestamptz not null,
    ended_at     timestamptz,
    probation_of uuid,
    crashed      boolean not null default false,
    reclaimed_at timestamptz
);
create index workers_live on workers (lease_until) where state in ('live', 'draining');
create index workers_dead on workers (id) where state in ('stopped', 'lost') and reclaimed_at is null;

-- One BlueprintRun. `path` and `cursor` say where it is; `epoch` who may write; `rev` rises with every change (SSE).
-- A child run (an item of a for_each block) names its parent and its item; its input is the item.
-- `wakes` remembers wake-ups that came while the run was still RUNNING: a suspension on one of them does not wait.
create table runs (
    tenant       text not null,
    id           uuid primary key,
    blueprint    text not null,
    version      integer not null,
    pins         text not null,
    environment  text not null,
    engine_v     integer not null,
    queue        text not null default 'default',
    priority     smallint not null default 0,
    status       text not null check (status in ('PENDING', 'RUNNING', 'SUSPENDED', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    waiting_kind text check (waiting_kind in ('approval', 'child', 'retry', 'concurrency', 'effect', 'worker', 'worker_lost')),
    waiting_ref  text,
    waiting_since timestamptz,
    wake_at      timestamptz,
    wakes        text[] not null default '{}',
    cursor       integer not null default 0,
    path         text not null default '',
    epoch        bigint not null default 0,
    worker_id    uuid,
    attempt      integer not null default 1,
    strikes      smallint not null default 0,
    rev          bigint not null default 1,
    input        jsonb not null,
    output       jsonb,
    error        jsonb,
    dead_reason  text,
    discarded_at timestamptz,
    cancel_reason text,
    requested_by text not null,
    traceparent  text,
    root_id      uuid not null,
    parent_id    uuid,
    parent_path  text,
    block        text not null default '',
    item_no      integer,
    created_at   timestamptz not null default clock_timestamp(),
    ready_at     timestamptz not null default clock_timestamp(),
    started_at   timestamptz,
    ended_at     timestamptz,
    check ((status = 'SUSPENDED') <= (waiting_kind is not null)),
    check ((parent_id is null) = (item_no is null))
) with (fillfactor = 70);
create index runs_ready on runs (queue, priority desc, ready_at, id) where status = 'PENDING';
create index runs_of_worker on runs (worker_id) where status = 'RUNNING';
create index runs_due on runs (wake_at) where status = 'SUSPENDED' and wake_at is not null;
create index runs_waiting on runs (waiting_kind, id) where status = 'SUSPENDED';
create unique index runs_items on runs (parent_id, parent_path, item_no) where parent_id is not null;
create index runs_items_by_status on runs (parent_id, status, item_no) where parent_id is not null;
create index runs_worker_lost on runs (queue, ready_at) where status = 'PENDING' and waiting_kind = 'worker_lost';
create index runs_cancelling on runs (id) where cancel_reason is not null and status in ('PENDING', 'SUSPENDED');
create index runs_by_tenant on runs (tenant, id);
create index runs_by_blueprint on runs (tenant, blueprint, id);
create index runs_dead on runs (tenant, id) where status = 'FAILED' and dead_reason is not null and discarded_at is null;

-- One StepRun, keyed by (run, path). `errors` keeps the failures of earlier attempts, bounded by the retry policy, whose
-- budget begins at `first_attempt` (a retried run goes on counting). `item_no` is set on the items of a for_each step;
-- `fan_out` holds {total, concurrency, on_item_error, max_failures} while a for_each over a block waits for its items.
create table step_runs (
    tenant      text not null,
    run_id      uuid not null,
    path        text not null,
    position    integer not null,
    item_no     integer,
    verb        text not null,
    status      text not null check (status in ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'SKIPPED', 'SUSPENDED', 'UNKNOWN')),
    attempt     integer not null default 1,
    first_attempt integer not null default 1,
    output      jsonb,
    error       jsonb,
    errors      jsonb,
    fan_out     jsonb,
    wake_at     timestamptz,
    rev         bigint not null,
    started_at  timestamptz,
    ended_at    timestamptz,
    primary key (run_id, path)
) with (fillfactor = 85);

create table idempotency_keys (
    tenant         text not null,
    key            text not null check (length(key) between 1 and 255),
    request_digest text not null,
    run_id         uuid not null,
    created_at     timestamptz not null default clock_timestamp(),
    primary key (tenant, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

-- One effect: intent committed before the call, receipt after. `key` is what the target receives.
create table effects (
    tenant      text not null,
    id          uuid primary key,
    run_id      uuid not null,
    path        text not null,
    key         text not null,
    connector   text not null,
    connector_digest text not null,
    operation   text not null,
    class       text not null check (class in ('write', 'destructive')),
    idempotency text not null check (idempotency in ('key', 'natural', 'probe', 'none')),
    args_digest text not null,
    state       text not null check (state in ('INTENT', 'DONE', 'FAILED', 'UNKNOWN')),
    epoch       bigint not null,
    receipt     jsonb,
    error       jsonb,
    resolved_by text,
    evidence    text,
    intent_at   timestamptz not null default clock_timestamp(),
    outcome_at  timestamptz,
    unique (tenant, key),
    unique (run_id, path)
);
create index effects_open on effects (tenant, id) where state in ('INTENT', 'UNKNOWN');

-- One request to a person. `shown` is exactly what they see; `bound` are the digests of the values shown.
create table approvals (
    tenant       text not null,
    id           uuid primary key,
    run_id       uuid not null,
    root_id      uuid not null,
    path         text not null,
    attempt      integer not null,
    blueprint    text not null,
    policy       text not null,
    policy_digest text not null,
    requested_by text not null,
    title        text not null,
    facts        jsonb not null,
    shown        jsonb not null,
    args_digest  text not null,
    bound        text[] not null,
    nonce        text not null,
    may_decide   jsonb not null,
    forbid_self  boolean not null,
    on_reject    text not null,
    on_expire    text not null,
    status       text not null check (status in ('PENDING', 'APPROVED', 'REJECTED', 'EXPIRED', 'CANCELLED')),
    decided_by   text,
    decided_at   timestamptz,
    reason       text,
    created_at   timestamptz not null default clock_timestamp(),
    expires_at   timestamptz not null,
    unique (run_id, path, attempt)
);
create index approvals_pending on approvals (tenant, id) where status = 'PENDING';
create index approvals_due on approvals (expires_at) where status = 'PENDING';
create index approvals_by_tenant on approvals (tenant, id);
create index approvals_by_root on approvals (tenant, root_id, id);

-- Row-level security. The tenant of the transaction is a setting; current_setting raises if it was never set.
do $$
declare t text;
begin
    foreach t in array array['principals', 'api_keys', 'sign_in_links', 'sessions', 'audit_records', 'artifacts', 'releases',
                             'pin_sets', 'runs', 'step_runs', 'idempotency_keys', 'effects', 'approvals'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
    end loop;
    foreach t in array array['audit_records', 'artifacts', 'releases', 'pin_sets', 'runs', 'step_runs', 'effects', 'approvals', 'idempotency_keys', 'principals'] loop
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
    end loop;
end $$;
alter table tenants enable row level security;
alter table tenants force row level security;
create policy own_tenant on tenants to stanchion_app using (name = current_setting('stanchion.tenant')) with check (name = current_setting('stanchion.tenant'));
create policy engine on tenants to stanchion_engine using (true) with check (true);
alter table workers enable row level security;
alter table workers force row level security;
create policy engine on workers to stanchion_engine using (true) with check (true);
create policy read_only on workers for select to stanchion_app using (true);

-- Sign-in happens before a tenant is known: the presented credential's id opens exactly its own row.
create policy presented on api_keys for select to stanchion_app using (id = nullif(current_setting('stanchion.presented', true), '')::uuid);
create policy presented on sign_in_links for select to stanchion_app using (id = nullif(current_setting('stanchion.presented', true), '')::uuid);
create policy presented on sessions for select to stanchion_app using (id = nullif(current_setting('stanchion.presented', true), '')::uuid);

-- Least grants: audit records are never changed by anyone at run time.
grant usage on schema public to stanchion_app, stanchion_engine;
grant select, insert on audit_records, artifacts, pin_sets, idempotency_keys to stanchion_app, stanchion_engine;
grant select, insert, update on tenants, principals, api_keys, sign_in_links, sessions, releases, runs, step_runs, effects, approvals to stanchion_app;
grant select on workers to stanchion_app;
grant select, insert, update on workers, runs, step_runs, effects, approvals to stanchion_engine;
grant select on releases, principals to stanchion_engine;
grant select, insert on tenants to stanchion_engine;
grant delete on idempotency_keys to stanchion_engine;
grant select on migrations to stanchion_app, stanchion_engine;
