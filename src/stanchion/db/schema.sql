CREATE FUNCTION public.call_rules_moved() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
declare moved_tenant text; moved_environment text;
begin
    if tg_op = 'DELETE' then
        moved_tenant := old.tenant; moved_environment := old.environment;
    else
        moved_tenant := new.tenant; moved_environment := new.environment;
    end if;
    insert into call_revisions as known (tenant, environment, rev) values (moved_tenant, moved_environment, 1)
    on conflict (tenant, environment) do update set rev = known.rev + 1;
    perform pg_notify('stanchion_calls', '');
    return null;
end $$;
CREATE FUNCTION public.flag_pointer_moved() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if tg_op = 'DELETE' then
        perform raise_flag_revision(old.tenant, old.environment);
    else
        perform raise_flag_revision(new.tenant, new.environment);
    end if;
    return null;
end $$;
CREATE FUNCTION public.flag_rollout_moved() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if exists (select 1 from rollout_members m where m.tenant = new.tenant and m.rollout_id = new.id and m.kind = 'flag') then
        perform raise_flag_revision(new.tenant, new.environment);
    end if;
    return null;
end $$;
CREATE FUNCTION public.note_pin_members() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    insert into pin_members (tenant, kind, name, version, digest, pins, created_at)
    select new.tenant, p ->> 'kind', p ->> 'name', (p ->> 'version')::int, p ->> 'digest', new.digest, new.created_at
    from jsonb_array_elements(new.pins) as p
    on conflict do nothing;
    return null;
end $$;
CREATE FUNCTION public.raise_flag_revision(of_tenant text, of_environment text) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    insert into flag_revisions as known (tenant, environment, rev) values (of_tenant, of_environment, 1)
    on conflict (tenant, environment) do update set rev = known.rev + 1;
    perform pg_notify('stanchion_flags', '');
