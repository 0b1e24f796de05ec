-- The four views of the API over the materialized ones, who may read them, how they are
-- refreshed, and what they hold in words.

--------------------------------------------------------------------------------
-- The views and their readers
--------------------------------------------------------------------------------

create view public.current_grid_status with (security_invoker = true) as
select * from analytics.current_grid_status;
create view public.regional_compute_opportunities with (security_invoker = true) as
select * from analytics.regional_compute_opportunities;
create view public.workload_optimization_opportunities with (security_invoker = true) as
select * from analytics.workload_optimization_opportunities;
create view public.latest_grid_conditions with (security_invoker = true) as
select * from analytics.latest_grid_conditions;

-- A materialized view knows no row security, and the view over it adds none: whoever may read
-- it reads all of it. So only public facts are granted to everybody.
grant usage on schema analytics to anon, authenticated, service_role;
revoke all on all tables in schema analytics from public, anon, authenticated, service_role;
revoke all on
    public.current_grid_status, public.regional_compute_opportunities,
    public.workload_optimization_opportunities, public.latest_grid_conditions
    from public, anon, authenticated, service_role;

grant select on
    analytics.current_grid_status, public.current_grid_status,
    analytics.regional_compute_opportunities, public.regional_compute_opportunities,
    analytics.latest_grid_conditions, public.latest_grid_conditions
    to anon, authenticated, service_role;
-- Private rows: the view cannot filter them by owner, so it is the service role's alone.
grant select on
    analytics.workload_optimization_opportunities, public.workload_optimization_opportunities
    to service_role;
grant maintain on
    analytics.current_grid_status, analytics.regional_compute_opportunities,
    analytics.workload_optimization_opportunities, analytics.latest_grid_conditions
    to service_role;

create function public.refresh_views() returns void
language plpgsql set search_path = ''
as $$
begin
    -- Concurrently: readers see the old rows until the new ones are whole. Two refreshes at
    -- once wait for each other at the first view.
    refresh materialized view concurrently analytics.current_grid_status;
    refresh materialized view concurrently analytics.regional_compute_opportunities;
    refresh materialized view concurrently analytics.workload_optimization_opportunities;
    refresh materialized view concurrently analytics.latest_grid_conditions;
end
$$;
comment on function public.refresh_views() is
    'Brings the four views up to date with the tables. Service role only.';
revoke execute on function public.refresh_views() from public, anon, authenticated, service_role;
grant execute on function public.refresh_views() to service_role;

-- Every later migration replaces this function with its own number. (The history table would
-- say it too, but a schema pasted into the SQL editor may have none.)
create function public.schema_version() returns integer
language sql immutable parallel safe set search_path = ''
as $$ select 8 $$;
comment on function public.schema_version() is
    'Number of the newest migration this database has. Service role only.';
revoke execute on function public.schema_version() from public, anon, authenticated, service_role;
grant execute on function public.schema_version() to service_role;

--------------------------------------------------------------------------------
-- Comments, the same on both halves of each view
--------------------------------------------------------------------------------

create procedure gridpact.describe_view(p_view text, p_comment text, p_columns jsonb)
language plpgsql set search_path = ''
as $$
declare
    v_column record;
begin
    execute format('comment on materialized view analytics.%I is %L',
        p_view, p_comment || ' Refreshed by refresh_views().');
    execute format('comment on view public.%I is %L', p_view, p_comment);
    for v_column in select key, value from jsonb_each_text(p_columns) loop
        execute format('comment on column analytics.%I.%I is %L',
            p_view, v_column.key, v_column.value);
        execute format('comment on column public.%I.%I is %L',
            p_view, v_column.key, v_column.value);
    end loop;
end
$$;
comment on procedure gridpact.describe_view(text, text, jsonb) is
    'For migrations: comments a materialized view, the public view over it, and their columns.';
revoke execute on all routines in schema gridpact from public, anon, authenticated, service_role;

