-- The labour ledger: a PostgreSQL schema of the customer's, not Stanchion's. It trusts nobody: a trigger notes every write
-- it receives in `received`, also one that changes nothing, so that "posted exactly once" is said by the target.
create schema labour;

create table labour.postings (
    posting_id      text primary key,
    period          text not null,
    cost_centre     text not null,
    entries         integer not null,
    hours           numeric(12, 2) not null,
    amount_eur      numeric(14, 2) not null,
    idempotency_key text not null unique,
    written_at      timestamptz not null default clock_timestamp()
);

create table labour.received (
    id              bigint generated always as identity primary key,
    posting_id      text not null,
    idempotency_key text not null,
    received_at     timestamptz not null default clock_timestamp()
);

create function labour.note_received() returns trigger language plpgsql as $$
begin
    insert into labour.received (posting_id, idempotency_key) values (new.posting_id, new.idempotency_key);
    return new;
end $$;

create trigger note_received before insert on labour.postings
    for each row execute function labour.note_received();