end $$;
CREATE FUNCTION public.record_release() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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
CREATE TABLE public.api_keys (
    tenant text NOT NULL,
    id uuid NOT NULL,
    principal_id uuid NOT NULL,
    label text NOT NULL,
    mac bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    created_by text NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone
);
ALTER TABLE ONLY public.api_keys FORCE ROW LEVEL SECURITY;
CREATE TABLE public.approvals (
    tenant text NOT NULL,
    id uuid NOT NULL,
    run_id uuid NOT NULL,
    root_id uuid NOT NULL,
    path text NOT NULL,
    attempt integer NOT NULL,
    blueprint text NOT NULL,
    policy text NOT NULL,
    policy_digest text NOT NULL,
    requested_by text NOT NULL,
    title text NOT NULL,
    facts jsonb NOT NULL,
    shown jsonb NOT NULL,
    args_digest text NOT NULL,
    bound text[] NOT NULL,
    nonce text NOT NULL,
    may_decide jsonb NOT NULL,
    forbid_self boolean NOT NULL,
    on_reject text NOT NULL,
    on_expire text NOT NULL,
    status text NOT NULL,
    decided_by text,
    decided_at timestamp with time zone,
    reason text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT approvals_status_check CHECK ((status = ANY (ARRAY['PENDING'::text, 'APPROVED'::text, 'REJECTED'::text, 'EXPIRED'::text, 'CANCELLED'::text])))
);
ALTER TABLE ONLY public.approvals FORCE ROW LEVEL SECURITY;
CREATE TABLE public.artifacts (
    tenant text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    digest text NOT NULL,
    body jsonb NOT NULL,
    refs jsonb DEFAULT '[]'::jsonb NOT NULL,
    source text NOT NULL,
    source_path text NOT NULL,
    owner text NOT NULL,
    author text NOT NULL,
    changelog text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    labels jsonb DEFAULT '{}'::jsonb NOT NULL,
    risk text DEFAULT 'low'::text NOT NULL,
    CONSTRAINT artifacts_name_check CHECK ((name ~ '^[a-z][a-z0-9-]{0,62}$'::text)),
    CONSTRAINT artifacts_risk_check CHECK ((risk = ANY (ARRAY['low'::text, 'medium'::text, 'high'::text]))),
    CONSTRAINT artifacts_version_check CHECK ((version > 0))
);
ALTER TABLE ONLY public.artifacts FORCE ROW LEVEL SECURITY;
CREATE TABLE public.audit_records (
    tenant text NOT NULL,
    id uuid NOT NULL,
    recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    event_type text NOT NULL,
    actor text NOT NULL,
    target_kind text NOT NULL,
    target_id text NOT NULL,
    run_id uuid,
    record text NOT NULL,
    leaf bytea NOT NULL
);
ALTER TABLE ONLY public.audit_records FORCE ROW LEVEL SECURITY;
CREATE TABLE public.broken_glass (
    tenant text NOT NULL,
    id uuid NOT NULL,
    environment text NOT NULL,
    move text NOT NULL,
    subject text NOT NULL,
    members jsonb NOT NULL,
    rollout_id uuid,
    policy_digest text NOT NULL,
    findings jsonb NOT NULL,
    reason text NOT NULL,
    by text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    review_due_at timestamp with time zone NOT NULL,
    review text,
    reviewed_by text,
    reviewed_at timestamp with time zone,
    review_reason text,
    CONSTRAINT broken_glass_check CHECK (((review IS NULL) = (reviewed_by IS NULL))),
    CONSTRAINT broken_glass_check1 CHECK (((review IS NULL) = (reviewed_at IS NULL))),
    CONSTRAINT broken_glass_check2 CHECK (((review IS NULL) = (review_reason IS NULL))),
    CONSTRAINT broken_glass_check3 CHECK ((reviewed_by <> by)),
    CONSTRAINT broken_glass_move_check CHECK ((move = ANY (ARRAY['apply'::text, 'begin'::text, 'advance'::text]))),
    CONSTRAINT broken_glass_reason_check CHECK (((length(reason) >= 8) AND (length(reason) <= 2000))),
    CONSTRAINT broken_glass_review_check CHECK ((review = ANY (ARRAY['JUSTIFIED'::text, 'UNJUSTIFIED'::text])))
);
ALTER TABLE ONLY public.broken_glass FORCE ROW LEVEL SECURITY;
CREATE TABLE public.broker_effects (
    tenant text NOT NULL,
    effect_id uuid NOT NULL,
    attempt integer NOT NULL,
    epoch bigint NOT NULL,
    simulated boolean NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT broker_effects_attempt_check CHECK ((attempt > 0))
);
ALTER TABLE ONLY public.broker_effects FORCE ROW LEVEL SECURITY;
CREATE TABLE public.call_revisions (
    tenant text NOT NULL,
    environment text NOT NULL,
    rev bigint NOT NULL
);
ALTER TABLE ONLY public.call_revisions FORCE ROW LEVEL SECURITY;
CREATE TABLE public.connector_breakers (
    tenant text NOT NULL,
    connector text NOT NULL,
    state text NOT NULL,
    calls bigint NOT NULL,
    failures bigint NOT NULL,
    counted_from timestamp with time zone NOT NULL,
    until timestamp with time zone NOT NULL,
    openings integer NOT NULL,
    asked boolean NOT NULL,
    reason text NOT NULL,
    trial_until timestamp with time zone,
    CONSTRAINT connector_breakers_calls_check CHECK ((calls >= 0)),
    CONSTRAINT connector_breakers_failures_check CHECK ((failures >= 0)),
    CONSTRAINT connector_breakers_openings_check CHECK ((openings >= 0)),
    CONSTRAINT connector_breakers_reason_check CHECK ((length(reason) <= 200)),
    CONSTRAINT connector_breakers_state_check CHECK ((state = ANY (ARRAY['CLOSED'::text, 'OPEN'::text])))
);
ALTER TABLE ONLY public.connector_breakers FORCE ROW LEVEL SECURITY;
CREATE TABLE public.connector_limits (
    tenant text NOT NULL,
    connector text NOT NULL,
    tokens double precision NOT NULL,
    refilled_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY public.connector_limits FORCE ROW LEVEL SECURITY;
CREATE TABLE public.connector_places (
    tenant text NOT NULL,
    connector text NOT NULL,
    holder uuid NOT NULL,
    places integer NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT connector_places_places_check CHECK ((places > 0))
);
ALTER TABLE ONLY public.connector_places FORCE ROW LEVEL SECURITY;
CREATE TABLE public.data_keys (
    tenant text NOT NULL,
    id uuid NOT NULL,
    kek_id text NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY public.data_keys FORCE ROW LEVEL SECURITY;
CREATE TABLE public.effects (
    tenant text NOT NULL,
    id uuid NOT NULL,
    run_id uuid NOT NULL,
    path text NOT NULL,
    key text NOT NULL,
    connector text NOT NULL,
    connector_digest text NOT NULL,
    operation text NOT NULL,
    class text NOT NULL,
    idempotency text NOT NULL,
    args_digest text NOT NULL,
    state text NOT NULL,
    epoch bigint NOT NULL,
    receipt jsonb,
    error jsonb,
    resolved_by text,
    evidence text,
    intent_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    outcome_at timestamp with time zone,
    attempts integer DEFAULT 1 NOT NULL,
    CONSTRAINT effects_class_check CHECK ((class = ANY (ARRAY['write'::text, 'destructive'::text]))),
    CONSTRAINT effects_idempotency_check CHECK ((idempotency = ANY (ARRAY['key'::text, 'natural'::text, 'probe'::text, 'none'::text]))),
    CONSTRAINT effects_state_check CHECK ((state = ANY (ARRAY['INTENT'::text, 'DONE'::text, 'FAILED'::text, 'UNKNOWN'::text])))
);
ALTER TABLE ONLY public.effects FORCE ROW LEVEL SECURITY;
CREATE TABLE public.flag_revisions (
    tenant text NOT NULL,
    environment text NOT NULL,
    rev bigint NOT NULL
);
ALTER TABLE ONLY public.flag_revisions FORCE ROW LEVEL SECURITY;
CREATE TABLE public.idempotency_keys (
    tenant text NOT NULL,
    key text NOT NULL,
    request_digest text NOT NULL,
    run_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT idempotency_keys_key_check CHECK (((length(key) >= 1) AND (length(key) <= 255)))
);
ALTER TABLE ONLY public.idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE TABLE public.imported_artifacts (
    tenant text NOT NULL,
    bundle text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    digest text NOT NULL,
    origin_version integer NOT NULL,
    author text NOT NULL,
    evidence jsonb DEFAULT '[]'::jsonb NOT NULL
);
ALTER TABLE ONLY public.imported_artifacts FORCE ROW LEVEL SECURITY;
CREATE TABLE public.imported_bundles (
    tenant text NOT NULL,
    digest text NOT NULL,
    content text NOT NULL,
    fingerprint text NOT NULL,
    origin jsonb NOT NULL,
    imported_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    imported_by text NOT NULL,
    reason text NOT NULL
);
ALTER TABLE ONLY public.imported_bundles FORCE ROW LEVEL SECURITY;
CREATE TABLE public.kill_revisions (
    tenant text NOT NULL,
    rev bigint NOT NULL
);
ALTER TABLE ONLY public.kill_revisions FORCE ROW LEVEL SECURITY;
CREATE TABLE public.kills (
    tenant text NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version integer,
    digest text,
    reason text NOT NULL,
    set_by text NOT NULL,
    set_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    lifted_by text,
    lifted_at timestamp with time zone,
    lift_reason text,
    CONSTRAINT kills_check CHECK (((version IS NULL) = (digest IS NULL))),
    CONSTRAINT kills_check1 CHECK (((lifted_at IS NULL) = (lifted_by IS NULL))),
    CONSTRAINT kills_check2 CHECK (((lifted_at IS NULL) = (lift_reason IS NULL))),
    CONSTRAINT kills_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500))),
    CONSTRAINT kills_version_check CHECK ((version > 0))
);
ALTER TABLE ONLY public.kills FORCE ROW LEVEL SECURITY;
CREATE TABLE public.migrations (
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
CREATE TABLE public.pin_members (
    tenant text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    digest text NOT NULL,
    pins text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY public.pin_members FORCE ROW LEVEL SECURITY;
CREATE TABLE public.pin_sets (
    tenant text NOT NULL,
    digest text NOT NULL,
    pins jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY public.pin_sets FORCE ROW LEVEL SECURITY;
CREATE TABLE public.prepared_releases (
    tenant text NOT NULL,
    id uuid NOT NULL,
    environment text NOT NULL,
    subject text NOT NULL,
    members jsonb NOT NULL,
    author text NOT NULL,
    reason text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    moved_by text,
    moved_at timestamp with time zone,
    CONSTRAINT prepared_releases_check CHECK (((moved_at IS NULL) = (moved_by IS NULL)))
);
ALTER TABLE ONLY public.prepared_releases FORCE ROW LEVEL SECURITY;
CREATE TABLE public.principals (
    tenant text NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    display_name text NOT NULL,
    roles text[] NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    disabled_at timestamp with time zone,
    CONSTRAINT principals_kind_check CHECK ((kind = ANY (ARRAY['user'::text, 'service'::text, 'schedule'::text]))),
    CONSTRAINT principals_name_check CHECK ((name ~ '^[A-Za-z0-9][A-Za-z0-9._@+-]{0,126}$'::text))
);
ALTER TABLE ONLY public.principals FORCE ROW LEVEL SECURITY;
CREATE TABLE public.refresh_tokens (
    tenant text NOT NULL,
    declared bytea NOT NULL,
    data_key uuid,
    ciphertext bytea,
    generation bigint DEFAULT 0 NOT NULL,
    held_by uuid,
    held_until timestamp with time zone,
    granted_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT refresh_tokens_check CHECK (((data_key IS NULL) = (ciphertext IS NULL))),
    CONSTRAINT refresh_tokens_check1 CHECK (((held_by IS NULL) = (held_until IS NULL))),
    CONSTRAINT refresh_tokens_declared_check CHECK ((length(declared) = 32))
);
ALTER TABLE ONLY public.refresh_tokens FORCE ROW LEVEL SECURITY;
CREATE TABLE public.release_evidence (
    tenant text NOT NULL,
    id uuid NOT NULL,
    environment text NOT NULL,
    gate text NOT NULL,
    subject text NOT NULL,
    members jsonb NOT NULL,
    verdict text NOT NULL,
    why text NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    details_digest text NOT NULL,
    by text NOT NULL,
    by_kind text NOT NULL,
    made_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    key text NOT NULL,
    withdrawn_by text,
    withdrawn_at timestamp with time zone,
    withdraw_reason text,
    CONSTRAINT release_evidence_check CHECK (((withdrawn_at IS NULL) = (withdrawn_by IS NULL))),
    CONSTRAINT release_evidence_check1 CHECK (((withdrawn_at IS NULL) = (withdraw_reason IS NULL))),
    CONSTRAINT release_evidence_gate_check CHECK ((gate ~ '^[a-z][a-z_]{0,31}$'::text)),
    CONSTRAINT release_evidence_verdict_check CHECK ((verdict = ANY (ARRAY['PASS'::text, 'FAIL'::text, 'INCONCLUSIVE'::text]))),
    CONSTRAINT release_evidence_why_check CHECK (((length(why) >= 1) AND (length(why) <= 2000)))
);
ALTER TABLE ONLY public.release_evidence FORCE ROW LEVEL SECURITY;
CREATE TABLE public.release_evidence_members (
    tenant text NOT NULL,
    evidence_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    digest text NOT NULL
);
ALTER TABLE ONLY public.release_evidence_members FORCE ROW LEVEL SECURITY;
CREATE TABLE public.release_history (
    tenant text NOT NULL,
    no bigint NOT NULL,
    environment text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    event text NOT NULL,
    version_before integer,
    version integer,
    rollout_id uuid,
    before jsonb,
    after jsonb,
    evidence jsonb,
    reason text DEFAULT ''::text NOT NULL,
    by text NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY public.release_history FORCE ROW LEVEL SECURITY;
ALTER TABLE public.release_history ALTER COLUMN no ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.release_history_no_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.releases (
    tenant text NOT NULL,
    environment text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    digest text NOT NULL,
    released_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    released_by text NOT NULL
);
ALTER TABLE ONLY public.releases FORCE ROW LEVEL SECURITY;
CREATE TABLE public.repins (
    tenant text NOT NULL,
    id uuid NOT NULL,
    run_id uuid NOT NULL,
    withdrawal_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version_before integer NOT NULL,
    version integer NOT NULL,
    digest_before text NOT NULL,
    digest text NOT NULL,
    pins_before text NOT NULL,
    pins text NOT NULL,
    reason text NOT NULL,
    by text NOT NULL,
    at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.repins FORCE ROW LEVEL SECURITY;
CREATE TABLE public.retired_artifacts (
    tenant text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    retired_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    retired_by text NOT NULL,
    reason text NOT NULL
);
ALTER TABLE ONLY public.retired_artifacts FORCE ROW LEVEL SECURITY;
CREATE TABLE public.rollout_measurements (
    tenant text NOT NULL,
    rollout_id uuid NOT NULL,
    run_id uuid NOT NULL,
    metric text NOT NULL,
    arm text NOT NULL,
    value double precision NOT NULL,
    reported_at timestamp with time zone NOT NULL,
    counted_at timestamp with time zone,
    CONSTRAINT rollout_measurements_arm_check CHECK ((arm = ANY (ARRAY['candidate'::text, 'stable'::text])))
);
ALTER TABLE ONLY public.rollout_measurements FORCE ROW LEVEL SECURITY;
CREATE TABLE public.rollout_members (
    tenant text NOT NULL,
    rollout_id uuid NOT NULL,
    environment text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    stable_version integer NOT NULL,
    stable_digest text NOT NULL,
    candidate_version integer NOT NULL,
    candidate_digest text NOT NULL,
    ended_at timestamp with time zone
);
ALTER TABLE ONLY public.rollout_members FORCE ROW LEVEL SECURITY;
CREATE TABLE public.rollout_runs (
    tenant text NOT NULL,
    rollout_id uuid NOT NULL,
    run_id uuid NOT NULL,
    arm text,
    counted_at timestamp with time zone,
    CONSTRAINT rollout_runs_arm_check CHECK ((arm = ANY (ARRAY['candidate'::text, 'stable'::text])))
);
ALTER TABLE ONLY public.rollout_runs FORCE ROW LEVEL SECURITY;
CREATE TABLE public.rollout_watches (
    tenant text NOT NULL,
    rollout_id uuid NOT NULL,
    environment text NOT NULL,
    comparisons jsonb,
    fresh_id uuid,
    patrol_id uuid,
    turn_id uuid,
    counted bigint DEFAULT 0 NOT NULL,
    looked_at timestamp with time zone,
    closed boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');
ALTER TABLE ONLY public.rollout_watches FORCE ROW LEVEL SECURITY;
CREATE TABLE public.rollouts (
    tenant text NOT NULL,
    id uuid NOT NULL,
    environment text NOT NULL,
    strategy text NOT NULL,
    state text NOT NULL,
    unit text NOT NULL,
    salt text NOT NULL,
    rings jsonb DEFAULT '{}'::jsonb NOT NULL,
    steps jsonb NOT NULL,
    step integer NOT NULL,
    rev integer DEFAULT 1 NOT NULL,
    due_at timestamp with time zone,
    author text NOT NULL,
    reason text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    guards jsonb,
    CONSTRAINT rollouts_check CHECK (((state = ANY (ARRAY['ACTIVE'::text, 'PAUSED'::text])) = (ended_at IS NULL))),
    CONSTRAINT rollouts_state_check CHECK ((state = ANY (ARRAY['ACTIVE'::text, 'PAUSED'::text, 'DONE'::text, 'ROLLED_BACK'::text, 'ABANDONED'::text]))),
    CONSTRAINT rollouts_step_check CHECK ((step >= 0)),
    CONSTRAINT rollouts_strategy_check CHECK ((strategy = ANY (ARRAY['all_at_once'::text, 'canary'::text, 'rings'::text, 'blue_green'::text])))
);
ALTER TABLE ONLY public.rollouts FORCE ROW LEVEL SECURITY;
CREATE TABLE public.run_measurements (
    tenant text NOT NULL,
    run_id uuid NOT NULL,
    metric text NOT NULL,
    value double precision NOT NULL,
    reported_by text NOT NULL,
    reported_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT run_measurements_metric_check CHECK ((metric ~ '^[a-z][a-z0-9_.-]{0,62}$'::text))
);
ALTER TABLE ONLY public.run_measurements FORCE ROW LEVEL SECURITY;
CREATE TABLE public.runs (
    tenant text NOT NULL,
    id uuid NOT NULL,
    blueprint text NOT NULL,
    version integer NOT NULL,
    pins text NOT NULL,
    environment text NOT NULL,
    engine_v integer NOT NULL,
    queue text DEFAULT 'default'::text NOT NULL,
    priority smallint DEFAULT 0 NOT NULL,
    status text NOT NULL,
    waiting_kind text,
    waiting_ref text,
    waiting_since timestamp with time zone,
    wake_at timestamp with time zone,
    wakes text[] DEFAULT '{}'::text[] NOT NULL,
    cursor integer DEFAULT 0 NOT NULL,
    path text DEFAULT ''::text NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    worker_id uuid,
    attempt integer DEFAULT 1 NOT NULL,
    strikes smallint DEFAULT 0 NOT NULL,
    rev bigint DEFAULT 1 NOT NULL,
    input jsonb NOT NULL,
    output jsonb,
    error jsonb,
    dead_reason text,
    discarded_at timestamp with time zone,
    cancel_reason text,
    requested_by text NOT NULL,
    traceparent text,
    root_id uuid NOT NULL,
    parent_id uuid,
    parent_path text,
    block text DEFAULT ''::text NOT NULL,
    item_no integer,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ready_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT runs_check CHECK (((status = 'SUSPENDED'::text) <= (waiting_kind IS NOT NULL))),
    CONSTRAINT runs_check1 CHECK (((parent_id IS NULL) = (item_no IS NULL))),
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['PENDING'::text, 'RUNNING'::text, 'SUSPENDED'::text, 'SUCCEEDED'::text, 'FAILED'::text, 'CANCELLED'::text])))
)
WITH (fillfactor='60');
ALTER TABLE ONLY public.runs FORCE ROW LEVEL SECURITY;
CREATE TABLE public.secret_versions (
    tenant text NOT NULL,
    provider text DEFAULT 'local'::text NOT NULL,
    path text NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    fields text[] NOT NULL,
    data_key uuid NOT NULL,
    ciphertext bytea,
    set_by text NOT NULL,
    set_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ends_at timestamp with time zone,
    CONSTRAINT secret_versions_check CHECK (((state = 'ended'::text) = (ciphertext IS NULL))),
    CONSTRAINT secret_versions_check1 CHECK (((state = 'current'::text) = (ends_at IS NULL))),
    CONSTRAINT secret_versions_provider_check CHECK ((provider = 'local'::text)),
    CONSTRAINT secret_versions_state_check CHECK ((state = ANY (ARRAY['current'::text, 'previous'::text, 'ended'::text]))),
    CONSTRAINT secret_versions_version_check CHECK ((version > 0))
);
ALTER TABLE ONLY public.secret_versions FORCE ROW LEVEL SECURITY;
CREATE TABLE public.secrets (
    tenant text NOT NULL,
    provider text NOT NULL,
    path text NOT NULL,
    environment text NOT NULL,
    connectors text[] DEFAULT '{}'::text[] NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    removed_by text,
    removed_at timestamp with time zone,
    CONSTRAINT secrets_check CHECK (((removed_at IS NULL) = (removed_by IS NULL))),
    CONSTRAINT secrets_path_check CHECK (((length(path) >= 1) AND (length(path) <= 200))),
    CONSTRAINT secrets_provider_check CHECK ((provider = ANY (ARRAY['local'::text, 'env'::text, 'file'::text, 'vault'::text])))
);
ALTER TABLE ONLY public.secrets FORCE ROW LEVEL SECURITY;
CREATE TABLE public.sessions (
    tenant text NOT NULL,
    id uuid NOT NULL,
    principal_id uuid NOT NULL,
    mac bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone
);
ALTER TABLE ONLY public.sessions FORCE ROW LEVEL SECURITY;
CREATE TABLE public.sign_in_links (
    tenant text NOT NULL,
    id uuid NOT NULL,
    principal_id uuid NOT NULL,
    mac bytea NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone
);
ALTER TABLE ONLY public.sign_in_links FORCE ROW LEVEL SECURITY;
CREATE TABLE public.step_runs (
    tenant text NOT NULL,
    run_id uuid NOT NULL,
    path text NOT NULL,
    "position" integer NOT NULL,
    item_no integer,
    verb text NOT NULL,
    status text NOT NULL,
    attempt integer DEFAULT 1 NOT NULL,
    first_attempt integer DEFAULT 1 NOT NULL,
    output jsonb,
    error jsonb,
    errors jsonb,
    fan_out jsonb,
    wake_at timestamp with time zone,
    rev bigint NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT step_runs_status_check CHECK ((status = ANY (ARRAY['PENDING'::text, 'RUNNING'::text, 'SUCCEEDED'::text, 'FAILED'::text, 'SKIPPED'::text, 'SUSPENDED'::text, 'UNKNOWN'::text])))
)
WITH (fillfactor='60');
ALTER TABLE ONLY public.step_runs FORCE ROW LEVEL SECURITY;
CREATE TABLE public.tenants (
    name text NOT NULL,
    display_name text NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT tenants_name_check CHECK ((name ~ '^[a-z][a-z0-9-]{0,62}$'::text))
);
ALTER TABLE ONLY public.tenants FORCE ROW LEVEL SECURITY;
CREATE TABLE public.tool_approvals (
    tenant text NOT NULL,
    name text NOT NULL,
    told text NOT NULL,
    by text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT tool_approvals_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500)))
);
ALTER TABLE ONLY public.tool_approvals FORCE ROW LEVEL SECURITY;
CREATE TABLE public.tool_states (
    tenant text NOT NULL,
    environment text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    digest text NOT NULL,
    connector_digest text NOT NULL,
    enabled boolean NOT NULL,
    reason text NOT NULL,
    by text NOT NULL,
    at timestamp with time zone NOT NULL,
    evidence jsonb NOT NULL,
    CONSTRAINT tool_states_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500))),
    CONSTRAINT tool_states_version_check CHECK ((version > 0))
);
ALTER TABLE ONLY public.tool_states FORCE ROW LEVEL SECURITY;
CREATE TABLE public.tool_trials (
    tenant text NOT NULL,
    id uuid NOT NULL,
    environment text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    digest text NOT NULL,
    connector_digest text NOT NULL,
    point text NOT NULL,
    run_id uuid,
    detail text NOT NULL,
    by text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT tool_trials_detail_check CHECK ((length(detail) <= 2000)),
    CONSTRAINT tool_trials_point_check CHECK ((point = ANY (ARRAY['dry_run'::text, 'idempotency'::text, 'disable_path'::text])))
);
ALTER TABLE ONLY public.tool_trials FORCE ROW LEVEL SECURITY;
CREATE TABLE public.trigger_claims (
    tenant text NOT NULL,
    run_id uuid NOT NULL,
    environment text NOT NULL,
    trigger text NOT NULL,
    dedupe text NOT NULL,
    claimed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
ALTER TABLE ONLY public.trigger_claims FORCE ROW LEVEL SECURITY;
CREATE TABLE public.trigger_deliveries (
    tenant text NOT NULL,
    id uuid NOT NULL,
    environment text NOT NULL,
    trigger text NOT NULL,
    version integer NOT NULL,
    source text NOT NULL,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    dedupe text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    run_id uuid,
    CONSTRAINT trigger_deliveries_check CHECK (((run_id IS NOT NULL) = (outcome = ANY (ARRAY['started'::text, 'repeated'::text])))),
    CONSTRAINT trigger_deliveries_outcome_check CHECK ((outcome = ANY (ARRAY['started'::text, 'repeated'::text, 'filtered'::text, 'failed'::text]))),
    CONSTRAINT trigger_deliveries_reason_check CHECK ((length(reason) <= 1000)),
    CONSTRAINT trigger_deliveries_source_check CHECK ((source = ANY (ARRAY['webhook'::text, 'event'::text]))),
    CONSTRAINT trigger_deliveries_version_check CHECK ((version > 0))
);
ALTER TABLE ONLY public.trigger_deliveries FORCE ROW LEVEL SECURITY;
CREATE TABLE public.trusted_keys (
    tenant text NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL,
    fingerprint text NOT NULL,
    public_key text NOT NULL,
    origin_tenant text NOT NULL,
    origin_environment text,
    added_by text NOT NULL,
    added_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    reason text NOT NULL,
    removed_by text,
    removed_at timestamp with time zone,
    removal_reason text,
    CONSTRAINT trusted_keys_check CHECK (((removed_at IS NULL) = (removed_by IS NULL))),
    CONSTRAINT trusted_keys_check1 CHECK (((removed_at IS NULL) = (removal_reason IS NULL)))
);
ALTER TABLE ONLY public.trusted_keys FORCE ROW LEVEL SECURITY;
CREATE TABLE public.withdrawal_revisions (
    tenant text NOT NULL,
    rev bigint NOT NULL
);
ALTER TABLE ONLY public.withdrawal_revisions FORCE ROW LEVEL SECURITY;
CREATE TABLE public.withdrawals (
    tenant text NOT NULL,
    id uuid NOT NULL,
    mode text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    digest text NOT NULL,
    reason text NOT NULL,
    set_by text NOT NULL,
    set_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    emptied_at timestamp with time zone,
    lifted_by text,
    lifted_at timestamp with time zone,
    lift_reason text,
    CONSTRAINT withdrawals_check CHECK (((emptied_at IS NULL) OR (mode = 'drain'::text))),
    CONSTRAINT withdrawals_check1 CHECK (((lifted_at IS NULL) = (lifted_by IS NULL))),
    CONSTRAINT withdrawals_check2 CHECK (((lifted_at IS NULL) = (lift_reason IS NULL))),
    CONSTRAINT withdrawals_mode_check CHECK ((mode = ANY (ARRAY['drain'::text, 'revoke'::text]))),
    CONSTRAINT withdrawals_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 500))),
    CONSTRAINT withdrawals_version_check CHECK ((version > 0))
);
ALTER TABLE ONLY public.withdrawals FORCE ROW LEVEL SECURITY;
CREATE TABLE public.workers (
    id uuid NOT NULL,
    name text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    engine_v integer NOT NULL,
    queues text[] NOT NULL,
    capacity integer NOT NULL,
    running integer DEFAULT 0 NOT NULL,
    lock_key bigint NOT NULL,
    state text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    beat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    probation_of uuid,
    crashed boolean DEFAULT false NOT NULL,
    reclaimed_at timestamp with time zone,
    CONSTRAINT workers_state_check CHECK ((state = ANY (ARRAY['live'::text, 'draining'::text, 'stopped'::text, 'lost'::text])))
);
ALTER TABLE ONLY public.workers FORCE ROW LEVEL SECURITY;
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.approvals
    ADD CONSTRAINT approvals_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.approvals
    ADD CONSTRAINT approvals_run_id_path_attempt_key UNIQUE (run_id, path, attempt);