call gridpact.describe_view(
    'current_grid_status',
    'The national grid now, one row a run: carbon intensity, price, demand, mix. Anyone may '
    'read.',
    '{
        "run_id": "The run.",
        "now_at": "The clock of the run when this was computed.",
        "valid_from": "Start of the half hour that now lies in.",
        "valid_to": "End of that half hour, excluded.",
        "forecast_gco2_per_kwh": "Forecast national carbon intensity of that half hour, gCO2/kWh.",
        "intensity_index": "Its band: very low, low, moderate, high or very high.",
        "intensity_quality": "published, estimated or synthetic.",
        "actual_gco2_per_kwh": "Newest outturn of the carbon intensity, gCO2/kWh.",
        "actual_valid_from": "Half hour of that outturn.",
        "price_gbp_per_mwh": "Newest wholesale price up to now, GBP/MWh.",
        "price_valid_from": "Half hour of that price.",
        "price_market": "Market of that price: the APX index before others, these before system.",
        "price_quality": "published, estimated or synthetic.",
        "national_demand_mw": "Newest demand outturn, MW.",
        "demand_valid_from": "Half hour of that outturn.",
        "forecast_demand_mw": "Demand forecast for now, MW.",
        "forecast_product": "Product that forecast comes from.",
        "renewable_pct": "Share of wind, solar and hydro in the newest mix, percent.",
        "zero_carbon_pct": "The same with nuclear, percent.",
        "generation_mix_pct": "Share of each fuel in the newest mix, percent.",
        "mix_valid_from": "Half hour of that mix."
    }'
);
call gridpact.describe_view(
    'regional_compute_opportunities',
    'Per region the best uninterrupted 1, 2, 4 and 8 hours of the next 48, once by carbon and '
    'once by cost, where free power is left (or the run has no site). Anyone may read.',
    '{
        "run_id": "The run.",
        "region_id": "Distribution area, 1 to 14: see uk_regions.",
        "short_name": "Its name.",
        "objective": "carbon: least carbon, then price; cost: least price, then carbon.",
        "duration_hours": "1, 2, 4 or 8.",
        "starts_at": "Best start; of equal ones the earliest.",
        "ends_at": "End, excluded.",
        "intensity_gco2_per_kwh": "Mean forecast carbon intensity over these hours, gCO2/kWh.",
        "price_gbp_per_mwh": "Mean price, GBP/MWh: known, or as on the last comparable day.",
        "free_capacity_kw": "Least free power of all its sites in these hours, kW; null: no site.",
        "intensity_quality": "Worst quality among the carbon figures.",
        "price_quality": "Worst quality among the prices.",
        "now_at": "The clock of the run when this was computed."
    }'
);
call gridpact.describe_view(
    'workload_optimization_opportunities',
    'Workloads that have not begun: what is booked against the best slot still possible (least '
    'carbon, uninterrupted, allowed, before the deadline, at a site with power to spare beside '
    'all bookings). The 2,000 of a run that use most energy. Service role only.',
    '{
        "run_id": "The run.",
        "workload_id": "Row in compute_workloads.",
        "agent_name": "The compute agent (organisation) it belongs to.",
        "workload_name": "Name of the workload.",
        "status": "submitted, registered or awarded.",
        "power_kw": "Power while it runs, kW.",
        "duration_min": "How long it runs, minutes.",
        "deadline": "Latest finish.",
        "booked_region_id": "Where it is booked; null: not yet.",
        "booked_starts_at": "When it is booked to start.",
        "booked_ends_at": "When it is booked to have finished.",
        "booked_gco2": "Carbon of the booked slot on the newest forecast, grams CO2.",
        "booked_cost_gbp": "Energy cost of the booked slot as awarded, GBP.",
        "best_region_id": "Region of the best slot; null: none is left.",
        "best_starts_at": "Start of the best slot.",
        "best_ends_at": "End of the best slot, excluded.",
        "best_gco2": "Carbon of the best slot on the newest forecast, grams CO2.",
        "best_cost_gbp": "Energy cost of the best slot at known or likely prices, GBP.",
        "avoidable_gco2": "What moving there would save, grams CO2; 0: the booked slot is best.",
        "now_at": "The clock of the run when this was computed."
    }'
);
call gridpact.describe_view(
    'latest_grid_conditions',
    'The newest Beckn snapshot of each zone, with the windows that are still open and their '
    'cheapest offers. Anyone may read.',
    '{
        "run_id": "The run.",
        "zone_code": "Code of the grid zone.",
        "area": "Area it lies in.",
        "region_id": "Distribution area it is mapped to; null: none.",
        "observed_at": "Moment of the snapshot; null: no snapshot yet.",
        "renewable_pct": "Renewable share, percent.",
        "intensity_gco2_per_kwh": "Carbon intensity, gCO2/kWh.",
        "frequency_hz": "Grid frequency, Hz.",
        "quality": "published, estimated or synthetic.",
        "open_windows": "Windows that have not ended and are offered, selected or changed.",
        "next_window_starts_at": "Start of the earliest of them.",
        "open_capacity_kw": "Their capacity together, kW.",
        "windows": "These windows with their cheapest offers, by start.",
        "now_at": "The clock of the run when this was computed."
    }'
);

do $$
declare
    v_column record;
begin
    -- The helper views of analytics are no one's to read; their columns are named after what
    -- they come from.
    for v_column in
        select c.relname, a.attname
        from pg_catalog.pg_class as c
        join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attnum > 0
        where c.relnamespace = 'analytics'::regnamespace and c.relkind = 'v'
    loop
        execute format('comment on column analytics.%I.%I is %L',
            v_column.relname, v_column.attname,
            jsonb_build_object(
                'run_id', 'The run.',
                'now_at', 'The clock of the run; real time where it has none.',
                'is_recent', 'Whether it is worked out what is still possible in this run.',
                'opens_at', 'Start of the first half hour that has not begun.',
                'region_id', 'Distribution area, 1 to 14.',
                'valid_from', 'Start of the half hour.',
                'forecast_gco2_per_kwh', 'Forecast carbon intensity, gCO2/kWh.',
                'quality', 'published, estimated or synthetic.',
                'market', 'Market of the price.',
                'price_gbp_per_mwh', 'Price, GBP/MWh.',
                'price_quality', 'published, estimated or synthetic.',
                'capacity_kw', 'Power of all sites there, kW; null: no site.',
                'free_kw', 'The same less what is booked, kW.'
            ) ->> v_column.attname);
    end loop;
end
$$;
