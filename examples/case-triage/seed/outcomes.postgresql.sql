-- The outcome register: a PostgreSQL schema of the customer's, not Stanchion's. It trusts nobody: a trigger notes every
-- write it receives in `received`, also one that changes nothing, so that "written exactly once" is said by the target.
create schema casebook;

create table casebook.outcomes (
    case_id         text primary key,
    tier            text not null check (tier in ('none', 'minor', 'serious', 'severe')),
    basis           text not null,
    articles        jsonb not null,
    fine_eur        bigint not null,
    recommendation  text not null,
    idempotency_key text not null unique,
    written_at      timestamptz not null default clock_timestamp()
);

create table casebook.received (
    id              bigint generated always as identity primary key,
    case_id         text not null,
    idempotency_key text not null,
    received_at     timestamptz not null default clock_timestamp()
);

create function casebook.note_received() returns trigger language plpgsql as $$
begin
    insert into casebook.received (case_id, idempotency_key) values (new.case_id, new.idempotency_key);
    return new;
end $$;

create trigger note_received before insert on casebook.outcomes
    for each row execute function casebook.note_received();