ALTER TABLE public.artifacts
    ADD CONSTRAINT artifacts_kind_check CHECK ((kind = ANY (ARRAY['blueprint'::text, 'prompt'::text, 'route'::text, 'tool'::text, 'index'::text, 'connector'::text, 'policy'::text, 'config'::text, 'flag'::text, 'eval_suite'::text, 'trigger'::text]))) NOT VALID;
ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT artifacts_pkey PRIMARY KEY (tenant, kind, name, version);
ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT artifacts_tenant_kind_name_digest_key UNIQUE (tenant, kind, name, digest);
ALTER TABLE ONLY public.audit_records
    ADD CONSTRAINT audit_records_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.broken_glass
    ADD CONSTRAINT broken_glass_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.broker_effects
    ADD CONSTRAINT broker_effects_pkey PRIMARY KEY (tenant, effect_id);
ALTER TABLE ONLY public.call_revisions
    ADD CONSTRAINT call_revisions_pkey PRIMARY KEY (tenant, environment);
ALTER TABLE ONLY public.connector_breakers
    ADD CONSTRAINT connector_breakers_pkey PRIMARY KEY (tenant, connector);
ALTER TABLE ONLY public.connector_limits
    ADD CONSTRAINT connector_limits_pkey PRIMARY KEY (tenant, connector);
