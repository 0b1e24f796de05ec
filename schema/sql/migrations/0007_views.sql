-- What people and agents ask most, computed ahead: four materialized views in a schema that the
-- API does not expose (the next migration opens them). "Now" is the clock of the run
-- (scenario_runs.clock_at), so a replay is answered as of its own time.

create schema if not exists analytics;
comment on schema analytics is
    'Materialized views behind the views of the same name in public. Not part of the API.';
revoke all on schema analytics from public, anon, authenticated, service_role;

--------------------------------------------------------------------------------
-- Helpers: clocks of the runs, and what is known of each half hour still to come
--------------------------------------------------------------------------------

create view analytics.run_clock with (security_invoker = true) as
select
    run_id,
    coalesce(clock_at, now()) as now_at,
    -- The first half hour that has not begun.
    date_bin(
        '30 minutes',
        coalesce(clock_at, now()) + interval '30 minutes' - interval '1 microsecond',
        timestamptz '2000-01-01 00:00Z'
    ) as opens_at,
    (kind = 'live' and state = 'running')
    or row_number() over (order by recorded_at desc, run_id) <= 5 as is_recent
from public.scenario_runs;
comment on view analytics.run_clock is
    'The "now" of each run and the first half hour that has not begun. Recent are the five runs '
    'recorded last and the live one: only for these is it worked out what is still possible.';

create view analytics.open_half_hours with (security_invoker = true) as
with intensities as (
    select distinct on (i.run_id, i.valid_from, i.region_id)
        i.run_id, i.valid_from, i.region_id, i.forecast_gco2_per_kwh, i.quality, c.now_at
    from public.carbon_intensity_regional as i
    join analytics.run_clock as c using (run_id)
    where c.is_recent
        and i.valid_from >= c.opens_at and i.valid_from < c.opens_at + interval '48 hours'
    order by
        i.run_id, i.valid_from, i.region_id,
        case i.quality when 'published' then 0 when 'estimated' then 1 else 2 end
),

-- One row a half hour, so that its price, the same in all regions, is looked up once.
half_hours as (
    select
        run_id, valid_from, now_at,
        array_agg(region_id) as region_ids,
        array_agg(forecast_gco2_per_kwh) as forecasts,
        array_agg(quality) as qualities
    from intensities
    group by run_id, valid_from, now_at
),

priced as (
    select
        h.*,
        p.price_gbp_per_mwh,
        case
            when p.quality = 'synthetic' then 'synthetic'
            when p.valid_from = h.valid_from and p.market <> 'system' then p.quality
            when p.quality is not null then 'estimated'
        end as price_quality
    from half_hours as h
    left join lateral (
        -- The rule of storage/grid_prices.py: its own price if known, else that of the same half
        -- hour by the clock on London's wall of the last comparable day (working days and
        -- weekends are two kinds), else of the last day of any kind; synthetic ones last.
        select p.valid_from, p.price_gbp_per_mwh, p.quality, p.market
        from public.wholesale_prices as p
        where p.run_id = h.run_id
            and p.valid_from = any (h.valid_from || array(
                select
                    -- In autumn one hour comes twice: the first counts.
                    case when (t.instant - interval '1 hour') at time zone 'Europe/London' = t.wall
                        then t.instant - interval '1 hour' else t.instant end
                from (
                    select d.wall, d.wall at time zone 'Europe/London' as instant
                    from (
                        select
                            (h.valid_from at time zone 'Europe/London') - make_interval(days => n)
                                as wall
                        from generate_series(1, 7) as n
                    ) as d
                ) as t
                -- In spring one hour is missing: that day has no such half hour.
                where t.instant at time zone 'Europe/London' = t.wall
            ))
            -- An index of zero volume is "no index", not free power.
            and (p.market = 'system' or p.volume_mwh is distinct from 0)
        order by
            p.quality = 'synthetic',
            p.valid_from <> h.valid_from,
            (extract(isodow from p.valid_from at time zone 'Europe/London') > 5)
            <> (extract(isodow from h.valid_from at time zone 'Europe/London') > 5),
            p.valid_from desc,
            -- The imbalance price is another thing and stands in for an index only.
            p.market = 'system',
            p.quality = 'estimated',
            case p.market when 'APXMIDP' then 0 when 'N2EXMIDP' then 1 else 2 end,
            p.market
        limit 1
    ) as p on true
),

