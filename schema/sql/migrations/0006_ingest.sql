-- The one way in for everything we write: one call, many tables, one transaction.
--
-- Why each table has two keys. The id is uuid5 of the natural key, made by the producer, and is
-- what "on conflict" looks at: a row sent twice meets itself. The natural key is unique as well,
-- so a producer whose id rule is wrong fails loudly (23505) and cannot store one fact twice.
--
-- "order by" the natural key makes all callers lock rows in one order: without it, concurrent
-- calls with the same rows deadlock.

create function public.ingest(p_batch jsonb) returns jsonb
language plpgsql set search_path = ''
as $$
declare
    v_tables constant text[] := array[
        'scenario_runs', 'agents', 'grid_zones', 'compute_windows', 'offers',
        'beckn_transactions', 'compute_assets', 'compute_workloads', 'agent_negotiations',
        'workload_schedules', 'grid_snapshots', 'carbon_intensity_national',
        'carbon_intensity_regional', 'generation_mix_national', 'generation_mix_regional',
        'demand_forecast_national', 'demand_actual_national', 'demand_regional',
        'wholesale_prices', 'flexibility_prices', 'api_logs'
    ];
    v_counts jsonb := '{}';
    v_count bigint;
    v_table text;
    v_unknown text;
    v_attempt integer := 1;