ALTER TABLE ONLY public.connector_places
    ADD CONSTRAINT connector_places_pkey PRIMARY KEY (tenant, connector, holder);
ALTER TABLE ONLY public.data_keys
    ADD CONSTRAINT data_keys_id_key UNIQUE (id);
ALTER TABLE ONLY public.data_keys
    ADD CONSTRAINT data_keys_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY public.effects
    ADD CONSTRAINT effects_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.effects
    ADD CONSTRAINT effects_run_id_path_key UNIQUE (run_id, path);
ALTER TABLE ONLY public.effects
    ADD CONSTRAINT effects_tenant_key_key UNIQUE (tenant, key);
ALTER TABLE ONLY public.flag_revisions
    ADD CONSTRAINT flag_revisions_pkey PRIMARY KEY (tenant, environment);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant, key);
ALTER TABLE ONLY public.imported_artifacts
    ADD CONSTRAINT imported_artifacts_pkey PRIMARY KEY (tenant, bundle, kind, name);
ALTER TABLE ONLY public.imported_bundles
    ADD CONSTRAINT imported_bundles_pkey PRIMARY KEY (tenant, digest);
ALTER TABLE ONLY public.kill_revisions
    ADD CONSTRAINT kill_revisions_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY public.kills
    ADD CONSTRAINT kills_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.pin_members
    ADD CONSTRAINT pin_members_pkey PRIMARY KEY (tenant, kind, name, version, pins);
