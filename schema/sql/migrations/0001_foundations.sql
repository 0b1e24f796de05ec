-- What everything else stands on: the checks of the platform, the helpers of later migrations,
-- the 14 regions, runs, agents and the log of requests.

do $$
declare
    v_missing text;
begin
    if current_setting('server_version_num')::integer < 170000 then
        raise exception 'gridpact needs PostgreSQL 17 or newer, this server is %',
            current_setting('server_version')
            using hint = 'The right to refresh a view without owning it (maintain) came with 17.';
    end if;
    select string_agg(name, ', ' order by name) into v_missing
    from unnest(array['anon', 'authenticated', 'service_role']) as wanted (name)
    where not exists (select from pg_catalog.pg_roles where rolname = wanted.name);
    if v_missing is not null then
        raise exception 'this is no Supabase database: role % is missing', v_missing
            using hint = 'Use a Supabase project, or "run_cluster.py supabase up".';
    end if;
    if to_regprocedure('auth.uid()') is null then
        raise exception 'this is no Supabase database: function auth.uid() is missing'
            using hint = 'Use a Supabase project, or "run_cluster.py supabase up".';
    end if;
end
$$;

create schema if not exists extensions;
create extension if not exists "uuid-ossp" with schema extensions;

create schema if not exists gridpact;
comment on schema gridpact is
    'Helpers of gridpact: trigger functions and what migrations use. Not part of the API.';
revoke all on schema gridpact from public, anon, authenticated, service_role;

grant usage on schema public to anon, authenticated, service_role;

--------------------------------------------------------------------------------
-- Helpers
--------------------------------------------------------------------------------

create function gridpact.row_id(p_table text, variadic p_key text[]) returns uuid
language sql immutable strict parallel safe set search_path = ''
as $$
    select extensions.uuid_generate_v5(
        '6f2c1f0e-53d0-5b0e-9c6e-2f1d3c8a7b41'::uuid,
        normalize(array_to_string(p_table || p_key, U&'\241F'), NFC)
    )
$$;
comment on function gridpact.row_id(text, text[]) is
    'The id of a row by its table and natural key: the same uuid5 that schema/ids.py makes.';

create function gridpact.keep_newer() returns trigger
language plpgsql set search_path = ''
as $$
begin
    -- The ingest function never gets here: its own "where" skips such rows. This defends the
    -- other ways in (Studio, SQL, upserts through the API).
    if new.version <= old.version then
        return null;
    end if;
    new.id := old.id;
    new.run_id := old.run_id;
    return new;
end
$$;
comment on function gridpact.keep_newer() is
    'Trigger: an update whose version does not rise is dropped and the stored row stays; id and '
    'run_id never change.';

create function gridpact.stamp_update() returns trigger
language plpgsql set search_path = ''
as $$
begin
    new.updated_at := now();
    return new;
end
$$;
comment on function gridpact.stamp_update() is
    'Trigger: says in updated_at when the row last changed.';

create procedure gridpact.protect_table(
    p_table text, p_versioned boolean default false, p_public boolean default false
)
language plpgsql set search_path = ''
as $$
begin
    execute format('alter table public.%I enable row level security', p_table);
    -- Older projects grant everything on new tables by default: take that back first.
    execute format(
        'revoke all on table public.%I from public, anon, authenticated, service_role', p_table);
    execute format('grant select, insert on table public.%I to service_role', p_table);
    if p_public then
        execute format('grant select on table public.%I to anon, authenticated', p_table);
        execute format(
            'create policy anyone_reads on public.%I for select to anon, authenticated '
            'using (true)', p_table);
    end if;
    if p_versioned then
        execute format('grant update on table public.%I to service_role', p_table);
        execute format(
            'create trigger guard_version before update on public.%I for each row '
            'when (new.version <= old.version or new.id is distinct from old.id '
            'or new.run_id is distinct from old.run_id) '
            'execute function gridpact.keep_newer()', p_table);
        execute format(
            'create trigger stamp_update before update on public.%I for each row '
            'when (new.updated_at is not distinct from old.updated_at) '
            'execute function gridpact.stamp_update()', p_table);
    end if;
end
$$;
comment on procedure gridpact.protect_table(text, boolean, boolean) is
    'For migrations: switches row-level security on, takes all rights away and gives back what '
    'the design says (service_role reads and adds; updates versioned tables; anyone reads public '
    'ones), and sets the version and update triggers.';