capacities as (
    select
        h.run_id, a.region_id, h.valid_from,
        sum(coalesce(
            case
                when h.valid_from >= (a.capacity_by_period ->> 'from')::timestamptz then (
                    a.capacity_by_period -> 'kw' ->> (
                        extract(epoch from
                            h.valid_from - (a.capacity_by_period ->> 'from')::timestamptz
                        ) / 1800
                    )::integer
                )::double precision
            end,
            a.capacity_kw
        )) as capacity_kw
    from half_hours as h
    join public.compute_assets as a using (run_id)
    group by h.run_id, a.region_id, h.valid_from
),

standing as (
    select s.run_id, s.region_id, s.starts_at, s.ends_at, s.power_kw
    from public.workload_schedules as s
    join (
        select workload_id, max(revision) as revision
        from public.workload_schedules group by workload_id
    ) as newest using (workload_id, revision)
    join public.compute_workloads as w on w.id = s.workload_id
    join analytics.run_clock as c on c.run_id = s.run_id
    where c.is_recent
        and w.status not in ('refused', 'cancelled') and s.ends_at > c.opens_at
),

bookings as (
    select s.run_id, s.region_id, half_hour as valid_from, sum(s.power_kw) as booked_kw
    from standing as s
    cross join lateral generate_series(
        date_bin('30 minutes', s.starts_at, timestamptz '2000-01-01 00:00Z'),
        s.ends_at - interval '1 microsecond',
        interval '30 minutes'
    ) as half_hour
    group by s.run_id, s.region_id, half_hour
)

select
    p.run_id, r.region_id, p.valid_from, p.now_at,
    r.forecast_gco2_per_kwh, r.quality,
    p.price_gbp_per_mwh, p.price_quality,
    c.capacity_kw,
    -- greatest() alone would take null (no site) for 0.
    case when c.capacity_kw is not null
        then greatest(c.capacity_kw - coalesce(b.booked_kw, 0), 0)
    end as free_kw
from priced as p
cross join lateral unnest(p.region_ids, p.forecasts, p.qualities)
    as r (region_id, forecast_gco2_per_kwh, quality)
left join capacities as c using (run_id, region_id, valid_from)
left join bookings as b using (run_id, region_id, valid_from);
comment on view analytics.open_half_hours is
    'Each half hour of the next 48 h in each region: newest carbon forecast, price known or '
    'likely, free power of all sites there (null: the run has no site there).';

--------------------------------------------------------------------------------
-- current_grid_status
--------------------------------------------------------------------------------

create materialized view analytics.current_grid_status as
select
    c.run_id,
    c.now_at,
    intensity.valid_from,
    intensity.valid_to,
    intensity.forecast_gco2_per_kwh,
    intensity.intensity_index,
    intensity.quality as intensity_quality,
    outturn.actual_gco2_per_kwh,
    outturn.valid_from as actual_valid_from,
    price.price_gbp_per_mwh,
    price.valid_from as price_valid_from,
    price.market as price_market,
    price.quality as price_quality,
    demand.national_demand_mw,
    demand.valid_from as demand_valid_from,
    forecast.demand_mw as forecast_demand_mw,
    forecast.product as forecast_product,
    mix.renewable_pct,
    mix.zero_carbon_pct,
    mix.generation_mix_pct,
    mix.valid_from as mix_valid_from