ALTER TABLE ONLY public.pin_sets
    ADD CONSTRAINT pin_sets_pkey PRIMARY KEY (tenant, digest);
ALTER TABLE ONLY public.prepared_releases
    ADD CONSTRAINT prepared_releases_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.principals
    ADD CONSTRAINT principals_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.principals
    ADD CONSTRAINT principals_tenant_name_key UNIQUE (tenant, name);
ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_pkey PRIMARY KEY (tenant, declared);
ALTER TABLE ONLY public.release_evidence_members
    ADD CONSTRAINT release_evidence_members_pkey PRIMARY KEY (tenant, kind, name, digest, evidence_id);
ALTER TABLE ONLY public.release_evidence
    ADD CONSTRAINT release_evidence_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.release_history
    ADD CONSTRAINT release_history_pkey PRIMARY KEY (no);
ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_pkey PRIMARY KEY (tenant, environment, kind, name);
ALTER TABLE ONLY public.repins
    ADD CONSTRAINT repins_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.retired_artifacts
    ADD CONSTRAINT retired_artifacts_pkey PRIMARY KEY (tenant, kind, name, version);
ALTER TABLE ONLY public.rollout_measurements
    ADD CONSTRAINT rollout_measurements_pkey PRIMARY KEY (rollout_id, run_id, metric);
ALTER TABLE ONLY public.rollout_members
    ADD CONSTRAINT rollout_members_pkey PRIMARY KEY (tenant, rollout_id, kind, name);
ALTER TABLE ONLY public.rollout_runs
    ADD CONSTRAINT rollout_runs_pkey PRIMARY KEY (rollout_id, run_id);
ALTER TABLE ONLY public.rollout_watches
    ADD CONSTRAINT rollout_watches_pkey PRIMARY KEY (rollout_id);
ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT rollouts_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.run_measurements
    ADD CONSTRAINT run_measurements_pkey PRIMARY KEY (tenant, run_id, metric);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);
ALTER TABLE public.runs
    ADD CONSTRAINT runs_waiting_kind_check CHECK ((waiting_kind = ANY (ARRAY['approval'::text, 'child'::text, 'retry'::text, 'concurrency'::text, 'effect'::text, 'worker'::text, 'worker_lost'::text, 'killed'::text, 'revoked'::text, 'broker'::text]))) NOT VALID;
ALTER TABLE ONLY public.secret_versions
    ADD CONSTRAINT secret_versions_pkey PRIMARY KEY (tenant, path, version);
ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (tenant, provider, path);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sign_in_links
    ADD CONSTRAINT sign_in_links_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.step_runs
    ADD CONSTRAINT step_runs_pkey PRIMARY KEY (run_id, path);
ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.tool_approvals
    ADD CONSTRAINT tool_approvals_pkey PRIMARY KEY (tenant, name, told, by);
ALTER TABLE ONLY public.tool_states
    ADD CONSTRAINT tool_states_pkey PRIMARY KEY (tenant, environment, name, version);
ALTER TABLE ONLY public.tool_trials
    ADD CONSTRAINT tool_trials_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.trigger_claims
    ADD CONSTRAINT trigger_claims_pkey PRIMARY KEY (run_id);
