-- What all broker processes know together of a connector: how much of its rate limit is left, who holds how many of its
-- places, and whether its target is well. None of it is history: a row may go at any time and is made anew.

-- Tokens left at `refilled_at`. A process takes them in chunks; the row's lock also orders the taking of places.
create table connector_limits (
    tenant      text not null references tenants (name),
    connector   text not null,
    tokens      double precision not null,
    refilled_at timestamptz not null default clock_timestamp(),
    primary key (tenant, connector)
);

-- Places for calls at the same time that one process holds until `expires_at`; a process that dies gives them back so.
create table connector_places (
    tenant     text not null references tenants (name),
    connector  text not null,
    holder     uuid not null,
    places     integer not null check (places > 0),
    expires_at timestamptz not null,
    primary key (tenant, connector, holder)
);

-- The circuit breaker of a connector. `calls` and `failures` are counted since `counted_from`; `until` is when an OPEN one may
-- be tried, `openings` how often it opened in a row. `asked`: the target itself said how long to wait (Retry-After).
create table connector_breakers (
    tenant       text not null references tenants (name),
    connector    text not null,
    state        text not null check (state in ('CLOSED', 'OPEN')),
    calls        bigint not null check (calls >= 0),
    failures     bigint not null check (failures >= 0),
    counted_from timestamptz not null,
    until        timestamptz not null,
    openings     integer not null check (openings >= 0),
    asked        boolean not null,
    reason       text not null check (length(reason) <= 200),
    trial_until  timestamptz,
    primary key (tenant, connector)
);
create index connector_breakers_open on connector_breakers (tenant, connector) where state = 'OPEN';

alter table connector_limits enable row level security;
alter table connector_limits force row level security;
alter table connector_places enable row level security;
alter table connector_places force row level security;
alter table connector_breakers enable row level security;
alter table connector_breakers force row level security;
create policy tenant_wall on connector_limits to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy tenant_wall on connector_places to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy tenant_wall on connector_breakers to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy engine on connector_limits to stanchion_engine using (true) with check (true);
create policy engine on connector_places to stanchion_engine using (true) with check (true);
create policy engine on connector_breakers to stanchion_engine using (true) with check (true);
grant select on connector_limits, connector_places, connector_breakers to stanchion_app;
grant select, insert, update, delete on connector_limits, connector_places, connector_breakers to stanchion_engine;
