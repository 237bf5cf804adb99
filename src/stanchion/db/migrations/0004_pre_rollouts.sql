-- Rollouts: a candidate on its way to be the live version, for more and more units; and what was ever live.

-- One rollout: which units get its candidates. `steps` is a list of {share} or {rings}, each with `hold_s` (null: only a
-- person goes on). `rings` are named lists of units. `due_at` is when the hold of the present step is over. `rev` rises
-- with every change, so that a verb can tell that another one was first; `changed_by` says whose.
create table rollouts (
    tenant      text not null references tenants (name),
    id          uuid primary key,
    environment text not null,
    strategy    text not null check (strategy in ('all_at_once', 'canary', 'rings', 'blue_green')),
    state       text not null check (state in ('ACTIVE', 'PAUSED', 'DONE', 'ROLLED_BACK', 'ABANDONED')),
    unit        text not null,
    salt        text not null,
    rings       jsonb not null default '{}',
    steps       jsonb not null,
    step        integer not null check (step >= 0),
    rev         integer not null default 1,
    due_at      timestamptz,
    author      text not null,
    reason      text not null,
    created_at  timestamptz not null default clock_timestamp(),
    changed_by  text not null,
    changed_at  timestamptz not null default clock_timestamp(),
    ended_at    timestamptz,
    check ((state in ('ACTIVE', 'PAUSED')) = (ended_at is null))
);
create index rollouts_open on rollouts (tenant, environment, id) where ended_at is null;
create index rollouts_by_tenant on rollouts (tenant, environment, id);
create index rollouts_active on rollouts (environment, id) where state = 'ACTIVE';

-- What a rollout moves, all together: from the version that was live when it began to the candidate.
create table rollout_members (
    tenant            text not null references tenants (name),
    rollout_id        uuid not null references rollouts (id),
    environment       text not null,
    kind              text not null,
    name              text not null,
    stable_version    integer not null,
    stable_digest     text not null,
    candidate_version integer not null,
    candidate_digest  text not null,
    ended_at          timestamptz,
    primary key (tenant, rollout_id, kind, name),
    foreign key (tenant, kind, name, stable_version) references artifacts (tenant, kind, name, version),
    foreign key (tenant, kind, name, candidate_version) references artifacts (tenant, kind, name, version)
);
-- At most one open rollout per artifact and environment.
create unique index rollout_members_open on rollout_members (tenant, environment, kind, name) where ended_at is null;

-- Every change of what runs get, in the words of who made it. `event` is one of the audit log's. A pointer's move has
-- both versions (the first has none before), a change of a rollout its states, and what the guards said as `evidence`.
create table release_history (
    tenant         text not null references tenants (name),
    no             bigint generated always as identity primary key,
    environment    text not null,
    kind           text not null,
    name           text not null,
    event          text not null,
    version_before integer,
    version        integer,
    rollout_id     uuid references rollouts (id),
    before         jsonb,
    after          jsonb,
    evidence       jsonb,
    reason         text not null default '',
    by             text not null,
    at             timestamptz not null default clock_timestamp()
);
create index release_history_by_name on release_history (tenant, environment, kind, name, no);
create index release_history_by_rollout on release_history (rollout_id) where rollout_id is not null;

-- Whoever moves a pointer leaves its row, also a process of the version before. A verb says what it does and why in
-- settings of its transaction.
create function record_release() returns trigger language plpgsql as $$
begin
    insert into release_history (tenant, environment, kind, name, event, version_before, version, rollout_id, reason, by, at)
    values (new.tenant, new.environment, new.kind, new.name,
            coalesce(nullif(current_setting('stanchion.release_event', true), ''), 'release.applied'),
            case when tg_op = 'UPDATE' then old.version end, new.version,
            nullif(current_setting('stanchion.release_rollout', true), '')::uuid,
            coalesce(current_setting('stanchion.release_reason', true), ''), new.released_by, new.released_at);
    return null;
end $$;
create trigger release_inserted after insert on releases for each row execute function record_release();
create trigger release_moved after update on releases for each row when (old.version <> new.version) execute function record_release();

do $$
declare t text;
begin
    foreach t in array array['rollouts', 'rollout_members', 'release_history'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
    end loop;
end $$;
grant select, insert, update on rollouts, rollout_members to stanchion_app;
grant select, insert on release_history to stanchion_app;
grant select on rollouts, rollout_members, release_history to stanchion_engine;

-- What is live already, with the version before it by number: better known than by anything else that is still there.
-- The owner of a table is under its forced row-level security as well, but for the moment of this.
alter table releases no force row level security;
alter table release_history no force row level security;
insert into release_history (tenant, environment, kind, name, event, version_before, version, by, at)
select tenant, environment, kind, name, 'release.applied', nullif(version - 1, 0), version, released_by, released_at
from releases order by released_at;
alter table releases force row level security;
alter table release_history force row level security;