ALTER TABLE ONLY public.trigger_deliveries
    ADD CONSTRAINT trigger_deliveries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.trusted_keys
    ADD CONSTRAINT trusted_keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.withdrawal_revisions
    ADD CONSTRAINT withdrawal_revisions_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY public.withdrawals
    ADD CONSTRAINT withdrawals_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_lock_key_key UNIQUE (lock_key);
ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);
CREATE INDEX api_keys_by_principal ON public.api_keys USING btree (tenant, principal_id);
CREATE INDEX approvals_by_root ON public.approvals USING btree (tenant, root_id, id);
CREATE INDEX approvals_by_tenant ON public.approvals USING btree (tenant, id);
CREATE INDEX approvals_due ON public.approvals USING btree (expires_at) WHERE (status = 'PENDING'::text);
CREATE INDEX approvals_pending ON public.approvals USING btree (tenant, id) WHERE (status = 'PENDING'::text);
CREATE INDEX audit_records_by_run ON public.audit_records USING btree (tenant, run_id, id) WHERE (run_id IS NOT NULL);
CREATE INDEX audit_records_by_target ON public.audit_records USING btree (tenant, target_kind, target_id, id);
CREATE INDEX audit_records_by_time ON public.audit_records USING btree (tenant, id);
CREATE INDEX broken_glass_by_rollout ON public.broken_glass USING btree (rollout_id) WHERE (rollout_id IS NOT NULL);
CREATE INDEX broken_glass_by_tenant ON public.broken_glass USING btree (tenant, environment, id);
CREATE INDEX broken_glass_open ON public.broken_glass USING btree (environment, review_due_at) WHERE (review IS NULL);
CREATE INDEX connector_breakers_open ON public.connector_breakers USING btree (tenant, connector) WHERE (state = 'OPEN'::text);
CREATE INDEX data_keys_by_kek ON public.data_keys USING btree (kek_id);
CREATE INDEX effects_open ON public.effects USING btree (tenant, id) WHERE (state = ANY (ARRAY['INTENT'::text, 'UNKNOWN'::text]));
CREATE INDEX idempotency_keys_by_age ON public.idempotency_keys USING btree (created_at);
CREATE INDEX imported_artifacts_by_version ON public.imported_artifacts USING btree (tenant, kind, name, version);
CREATE INDEX imported_bundles_by_time ON public.imported_bundles USING btree (tenant, imported_at, digest);
CREATE INDEX kills_by_tenant ON public.kills USING btree (tenant, id);
CREATE UNIQUE INDEX kills_in_force ON public.kills USING btree (tenant, kind, name, COALESCE(version, 0)) WHERE (lifted_at IS NULL);
CREATE INDEX pin_members_by_digest ON public.pin_members USING btree (tenant, digest);
CREATE INDEX prepared_releases_by_tenant ON public.prepared_releases USING btree (tenant, environment, id);
CREATE UNIQUE INDEX prepared_releases_waiting ON public.prepared_releases USING btree (tenant, environment, subject) WHERE (moved_at IS NULL);
CREATE INDEX release_evidence_by_tenant ON public.release_evidence USING btree (tenant, id);
CREATE INDEX release_evidence_members_by_evidence ON public.release_evidence_members USING btree (evidence_id);
CREATE INDEX release_evidence_of_set ON public.release_evidence USING btree (tenant, subject, gate, made_at) WHERE (withdrawn_at IS NULL);
CREATE UNIQUE INDEX release_evidence_once ON public.release_evidence USING btree (tenant, key) WHERE (withdrawn_at IS NULL);
CREATE INDEX release_history_by_name ON public.release_history USING btree (tenant, environment, kind, name, no);
CREATE INDEX release_history_by_rollout ON public.release_history USING btree (rollout_id) WHERE (rollout_id IS NOT NULL);
CREATE INDEX repins_by_run ON public.repins USING btree (tenant, run_id, id);
CREATE INDEX rollout_measurements_waiting ON public.rollout_measurements USING btree (rollout_id, reported_at) WHERE (counted_at IS NULL);
CREATE UNIQUE INDEX rollout_members_open ON public.rollout_members USING btree (tenant, environment, kind, name) WHERE (ended_at IS NULL);
CREATE INDEX rollout_runs_waiting ON public.rollout_runs USING btree (rollout_id, run_id) WHERE (counted_at IS NULL);
CREATE INDEX rollout_watches_open ON public.rollout_watches USING btree (environment, rollout_id) WHERE (NOT closed);
CREATE INDEX rollouts_active ON public.rollouts USING btree (environment, id) WHERE (state = 'ACTIVE'::text);
CREATE INDEX rollouts_by_tenant ON public.rollouts USING btree (tenant, environment, id);
CREATE INDEX rollouts_open ON public.rollouts USING btree (tenant, environment, id) WHERE (ended_at IS NULL);
CREATE INDEX runs_by_blueprint ON public.runs USING btree (tenant, blueprint, id);
CREATE INDEX runs_by_pins ON public.runs USING btree (tenant, pins, id) WHERE (parent_id IS NULL);
CREATE INDEX runs_by_tenant ON public.runs USING btree (tenant, id);
CREATE INDEX runs_cancelling ON public.runs USING btree (id) WHERE ((cancel_reason IS NOT NULL) AND (status = ANY (ARRAY['PENDING'::text, 'SUSPENDED'::text])));
CREATE INDEX runs_dead ON public.runs USING btree (tenant, id) WHERE ((status = 'FAILED'::text) AND (dead_reason IS NOT NULL) AND (discarded_at IS NULL));
CREATE INDEX runs_due ON public.runs USING btree (wake_at) WHERE ((status = 'SUSPENDED'::text) AND (wake_at IS NOT NULL));
CREATE UNIQUE INDEX runs_items ON public.runs USING btree (parent_id, parent_path, item_no) WHERE (parent_id IS NOT NULL);
CREATE INDEX runs_items_by_status ON public.runs USING btree (parent_id, status, item_no) WHERE (parent_id IS NOT NULL);
CREATE INDEX runs_of_worker ON public.runs USING btree (worker_id) WHERE (status = 'RUNNING'::text);
CREATE INDEX runs_ready ON public.runs USING btree (queue, priority DESC, ready_at, id) WHERE (status = 'PENDING'::text);
CREATE INDEX runs_waiting ON public.runs USING btree (waiting_kind, id) WHERE (status = 'SUSPENDED'::text);
CREATE INDEX runs_worker_lost ON public.runs USING btree (queue, ready_at) WHERE ((status = 'PENDING'::text) AND (waiting_kind = 'worker_lost'::text));
CREATE UNIQUE INDEX secret_versions_current ON public.secret_versions USING btree (tenant, path) WHERE (state = 'current'::text);
CREATE INDEX secret_versions_due ON public.secret_versions USING btree (ends_at) WHERE (state = 'previous'::text);
CREATE INDEX tool_trials_by_version ON public.tool_trials USING btree (tenant, environment, name, digest, id);
CREATE INDEX trigger_claims_by_age ON public.trigger_claims USING btree (claimed_at);
CREATE INDEX trigger_claims_by_dedupe ON public.trigger_claims USING btree (tenant, environment, trigger, dedupe, run_id);
CREATE INDEX trigger_deliveries_by_age ON public.trigger_deliveries USING btree (received_at);
CREATE INDEX trigger_deliveries_by_dedupe ON public.trigger_deliveries USING btree (tenant, environment, trigger, dedupe, id) WHERE (run_id IS NOT NULL);
CREATE INDEX trigger_deliveries_by_trigger ON public.trigger_deliveries USING btree (tenant, environment, trigger, id);
CREATE UNIQUE INDEX trusted_keys_by_name ON public.trusted_keys USING btree (tenant, name) WHERE (removed_at IS NULL);
CREATE INDEX trusted_keys_by_tenant ON public.trusted_keys USING btree (tenant, id);
CREATE UNIQUE INDEX trusted_keys_in_force ON public.trusted_keys USING btree (tenant, fingerprint, origin_tenant, COALESCE(origin_environment, ''::text)) WHERE (removed_at IS NULL);
CREATE INDEX withdrawals_by_tenant ON public.withdrawals USING btree (tenant, id);
CREATE INDEX withdrawals_draining ON public.withdrawals USING btree (id) WHERE ((mode = 'drain'::text) AND (lifted_at IS NULL) AND (emptied_at IS NULL));
CREATE UNIQUE INDEX withdrawals_in_force ON public.withdrawals USING btree (tenant, mode, digest) WHERE (lifted_at IS NULL);
CREATE INDEX workers_dead ON public.workers USING btree (id) WHERE ((state = ANY (ARRAY['stopped'::text, 'lost'::text])) AND (reclaimed_at IS NULL));
CREATE INDEX workers_live ON public.workers USING btree (lease_until) WHERE (state = ANY (ARRAY['live'::text, 'draining'::text]));
CREATE TRIGGER call_rule_released AFTER INSERT OR UPDATE ON public.releases FOR EACH ROW WHEN ((new.kind = ANY (ARRAY['policy'::text, 'tool'::text]))) EXECUTE FUNCTION public.call_rules_moved();
CREATE TRIGGER call_rule_withdrawn AFTER DELETE ON public.releases FOR EACH ROW WHEN ((old.kind = ANY (ARRAY['policy'::text, 'tool'::text]))) EXECUTE FUNCTION public.call_rules_moved();
CREATE TRIGGER flag_offered AFTER INSERT OR UPDATE ON public.rollout_members FOR EACH ROW WHEN ((new.kind = 'flag'::text)) EXECUTE FUNCTION public.flag_pointer_moved();
CREATE TRIGGER flag_released AFTER INSERT OR UPDATE ON public.releases FOR EACH ROW WHEN ((new.kind = 'flag'::text)) EXECUTE FUNCTION public.flag_pointer_moved();
CREATE TRIGGER flag_rollout_changed AFTER UPDATE ON public.rollouts FOR EACH ROW EXECUTE FUNCTION public.flag_rollout_moved();
CREATE TRIGGER flag_withdrawn AFTER DELETE ON public.releases FOR EACH ROW WHEN ((old.kind = 'flag'::text)) EXECUTE FUNCTION public.flag_pointer_moved();
CREATE TRIGGER pin_sets_members AFTER INSERT ON public.pin_sets FOR EACH ROW EXECUTE FUNCTION public.note_pin_members();
CREATE TRIGGER release_inserted AFTER INSERT ON public.releases FOR EACH ROW EXECUTE FUNCTION public.record_release();
CREATE TRIGGER release_moved AFTER UPDATE ON public.releases FOR EACH ROW WHEN ((old.version <> new.version)) EXECUTE FUNCTION public.record_release();
CREATE TRIGGER tool_state_set AFTER INSERT OR UPDATE ON public.tool_states FOR EACH ROW EXECUTE FUNCTION public.call_rules_moved();
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_principal_id_fkey FOREIGN KEY (principal_id) REFERENCES public.principals(id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.artifacts
    ADD CONSTRAINT artifacts_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.broken_glass
    ADD CONSTRAINT broken_glass_rollout_id_fkey FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id);
ALTER TABLE ONLY public.broken_glass
    ADD CONSTRAINT broken_glass_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.broker_effects
    ADD CONSTRAINT broker_effects_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.call_revisions
    ADD CONSTRAINT call_revisions_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.connector_breakers
    ADD CONSTRAINT connector_breakers_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.connector_limits
    ADD CONSTRAINT connector_limits_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.connector_places
    ADD CONSTRAINT connector_places_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.data_keys
    ADD CONSTRAINT data_keys_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.flag_revisions
    ADD CONSTRAINT flag_revisions_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.imported_artifacts
    ADD CONSTRAINT imported_artifacts_tenant_bundle_fkey FOREIGN KEY (tenant, bundle) REFERENCES public.imported_bundles(tenant, digest);