create procedure gridpact.hide_table(p_table text)
language plpgsql set search_path = ''
as $$
begin
    execute format(
        'create policy service_only on public.%I for select to anon, authenticated '
        'using (false)', p_table);
end
$$;
comment on procedure gridpact.hide_table(text) is
    'For migrations: writes down that only the service role may read a table. (Without any '
    'policy the effect is the same, but the advisor takes it for an oversight.)';

create procedure gridpact.describe_common_columns()
language plpgsql set search_path = ''
as $$
declare
    v_column record;
begin
    for v_column in
        select tables.relname, columns.attname, said.comment
        from (values
            ('id', 'uuid5 of the table and the natural key, made by the producer: sending a row '
                   'twice is harmless.'),
            ('run_id', 'The run it belongs to.'),
            ('version', 'Rises with each revision of the row; an older never replaces a newer.'),
            ('recorded_at', 'When the row first reached this database (real time).'),
            ('updated_at', 'When the row last changed in this database (real time).'),
            ('retrieved_at', 'When we received it from the source, by the run''s clock.'),
            ('source', 'Who gave the figure: carbon_intensity, neso, elexon or beckn; a slash and '
                       'the series follow where one source has several.'),
            ('valid_from', 'Start of the time the figure holds for, included.'),
            ('valid_to', 'End of the time the figure holds for, excluded.'),
            ('issued_at', 'When the source issued it; null when it does not say.'),
            ('quality', 'published: the source said it; estimated: we derived it from published '
                        'figures; synthetic: made up to keep going.'),
            ('reason', 'Why a synthetic figure was made up, or how an estimate was made.'),
            ('seed', 'Seed of a synthetic figure.'),
            ('region_id', 'Distribution area, 1 to 14: see uk_regions.'),
            ('agent_name', 'The compute agent (organisation) it belongs to.'),
            ('agent_id', 'Row of that agent in agents.'),
            ('bpp_id', 'The Beckn provider platform that offers it.'),
            ('zone_code', 'Code of the grid zone: see grid_zones.')
        ) as said (name, comment)
        join pg_catalog.pg_attribute as columns on columns.attname = said.name
        join pg_catalog.pg_class as tables on tables.oid = columns.attrelid
        where tables.relnamespace = 'public'::regnamespace and tables.relkind = 'r'
            and col_description(tables.oid, columns.attnum) is null
    loop
        execute format('comment on column public.%I.%I is %L',
            v_column.relname, v_column.attname, v_column.comment);
    end loop;
end
$$;
comment on procedure gridpact.describe_common_columns() is
    'For migrations: comments the columns that mean the same in every table, where a table does '
    'not say something of its own.';

revoke execute on all routines in schema gridpact from public, anon, authenticated, service_role;

--------------------------------------------------------------------------------
-- uk_regions
--------------------------------------------------------------------------------

create table public.uk_regions (
    region_id smallint not null unique check (region_id between 1 and 14),
    short_name text not null unique check (char_length(short_name) between 1 and 256),
    dno_name text not null check (char_length(dno_name) between 1 and 256),
    gsp_group text not null unique check (gsp_group ~ '^_[A-P]$'),
    country text not null check (country in ('England', 'Scotland', 'Wales')),
    id uuid primary key
);
comment on table public.uk_regions is
    'The 14 distribution areas of Great Britain, as the Carbon Intensity API numbers them. '
    'Seeded by the migration. Anyone may read.';
comment on column public.uk_regions.region_id is 'Number of the Carbon Intensity API, 1 to 14.';
comment on column public.uk_regions.short_name is 'Name for people, as the API writes it.';
comment on column public.uk_regions.dno_name is
    'Distribution network operator, as the API writes it (some have new names since).';
comment on column public.uk_regions.gsp_group is
    'GSP group of the electricity market: Elexon''s letter, _A to _P.';
comment on column public.uk_regions.country is 'England, Scotland or Wales.';
comment on column public.uk_regions.id is 'uuid5 of the table and region_id.';

insert into public.uk_regions (region_id, dno_name, short_name, gsp_group, country, id)
select region_id, dno_name, short_name, gsp_group, country,
    gridpact.row_id('uk_regions', region_id::text)
