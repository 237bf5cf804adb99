-- Secrets: which there are, for which environment and which connectors; their versions and the keys of tenants, encrypted.

-- One secret of a tenant. `local` ones have versions here; of the others only the name is known, and who may have them.
-- `environment`: the one it is issued to (I10), `connectors`: the names it is granted to. A removed one keeps its row, so that
-- a version's number, to which its text is encrypted, is never given twice.
create table secrets (
    tenant      text not null references tenants (name),
    provider    text not null check (provider in ('local', 'env', 'file', 'vault')),
    path        text not null check (length(path) between 1 and 200),
    environment text not null,
    connectors  text[] not null default '{}',
    created_by  text not null,
    created_at  timestamptz not null default clock_timestamp(),
    removed_by  text,
    removed_at  timestamptz,
    primary key (tenant, provider, path),
    check ((removed_at is null) = (removed_by is null))
);

-- The data key of a tenant, encrypted under a key-encryption key that is in a file outside the database; `kek_id` is its fingerprint.
create table data_keys (
    tenant     text primary key references tenants (name),
    id         uuid not null unique,
    kek_id     text not null,
    wrapped    bytea not null,
    created_at timestamptz not null default clock_timestamp()
);
create index data_keys_by_kek on data_keys (kek_id);

-- One version of a local secret: its fields, encrypted together under the tenant's data key, bound to tenant, path, version and
-- environment. `previous` is valid until `ends_at`; of an `ended` one nothing is left but that it was there.
create table secret_versions (
    tenant     text not null,
    provider   text not null default 'local' check (provider = 'local'),
    path       text not null,
    version    integer not null check (version > 0),
    state      text not null check (state in ('current', 'previous', 'ended')),
    fields     text[] not null,
    data_key   uuid not null references data_keys (id),
    ciphertext bytea,
    set_by     text not null,
    set_at     timestamptz not null default clock_timestamp(),
    ends_at    timestamptz,
    primary key (tenant, path, version),
    foreign key (tenant, provider, path) references secrets (tenant, provider, path),
    check ((state = 'ended') = (ciphertext is null)),
    check ((state = 'current') = (ends_at is null))
);
create unique index secret_versions_current on secret_versions (tenant, path) where state = 'current';
create index secret_versions_due on secret_versions (ends_at) where state = 'previous';

do $$
declare t text;
begin
    foreach t in array array['secrets', 'data_keys', 'secret_versions'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
        execute format('grant select, insert, update on %I to stanchion_app', t);
        execute format('grant select, update on %I to stanchion_engine', t);
    end loop;
end $$;