ALTER TABLE ONLY public.imported_artifacts
    ADD CONSTRAINT imported_artifacts_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.imported_artifacts
    ADD CONSTRAINT imported_artifacts_tenant_kind_name_version_fkey FOREIGN KEY (tenant, kind, name, version) REFERENCES public.artifacts(tenant, kind, name, version);
ALTER TABLE ONLY public.imported_bundles
    ADD CONSTRAINT imported_bundles_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.kill_revisions
    ADD CONSTRAINT kill_revisions_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.kills
    ADD CONSTRAINT kills_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.pin_members
    ADD CONSTRAINT pin_members_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.pin_sets
    ADD CONSTRAINT pin_sets_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.prepared_releases
    ADD CONSTRAINT prepared_releases_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.principals
    ADD CONSTRAINT principals_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_data_key_fkey FOREIGN KEY (data_key) REFERENCES public.data_keys(id);
ALTER TABLE ONLY public.refresh_tokens
    ADD CONSTRAINT refresh_tokens_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.release_evidence_members
    ADD CONSTRAINT release_evidence_members_evidence_id_fkey FOREIGN KEY (evidence_id) REFERENCES public.release_evidence(id);
ALTER TABLE ONLY public.release_evidence_members
    ADD CONSTRAINT release_evidence_members_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.release_evidence
    ADD CONSTRAINT release_evidence_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.release_history
    ADD CONSTRAINT release_history_rollout_id_fkey FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id);
ALTER TABLE ONLY public.release_history
    ADD CONSTRAINT release_history_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.releases
    ADD CONSTRAINT releases_tenant_kind_name_version_fkey FOREIGN KEY (tenant, kind, name, version) REFERENCES public.artifacts(tenant, kind, name, version);
ALTER TABLE ONLY public.repins
    ADD CONSTRAINT repins_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(id);
ALTER TABLE ONLY public.repins
    ADD CONSTRAINT repins_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.repins
    ADD CONSTRAINT repins_withdrawal_id_fkey FOREIGN KEY (withdrawal_id) REFERENCES public.withdrawals(id);
ALTER TABLE ONLY public.retired_artifacts
    ADD CONSTRAINT retired_artifacts_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.retired_artifacts
    ADD CONSTRAINT retired_artifacts_tenant_kind_name_version_fkey FOREIGN KEY (tenant, kind, name, version) REFERENCES public.artifacts(tenant, kind, name, version);
ALTER TABLE ONLY public.rollout_members
    ADD CONSTRAINT rollout_members_rollout_id_fkey FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id);
ALTER TABLE ONLY public.rollout_members
    ADD CONSTRAINT rollout_members_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.rollout_members
    ADD CONSTRAINT rollout_members_tenant_kind_name_candidate_version_fkey FOREIGN KEY (tenant, kind, name, candidate_version) REFERENCES public.artifacts(tenant, kind, name, version);
ALTER TABLE ONLY public.rollout_members
    ADD CONSTRAINT rollout_members_tenant_kind_name_stable_version_fkey FOREIGN KEY (tenant, kind, name, stable_version) REFERENCES public.artifacts(tenant, kind, name, version);
ALTER TABLE ONLY public.rollout_watches
    ADD CONSTRAINT rollout_watches_rollout_id_fkey FOREIGN KEY (rollout_id) REFERENCES public.rollouts(id);
ALTER TABLE ONLY public.rollout_watches
    ADD CONSTRAINT rollout_watches_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.rollouts
    ADD CONSTRAINT rollouts_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.run_measurements
    ADD CONSTRAINT run_measurements_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.secret_versions
    ADD CONSTRAINT secret_versions_data_key_fkey FOREIGN KEY (data_key) REFERENCES public.data_keys(id);