from (values
    (1, 'Scottish Hydro Electric Power Distribution', 'North Scotland', '_P', 'Scotland'),
    (2, 'SP Distribution', 'South Scotland', '_N', 'Scotland'),
    (3, 'Electricity North West', 'North West England', '_G', 'England'),
    (4, 'NPG North East', 'North East England', '_F', 'England'),
    (5, 'NPG Yorkshire', 'Yorkshire', '_M', 'England'),
    (6, 'SP Manweb', 'North Wales & Merseyside', '_D', 'Wales'),
    (7, 'WPD South Wales', 'South Wales', '_K', 'Wales'),
    (8, 'WPD West Midlands', 'West Midlands', '_E', 'England'),
    (9, 'WPD East Midlands', 'East Midlands', '_B', 'England'),
    (10, 'UKPN East', 'East England', '_A', 'England'),
    (11, 'WPD South West', 'South West England', '_L', 'England'),
    (12, 'SSE South', 'South England', '_H', 'England'),
    (13, 'UKPN London', 'London', '_C', 'England'),
    (14, 'UKPN South East', 'South East England', '_J', 'England')
) as seed (region_id, dno_name, short_name, gsp_group, country);

call gridpact.protect_table('uk_regions', p_public => true);
-- Seeded, never written: not even by the service role.
revoke insert on table public.uk_regions from service_role;

--------------------------------------------------------------------------------
-- scenario_runs
--------------------------------------------------------------------------------

create table public.scenario_runs (
    kind text not null check (kind in ('replay', 'live')),
    scenario text check (char_length(scenario) between 1 and 256),
    state text not null default 'running'
        check (state in ('running', 'done', 'failed', 'interrupted')),
    seed bigint check (seed >= 0),
    clock_from timestamptz,
    clock_to timestamptz,
    clock_at timestamptz,
    digest text check (char_length(digest) between 1 and 256),
    summary jsonb check (jsonb_typeof(summary) = 'object'),
    id uuid primary key,
    run_id uuid not null unique,
    version bigint not null default 0 check (version >= 0),
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint scenario_runs_id_is_run_id check (id = run_id)
);
comment on table public.scenario_runs is
    'One row a run: a replay of a scenario, or the long-lived live run. Every fact and message '
    'belongs to a run; deleting a run deletes all that belongs to it. Anyone may read which runs '
    'there are and where their clock stands (facts mean nothing without their run); seed, digest '
    'and summary are for the service role alone.';
comment on column public.scenario_runs.kind is 'replay or live.';
comment on column public.scenario_runs.scenario is 'Name of the scenario; null for the live run.';
comment on column public.scenario_runs.state is 'running, done, failed or interrupted.';
comment on column public.scenario_runs.seed is 'Seed of all pseudo-randomness of the run.';
comment on column public.scenario_runs.clock_from is 'Where the run''s clock starts.';
comment on column public.scenario_runs.clock_to is 'Where the run''s clock ends; null when open.';
comment on column public.scenario_runs.clock_at is
    'Where the run''s clock stands: the "now" of all views. Virtual in a replay. Null: real time.';
comment on column public.scenario_runs.digest is
    'SHA-256 over prices, bounds, messages, bookings and schedule: same scenario and seed, same '
    'digest.';
comment on column public.scenario_runs.summary is
    'The outcome as the replay prints it with --json; null while it runs.';
comment on column public.scenario_runs.id is 'Equal to run_id.';
comment on column public.scenario_runs.run_id is 'Random, minted once a launch.';

call gridpact.protect_table('scenario_runs', p_versioned => true);
-- Deleting a run is how its data are removed; the rows that belong to it go with it.
grant delete on table public.scenario_runs to service_role;
grant select (id, run_id, kind, scenario, state, clock_from, clock_to, clock_at, recorded_at)
    on table public.scenario_runs to anon, authenticated;
create policy anyone_reads on public.scenario_runs for select to anon, authenticated using (true);

create function public.latest_run(p_kind text default null) returns uuid
language sql stable parallel safe set search_path = ''
as $$
    select run_id from public.scenario_runs
    where p_kind is null or kind = p_kind
    order by recorded_at desc, run_id limit 1
$$;
comment on function public.latest_run(text) is
    'The run recorded last, of one kind (replay, live) or of any: '
    '"where run_id = latest_run()". Null when there is none.';
revoke execute on function public.latest_run(text) from public, anon, authenticated, service_role;
grant execute on function public.latest_run(text) to anon, authenticated, service_role;

--------------------------------------------------------------------------------
-- agents
--------------------------------------------------------------------------------

