-- Bundles: releases that travel between deployments. Whose signatures a tenant trusts, and what it took in.

-- One key that a tenant trusts for bundles of one tenant of another deployment; `origin_environment` null: of any
-- environment there. `public_key` is the raw Ed25519 key in base64, `fingerprint` the digest over its SubjectPublicKeyInfo.
create table trusted_keys (
    tenant             text not null references tenants (name),
    id                 uuid primary key,
    name               text not null,
    fingerprint        text not null,
    public_key         text not null,
    origin_tenant      text not null,
    origin_environment text,
    added_by           text not null,
    added_at           timestamptz not null default clock_timestamp(),
    reason             text not null,
    removed_by         text,
    removed_at         timestamptz,
    removal_reason     text,
    check ((removed_at is null) = (removed_by is null)),
    check ((removed_at is null) = (removal_reason is null))
);
create unique index trusted_keys_in_force on trusted_keys (tenant, fingerprint, origin_tenant, coalesce(origin_environment, '')) where removed_at is null;
create unique index trusted_keys_by_name on trusted_keys (tenant, name) where removed_at is null;
create index trusted_keys_by_tenant on trusted_keys (tenant, id);

-- A bundle that was taken in. `digest` is over its signed bytes, `content` over its artifacts alone, `fingerprint` is its
-- signer's, `origin` says where it was made, by whom, when and why, as its signer says.
create table imported_bundles (
    tenant      text not null references tenants (name),
    digest      text not null,
    content     text not null,
    fingerprint text not null,
    origin      jsonb not null,
    imported_at timestamptz not null default clock_timestamp(),
    imported_by text not null,
    reason      text not null,
    primary key (tenant, digest)
);
create index imported_bundles_by_time on imported_bundles (tenant, imported_at, digest);

-- What a bundle held, and the version that it has here. `author` and `origin_version` are the origin's; `evidence` is what
-- came with it, each {digest, record}, bound to the version's digest.
create table imported_artifacts (
    tenant         text not null references tenants (name),
    bundle         text not null,
    kind           text not null,
    name           text not null,
    version        integer not null,
    digest         text not null,
    origin_version integer not null,
    author         text not null,
    evidence       jsonb not null default '[]',
    primary key (tenant, bundle, kind, name),
    foreign key (tenant, bundle) references imported_bundles (tenant, digest),
    foreign key (tenant, kind, name, version) references artifacts (tenant, kind, name, version)
);
create index imported_artifacts_by_version on imported_artifacts (tenant, kind, name, version);

do $$
declare t text;
begin
    foreach t in array array['trusted_keys', 'imported_bundles', 'imported_artifacts'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
    end loop;
end $$;
grant select, insert, update on trusted_keys to stanchion_app;
grant select, insert on imported_bundles, imported_artifacts to stanchion_app;
grant select on trusted_keys, imported_bundles, imported_artifacts to stanchion_engine;
