-- The artifact registry: labels and risk of a version, which pin sets hold a version, retired versions.

-- Constant defaults: no row is rewritten, and the code of before inserts versions as it did.
alter table artifacts add column labels jsonb not null default '{}'::jsonb;
alter table artifacts add column risk text not null default 'low' check (risk in ('low', 'medium', 'high'));

-- Which pin sets hold a version: what answers "which runs are pinned to this" by an index. Filled by a trigger, so that
-- sets which the code of before stores are in it too. A set is stored once, so the trigger is not on the path of a start.
create table pin_members (
    tenant     text not null references tenants (name),
    kind       text not null,
    name       text not null,
    version    integer not null,
    digest     text not null,
    pins       text not null,
    created_at timestamptz not null default clock_timestamp(),
    primary key (tenant, kind, name, version, pins)
);
create index pin_members_by_digest on pin_members (tenant, digest);

create function note_pin_members() returns trigger language plpgsql as $$
begin
    insert into pin_members (tenant, kind, name, version, digest, pins, created_at)
    select new.tenant, p ->> 'kind', p ->> 'name', (p ->> 'version')::int, p ->> 'digest', new.digest, new.created_at
    from jsonb_array_elements(new.pins) as p
    on conflict do nothing;
    return null;
end $$;
create trigger pin_sets_members after insert on pin_sets for each row execute function note_pin_members();

-- A retired version keeps its content (what ran on it stays explicable) and is offered no more.
create table retired_artifacts (
    tenant     text not null references tenants (name),
    kind       text not null,
    name       text not null,
    version    integer not null,
    retired_at timestamptz not null default clock_timestamp(),
    retired_by text not null,
    reason     text not null,
    primary key (tenant, kind, name, version),
    foreign key (tenant, kind, name, version) references artifacts (tenant, kind, name, version)
);

do $$
declare t text;
begin
    foreach t in array array['pin_members', 'retired_artifacts'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
    end loop;
end $$;
grant select, insert on pin_members to stanchion_app, stanchion_engine;
grant select, insert, delete on retired_artifacts to stanchion_app;
grant select on retired_artifacts to stanchion_engine;

-- The sets of before. The owner of a table is under its forced row-level security as well, for the moment of this.
alter table pin_sets no force row level security;
alter table pin_members no force row level security;
insert into pin_members (tenant, kind, name, version, digest, pins, created_at)
select s.tenant, p ->> 'kind', p ->> 'name', (p ->> 'version')::int, p ->> 'digest', s.digest, s.created_at
from pin_sets s cross join lateral jsonb_array_elements(s.pins) as p
on conflict do nothing;
alter table pin_sets force row level security;
alter table pin_members force row level security;

-- Runs of a pin set, newest first; items of a fan-out are found by their parent. None of its columns ever changes, so
-- updates of a run stay as cheap as they were. On a table of many millions of rows, make it before the migration with
-- `create index concurrently` and the same name: it is then left as it is.
create index if not exists runs_by_pins on runs (tenant, pins, id) where parent_id is null;