create table public.agents (
    agent_name text not null check (char_length(agent_name) between 1 and 256),
    kind text not null
        check (kind in ('fetcher', 'storage', 'compute', 'shard', 'orchestrator')),
    status text not null default 'active'
        check (status in ('starting', 'active', 'stopped', 'lost')),
    last_heartbeat_at timestamptz,
    node text check (char_length(node) between 1 and 256),
    capabilities jsonb check (jsonb_typeof(capabilities) = 'object'),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint agents_key unique (run_id, agent_name)
);
comment on table public.agents is
    'The actors of a run and when each was last heard of. Service role only: nodes and '
    'capabilities describe our infrastructure.';
comment on column public.agents.agent_name is
    'Name of the actor; a compute agent carries its organisation''s name.';
comment on column public.agents.kind is 'fetcher, storage, compute, shard or orchestrator.';
comment on column public.agents.status is 'starting, active, stopped or lost.';
comment on column public.agents.last_heartbeat_at is
    'When it was last heard of, by the run''s clock.';
comment on column public.agents.node is 'Where it runs.';
comment on column public.agents.capabilities is
    'What it can do: sources of a fetcher, sites and regions of a compute agent.';

call gridpact.protect_table('agents', p_versioned => true);
call gridpact.hide_table('agents');

--------------------------------------------------------------------------------
-- api_logs
--------------------------------------------------------------------------------

create table public.api_logs (
    source text not null check (char_length(source) between 1 and 256),
    endpoint text not null check (char_length(endpoint) between 1 and 256),
    outcome text not null check (outcome in (
        'ok', 'not_modified', 'not_yet_published', 'unavailable', 'timeout', 'throttled',
        'rejected', 'invalid_payload', 'breaker_open')),
    http_status smallint check (http_status between 100 and 599),
    requested_at timestamptz not null,
    duration_ms double precision check (duration_ms >= 0 and duration_ms < 'Infinity'),
    response_bytes bigint check (response_bytes >= 0),
    rows_parsed integer not null default 0 check (rows_parsed >= 0),
    rows_rejected integer not null default 0 check (rows_rejected >= 0),
    attempt integer not null default 1 check (attempt >= 1),
    fallback boolean not null default false,
    error text check (char_length(error) <= 4096),
    rejected jsonb check (jsonb_typeof(rejected) = 'array'),
    method text not null default 'GET' check (char_length(method) between 1 and 256),
    url text check (char_length(url) <= 4096),
    incarnation text not null check (char_length(incarnation) between 1 and 256),
    sequence bigint not null check (sequence >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    recorded_at timestamptz not null default now(),
    constraint api_logs_key unique (run_id, incarnation, sequence)
);
create index api_logs_by_source on public.api_logs (run_id, source, requested_at);
comment on table public.api_logs is
    'Every attempt to reach a source, also those the circuit breaker kept from being made. '
    'Service role only.';
comment on column public.api_logs.source is 'carbon_intensity, neso, elexon or beckn.';
comment on column public.api_logs.endpoint is 'Name of the endpoint, as "parse --list" prints it.';
comment on column public.api_logs.outcome is
    'ok, not_modified, not_yet_published, unavailable, timeout, throttled, rejected, '
    'invalid_payload or breaker_open (not sent).';
comment on column public.api_logs.http_status is 'Status of the reply; null when none came.';
comment on column public.api_logs.requested_at is 'When the request began, by the run''s clock.';
comment on column public.api_logs.duration_ms is 'Wall time of the request, milliseconds.';
comment on column public.api_logs.response_bytes is 'Size of the decoded body.';
comment on column public.api_logs.rows_parsed is 'Rows the reply gave.';
comment on column public.api_logs.rows_rejected is 'Rows of the reply that could not be used.';
comment on column public.api_logs.attempt is 'Which attempt of one planned request, from 1.';
comment on column public.api_logs.fallback is
    'Whether synthetic figures were made up because of this failure.';
comment on column public.api_logs.error is 'What went wrong, in words.';
comment on column public.api_logs.rejected is
    'The rejected rows: [{"where": path into the reply, "reason": words}].';
comment on column public.api_logs.method is 'HTTP method.';
comment on column public.api_logs.url is 'Address without secrets.';
comment on column public.api_logs.incarnation is
    'Minted once per start of the fetcher; with sequence it names the request.';
comment on column public.api_logs.sequence is 'Counts the requests of one incarnation, from 0.';

call gridpact.protect_table('api_logs');
call gridpact.hide_table('api_logs');

call gridpact.describe_common_columns();