from analytics.run_clock as c
left join lateral (
    select i.* from public.carbon_intensity_national as i
    where i.run_id = c.run_id and i.valid_from <= c.now_at and i.valid_to > c.now_at
        -- The half hour itself, and no scan of the run's whole past.
        and i.valid_from > c.now_at - interval '1 day'
        and i.forecast_gco2_per_kwh is not null
    order by case i.quality when 'published' then 0 when 'estimated' then 1 else 2 end
    limit 1
) as intensity on true
left join lateral (
    select i.* from public.carbon_intensity_national as i
    where i.run_id = c.run_id and i.valid_from <= c.now_at and i.actual_gco2_per_kwh is not null
    order by
        i.valid_from desc,
        case i.quality when 'published' then 0 when 'estimated' then 1 else 2 end
    limit 1
) as outturn on true
left join lateral (
    select p.valid_from, p.price_gbp_per_mwh, p.market, p.quality
    from public.wholesale_prices as p
    where p.run_id = c.run_id and p.valid_from <= c.now_at
        and (p.market = 'system' or p.volume_mwh is distinct from 0)
    order by
        p.valid_from desc,
        p.quality = 'synthetic',
        p.market = 'system',
        p.quality = 'estimated',
        case p.market when 'APXMIDP' then 0 when 'N2EXMIDP' then 1 else 2 end,
        p.market
    limit 1
) as price on true
left join lateral (
    select d.valid_from, d.national_demand_mw from public.demand_actual_national as d
    where d.run_id = c.run_id and d.valid_from <= c.now_at and d.national_demand_mw is not null
    order by
        d.valid_from desc,
        case d.quality when 'published' then 0 when 'estimated' then 1 else 2 end,
        d.source
    limit 1
) as demand on true
left join lateral (
    select f.demand_mw, f.product from public.demand_forecast_national as f
    where f.run_id = c.run_id and f.valid_from <= c.now_at and f.valid_to > c.now_at
        and f.valid_from > c.now_at - interval '1 day'
    order by
        case f.quality when 'published' then 0 when 'estimated' then 1 else 2 end,
        f.issued_at desc nulls last, f.product
    limit 1
) as forecast on true
left join lateral (
    select
        newest.valid_from,
        sum(m.generation_pct) filter (where m.fuel in ('wind', 'solar', 'hydro'))
            as renewable_pct,
        sum(m.generation_pct) filter (where m.fuel in ('wind', 'solar', 'hydro', 'nuclear'))
            as zero_carbon_pct,
        jsonb_object_agg(m.fuel, m.generation_pct) as generation_mix_pct
    from (
        select g.source, g.valid_from, g.quality from public.generation_mix_national as g
        where g.run_id = c.run_id and g.valid_from <= c.now_at and g.generation_pct is not null
        order by
            g.valid_from desc,
            case g.quality when 'published' then 0 when 'estimated' then 1 else 2 end,
            g.source
        limit 1
    ) as newest
    join public.generation_mix_national as m
        on m.run_id = c.run_id and m.valid_from = newest.valid_from
        and m.source = newest.source and m.quality = newest.quality
        and m.generation_pct is not null
    group by newest.valid_from
) as mix on true;
create unique index current_grid_status_key on analytics.current_grid_status (run_id);

--------------------------------------------------------------------------------
-- regional_compute_opportunities
--------------------------------------------------------------------------------

create materialized view analytics.regional_compute_opportunities as
with half_hours as (
    select
        *,
        -- The worse the quality, the higher the number: of a stretch the worst counts.
        case quality when 'published' then 0 when 'estimated' then 1 else 2 end as doubt,
        case price_quality when 'published' then 0 when 'estimated' then 1 else 2 end
            as price_doubt
    from analytics.open_half_hours
),

stretches as (
    select
        h.run_id, h.region_id, h.now_at, h.valid_from as starts_at,
        d.periods, d.mean_intensity, d.mean_price, d.free_kw, d.doubt, d.price_doubt
    from (
        select
            run_id, region_id, now_at, valid_from,
            max(valid_from) over w1 as last1, avg(forecast_gco2_per_kwh) over w1 as mean1,
            count(price_gbp_per_mwh) over w1 as prices1, avg(price_gbp_per_mwh) over w1 as price1,
            min(free_kw) over w1 as free1, max(doubt) over w1 as doubt1,
            max(price_doubt) over w1 as price_doubt1, count(*) over w1 as count1,
            max(valid_from) over w2 as last2, avg(forecast_gco2_per_kwh) over w2 as mean2,
            count(price_gbp_per_mwh) over w2 as prices2, avg(price_gbp_per_mwh) over w2 as price2,
            min(free_kw) over w2 as free2, max(doubt) over w2 as doubt2,
            max(price_doubt) over w2 as price_doubt2, count(*) over w2 as count2,
            max(valid_from) over w4 as last4, avg(forecast_gco2_per_kwh) over w4 as mean4,
            count(price_gbp_per_mwh) over w4 as prices4, avg(price_gbp_per_mwh) over w4 as price4,
            min(free_kw) over w4 as free4, max(doubt) over w4 as doubt4,
            max(price_doubt) over w4 as price_doubt4, count(*) over w4 as count4,
            max(valid_from) over w8 as last8, avg(forecast_gco2_per_kwh) over w8 as mean8,
            count(price_gbp_per_mwh) over w8 as prices8, avg(price_gbp_per_mwh) over w8 as price8,
            min(free_kw) over w8 as free8, max(doubt) over w8 as doubt8,
            max(price_doubt) over w8 as price_doubt8, count(*) over w8 as count8
        from half_hours
        window
            place as (partition by run_id, region_id order by valid_from),
            w1 as (place rows between current row and 1 following),
            w2 as (place rows between current row and 3 following),
            w4 as (place rows between current row and 7 following),
            w8 as (place rows between current row and 15 following)
    ) as h
    cross join lateral (values
        (2, count1, last1, mean1, prices1, price1, free1, doubt1, price_doubt1),
        (4, count2, last2, mean2, prices2, price2, free2, doubt2, price_doubt2),
        (8, count4, last4, mean4, prices4, price4, free4, doubt4, price_doubt4),
        (16, count8, last8, mean8, prices8, price8, free8, doubt8, price_doubt8)
    ) as f (
        periods, found, last_from, mean_intensity, prices, price, free_kw, doubt, price_doubt
    )
    cross join lateral (
        select
            f.periods, f.mean_intensity, f.free_kw, f.doubt, f.price_doubt,
            case when f.prices = f.periods then f.price end as mean_price
    ) as d
    -- No gap inside: as many half hours as it takes, and the last where it must be.
    where f.found = f.periods
        and f.last_from = h.valid_from + (f.periods - 1) * interval '30 minutes'
        and (f.free_kw is null or f.free_kw > 0)
),

