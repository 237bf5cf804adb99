-- Flags: a number that tells every process when what is live of them has changed.

-- How often the flags of a tenant were changed in an environment. Every process that evaluates flags asks twice a second for
-- the sum of these, across tenants, hence readable by all: it holds a number and no more.
create table flag_revisions (
    tenant      text not null references tenants (name),
    environment text not null,
    rev         bigint not null,
    primary key (tenant, environment)
);

alter table flag_revisions enable row level security;
alter table flag_revisions force row level security;
create policy read_all on flag_revisions for select to stanchion_app using (true);
create policy own_insert on flag_revisions for insert to stanchion_app with check (tenant = current_setting('stanchion.tenant'));
create policy own_update on flag_revisions for update to stanchion_app using (tenant = current_setting('stanchion.tenant')) with check (tenant = current_setting('stanchion.tenant'));
create policy engine on flag_revisions to stanchion_engine using (true) with check (true);
grant select, insert, update on flag_revisions to stanchion_app;
grant select, insert, update on flag_revisions to stanchion_engine;

-- Whoever moves a flag raises the number, in the same transaction, and tells every process when it commits: an apply, a
-- rollout that begins, goes on or ends, a rollback, and whatever moves pointers later.
create function raise_flag_revision(of_tenant text, of_environment text) returns void language plpgsql as $$
begin
    insert into flag_revisions as known (tenant, environment, rev) values (of_tenant, of_environment, 1)
    on conflict (tenant, environment) do update set rev = known.rev + 1;
    perform pg_notify('stanchion_flags', '');
end $$;

create function flag_pointer_moved() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        perform raise_flag_revision(old.tenant, old.environment);
    else
        perform raise_flag_revision(new.tenant, new.environment);
    end if;
    return null;
end $$;
create trigger flag_released after insert or update on releases for each row when (new.kind = 'flag') execute function flag_pointer_moved();
create trigger flag_withdrawn after delete on releases for each row when (old.kind = 'flag') execute function flag_pointer_moved();
create trigger flag_offered after insert or update on rollout_members for each row when (new.kind = 'flag') execute function flag_pointer_moved();

create function flag_rollout_moved() returns trigger language plpgsql as $$
begin
    if exists (select 1 from rollout_members m where m.tenant = new.tenant and m.rollout_id = new.id and m.kind = 'flag') then
        perform raise_flag_revision(new.tenant, new.environment);
    end if;
    return null;
end $$;
create trigger flag_rollout_changed after update on rollouts for each row execute function flag_rollout_moved();
