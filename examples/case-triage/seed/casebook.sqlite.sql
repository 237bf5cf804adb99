-- The casebook: a SQLite file with the cases to triage. `articles` is a JSON array of integers, as text.
create table cases (
    case_id        text primary key,
    country        text not null,
    authority      text not null,
    decision_date  text,
    controller     text not null,
    fine_eur       integer not null,
    articles       text not null,
    violation_type text not null,
    summary        text not null,
    status         text not null default 'open' check (status in ('open', 'closed'))
);
