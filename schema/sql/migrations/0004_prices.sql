-- Prices: wholesale and flexibility services.

create table public.wholesale_prices (
    market text not null check (char_length(market) between 1 and 256),
    valid_from timestamptz not null,
    valid_to timestamptz not null,
    price_gbp_per_mwh double precision not null
        check (price_gbp_per_mwh between -100000 and 100000),
    volume_mwh double precision check (volume_mwh between -1000000 and 1000000),
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
    constraint wholesale_prices_key unique (run_id, valid_from, market, quality),
    constraint wholesale_prices_ends_after_start check (valid_from < valid_to)
);
comment on table public.wholesale_prices is
    'Price of each half hour on a market. Anyone may read.';
comment on column public.wholesale_prices.market is
    'Provider of the market index (APXMIDP, N2EXMIDP), or system for the imbalance price.';
comment on column public.wholesale_prices.price_gbp_per_mwh is
    'Price, GBP/MWh; negative prices are real.';
comment on column public.wholesale_prices.volume_mwh is
    'Traded volume, MWh; for the system price the net imbalance, positive when the system is '
    'short.';

create table public.flexibility_prices (
    service text not null check (char_length(service) between 1 and 256),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    direction text not null check (direction in ('up', 'down')),
    price double precision not null check (price between -100000 and 100000),
    unit text not null check (char_length(unit) between 1 and 256),
    volume_mw double precision check (volume_mw between 0 and 200000),
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
    constraint flexibility_prices_key
        unique (run_id, service, starts_at, ends_at, direction, quality),
    constraint flexibility_prices_ends_after_start check (starts_at < ends_at)
);
comment on table public.flexibility_prices is
    'Published prices of flexibility services (DFS, EAC). Anyone may read.';
comment on column public.flexibility_prices.service is 'Name of the service.';
comment on column public.flexibility_prices.starts_at is 'Start of delivery, included.';
comment on column public.flexibility_prices.ends_at is 'End of delivery, excluded.';
comment on column public.flexibility_prices.direction is
    'up or down: which way the service moves power.';
comment on column public.flexibility_prices.price is 'Price in the unit beside it.';
comment on column public.flexibility_prices.unit is 'Unit as published; never converted.';
comment on column public.flexibility_prices.volume_mw is 'Accepted volume, MW.';

call gridpact.protect_table('wholesale_prices', p_versioned => true, p_public => true);
call gridpact.protect_table('flexibility_prices', p_versioned => true, p_public => true);

call gridpact.describe_common_columns();
