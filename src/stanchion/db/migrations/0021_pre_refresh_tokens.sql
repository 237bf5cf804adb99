-- Refresh tokens of OAuth 2 that a server gave in place of declared ones, so that no restart loses them.

-- `declared`: a digest, under the tenant's data key, of the token endpoint and the refresh token that a connector's secret holds;
-- a secret that is set anew is another row. `ciphertext`: the refresh token now, the access token and its end, encrypted under
-- the tenant's data key and bound to this row. `generation` counts exchanges. A process that exchanges holds the row
-- meanwhile: of several one asks the server, which takes each refresh token once.
create table refresh_tokens (
    tenant     text not null references tenants (name),
    declared   bytea not null check (length(declared) = 32),
    data_key   uuid references data_keys (id),
    ciphertext bytea,
    generation bigint not null default 0,
    held_by    uuid,
    held_until timestamptz,
    granted_at timestamptz not null default clock_timestamp(),
    primary key (tenant, declared),
    check ((data_key is null) = (ciphertext is null)),
    check ((held_by is null) = (held_until is null))
);

alter table refresh_tokens enable row level security;
alter table refresh_tokens force row level security;
create policy tenant_wall on refresh_tokens to stanchion_app
    using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
grant select, insert, update, delete on refresh_tokens to stanchion_app;