begin
    if jsonb_typeof(p_batch) is distinct from 'object' then
        raise exception 'ingest takes an object {"table": [rows]}, got %',
            coalesce(jsonb_typeof(p_batch), 'null') using errcode = '22023';
    end if;
    for v_table in select * from jsonb_object_keys(p_batch) loop
        if v_table <> all (v_tables) then
            raise exception 'ingest knows no table "%"', v_table using errcode = '42P01',
                hint = 'Is this database behind the program? Run "run_cluster.py db migrate".';
        end if;
        if jsonb_typeof(p_batch -> v_table) <> 'array' then
            raise exception 'ingest takes an array of rows for "%", got %',
                v_table, jsonb_typeof(p_batch -> v_table) using errcode = '22023';
        end if;
        -- A column this database does not have would be dropped without a word. One producer
        -- writes all rows of a table alike, so the first row is enough.
        if jsonb_typeof(p_batch -> v_table -> 0) = 'object' then
            select string_agg(name, ', ' order by name) into v_unknown
            from jsonb_object_keys(p_batch -> v_table -> 0) as given (name)
            where not exists (
                select from pg_catalog.pg_attribute as a
                where a.attrelid = format('public.%I', v_table)::regclass
                    and a.attname = given.name and a.attnum > 0 and not a.attisdropped
                    and a.attname not in ('recorded_at', 'updated_at')
            );
            if v_unknown is not null then
                raise exception 'table "%" takes no column %', v_table, v_unknown
                    using errcode = '42703',
                    hint = 'Is this database behind the program? Run "run_cluster.py db migrate".';
            end if;
        end if;
    end loop;

    loop
        v_counts := '{}';
        begin
            if p_batch ? 'scenario_runs' then
                insert into public.scenario_runs as t (
                    kind, scenario, state, seed, clock_from, clock_to, clock_at, digest, summary,
                    id, run_id, version
                )
                select
                    x.kind, x.scenario, coalesce(x.state, 'running'), x.seed, x.clock_from,
                    x.clock_to, x.clock_at, x.digest, x.summary, x.id, x.run_id,
                    coalesce(x.version, 0)
                from jsonb_to_recordset(p_batch -> 'scenario_runs') as x (
                    kind text, scenario text, state text, seed bigint, clock_from timestamptz,
                    clock_to timestamptz, clock_at timestamptz, digest text, summary jsonb,
                    id uuid, run_id uuid, version bigint
                )
                order by
                    x.run_id
                on conflict (id) do update set
                    kind = excluded.kind,
                    scenario = excluded.scenario,
                    state = excluded.state,
                    seed = excluded.seed,
                    clock_from = excluded.clock_from,
                    clock_to = excluded.clock_to,
                    clock_at = excluded.clock_at,
                    digest = excluded.digest,
                    summary = excluded.summary,
                    version = excluded.version,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('scenario_runs', v_count);
            end if;

            if p_batch ? 'agents' then
                insert into public.agents as t (
                    agent_name, kind, status, last_heartbeat_at, node, capabilities, id, run_id,
                    version
                )
                select
                    x.agent_name, x.kind, coalesce(x.status, 'active'), x.last_heartbeat_at,
                    x.node, x.capabilities, x.id, x.run_id, coalesce(x.version, 0)
                from jsonb_to_recordset(p_batch -> 'agents') as x (
                    agent_name text, kind text, status text, last_heartbeat_at timestamptz,
                    node text, capabilities jsonb, id uuid, run_id uuid, version bigint
                )
                order by
                    x.run_id, x.agent_name
                on conflict (id) do update set
                    kind = excluded.kind,
                    status = excluded.status,
                    last_heartbeat_at = excluded.last_heartbeat_at,
                    node = excluded.node,
                    capabilities = excluded.capabilities,
                    version = excluded.version,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('agents', v_count);
            end if;

            if p_batch ? 'grid_zones' then
                insert into public.grid_zones as t (
                    zone_code, area, region_id, geometry, id, run_id, version, retrieved_at
                )
                select
                    x.zone_code, x.area, x.region_id, x.geometry, x.id, x.run_id,
                    coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'grid_zones') as x (
                    zone_code text, area text, region_id smallint, geometry jsonb, id uuid,
                    run_id uuid, version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.zone_code
                on conflict (id) do update set
                    area = excluded.area,
                    region_id = excluded.region_id,
                    geometry = excluded.geometry,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('grid_zones', v_count);
            end if;

            if p_batch ? 'compute_windows' then
                insert into public.compute_windows as t (
                    bpp_id, item_id, starts_at, ends_at, zone_code, capacity_kw,
                    intensity_gco2_per_kwh, renewable_pct, state, state_reason, name, slot_id,
                    reservation_required, id, run_id, zone_id, version, retrieved_at
                )
                select
                    x.bpp_id, x.item_id, x.starts_at, x.ends_at, x.zone_code, x.capacity_kw,
                    x.intensity_gco2_per_kwh, x.renewable_pct, coalesce(x.state, 'offered'),
                    x.state_reason, x.name, x.slot_id, x.reservation_required, x.id, x.run_id,
                    x.zone_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'compute_windows') as x (
                    bpp_id text, item_id text, starts_at timestamptz, ends_at timestamptz,
                    zone_code text, capacity_kw double precision,
                    intensity_gco2_per_kwh double precision, renewable_pct double precision,
                    state text, state_reason text, name text, slot_id text,
                    reservation_required boolean, id uuid, run_id uuid, zone_id uuid,
                    version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.bpp_id, x.item_id, x.starts_at
                on conflict (id) do update set
                    ends_at = excluded.ends_at,
                    zone_code = excluded.zone_code,
                    capacity_kw = excluded.capacity_kw,
                    intensity_gco2_per_kwh = excluded.intensity_gco2_per_kwh,
                    renewable_pct = excluded.renewable_pct,
                    state = excluded.state,
                    state_reason = excluded.state_reason,
                    name = excluded.name,
                    slot_id = excluded.slot_id,
                    reservation_required = excluded.reservation_required,
                    zone_id = excluded.zone_id,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('compute_windows', v_count);
            end if;

            if p_batch ? 'offers' then
                insert into public.offers as t (
                    bpp_id, offer_id, item_id, window_starts_at, price_per_kwh, currency,
                    price_stability, id, run_id, window_id, version, retrieved_at
                )
                select
                    x.bpp_id, x.offer_id, x.item_id, x.window_starts_at, x.price_per_kwh,
                    x.currency, x.price_stability, x.id, x.run_id, x.window_id,
                    coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'offers') as x (
                    bpp_id text, offer_id text, item_id text, window_starts_at timestamptz,
                    price_per_kwh double precision, currency text, price_stability text, id uuid,
                    run_id uuid, window_id uuid, version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.bpp_id, x.offer_id, x.item_id, x.window_starts_at
                on conflict (id) do update set
                    price_per_kwh = excluded.price_per_kwh,
                    currency = excluded.currency,
                    price_stability = excluded.price_stability,
                    window_id = excluded.window_id,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('offers', v_count);
            end if;

            if p_batch ? 'beckn_transactions' then
                insert into public.beckn_transactions as t (
                    action, direction, occurred_at, ack_status, status, order_id, agent_name,
                    bpp_id, error, transaction_id, message_id, body, id, run_id
                )
                select
                    x.action, x.direction, x.occurred_at, x.ack_status, x.status, x.order_id,
                    x.agent_name, x.bpp_id, x.error, x.transaction_id, x.message_id, x.body, x.id,
                    x.run_id
                from jsonb_to_recordset(p_batch -> 'beckn_transactions') as x (
                    action text, direction text, occurred_at timestamptz, ack_status text,
                    status text, order_id text, agent_name text, bpp_id text, error jsonb,
                    transaction_id text, message_id text, body jsonb, id uuid, run_id uuid
                )
                order by
                    x.run_id, x.transaction_id, x.message_id, x.action, x.direction
                on conflict (id) do nothing;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('beckn_transactions', v_count);
            end if;

            if p_batch ? 'compute_assets' then
                insert into public.compute_assets as t (
                    agent_name, asset_name, region_id, capacity_kw, pue, capacity_by_period, id,
                    run_id, agent_id, version
                )
                select
                    x.agent_name, x.asset_name, x.region_id, x.capacity_kw, coalesce(x.pue, 1.0),
                    x.capacity_by_period, x.id, x.run_id, x.agent_id, coalesce(x.version, 0)
                from jsonb_to_recordset(p_batch -> 'compute_assets') as x (
                    agent_name text, asset_name text, region_id smallint,
                    capacity_kw double precision, pue double precision, capacity_by_period jsonb,
                    id uuid, run_id uuid, agent_id uuid, version bigint
                )
                order by
                    x.run_id, x.agent_name, x.asset_name
                on conflict (id) do update set
                    region_id = excluded.region_id,
                    capacity_kw = excluded.capacity_kw,
                    pue = excluded.pue,
                    capacity_by_period = excluded.capacity_by_period,
                    agent_id = excluded.agent_id,
                    version = excluded.version,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('compute_assets', v_count);
            end if;

            if p_batch ? 'compute_workloads' then
                insert into public.compute_workloads as t (
                    workload_name, agent_name, status, status_reason, power_kw, duration_min,
                    earliest_start, deadline, allowed_regions, home_region_id, interruptible,
                    priority, refusal_value_gbp, delay_cost_gbp_per_kwh_h, baseline_starts_at,
                    baseline_region_id, baseline_gco2, baseline_rescored_gco2, baseline_cost_gbp,
                    submitted_at, owner, id, run_id, agent_id, version
                )
                select
                    x.workload_name, x.agent_name, coalesce(x.status, 'submitted'),
                    x.status_reason, x.power_kw, x.duration_min, x.earliest_start, x.deadline,
                    x.allowed_regions, x.home_region_id, coalesce(x.interruptible, false),
                    coalesce(x.priority, 5), x.refusal_value_gbp, x.delay_cost_gbp_per_kwh_h,
                    x.baseline_starts_at, x.baseline_region_id, x.baseline_gco2,
                    x.baseline_rescored_gco2, x.baseline_cost_gbp, x.submitted_at, x.owner, x.id,
                    x.run_id, x.agent_id, coalesce(x.version, 0)
                from jsonb_to_recordset(p_batch -> 'compute_workloads') as x (
                    workload_name text, agent_name text, status text, status_reason text,
                    power_kw double precision, duration_min integer, earliest_start timestamptz,
                    deadline timestamptz, allowed_regions smallint[], home_region_id smallint,
                    interruptible boolean, priority smallint, refusal_value_gbp double precision,
                    delay_cost_gbp_per_kwh_h double precision, baseline_starts_at timestamptz,
                    baseline_region_id smallint, baseline_gco2 double precision,
                    baseline_rescored_gco2 double precision, baseline_cost_gbp double precision,
                    submitted_at timestamptz, owner uuid, id uuid, run_id uuid, agent_id uuid,
                    version bigint
                )
                order by
                    x.run_id, x.agent_name, x.workload_name
                on conflict (id) do update set
                    status = excluded.status,
                    status_reason = excluded.status_reason,
                    power_kw = excluded.power_kw,
                    duration_min = excluded.duration_min,
                    earliest_start = excluded.earliest_start,
                    deadline = excluded.deadline,
                    allowed_regions = excluded.allowed_regions,
                    home_region_id = excluded.home_region_id,
                    interruptible = excluded.interruptible,
                    priority = excluded.priority,
                    refusal_value_gbp = excluded.refusal_value_gbp,
                    delay_cost_gbp_per_kwh_h = coalesce(
                        excluded.delay_cost_gbp_per_kwh_h, t.delay_cost_gbp_per_kwh_h),
                    baseline_starts_at = excluded.baseline_starts_at,
                    baseline_region_id = excluded.baseline_region_id,
                    baseline_gco2 = excluded.baseline_gco2,
                    baseline_rescored_gco2 = excluded.baseline_rescored_gco2,
                    baseline_cost_gbp = excluded.baseline_cost_gbp,
                    submitted_at = coalesce(t.submitted_at, excluded.submitted_at),
                    owner = coalesce(t.owner, excluded.owner),
                    agent_id = excluded.agent_id,
                    version = excluded.version,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('compute_workloads', v_count);
            end if;

            if p_batch ? 'agent_negotiations' then
                insert into public.agent_negotiations as t (
                    sequence, round, performative, sender, receiver, workload_name,
                    energy_cost_gbp, congestion_gbp, carbon_gco2, cost_gbp, bound_gbp, gap,
                    on_synthetic_data, sent_at, reply_by, conversation_id, ordinal, in_reply_to,
                    workload_agent, content, id, run_id, workload_id
                )
                select
                    x.sequence, x.round, x.performative, x.sender, x.receiver, x.workload_name,
                    x.energy_cost_gbp, x.congestion_gbp, x.carbon_gco2, x.cost_gbp, x.bound_gbp,
                    x.gap, coalesce(x.on_synthetic_data, false), x.sent_at, x.reply_by,
                    x.conversation_id, coalesce(x.ordinal, 0), x.in_reply_to, x.workload_agent,
                    x.content, x.id, x.run_id, x.workload_id
                from jsonb_to_recordset(p_batch -> 'agent_negotiations') as x (
                    sequence bigint, round integer, performative text, sender text, receiver text,
                    workload_name text, energy_cost_gbp double precision,
                    congestion_gbp double precision, carbon_gco2 double precision,
                    cost_gbp double precision, bound_gbp double precision, gap double precision,
                    on_synthetic_data boolean, sent_at timestamptz, reply_by timestamptz,
                    conversation_id text, ordinal integer, in_reply_to text, workload_agent text,
                    content jsonb, id uuid, run_id uuid, workload_id uuid
                )
                order by
                    x.run_id, x.conversation_id, x.round, x.performative, x.sender, x.receiver,
                    x.workload_name, x.ordinal
                on conflict (id) do nothing;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('agent_negotiations', v_count);
            end if;

            if p_batch ? 'workload_schedules' then
                insert into public.workload_schedules as t (
                    workload_name, agent_name, revision, starts_at, ends_at, region_id, asset_name,
                    asset_agent_name, power_kw, energy_kwh, intensity_forecast_gco2_per_kwh,
                    gco2_forecast, gco2_rescored, energy_cost_gbp, congestion_gbp, window_bpp_id,
                    window_item_id, window_starts_at, conversation_id, id, run_id, workload_id,
                    asset_id, window_id, version
                )
                select
                    x.workload_name, x.agent_name, x.revision, x.starts_at, x.ends_at, x.region_id,
                    x.asset_name, x.asset_agent_name, x.power_kw, x.energy_kwh,
                    x.intensity_forecast_gco2_per_kwh, x.gco2_forecast, x.gco2_rescored,
                    x.energy_cost_gbp, x.congestion_gbp, x.window_bpp_id, x.window_item_id,
                    x.window_starts_at, x.conversation_id, x.id, x.run_id, x.workload_id,
                    x.asset_id, x.window_id, coalesce(x.version, 0)
                from jsonb_to_recordset(p_batch -> 'workload_schedules') as x (
                    workload_name text, agent_name text, revision integer, starts_at timestamptz,
                    ends_at timestamptz, region_id smallint, asset_name text,
                    asset_agent_name text, power_kw double precision, energy_kwh double precision,
                    intensity_forecast_gco2_per_kwh double precision,
                    gco2_forecast double precision, gco2_rescored double precision,
                    energy_cost_gbp double precision, congestion_gbp double precision,
                    window_bpp_id text, window_item_id text, window_starts_at timestamptz,
                    conversation_id text, id uuid, run_id uuid, workload_id uuid, asset_id uuid,
                    window_id uuid, version bigint
                )
                order by
                    x.run_id, x.agent_name, x.workload_name, x.revision, x.starts_at
                on conflict (id) do update set
                    ends_at = excluded.ends_at,
                    region_id = excluded.region_id,
                    asset_name = excluded.asset_name,
                    asset_agent_name = excluded.asset_agent_name,
                    power_kw = excluded.power_kw,
                    energy_kwh = excluded.energy_kwh,
                    intensity_forecast_gco2_per_kwh = excluded.intensity_forecast_gco2_per_kwh,
                    gco2_forecast = excluded.gco2_forecast,
                    gco2_rescored = excluded.gco2_rescored,
                    energy_cost_gbp = excluded.energy_cost_gbp,
                    congestion_gbp = excluded.congestion_gbp,
                    window_bpp_id = excluded.window_bpp_id,
                    window_item_id = excluded.window_item_id,
                    window_starts_at = excluded.window_starts_at,
                    conversation_id = excluded.conversation_id,
                    workload_id = excluded.workload_id,
                    asset_id = excluded.asset_id,
                    window_id = excluded.window_id,
                    version = excluded.version,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('workload_schedules', v_count);
            end if;

            if p_batch ? 'grid_snapshots' then
                insert into public.grid_snapshots as t (
                    zone_code, observed_at, renewable_pct, intensity_gco2_per_kwh, frequency_hz,
                    quality, source, changes, reason, seed, id, run_id, retrieved_at
                )
                select
                    x.zone_code, x.observed_at, x.renewable_pct, x.intensity_gco2_per_kwh,
                    x.frequency_hz, coalesce(x.quality, 'published'), coalesce(x.source, 'beckn'),
                    x.changes, x.reason, x.seed, x.id, x.run_id, x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'grid_snapshots') as x (
                    zone_code text, observed_at timestamptz, renewable_pct double precision,
                    intensity_gco2_per_kwh double precision, frequency_hz double precision,
                    quality text, source text, changes jsonb, reason text, seed bigint, id uuid,
                    run_id uuid, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.zone_code, x.observed_at, x.quality
                on conflict (id) do nothing;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('grid_snapshots', v_count);
            end if;

            if p_batch ? 'carbon_intensity_national' then
                insert into public.carbon_intensity_national as t (
                    valid_from, valid_to, forecast_gco2_per_kwh, actual_gco2_per_kwh,
                    intensity_index, quality, source, issued_at, reason, seed, id, run_id, version,
                    retrieved_at
                )
                select
                    x.valid_from, x.valid_to, x.forecast_gco2_per_kwh, x.actual_gco2_per_kwh,
                    x.intensity_index, coalesce(x.quality, 'published'), x.source, x.issued_at,
                    x.reason, x.seed, x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'carbon_intensity_national') as x (
                    valid_from timestamptz, valid_to timestamptz,
                    forecast_gco2_per_kwh double precision, actual_gco2_per_kwh double precision,
                    intensity_index text, quality text, source text, issued_at timestamptz,
                    reason text, seed bigint, id uuid, run_id uuid, version bigint,
                    retrieved_at timestamptz
                )
                order by
                    x.run_id, x.valid_from, x.quality
                on conflict (id) do update set
                    valid_to = excluded.valid_to,
                    forecast_gco2_per_kwh = excluded.forecast_gco2_per_kwh,
                    actual_gco2_per_kwh = excluded.actual_gco2_per_kwh,
                    intensity_index = excluded.intensity_index,
                    source = excluded.source,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('carbon_intensity_national', v_count);
            end if;

            if p_batch ? 'carbon_intensity_regional' then
                insert into public.carbon_intensity_regional as t (
                    region_id, valid_from, valid_to, forecast_gco2_per_kwh, intensity_index,
                    quality, source, issued_at, reason, seed, id, run_id, version, retrieved_at
                )
                select
                    x.region_id, x.valid_from, x.valid_to, x.forecast_gco2_per_kwh,
                    x.intensity_index, coalesce(x.quality, 'published'), x.source, x.issued_at,
                    x.reason, x.seed, x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'carbon_intensity_regional') as x (
                    region_id smallint, valid_from timestamptz, valid_to timestamptz,
                    forecast_gco2_per_kwh double precision, intensity_index text, quality text,
                    source text, issued_at timestamptz, reason text, seed bigint, id uuid,
                    run_id uuid, version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.valid_from, x.region_id, x.quality
                on conflict (id) do update set
                    valid_to = excluded.valid_to,
                    forecast_gco2_per_kwh = excluded.forecast_gco2_per_kwh,
                    intensity_index = excluded.intensity_index,
                    source = excluded.source,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('carbon_intensity_regional', v_count);
            end if;

            if p_batch ? 'generation_mix_national' then
                insert into public.generation_mix_national as t (
                    valid_from, valid_to, fuel, generation_pct, generation_mw, quality, source,
                    issued_at, reason, seed, id, run_id, version, retrieved_at
                )
                select
                    x.valid_from, x.valid_to, x.fuel, x.generation_pct, x.generation_mw,
                    coalesce(x.quality, 'published'), x.source, x.issued_at, x.reason, x.seed,
                    x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'generation_mix_national') as x (
                    valid_from timestamptz, valid_to timestamptz, fuel text,
                    generation_pct double precision, generation_mw double precision, quality text,
                    source text, issued_at timestamptz, reason text, seed bigint, id uuid,
                    run_id uuid, version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.valid_from, x.source, x.fuel, x.quality
                on conflict (id) do update set
                    valid_to = excluded.valid_to,
                    generation_pct = excluded.generation_pct,
                    generation_mw = excluded.generation_mw,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('generation_mix_national', v_count);
            end if;

            if p_batch ? 'generation_mix_regional' then
                insert into public.generation_mix_regional as t (
                    region_id, valid_from, valid_to, fuel, generation_pct, quality, source,
                    issued_at, reason, seed, id, run_id, version, retrieved_at
                )
                select
                    x.region_id, x.valid_from, x.valid_to, x.fuel, x.generation_pct,
                    coalesce(x.quality, 'published'), x.source, x.issued_at, x.reason, x.seed,
                    x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'generation_mix_regional') as x (
                    region_id smallint, valid_from timestamptz, valid_to timestamptz, fuel text,
                    generation_pct double precision, quality text, source text,
                    issued_at timestamptz, reason text, seed bigint, id uuid, run_id uuid,
                    version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.valid_from, x.source, x.region_id, x.fuel, x.quality
                on conflict (id) do update set
                    valid_to = excluded.valid_to,
                    generation_pct = excluded.generation_pct,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('generation_mix_regional', v_count);
            end if;

            if p_batch ? 'demand_forecast_national' then
                insert into public.demand_forecast_national as t (
                    product, valid_from, valid_to, demand_mw, point, quality, source, issued_at,
                    reason, seed, id, run_id, version, retrieved_at
                )
                select
                    x.product, x.valid_from, x.valid_to, x.demand_mw, x.point,
                    coalesce(x.quality, 'published'), x.source, x.issued_at, x.reason, x.seed,
                    x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'demand_forecast_national') as x (
                    product text, valid_from timestamptz, valid_to timestamptz,
                    demand_mw double precision, point text, quality text, source text,
                    issued_at timestamptz, reason text, seed bigint, id uuid, run_id uuid,
                    version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.valid_from, x.product, x.quality
                on conflict (id) do update set
                    valid_to = excluded.valid_to,
                    demand_mw = excluded.demand_mw,
                    point = excluded.point,
                    source = excluded.source,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('demand_forecast_national', v_count);
            end if;

            if p_batch ? 'demand_actual_national' then
                insert into public.demand_actual_national as t (
                    valid_from, valid_to, national_demand_mw, transmission_demand_mw,
                    england_wales_demand_mw, embedded_wind_mw, embedded_wind_capacity_mw,
                    embedded_solar_mw, embedded_solar_capacity_mw, non_bm_stor_mw,
                    pump_storage_pumping_mw, scottish_transfer_mw, interconnector_flows_mw,
                    quality, source, issued_at, reason, seed, id, run_id, version, retrieved_at
                )
                select
                    x.valid_from, x.valid_to, x.national_demand_mw, x.transmission_demand_mw,
                    x.england_wales_demand_mw, x.embedded_wind_mw, x.embedded_wind_capacity_mw,
                    x.embedded_solar_mw, x.embedded_solar_capacity_mw, x.non_bm_stor_mw,
                    x.pump_storage_pumping_mw, x.scottish_transfer_mw, x.interconnector_flows_mw,
                    coalesce(x.quality, 'published'), x.source, x.issued_at, x.reason, x.seed,
                    x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'demand_actual_national') as x (
                    valid_from timestamptz, valid_to timestamptz,
                    national_demand_mw double precision, transmission_demand_mw double precision,
                    england_wales_demand_mw double precision, embedded_wind_mw double precision,
                    embedded_wind_capacity_mw double precision, embedded_solar_mw double precision,
                    embedded_solar_capacity_mw double precision, non_bm_stor_mw double precision,
                    pump_storage_pumping_mw double precision,
                    scottish_transfer_mw double precision, interconnector_flows_mw jsonb,
                    quality text, source text, issued_at timestamptz, reason text, seed bigint,
                    id uuid, run_id uuid, version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.valid_from, x.source, x.quality
                on conflict (id) do update set
                    valid_to = excluded.valid_to,
                    national_demand_mw = excluded.national_demand_mw,
                    transmission_demand_mw = excluded.transmission_demand_mw,
                    england_wales_demand_mw = excluded.england_wales_demand_mw,
                    embedded_wind_mw = excluded.embedded_wind_mw,
                    embedded_wind_capacity_mw = excluded.embedded_wind_capacity_mw,
                    embedded_solar_mw = excluded.embedded_solar_mw,
                    embedded_solar_capacity_mw = excluded.embedded_solar_capacity_mw,
                    non_bm_stor_mw = excluded.non_bm_stor_mw,
                    pump_storage_pumping_mw = excluded.pump_storage_pumping_mw,
                    scottish_transfer_mw = excluded.scottish_transfer_mw,
                    interconnector_flows_mw = excluded.interconnector_flows_mw,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('demand_actual_national', v_count);
            end if;

            if p_batch ? 'demand_regional' then
                insert into public.demand_regional as t (
                    area, region_id, valid_from, valid_to, demand_mw, method, quality, source,
                    issued_at, reason, seed, id, run_id, version, retrieved_at
                )
                select
                    x.area, x.region_id, x.valid_from, x.valid_to, x.demand_mw, x.method,
                    coalesce(x.quality, 'published'), x.source, x.issued_at, x.reason, x.seed,
                    x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'demand_regional') as x (
                    area text, region_id smallint, valid_from timestamptz, valid_to timestamptz,
                    demand_mw double precision, method text, quality text, source text,
                    issued_at timestamptz, reason text, seed bigint, id uuid, run_id uuid,
                    version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.valid_from, x.area, x.quality
                on conflict (id) do update set
                    region_id = excluded.region_id,
                    valid_to = excluded.valid_to,
                    demand_mw = excluded.demand_mw,
                    method = excluded.method,
                    source = excluded.source,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('demand_regional', v_count);
            end if;

            if p_batch ? 'wholesale_prices' then
                insert into public.wholesale_prices as t (
                    market, valid_from, valid_to, price_gbp_per_mwh, volume_mwh, quality, source,
                    issued_at, reason, seed, id, run_id, version, retrieved_at
                )
                select
                    x.market, x.valid_from, x.valid_to, x.price_gbp_per_mwh, x.volume_mwh,
                    coalesce(x.quality, 'published'), x.source, x.issued_at, x.reason, x.seed,
                    x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'wholesale_prices') as x (
                    market text, valid_from timestamptz, valid_to timestamptz,
                    price_gbp_per_mwh double precision, volume_mwh double precision, quality text,
                    source text, issued_at timestamptz, reason text, seed bigint, id uuid,
                    run_id uuid, version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.valid_from, x.market, x.quality
                on conflict (id) do update set
                    valid_to = excluded.valid_to,
                    price_gbp_per_mwh = excluded.price_gbp_per_mwh,
                    volume_mwh = excluded.volume_mwh,
                    source = excluded.source,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('wholesale_prices', v_count);
            end if;

            if p_batch ? 'flexibility_prices' then
                insert into public.flexibility_prices as t (
                    service, starts_at, ends_at, direction, price, unit, volume_mw, quality,
                    source, issued_at, reason, seed, id, run_id, version, retrieved_at
                )
                select
                    x.service, x.starts_at, x.ends_at, x.direction, x.price, x.unit, x.volume_mw,
                    coalesce(x.quality, 'published'), x.source, x.issued_at, x.reason, x.seed,
                    x.id, x.run_id, coalesce(x.version, 0), x.retrieved_at
                from jsonb_to_recordset(p_batch -> 'flexibility_prices') as x (
                    service text, starts_at timestamptz, ends_at timestamptz, direction text,
                    price double precision, unit text, volume_mw double precision, quality text,
                    source text, issued_at timestamptz, reason text, seed bigint, id uuid,
                    run_id uuid, version bigint, retrieved_at timestamptz
                )
                order by
                    x.run_id, x.service, x.starts_at, x.ends_at, x.direction, x.quality
                on conflict (id) do update set
                    price = excluded.price,
                    unit = excluded.unit,
                    volume_mw = excluded.volume_mw,
                    source = excluded.source,
                    issued_at = excluded.issued_at,
                    reason = excluded.reason,
                    seed = excluded.seed,
                    version = excluded.version,
                    retrieved_at = excluded.retrieved_at,
                    updated_at = now()
                where excluded.version > t.version;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('flexibility_prices', v_count);
            end if;

            if p_batch ? 'api_logs' then
                insert into public.api_logs as t (
                    source, endpoint, outcome, http_status, requested_at, duration_ms,
                    response_bytes, rows_parsed, rows_rejected, attempt, fallback, error, rejected,
                    method, url, incarnation, sequence, id, run_id
                )
                select
                    x.source, x.endpoint, x.outcome, x.http_status, x.requested_at, x.duration_ms,
                    x.response_bytes, coalesce(x.rows_parsed, 0), coalesce(x.rows_rejected, 0),
                    coalesce(x.attempt, 1), coalesce(x.fallback, false), x.error, x.rejected,
                    coalesce(x.method, 'GET'), x.url, x.incarnation, x.sequence, x.id, x.run_id
                from jsonb_to_recordset(p_batch -> 'api_logs') as x (
                    source text, endpoint text, outcome text, http_status smallint,
                    requested_at timestamptz, duration_ms double precision, response_bytes bigint,
                    rows_parsed integer, rows_rejected integer, attempt integer, fallback boolean,
                    error text, rejected jsonb, method text, url text, incarnation text,
                    sequence bigint, id uuid, run_id uuid
                )
                order by
                    x.run_id, x.incarnation, x.sequence
                on conflict (id) do nothing;
                get diagnostics v_count = row_count;
                v_counts := v_counts || jsonb_build_object('api_logs', v_count);
            end if;

            return v_counts;
        exception when unique_violation then
            -- Two calls that insert the same new row at one moment (a re-sent request beside the
            -- first) can meet in the other unique index. By now the first has committed and the
            -- row is there to be seen: a second attempt finds it. A true violation fails again.
            if v_attempt >= 2 then
                raise;
            end if;
            v_attempt := v_attempt + 1;
        end;
    end loop;
end
$$;
comment on function public.ingest(jsonb) is
    'Stores a batch {"table": [rows]} in one transaction, parents first, and returns how many '
    'rows of each table it wrote (those already there, and older versions, are not counted). '
    'Rows are complete: a column left out is null or its default. Versioned tables keep the '
    'newer version; append-only tables keep what they have. Service role only.';
revoke execute on function public.ingest(jsonb) from public, anon, authenticated, service_role;
grant execute on function public.ingest(jsonb) to service_role;
