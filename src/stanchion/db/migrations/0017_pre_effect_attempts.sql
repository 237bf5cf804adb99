-- A person's word about an effect of unknown outcome is about one attempt: the number tells a later one apart.
alter table effects add column attempts integer not null default 1;
