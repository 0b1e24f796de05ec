-- Compute: sites, workloads, schedules, and the message log of the negotiation. An owner reads
-- what concerns its own workloads, may submit and cancel them; all else is the service role's.

create table public.compute_assets (
    agent_name text not null check (char_length(agent_name) between 1 and 256),
    asset_name text not null check (char_length(asset_name) between 1 and 256),
    region_id smallint not null check (region_id between 1 and 14)
        references public.uk_regions (region_id),
    capacity_kw double precision not null check (capacity_kw between 0 and 1e8),
    pue double precision not null default 1.0 check (pue between 1 and 5),
    capacity_by_period jsonb check (jsonb_typeof(capacity_by_period) = 'object'),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    agent_id uuid not null references public.agents (id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint compute_assets_key unique (run_id, agent_name, asset_name)
);
create index compute_assets_by_agent on public.compute_assets (agent_id);
create index compute_assets_by_region on public.compute_assets (region_id);
comment on table public.compute_assets is
    'Sites: where compute can run, and with how much power. Service role only.';
comment on column public.compute_assets.asset_name is 'Name of the site, unique with its agent.';
comment on column public.compute_assets.region_id is
    'Distribution area it lies in, 1 to 14: see uk_regions.';
comment on column public.compute_assets.capacity_kw is
    'Free power for deferrable work, kW, where capacity_by_period says nothing else.';
comment on column public.compute_assets.pue is
    'Power usage effectiveness: power drawn from the grid per power of compute.';
comment on column public.compute_assets.capacity_by_period is
    '{"from": start of the first half hour, "kw": [free power of each half hour from there]}.';

create table public.compute_workloads (
    workload_name text not null check (char_length(workload_name) between 1 and 256),
    agent_name text not null check (char_length(agent_name) between 1 and 256),
    status text not null default 'submitted' check (status in (
        'submitted', 'registered', 'awarded', 'refused', 'running', 'completed', 'cancelled')),
    status_reason text check (char_length(status_reason) <= 4096),
    power_kw double precision not null check (power_kw > 0 and power_kw <= 1e6),
    duration_min integer not null check (duration_min between 1 and 86400),
    earliest_start timestamptz not null,
    deadline timestamptz not null,
    allowed_regions smallint[] not null check (
        cardinality(allowed_regions) between 1 and 14
        and allowed_regions <@ '{1,2,3,4,5,6,7,8,9,10,11,12,13,14}'::smallint[]
    ),
    home_region_id smallint check (home_region_id between 1 and 14),
    interruptible boolean not null default false,
    priority smallint not null default 5 check (priority between 0 and 9),
    refusal_value_gbp double precision check (refusal_value_gbp between -1e12 and 1e12),
    delay_cost_gbp_per_kwh_h double precision
        check (delay_cost_gbp_per_kwh_h between 0 and 1000),
    baseline_starts_at timestamptz,
    baseline_region_id smallint check (baseline_region_id between 1 and 14),
    baseline_gco2 double precision check (baseline_gco2 between 0 and 1e15),
    baseline_rescored_gco2 double precision check (baseline_rescored_gco2 between 0 and 1e15),
    baseline_cost_gbp double precision check (baseline_cost_gbp between -1e12 and 1e12),
    submitted_at timestamptz,
    owner uuid,
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    agent_id uuid not null references public.agents (id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint compute_workloads_key unique (run_id, agent_name, workload_name),
    constraint compute_workloads_deadline_after_start check (earliest_start < deadline)
);
create index compute_workloads_by_agent on public.compute_workloads (agent_id);
create index compute_workloads_by_owner on public.compute_workloads (owner)
    where owner is not null;
create index compute_workloads_submitted on public.compute_workloads (run_id, recorded_at)
    where status = 'submitted';
comment on table public.compute_workloads is
    'Pieces of deferrable compute. The owner reads its own, submits new ones to the live run '
    '(insert) and cancels them (set status to cancelled); the service role reads all.';
comment on column public.compute_workloads.workload_name is
    'Name of the workload, unique with its agent.';
comment on column public.compute_workloads.status is
    'submitted (by its owner, not yet seen), registered, awarded, refused, running, completed or '
    'cancelled (for good).';
comment on column public.compute_workloads.status_reason is 'Why it is in that state.';
comment on column public.compute_workloads.power_kw is 'Constant power while it runs, kW.';
comment on column public.compute_workloads.duration_min is 'How long it runs, minutes.';
comment on column public.compute_workloads.earliest_start is 'It must not start before.';
comment on column public.compute_workloads.deadline is 'Latest finish.';
comment on column public.compute_workloads.allowed_regions is
    'Distribution areas it may run in, 1 to 14: see uk_regions.';
comment on column public.compute_workloads.home_region_id is
    'Where it would run without us; null: the first allowed region.';
comment on column public.compute_workloads.interruptible is
    'Whether it may run in pieces (in one region).';
comment on column public.compute_workloads.priority is
    '0 (least) to 9 (most); scales what a refusal costs.';
comment on column public.compute_workloads.refusal_value_gbp is
    'What being refused costs its owner, GBP: it never pays more.';
comment on column public.compute_workloads.delay_cost_gbp_per_kwh_h is
    'Private: what waiting costs its owner, GBP per kWh and hour. Only the owner and the service '
    'role can read it; replays leave it out.';
comment on column public.compute_workloads.baseline_starts_at is
    'When it would have run: at once.';
comment on column public.compute_workloads.baseline_region_id is
    'Where it would have run: at home.';
comment on column public.compute_workloads.baseline_gco2 is
    'Carbon of the baseline on the forecast, grams CO2.';
comment on column public.compute_workloads.baseline_rescored_gco2 is
    'Carbon of the baseline on what was published later, grams CO2.';
comment on column public.compute_workloads.baseline_cost_gbp is 'Energy cost of the baseline, GBP.';
comment on column public.compute_workloads.submitted_at is 'When it was submitted.';
comment on column public.compute_workloads.owner is
    'The user it belongs to (auth.uid()); null: our own. Never changes once set.';

create table public.workload_schedules (
    workload_name text not null check (char_length(workload_name) between 1 and 256),
    agent_name text not null check (char_length(agent_name) between 1 and 256),
    revision integer not null check (revision >= 0),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    region_id smallint not null check (region_id between 1 and 14)
        references public.uk_regions (region_id),
    asset_name text not null check (char_length(asset_name) between 1 and 256),
    asset_agent_name text not null check (char_length(asset_agent_name) between 1 and 256),
    power_kw double precision not null check (power_kw > 0 and power_kw <= 1e6),
    energy_kwh double precision not null check (energy_kwh between 0 and 1e9),
    intensity_forecast_gco2_per_kwh double precision
        check (intensity_forecast_gco2_per_kwh between 0 and 1000),
    gco2_forecast double precision check (gco2_forecast between 0 and 1e15),
    gco2_rescored double precision check (gco2_rescored between 0 and 1e15),
    energy_cost_gbp double precision check (energy_cost_gbp between -1e12 and 1e12),
    congestion_gbp double precision check (congestion_gbp between -1e12 and 1e12),
    window_bpp_id text check (char_length(window_bpp_id) between 1 and 256),
    window_item_id text check (char_length(window_item_id) between 1 and 256),
    window_starts_at timestamptz,
    conversation_id text not null check (char_length(conversation_id) between 1 and 256),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    workload_id uuid not null references public.compute_workloads (id) on delete cascade,
    asset_id uuid not null references public.compute_assets (id) on delete cascade,
    window_id uuid references public.compute_windows (id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint workload_schedules_key
        unique (run_id, agent_name, workload_name, revision, starts_at),
    constraint workload_schedules_ends_after_start check (starts_at < ends_at)
);
create index workload_schedules_by_workload on public.workload_schedules (workload_id);
create index workload_schedules_by_asset on public.workload_schedules (asset_id);
create index workload_schedules_by_window on public.workload_schedules (window_id);
create index workload_schedules_by_region on public.workload_schedules (region_id);
comment on table public.workload_schedules is
    'Where and when each workload runs: one row a contiguous segment of one supply. Of a '
    'workload''s revisions the highest stands; a refused workload has no row. The owner of the '
    'workload and the service role may read.';
comment on column public.workload_schedules.workload_name is 'The workload, with agent_name.';
comment on column public.workload_schedules.revision is
    'Counts the plans of one workload; the highest stands.';
comment on column public.workload_schedules.starts_at is 'Start of the segment, included.';
comment on column public.workload_schedules.ends_at is 'End of the segment, excluded.';
comment on column public.workload_schedules.region_id is
    'Distribution area it runs in, 1 to 14: see uk_regions.';
comment on column public.workload_schedules.asset_name is 'The site, with asset_agent_name.';
comment on column public.workload_schedules.asset_agent_name is
    'The compute agent (organisation) whose site it is.';
comment on column public.workload_schedules.power_kw is 'Constant power, kW, PUE included.';
comment on column public.workload_schedules.energy_kwh is 'Energy of the segment, kWh.';
comment on column public.workload_schedules.intensity_forecast_gco2_per_kwh is
    'Mean carbon intensity of its supply as forecast at the award, gCO2/kWh.';
comment on column public.workload_schedules.gco2_forecast is
    'Carbon as forecast at the award, grams CO2.';
comment on column public.workload_schedules.gco2_rescored is
    'Carbon on what was published later, grams CO2; null until then.';
comment on column public.workload_schedules.energy_cost_gbp is 'Cost of its energy, GBP.';
comment on column public.workload_schedules.congestion_gbp is
    'What it pays on top because the cell is wanted by others, GBP.';
comment on column public.workload_schedules.window_bpp_id is
    'Provider of the Beckn window that supplies it; null: the grid supplies it.';
comment on column public.workload_schedules.window_item_id is 'Item of that window.';
comment on column public.workload_schedules.window_starts_at is 'Start of that window.';
comment on column public.workload_schedules.conversation_id is
    'The conversation that awarded it: see agent_negotiations.';
comment on column public.workload_schedules.workload_id is 'Row in compute_workloads.';
comment on column public.workload_schedules.asset_id is 'Row in compute_assets.';
comment on column public.workload_schedules.window_id is 'Row in compute_windows; null: the grid.';

-- Column order is for a reader in Studio: what is said by whom, and the figures, come first.
create table public.agent_negotiations (
    sequence bigint not null check (sequence >= 0),
    round integer not null check (round >= 0),
    performative text not null check (performative in (
        'cfp', 'propose', 'refuse', 'accept-proposal', 'reject-proposal', 'inform', 'failure',
        'cancel')),
    sender text not null check (char_length(sender) between 1 and 256),
    receiver text not null check (char_length(receiver) between 1 and 256),
    workload_name text check (char_length(workload_name) between 1 and 256),
    energy_cost_gbp double precision check (energy_cost_gbp between -1e12 and 1e12),
    congestion_gbp double precision check (congestion_gbp between -1e12 and 1e12),
    carbon_gco2 double precision check (carbon_gco2 between 0 and 1e15),
    cost_gbp double precision check (cost_gbp between -1e12 and 1e12),
    bound_gbp double precision check (bound_gbp between -1e12 and 1e12),
    gap double precision check (gap > '-Infinity' and gap < 'Infinity'),
    on_synthetic_data boolean not null default false,
    sent_at timestamptz not null,
    reply_by timestamptz,
    conversation_id text not null check (char_length(conversation_id) between 1 and 256),
    ordinal integer not null default 0 check (ordinal >= 0),
    in_reply_to text check (char_length(in_reply_to) between 1 and 256),
    workload_agent text check (char_length(workload_agent) between 1 and 256),
    content jsonb not null check (jsonb_typeof(content) = 'object'),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    workload_id uuid references public.compute_workloads (id) on delete cascade,
    recorded_at timestamptz not null default now(),
    constraint agent_negotiations_key unique nulls not distinct (
        run_id, conversation_id, round, performative, sender, receiver, workload_name, ordinal),
    constraint agent_negotiations_workload_has_agent check (
        (workload_name is null) = (workload_agent is null)
        and (workload_name is null) = (workload_id is null)),
    -- Beside a public price table a workload's own total would give its delay cost away.
    constraint agent_negotiations_totals_are_table_wide check (
        workload_name is null or num_nonnulls(cost_gbp, bound_gbp, gap) = 0)
);
create index agent_negotiations_by_sequence
    on public.agent_negotiations (run_id, conversation_id, sequence);
create index agent_negotiations_by_workload on public.agent_negotiations (workload_id);
comment on table public.agent_negotiations is
    'The message log of every negotiation (an iterated contract net), one row a message; ordered '
    'by conversation_id and sequence it reads as a story. The owner of a workload reads the '
    'messages about it; messages about the whole table (workload_name null) hold everybody''s '
    'loads and are for the service role alone.';
comment on column public.agent_negotiations.sequence is
    'Order for readers: counts the messages of one conversation.';
comment on column public.agent_negotiations.round is 'Round of the conversation.';
comment on column public.agent_negotiations.performative is
    'What the message does, in FIPA''s words: cfp, propose, refuse, accept-proposal, '
    'reject-proposal, inform, failure, cancel.';
comment on column public.agent_negotiations.sender is
    'Who says it: orchestrator, or a compute agent.';
comment on column public.agent_negotiations.receiver is
    'To whom: orchestrator, a compute agent, or all.';
comment on column public.agent_negotiations.workload_name is
    'The workload it is about; null for a message about the whole table.';
comment on column public.agent_negotiations.energy_cost_gbp is
    'Cost of the workload''s energy in the slot spoken of, GBP.';
comment on column public.agent_negotiations.congestion_gbp is
    'What it would pay, or pays, on top because others want the same cells, GBP.';
comment on column public.agent_negotiations.carbon_gco2 is 'Carbon of the slot, grams CO2.';
comment on column public.agent_negotiations.cost_gbp is
    'Table-wide messages only: cost of the best schedule so far, GBP.';
comment on column public.agent_negotiations.bound_gbp is
    'Table-wide messages only: proven lower bound of the cost, GBP, rounded down.';
comment on column public.agent_negotiations.gap is
    'Table-wide messages only: (cost - bound) relative to the bound; 0.05 is 5 %.';
comment on column public.agent_negotiations.on_synthetic_data is
    'Whether synthetic figures had a part in it.';
comment on column public.agent_negotiations.sent_at is 'When it was sent, by the run''s clock.';
comment on column public.agent_negotiations.reply_by is
    'Until when an answer counts; for information only in a replay.';
comment on column public.agent_negotiations.conversation_id is 'The negotiation it belongs to.';
comment on column public.agent_negotiations.ordinal is
    'Tells messages apart that agree in all else of the key.';
comment on column public.agent_negotiations.in_reply_to is 'The message it answers.';
comment on column public.agent_negotiations.workload_agent is
    'The compute agent (organisation) the workload belongs to.';
comment on column public.agent_negotiations.content is
    'What it says: slots, prices, the constraint that decided; in the last cfp of a conversation '
    'the whole tables, so that the schedule can be rebuilt from this log alone.';
comment on column public.agent_negotiations.workload_id is 'Row in compute_workloads.';

call gridpact.protect_table('compute_assets', p_versioned => true);
call gridpact.hide_table('compute_assets');
call gridpact.protect_table('compute_workloads', p_versioned => true);
call gridpact.protect_table('workload_schedules', p_versioned => true);
call gridpact.protect_table('agent_negotiations');

call gridpact.describe_common_columns();

--------------------------------------------------------------------------------
-- Owners
--------------------------------------------------------------------------------

grant select on table
    public.compute_workloads, public.workload_schedules, public.agent_negotiations
    to authenticated;

create policy owner_reads on public.compute_workloads for select to authenticated
    using (owner = (select auth.uid()));
create policy owner_reads on public.workload_schedules for select to authenticated
    using (workload_id in (
        select w.id from public.compute_workloads as w where w.owner = (select auth.uid())));
create policy owner_reads on public.agent_negotiations for select to authenticated
    using (workload_id in (
        select w.id from public.compute_workloads as w where w.owner = (select auth.uid())));

-- An owner says what it needs. Whose it is, its state, ids and version are the server's to say.
grant insert (
    agent_name, workload_name, power_kw, duration_min, earliest_start, deadline, allowed_regions,
    home_region_id, interruptible, priority, refusal_value_gbp, delay_cost_gbp_per_kwh_h
) on table public.compute_workloads to authenticated;
create policy owner_submits on public.compute_workloads for insert to authenticated
    with check (owner = (select auth.uid()) and status = 'submitted');

grant update (status) on table public.compute_workloads to authenticated;
create policy owner_cancels on public.compute_workloads for update to authenticated
    using (owner = (select auth.uid()) and status in ('submitted', 'registered', 'awarded'))
    with check (owner = (select auth.uid()) and status = 'cancelled');

create function gridpact.submit_workload() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
    v_waiting constant integer := 1000;
begin
    select run_id into new.run_id from public.scenario_runs
    where kind = 'live' and state = 'running'
    order by recorded_at desc limit 1;
    if new.run_id is null then
        raise exception 'no live run takes workloads now'
            using hint = 'Start one with "run_cluster.py start", then submit again.';
    end if;
    new.agent_id := gridpact.row_id('agents', new.run_id::text, new.agent_name);
    if not exists (select from public.agents where id = new.agent_id and kind = 'compute') then
        raise exception 'agent_name "%" is no compute agent of the live run', new.agent_name
            using hint = 'Name the organisation that is to run the workload.';
    end if;
    new.owner := auth.uid();
    if (
        select count(*) from public.compute_workloads
        where owner = new.owner and status = 'submitted'
    ) >= v_waiting then
        raise exception '% workloads of yours are waiting already; no more are taken', v_waiting
            using hint = 'Wait until they are registered, or cancel some.';
    end if;
    new.id := gridpact.row_id(
        'compute_workloads', new.run_id::text, new.agent_name, new.workload_name);
    new.status := 'submitted';
    new.status_reason := null;
    new.submitted_at := now();
    new.version := 0;
    return new;
end
$$;
comment on function gridpact.submit_workload() is
    'Trigger: completes a workload inserted by its owner with what the server says: run, agent, '
    'owner, id, status, time. At most 1,000 of one owner wait at a time.';
create trigger submit_workload before insert on public.compute_workloads for each row
    when (current_user = 'authenticated') execute function gridpact.submit_workload();

create function gridpact.cancel_workload() returns trigger
language plpgsql set search_path = ''
as $$
begin
    new.version := old.version + 1;
    return new;
end
$$;
comment on function gridpact.cancel_workload() is
    'Trigger: an owner''s cancellation is a revision, so the version guard lets it pass.';
-- Triggers fire by name: this one before guard_version.
create trigger cancel_workload before update on public.compute_workloads for each row
    when (current_user = 'authenticated') execute function gridpact.cancel_workload();

create function gridpact.keep_cancelled() returns trigger
language plpgsql set search_path = ''
as $$
begin
    new.status := old.status;
    new.status_reason := old.status_reason;
    return new;
end
$$;
comment on function gridpact.keep_cancelled() is
    'Trigger: cancelled is for good. An agent that has not heard of it yet cannot undo it.';
create trigger keep_cancelled before update on public.compute_workloads for each row
    when (old.status = 'cancelled' and new.status <> 'cancelled')
    execute function gridpact.keep_cancelled();

revoke execute on all routines in schema gridpact from public, anon, authenticated, service_role;