ALTER TABLE ONLY public.secret_versions
    ADD CONSTRAINT secret_versions_tenant_provider_path_fkey FOREIGN KEY (tenant, provider, path) REFERENCES public.secrets(tenant, provider, path);
ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_principal_id_fkey FOREIGN KEY (principal_id) REFERENCES public.principals(id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.sign_in_links
    ADD CONSTRAINT sign_in_links_principal_id_fkey FOREIGN KEY (principal_id) REFERENCES public.principals(id);
ALTER TABLE ONLY public.sign_in_links
    ADD CONSTRAINT sign_in_links_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.tool_approvals
    ADD CONSTRAINT tool_approvals_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.tool_states
    ADD CONSTRAINT tool_states_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.tool_trials
    ADD CONSTRAINT tool_trials_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(id);
ALTER TABLE ONLY public.tool_trials
    ADD CONSTRAINT tool_trials_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.trigger_claims
    ADD CONSTRAINT trigger_claims_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.trigger_deliveries
    ADD CONSTRAINT trigger_deliveries_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.trusted_keys
    ADD CONSTRAINT trusted_keys_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.withdrawal_revisions
    ADD CONSTRAINT withdrawal_revisions_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE ONLY public.withdrawals
    ADD CONSTRAINT withdrawals_tenant_fkey FOREIGN KEY (tenant) REFERENCES public.tenants(name);
ALTER TABLE public.api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.artifacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.audit_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.broken_glass ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.broker_effects ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.call_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.connector_breakers ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.connector_limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.connector_places ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.data_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.effects ENABLE ROW LEVEL SECURITY;
CREATE POLICY engine ON public.approvals TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.artifacts TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.audit_records TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.broken_glass TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.broker_effects TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.call_revisions TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.connector_breakers TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.connector_limits TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.connector_places TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.data_keys TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.effects TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.flag_revisions TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.idempotency_keys TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.imported_artifacts TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.imported_bundles TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.kill_revisions TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.kills TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.pin_members TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.pin_sets TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.prepared_releases TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.principals TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.release_evidence TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.release_evidence_members TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.release_history TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.releases TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.repins TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.retired_artifacts TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.rollout_measurements TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.rollout_members TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.rollout_runs TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.rollout_watches TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.rollouts TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.run_measurements TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.runs TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.secret_versions TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.secrets TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.step_runs TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.tenants TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.tool_approvals TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.tool_states TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.tool_trials TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.trigger_claims TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.trigger_deliveries TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.trusted_keys TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.withdrawal_revisions TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.withdrawals TO stanchion_engine USING (true) WITH CHECK (true);
CREATE POLICY engine ON public.workers TO stanchion_engine USING (true) WITH CHECK (true);
ALTER TABLE public.flag_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.imported_artifacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.imported_bundles ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.kill_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.kills ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_insert ON public.call_revisions FOR INSERT TO stanchion_app WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY own_insert ON public.flag_revisions FOR INSERT TO stanchion_app WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY own_insert ON public.kill_revisions FOR INSERT TO stanchion_app WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY own_insert ON public.withdrawal_revisions FOR INSERT TO stanchion_app WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY own_tenant ON public.tenants TO stanchion_app USING ((name = current_setting('stanchion.tenant'::text))) WITH CHECK ((name = current_setting('stanchion.tenant'::text)));
CREATE POLICY own_update ON public.call_revisions FOR UPDATE TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY own_update ON public.flag_revisions FOR UPDATE TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY own_update ON public.kill_revisions FOR UPDATE TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY own_update ON public.withdrawal_revisions FOR UPDATE TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
ALTER TABLE public.pin_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.pin_sets ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.prepared_releases ENABLE ROW LEVEL SECURITY;
CREATE POLICY presented ON public.api_keys FOR SELECT TO stanchion_app USING ((id = (NULLIF(current_setting('stanchion.presented'::text, true), ''::text))::uuid));
CREATE POLICY presented ON public.sessions FOR SELECT TO stanchion_app USING ((id = (NULLIF(current_setting('stanchion.presented'::text, true), ''::text))::uuid));
CREATE POLICY presented ON public.sign_in_links FOR SELECT TO stanchion_app USING ((id = (NULLIF(current_setting('stanchion.presented'::text, true), ''::text))::uuid));
ALTER TABLE public.principals ENABLE ROW LEVEL SECURITY;
CREATE POLICY read_all ON public.call_revisions FOR SELECT TO stanchion_app USING (true);
CREATE POLICY read_all ON public.flag_revisions FOR SELECT TO stanchion_app USING (true);
CREATE POLICY read_all ON public.kill_revisions FOR SELECT TO stanchion_app USING (true);
CREATE POLICY read_all ON public.withdrawal_revisions FOR SELECT TO stanchion_app USING (true);
CREATE POLICY read_only ON public.workers FOR SELECT TO stanchion_app USING (true);
ALTER TABLE public.refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.release_evidence ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.release_evidence_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.release_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.releases ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.repins ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.retired_artifacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.rollout_measurements ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.rollout_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.rollout_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.rollout_watches ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.rollouts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.run_measurements ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.secret_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sign_in_links ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.step_runs ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON public.api_keys TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.approvals TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.artifacts TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.audit_records TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.broken_glass TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.broker_effects TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.connector_breakers TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.connector_limits TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.connector_places TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.data_keys TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.effects TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.idempotency_keys TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.imported_artifacts TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.imported_bundles TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.kills TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.pin_members TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.pin_sets TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.prepared_releases TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.principals TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.refresh_tokens TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.release_evidence TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.release_evidence_members TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.release_history TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.releases TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.repins TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.retired_artifacts TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.rollout_measurements TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.rollout_members TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.rollout_runs TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.rollout_watches TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.rollouts TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.run_measurements TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.runs TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.secret_versions TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.secrets TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.sessions TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.sign_in_links TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.step_runs TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.tool_approvals TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.tool_states TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.tool_trials TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.trigger_claims TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.trigger_deliveries TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.trusted_keys TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
CREATE POLICY tenant_wall ON public.withdrawals TO stanchion_app USING ((tenant = current_setting('stanchion.tenant'::text))) WITH CHECK ((tenant = current_setting('stanchion.tenant'::text)));
ALTER TABLE public.tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.tool_approvals ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.tool_states ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.tool_trials ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.trigger_claims ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.trigger_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.trusted_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.withdrawal_revisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.withdrawals ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.workers ENABLE ROW LEVEL SECURITY;
GRANT SELECT,INSERT,UPDATE ON TABLE public.api_keys TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.approvals TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.approvals TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.artifacts TO stanchion_app;
GRANT SELECT,INSERT ON TABLE public.artifacts TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.audit_records TO stanchion_app;
GRANT SELECT,INSERT ON TABLE public.audit_records TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.broken_glass TO stanchion_app;
GRANT SELECT ON TABLE public.broken_glass TO stanchion_engine;
GRANT UPDATE(review) ON TABLE public.broken_glass TO stanchion_app;
GRANT UPDATE(reviewed_by) ON TABLE public.broken_glass TO stanchion_app;
GRANT UPDATE(reviewed_at) ON TABLE public.broken_glass TO stanchion_app;
GRANT UPDATE(review_reason) ON TABLE public.broken_glass TO stanchion_app;
GRANT SELECT ON TABLE public.broker_effects TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.broker_effects TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.call_revisions TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.call_revisions TO stanchion_engine;
GRANT SELECT ON TABLE public.connector_breakers TO stanchion_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.connector_breakers TO stanchion_engine;
GRANT SELECT ON TABLE public.connector_limits TO stanchion_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.connector_limits TO stanchion_engine;
GRANT SELECT ON TABLE public.connector_places TO stanchion_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.connector_places TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.data_keys TO stanchion_app;
GRANT SELECT,UPDATE ON TABLE public.data_keys TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.effects TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.effects TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.flag_revisions TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.flag_revisions TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.idempotency_keys TO stanchion_app;
GRANT SELECT,INSERT,DELETE ON TABLE public.idempotency_keys TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.imported_artifacts TO stanchion_app;
GRANT SELECT ON TABLE public.imported_artifacts TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.imported_bundles TO stanchion_app;
GRANT SELECT ON TABLE public.imported_bundles TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.kill_revisions TO stanchion_app;
GRANT SELECT ON TABLE public.kill_revisions TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.kills TO stanchion_app;
GRANT SELECT ON TABLE public.kills TO stanchion_engine;
GRANT SELECT ON TABLE public.migrations TO stanchion_app;
GRANT SELECT ON TABLE public.migrations TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.pin_members TO stanchion_app;
GRANT SELECT,INSERT ON TABLE public.pin_members TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.pin_sets TO stanchion_app;
GRANT SELECT,INSERT ON TABLE public.pin_sets TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.prepared_releases TO stanchion_app;
GRANT SELECT ON TABLE public.prepared_releases TO stanchion_engine;
GRANT UPDATE(moved_by) ON TABLE public.prepared_releases TO stanchion_app;
GRANT UPDATE(moved_at) ON TABLE public.prepared_releases TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.principals TO stanchion_app;
GRANT SELECT ON TABLE public.principals TO stanchion_engine;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.refresh_tokens TO stanchion_app;
GRANT SELECT,INSERT ON TABLE public.release_evidence TO stanchion_app;
GRANT SELECT ON TABLE public.release_evidence TO stanchion_engine;
GRANT UPDATE(withdrawn_by) ON TABLE public.release_evidence TO stanchion_app;
GRANT UPDATE(withdrawn_at) ON TABLE public.release_evidence TO stanchion_app;
GRANT UPDATE(withdraw_reason) ON TABLE public.release_evidence TO stanchion_app;
GRANT SELECT,INSERT ON TABLE public.release_evidence_members TO stanchion_app;
GRANT SELECT ON TABLE public.release_evidence_members TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.release_history TO stanchion_app;
GRANT SELECT ON TABLE public.release_history TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.releases TO stanchion_app;
GRANT SELECT ON TABLE public.releases TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.repins TO stanchion_app;
GRANT SELECT ON TABLE public.repins TO stanchion_engine;
GRANT SELECT,INSERT,DELETE ON TABLE public.retired_artifacts TO stanchion_app;
GRANT SELECT ON TABLE public.retired_artifacts TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.rollout_measurements TO stanchion_app;
GRANT SELECT,DELETE,UPDATE ON TABLE public.rollout_measurements TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.rollout_members TO stanchion_app;
GRANT SELECT ON TABLE public.rollout_members TO stanchion_engine;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.rollout_runs TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.rollout_watches TO stanchion_app;
GRANT SELECT,UPDATE ON TABLE public.rollout_watches TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.rollouts TO stanchion_app;
GRANT SELECT ON TABLE public.rollouts TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.run_measurements TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.runs TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.runs TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.secret_versions TO stanchion_app;
GRANT SELECT,UPDATE ON TABLE public.secret_versions TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.secrets TO stanchion_app;
GRANT SELECT,UPDATE ON TABLE public.secrets TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.sessions TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.sign_in_links TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.step_runs TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.step_runs TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.tenants TO stanchion_app;
GRANT SELECT,INSERT ON TABLE public.tenants TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.tool_approvals TO stanchion_app;
GRANT SELECT ON TABLE public.tool_approvals TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.tool_states TO stanchion_app;
GRANT SELECT ON TABLE public.tool_states TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.tool_trials TO stanchion_app;
GRANT SELECT ON TABLE public.tool_trials TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.trigger_claims TO stanchion_app;
GRANT SELECT,DELETE ON TABLE public.trigger_claims TO stanchion_engine;
GRANT SELECT,INSERT ON TABLE public.trigger_deliveries TO stanchion_app;
GRANT SELECT,DELETE ON TABLE public.trigger_deliveries TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.trusted_keys TO stanchion_app;
GRANT SELECT ON TABLE public.trusted_keys TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.withdrawal_revisions TO stanchion_app;
GRANT SELECT ON TABLE public.withdrawal_revisions TO stanchion_engine;
GRANT SELECT,INSERT,UPDATE ON TABLE public.withdrawals TO stanchion_app;
GRANT SELECT ON TABLE public.withdrawals TO stanchion_engine;
GRANT UPDATE(emptied_at) ON TABLE public.withdrawals TO stanchion_engine;
GRANT SELECT ON TABLE public.workers TO stanchion_app;
GRANT SELECT,INSERT,UPDATE ON TABLE public.workers TO stanchion_engine;
