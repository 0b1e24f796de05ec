-- Refreshing the views of a run with 100,000 workloads takes seconds again.
-- Runs before or after the code: nothing but the time it takes changes.

-- The planner cannot know how many plans lie ahead as a whole and guesses two. It then compares
-- every workload with every plan, which at 20,000 takes 45 seconds and at 100,000 twenty minutes.
-- Hashed joins take their time once, whatever there is; loops stay where nothing else is possible.
create or replace function public.refresh_views() returns void
language plpgsql set search_path = '' set enable_nestloop = off
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

create or replace function public.schema_version() returns integer
language sql immutable parallel safe set search_path = ''
as $$ select 9 $$;