ranked as (
    select distinct on (s.run_id, s.region_id, s.periods, wanted.objective)
        s.*, wanted.objective
    from stretches as s
    cross join lateral (
        values ('carbon', s.mean_intensity, s.mean_price),
            ('cost', s.mean_price, s.mean_intensity)
    ) as wanted (objective, first_figure, second_figure)
    where wanted.first_figure is not null
    order by
        s.run_id, s.region_id, s.periods, wanted.objective,
        wanted.first_figure, wanted.second_figure nulls last, s.starts_at
)

select
    r.run_id,
    r.region_id,
    g.short_name,
    r.objective,
    r.periods / 2 as duration_hours,
    r.starts_at,
    r.starts_at + r.periods * interval '30 minutes' as ends_at,
    r.mean_intensity as intensity_gco2_per_kwh,
    r.mean_price as price_gbp_per_mwh,
    r.free_kw as free_capacity_kw,
    (array['published', 'estimated', 'synthetic'])[r.doubt + 1] as intensity_quality,
    case when r.mean_price is not null
        then (array['published', 'estimated', 'synthetic'])[r.price_doubt + 1]
    end as price_quality,
    r.now_at
from ranked as r
join public.uk_regions as g using (region_id);
create unique index regional_compute_opportunities_key
    on analytics.regional_compute_opportunities (run_id, region_id, duration_hours, objective);

--------------------------------------------------------------------------------
-- workload_optimization_opportunities
--------------------------------------------------------------------------------

create materialized view analytics.workload_optimization_opportunities as
with standing as (
    select workload_id, max(revision) as revision
    from public.workload_schedules
    group by workload_id
),

-- Work that has begun never moves: only plans that lie ahead as a whole.
ahead as (
    select s.workload_id, s.revision
    from standing
    join public.workload_schedules as s using (workload_id, revision)
    join analytics.run_clock as c using (run_id)
    where c.is_recent
    group by s.workload_id, s.revision
    having min(s.starts_at) > max(c.now_at)
),

plans as (
    select
        s.workload_id,
        min(s.starts_at) as starts_at,
        max(s.ends_at) as ends_at,
        min(s.region_id) as region_id,
        sum(s.energy_kwh) as energy_kwh,
        sum(s.energy_cost_gbp) as energy_cost_gbp,
        -- Today's forecast for what the grid supplies; a window's energy is as agreed.
        sum(coalesce(today.gco2, s.gco2_forecast)) as gco2
    from ahead
    join public.workload_schedules as s using (workload_id, revision)
    left join lateral (
        select sum(
            h.forecast_gco2_per_kwh * s.power_kw * extract(epoch from
                least(s.ends_at, h.valid_from + interval '30 minutes')
                - greatest(s.starts_at, h.valid_from)
            ) / 3600
        ) as gco2
        from (
            select distinct on (i.valid_from) i.valid_from, i.forecast_gco2_per_kwh
            from public.carbon_intensity_regional as i
            where i.run_id = s.run_id and i.region_id = s.region_id
                and i.valid_from > s.starts_at - interval '30 minutes'
                and i.valid_from < s.ends_at
            order by
                i.valid_from,
                case i.quality when 'published' then 0 when 'estimated' then 1 else 2 end
        ) as h
        -- Only when every minute of the segment is covered.
        having sum(
            least(s.ends_at, h.valid_from + interval '30 minutes')
            - greatest(s.starts_at, h.valid_from)
        ) = s.ends_at - s.starts_at
    ) as today on s.window_id is null
    group by s.workload_id
),

