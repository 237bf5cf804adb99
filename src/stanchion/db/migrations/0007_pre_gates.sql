-- Gates of releases: what was said for and against an exact set of versions, sets that wait for it, and every move that
-- was made without it.

-- Something said about an exact set of versions. `subject` is the digest over environment and members, `members` a list of
-- {kind, name, digest}. `verdict` is the reporter's, `details` what it rests on (an eval's suite, counts, thresholds). What was
-- said is never changed; it is withdrawn. `key` is the digest of what was said: the same said twice is one row.
create table release_evidence (
    tenant          text not null references tenants (name),
    id              uuid primary key,
    environment     text not null,
    gate            text not null check (gate ~ '^[a-z][a-z_]{0,31}$'),
    subject         text not null,
    members         jsonb not null,
    verdict         text not null check (verdict in ('PASS', 'FAIL', 'INCONCLUSIVE')),
    why             text not null check (length(why) between 1 and 2000),
    details         jsonb not null default '{}',
    details_digest  text not null,
    by              text not null,
    by_kind         text not null,
    made_at         timestamptz not null default clock_timestamp(),
    expires_at      timestamptz not null,
    key             text not null,
    withdrawn_by    text,
    withdrawn_at    timestamptz,
    withdraw_reason text,
    check ((withdrawn_at is null) = (withdrawn_by is null)),
    check ((withdrawn_at is null) = (withdraw_reason is null))
);
create unique index release_evidence_once on release_evidence (tenant, key) where withdrawn_at is null;
create index release_evidence_by_tenant on release_evidence (tenant, id);
create index release_evidence_of_set on release_evidence (tenant, subject, gate, made_at) where withdrawn_at is null;

-- The same, by each member.
create table release_evidence_members (
    tenant      text not null references tenants (name),
    evidence_id uuid not null references release_evidence (id),
    kind        text not null,
    name        text not null,
    digest      text not null,
    primary key (tenant, kind, name, digest, evidence_id)
);
create index release_evidence_members_by_evidence on release_evidence_members (evidence_id);

-- A set of published versions that waits for evidence before it moves. It is `moved_at` when exactly this set did.
create table prepared_releases (
    tenant      text not null references tenants (name),
    id          uuid primary key,
    environment text not null,
    subject     text not null,
    members     jsonb not null,
    author      text not null,
    reason      text not null,
    created_at  timestamptz not null default clock_timestamp(),
    moved_by    text,
    moved_at    timestamptz,
    check ((moved_at is null) = (moved_by is null))
);
create unique index prepared_releases_waiting on prepared_releases (tenant, environment, subject) where moved_at is null;
create index prepared_releases_by_tenant on prepared_releases (tenant, environment, id);

-- A move that was made although its gates said no: open until another principal has reviewed it.
create table broken_glass (
    tenant         text not null references tenants (name),
    id             uuid primary key,
    environment    text not null,
    move           text not null check (move in ('apply', 'begin', 'advance')),
    subject        text not null,
    members        jsonb not null,
    rollout_id     uuid references rollouts (id),
    policy_digest  text not null,
    findings       jsonb not null,
    reason         text not null check (length(reason) between 8 and 2000),
    by             text not null,
    at             timestamptz not null default clock_timestamp(),
    review_due_at  timestamptz not null,
    review         text check (review in ('JUSTIFIED', 'UNJUSTIFIED')),
    reviewed_by    text,
    reviewed_at    timestamptz,
    review_reason  text,
    check ((review is null) = (reviewed_by is null)),
    check ((review is null) = (reviewed_at is null)),
    check ((review is null) = (review_reason is null)),
    check (reviewed_by <> by)
);
create index broken_glass_by_tenant on broken_glass (tenant, environment, id);
create index broken_glass_open on broken_glass (environment, review_due_at) where review is null;
create index broken_glass_by_rollout on broken_glass (rollout_id) where rollout_id is not null;

-- The row of a moved pointer also keeps what the gates said, from a setting of the verb's transaction.
create or replace function record_release() returns trigger language plpgsql as $$
begin
    insert into release_history (tenant, environment, kind, name, event, version_before, version, rollout_id, evidence, reason, by, at)
    values (new.tenant, new.environment, new.kind, new.name,
            coalesce(nullif(current_setting('stanchion.release_event', true), ''), 'release.applied'),
            case when tg_op = 'UPDATE' then old.version end, new.version,
            nullif(current_setting('stanchion.release_rollout', true), '')::uuid,
            nullif(current_setting('stanchion.release_evidence', true), '')::jsonb,
            coalesce(current_setting('stanchion.release_reason', true), ''), new.released_by, new.released_at);
    return null;
end $$;

do $$
declare t text;
begin
    foreach t in array array['release_evidence', 'release_evidence_members', 'prepared_releases', 'broken_glass'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy tenant_wall on %I to stanchion_app using (tenant = current_setting(''stanchion.tenant'')) with check (tenant = current_setting(''stanchion.tenant''))', t);
        execute format('create policy engine on %I to stanchion_engine using (true) with check (true)', t);
    end loop;
end $$;
-- What was said stays said: only its withdrawal, a review, or that a set moved is written later.
grant select, insert on release_evidence, release_evidence_members, prepared_releases, broken_glass to stanchion_app;
grant update (withdrawn_by, withdrawn_at, withdraw_reason) on release_evidence to stanchion_app;
grant update (moved_by, moved_at) on prepared_releases to stanchion_app;
grant update (review, reviewed_by, reviewed_at, review_reason) on broken_glass to stanchion_app;
grant select on release_evidence, release_evidence_members, prepared_releases, broken_glass to stanchion_engine;
