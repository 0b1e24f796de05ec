-- The grid's state: carbon intensity, generation mix, demand. All figures are means over their
-- half hour; forecasts and outturns are revised, and carry a rising version.

create table public.carbon_intensity_national (
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    forecast_gco2_per_kwh double precision check (forecast_gco2_per_kwh between 0 and 1000),
    actual_gco2_per_kwh double precision check (actual_gco2_per_kwh between 0 and 1000),
    intensity_index text check (char_length(intensity_index) between 1 and 256),
    quality text not null default 'published'
        check (quality in ('published', 'estimated', 'synthetic')),
    source text not null check (char_length(source) between 1 and 256),
    issued_at timestamptz,
    reason text check (char_length(reason) <= 4096),
    seed bigint check (seed >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint carbon_intensity_national_key unique (run_id, valid_from, quality),
    constraint carbon_intensity_national_ends_after_start check (valid_from < valid_to)
);
comment on table public.carbon_intensity_national is
    'National carbon intensity of each half hour, forecast and outturn in one row. Anyone may '
    'read.';
comment on column public.carbon_intensity_national.forecast_gco2_per_kwh is
    'Forecast average intensity of the electricity used, gCO2/kWh.';
comment on column public.carbon_intensity_national.actual_gco2_per_kwh is
    'Outturn, gCO2/kWh; null until it is published.';
comment on column public.carbon_intensity_national.intensity_index is
    'Band as received: very low, low, moderate, high or very high.';

create table public.carbon_intensity_regional (
    region_id smallint not null check (region_id between 1 and 14),
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    forecast_gco2_per_kwh double precision not null
        check (forecast_gco2_per_kwh between 0 and 1000),
    intensity_index text check (char_length(intensity_index) between 1 and 256),
    quality text not null default 'published'
        check (quality in ('published', 'estimated', 'synthetic')),
    source text not null check (char_length(source) between 1 and 256),
    issued_at timestamptz,
    reason text check (char_length(reason) <= 4096),
    seed bigint check (seed >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- Time before region: questions ask for a stretch of time, and rows arrive in that order.
    constraint carbon_intensity_regional_key unique (run_id, valid_from, region_id, quality),
    constraint carbon_intensity_regional_ends_after_start check (valid_from < valid_to)
);
comment on table public.carbon_intensity_regional is
    'Forecast carbon intensity of each distribution area and half hour. Regional outturns are '
    'never published. Anyone may read.';
comment on column public.carbon_intensity_regional.forecast_gco2_per_kwh is
    'Forecast average intensity of the electricity used there, gCO2/kWh.';
comment on column public.carbon_intensity_regional.intensity_index is
    'Band as received: very low, low, moderate, high or very high.';

create table public.generation_mix_national (
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    fuel text not null check (char_length(fuel) between 1 and 256),
    generation_pct double precision check (generation_pct between 0 and 100),
    generation_mw double precision check (generation_mw between -50000 and 200000),
    quality text not null default 'published'
        check (quality in ('published', 'estimated', 'synthetic')),
    source text not null check (char_length(source) between 1 and 256),
    issued_at timestamptz,
    reason text check (char_length(reason) <= 4096),
    seed bigint check (seed >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint generation_mix_national_key unique (run_id, valid_from, source, fuel, quality),
    constraint generation_mix_national_ends_after_start check (valid_from < valid_to)
);
comment on table public.generation_mix_national is
    'Share of each fuel in national generation. Anyone may read.';
comment on column public.generation_mix_national.fuel is 'Fuel, in our spelling.';
comment on column public.generation_mix_national.generation_pct is
    'Share of generation, percent; null where the source gives only MW, or below zero.';
comment on column public.generation_mix_national.generation_mw is
    'Power, MW; below zero is pumping or export. Null where the source gives only shares.';

create table public.generation_mix_regional (
    region_id smallint not null check (region_id between 1 and 14),
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    fuel text not null check (char_length(fuel) between 1 and 256),
    generation_pct double precision not null check (generation_pct between 0 and 100),
    quality text not null default 'published'
        check (quality in ('published', 'estimated', 'synthetic')),
    source text not null check (char_length(source) between 1 and 256),
    issued_at timestamptz,
    reason text check (char_length(reason) <= 4096),
    seed bigint check (seed >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint generation_mix_regional_key
        unique (run_id, valid_from, source, region_id, fuel, quality),
    constraint generation_mix_regional_ends_after_start check (valid_from < valid_to)
);
comment on table public.generation_mix_regional is
    'Share of each fuel in the electricity used in each distribution area. Anyone may read.';
comment on column public.generation_mix_regional.fuel is 'Fuel, in our spelling.';
comment on column public.generation_mix_regional.generation_pct is
    'Share of the electricity used, percent.';

create table public.demand_forecast_national (
    product text not null check (char_length(product) between 1 and 256),
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    demand_mw double precision not null check (demand_mw between 0 and 200000),
    point text check (char_length(point) between 1 and 256),
    quality text not null default 'published'
        check (quality in ('published', 'estimated', 'synthetic')),
    source text not null check (char_length(source) between 1 and 256),
    issued_at timestamptz,
    reason text check (char_length(reason) <= 4096),
    seed bigint check (seed >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint demand_forecast_national_key unique (run_id, valid_from, product, quality),
    constraint demand_forecast_national_ends_after_start check (valid_from < valid_to)
);
comment on table public.demand_forecast_national is
    'Forecasts of national demand, from day-ahead to 14 days. Anyone may read.';
comment on column public.demand_forecast_national.product is 'The series and its horizon.';
comment on column public.demand_forecast_national.demand_mw is 'Forecast demand, MW.';
comment on column public.demand_forecast_national.point is
    'Name of the turning point of the day, for products that give those and no half hours; '
    'valid_from to valid_to is the stretch it stands for.';

create table public.demand_actual_national (
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    national_demand_mw double precision check (national_demand_mw between 0 and 200000),
    transmission_demand_mw double precision check (transmission_demand_mw between 0 and 200000),
    england_wales_demand_mw double precision check (england_wales_demand_mw between 0 and 200000),
    embedded_wind_mw double precision check (embedded_wind_mw between 0 and 200000),
    embedded_wind_capacity_mw double precision
        check (embedded_wind_capacity_mw between 0 and 200000),
    embedded_solar_mw double precision check (embedded_solar_mw between 0 and 200000),
    embedded_solar_capacity_mw double precision
        check (embedded_solar_capacity_mw between 0 and 200000),
    non_bm_stor_mw double precision check (non_bm_stor_mw between -50000 and 200000),
    pump_storage_pumping_mw double precision check (pump_storage_pumping_mw between 0 and 200000),
    scottish_transfer_mw double precision check (scottish_transfer_mw between -50000 and 200000),
    interconnector_flows_mw jsonb
        check (jsonb_typeof(interconnector_flows_mw) = 'object')
        constraint demand_actual_national_interconnector_flows_bounds check (
            not jsonb_path_exists(
                interconnector_flows_mw,
                '$.* ? (@.type() != "number" || @ < -50000 || @ > 200000)'
            )
        ),
    quality text not null default 'published'
        check (quality in ('published', 'estimated', 'synthetic')),
    source text not null check (char_length(source) between 1 and 256),
    issued_at timestamptz,
    reason text check (char_length(reason) <= 4096),
    seed bigint check (seed >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint demand_actual_national_key unique (run_id, valid_from, source, quality),
    constraint demand_actual_national_ends_after_start check (valid_from < valid_to)
);
comment on table public.demand_actual_national is
    'Outturn of national demand of each half hour. Anyone may read.';
comment on column public.demand_actual_national.national_demand_mw is
    'National demand (ND / INDO): without station load, pumping and exports, MW.';
comment on column public.demand_actual_national.transmission_demand_mw is
    'Transmission system demand (TSD / ITSDO): with station load, pumping and exports, MW.';
comment on column public.demand_actual_national.england_wales_demand_mw is
    'England and Wales demand, MW.';
comment on column public.demand_actual_national.embedded_wind_mw is
    'Estimated wind generation inside the distribution networks, MW.';
comment on column public.demand_actual_national.embedded_wind_capacity_mw is
    'Capacity behind that figure, MW.';
comment on column public.demand_actual_national.embedded_solar_mw is
    'Estimated solar generation inside the distribution networks, MW.';
comment on column public.demand_actual_national.embedded_solar_capacity_mw is
    'Capacity behind that figure, MW.';
comment on column public.demand_actual_national.non_bm_stor_mw is
    'Short-term operating reserve outside the balancing mechanism, MW.';
comment on column public.demand_actual_national.pump_storage_pumping_mw is
    'Demand of pumped storage, MW.';
comment on column public.demand_actual_national.scottish_transfer_mw is
    'Flow from Scotland to England, MW; below zero is southern power going north.';
comment on column public.demand_actual_national.interconnector_flows_mw is
    'Flow of each interconnector, MW; positive is import to Great Britain.';

create table public.demand_regional (
    area text not null check (char_length(area) between 1 and 256),
    region_id smallint check (region_id between 1 and 14),
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    demand_mw double precision not null check (demand_mw between 0 and 200000),
    method text check (char_length(method) <= 4096),
    quality text not null default 'published'
        check (quality in ('published', 'estimated', 'synthetic')),
    source text not null check (char_length(source) between 1 and 256),
    issued_at timestamptz,
    reason text check (char_length(reason) <= 4096),
    seed bigint check (seed >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint demand_regional_key unique (run_id, valid_from, area, quality),
    constraint demand_regional_ends_after_start check (valid_from < valid_to),
    constraint demand_regional_area_names_region
        check (region_id is null or area = 'region-' || region_id::text)
);
comment on table public.demand_regional is
    'Demand of a distribution area, or of another boundary the source reports. Anyone may read.';
comment on column public.demand_regional.area is
    'region-N for distribution area N, else the source''s name of the boundary.';
comment on column public.demand_regional.region_id is
    'Distribution area, 1 to 14: see uk_regions; null for another boundary.';
comment on column public.demand_regional.demand_mw is 'Demand, MW.';
comment on column public.demand_regional.method is
    'How an estimate was made where only a share of the national figure is known.';

call gridpact.protect_table('carbon_intensity_national', p_versioned => true, p_public => true);
call gridpact.protect_table('carbon_intensity_regional', p_versioned => true, p_public => true);
call gridpact.protect_table('generation_mix_national', p_versioned => true, p_public => true);
call gridpact.protect_table('generation_mix_regional', p_versioned => true, p_public => true);
call gridpact.protect_table('demand_forecast_national', p_versioned => true, p_public => true);
call gridpact.protect_table('demand_actual_national', p_versioned => true, p_public => true);
call gridpact.protect_table('demand_regional', p_versioned => true, p_public => true);

call gridpact.describe_common_columns();