unstarted as (
    select *
    from (
        select
            w.run_id, w.id as workload_id, w.agent_name, w.workload_name, w.status,
            w.power_kw, w.duration_min, w.deadline, w.allowed_regions, c.now_at,
            greatest(w.earliest_start, c.opens_at) as may_start,
            (w.duration_min + 29) / 30 as periods,
            coalesce(p.energy_kwh, w.power_kw * w.duration_min / 60.0) as energy_kwh,
            p.starts_at as booked_starts_at, p.ends_at as booked_ends_at,
            p.region_id as booked_region_id, p.gco2 as booked_gco2,
            p.energy_cost_gbp as booked_cost_gbp,
            row_number() over (
                partition by w.run_id order by w.power_kw * w.duration_min desc, w.id
            ) as place
        from public.compute_workloads as w
        join analytics.run_clock as c using (run_id)
        left join standing as s on s.workload_id = w.id
        left join plans as p on p.workload_id = w.id
        where c.is_recent
            and w.status in ('submitted', 'registered', 'awarded')
            and w.deadline > c.now_at
            and (s.workload_id is null or p.workload_id is not null)
    ) as every_one
    where place <= 2000
),

-- Sums and minima of any stretch from what is worked out once a half hour: a running sum, and
-- the least free power of the 1, 2, 4 … 64 half hours that follow and that precede (any stretch
-- is covered by two of these).
half_hours as materialized (
    select
        run_id, region_id, valid_from,
        forecast_gco2_per_kwh, price_gbp_per_mwh,
        sum(forecast_gco2_per_kwh) over place as intensity_until,
        sum(price_gbp_per_mwh) over place as price_until,
        count(price_gbp_per_mwh) over place as prices_until,
        array[
            free_kw, min(free_kw) over next2, min(free_kw) over next4, min(free_kw) over next8,
            min(free_kw) over next16, min(free_kw) over next32, min(free_kw) over next64
        ] as free_next,
        array[
            free_kw, min(free_kw) over last2, min(free_kw) over last4, min(free_kw) over last8,
            min(free_kw) over last16, min(free_kw) over last32, min(free_kw) over last64
        ] as free_last
    from analytics.open_half_hours
    window
        place as (partition by run_id, region_id order by valid_from),
        next2 as (place rows between current row and 1 following),
        next4 as (place rows between current row and 3 following),
        next8 as (place rows between current row and 7 following),
        next16 as (place rows between current row and 15 following),
        next32 as (place rows between current row and 31 following),
        next64 as (place rows between current row and 63 following),
        last2 as (place rows between 1 preceding and current row),
        last4 as (place rows between 3 preceding and current row),
        last8 as (place rows between 7 preceding and current row),
        last16 as (place rows between 15 preceding and current row),
        last32 as (place rows between 31 preceding and current row),
        last64 as (place rows between 63 preceding and current row)
),

places as materialized (
    select
        run_id, region_id,
        array_agg(valid_from order by valid_from) as starts,
        array_agg(forecast_gco2_per_kwh order by valid_from) as intensities,
        array_agg(intensity_until order by valid_from) as intensities_until,
        array_agg(price_gbp_per_mwh order by valid_from) as prices,
        array_agg(price_until order by valid_from) as prices_until,
        array_agg(prices_until order by valid_from) as price_counts,
        array_agg(free_next order by valid_from) as free_next,
        array_agg(free_last order by valid_from) as free_last
    from half_hours
    group by run_id, region_id
),

slots as materialized (
    select
        p.run_id, d.periods, p.region_id, p.starts[a.i] as starts_at,
        (p.intensities_until[z.i] - p.intensities_until[a.i] + p.intensities[a.i]) / d.periods
            as intensity,
        case
            when p.prices[a.i] is not null
                and p.price_counts[z.i] - p.price_counts[a.i] + 1 = d.periods
            then (p.prices_until[z.i] - p.prices_until[a.i] + p.prices[a.i]) / d.periods
        end as price,
        least(p.free_next[a.i][d.half], p.free_last[z.i][d.half]) as free_kw
    from (
        select distinct
            run_id, periods,
            -- Of 1, 2, 4 … 64 the longest that fits in.
            width_bucket(periods, array[1, 2, 4, 8, 16, 32, 64]) as half
        from unstarted
    ) as d
    join places as p using (run_id)
    cross join lateral generate_series(1, cardinality(p.starts) - d.periods + 1) as a (i)
    cross join lateral (select a.i + d.periods - 1 as i) as z
    -- No gap inside.
    where p.starts[z.i] = p.starts[a.i] + (d.periods - 1) * interval '30 minutes'
),

best as (
    select
        u.workload_id,
        -- Arrays compare element by element: least carbon, then earliest, then region.
        min(array[
            s.intensity, extract(epoch from s.starts_at)::double precision,
            s.region_id::double precision, s.price
        ]) as slot
    from unstarted as u
    join slots as s
        on s.run_id = u.run_id and s.periods = u.periods
        and s.region_id = any (u.allowed_regions)
        and s.starts_at >= u.may_start
        and s.starts_at + s.periods * interval '30 minutes' <= u.deadline
        and s.free_kw >= u.power_kw
    group by u.workload_id
)

select
    u.run_id,
    u.workload_id,
    u.agent_name,
    u.workload_name,
    u.status,
    u.power_kw,
    u.duration_min,
    u.deadline,
    u.booked_region_id,
    u.booked_starts_at,
    u.booked_ends_at,
    u.booked_gco2,
    u.booked_cost_gbp,
    b.slot[3]::smallint as best_region_id,
    to_timestamp(b.slot[2]) as best_starts_at,
    to_timestamp(b.slot[2]) + u.periods * interval '30 minutes' as best_ends_at,
    b.slot[1] * u.energy_kwh as best_gco2,
    b.slot[4] * u.energy_kwh / 1000 as best_cost_gbp,
    -- Rounded: the two sums are taken in different order, and equal slots must give zero.
    case when u.booked_gco2 is not null and b.slot is not null then
        greatest(round((u.booked_gco2 - b.slot[1] * u.energy_kwh)::numeric, 3), 0)::double precision
    end as avoidable_gco2,
    u.now_at
from unstarted as u
left join best as b using (workload_id);
create unique index workload_optimization_opportunities_key
    on analytics.workload_optimization_opportunities (run_id, workload_id);

--------------------------------------------------------------------------------
-- latest_grid_conditions
--------------------------------------------------------------------------------

create materialized view analytics.latest_grid_conditions as
with zones as (
    select run_id, zone_code from public.grid_zones
    union
    select run_id, zone_code from public.grid_snapshots
),

open_windows as (
    select
        w.run_id, w.zone_code, w.item_id, w.starts_at, w.ends_at, w.capacity_kw,
        w.intensity_gco2_per_kwh, w.state, o.price_per_kwh, o.currency
    from public.compute_windows as w
    join analytics.run_clock as c using (run_id)
    left join lateral (
        select f.price_per_kwh, f.currency from public.offers as f
        where f.window_id = w.id order by f.price_per_kwh, f.offer_id limit 1
    ) as o on true
    where w.ends_at > c.now_at and w.state in ('offered', 'selected', 'changed')
),

windows as (
    select
        run_id, zone_code,
        count(*) as open_windows,
        min(starts_at) as next_window_starts_at,
        sum(capacity_kw) as open_capacity_kw,
        jsonb_agg(
            jsonb_build_object(
                'item_id', item_id, 'starts_at', starts_at, 'ends_at', ends_at,
                'capacity_kw', capacity_kw, 'intensity_gco2_per_kwh', intensity_gco2_per_kwh,
                'state', state, 'price_per_kwh', price_per_kwh, 'currency', currency
            ) order by starts_at, item_id
        ) as windows
    from open_windows
    group by run_id, zone_code
)

select
    z.run_id,
    z.zone_code,
    g.area,
    g.region_id,
    s.observed_at,
    s.renewable_pct,
    s.intensity_gco2_per_kwh,
    s.frequency_hz,
    s.quality,
    coalesce(w.open_windows, 0) as open_windows,
    w.next_window_starts_at,
    w.open_capacity_kw,
    w.windows,
    c.now_at
from zones as z
join analytics.run_clock as c using (run_id)
left join public.grid_zones as g using (run_id, zone_code)
left join lateral (
    select
        n.observed_at, n.renewable_pct, n.intensity_gco2_per_kwh, n.frequency_hz, n.quality
    from public.grid_snapshots as n
    where n.run_id = z.run_id and n.zone_code = z.zone_code and n.observed_at <= c.now_at
    order by
        n.observed_at desc,
        case n.quality when 'published' then 0 when 'estimated' then 1 else 2 end
    limit 1
) as s on true
left join windows as w using (run_id, zone_code);
create unique index latest_grid_conditions_key
    on analytics.latest_grid_conditions (run_id, zone_code);
