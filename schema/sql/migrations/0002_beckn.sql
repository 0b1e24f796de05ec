-- Beckn compute-energy: grid zones, windows of limited energy, their offers, snapshots of a
-- zone's condition, and every message sent or received.

create table public.grid_zones (
    zone_code text not null check (char_length(zone_code) between 1 and 256),
    area text check (char_length(area) between 1 and 256),
    region_id smallint check (region_id between 1 and 14) references public.uk_regions (region_id),
    geometry jsonb check (jsonb_typeof(geometry) = 'object'),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint grid_zones_key unique (run_id, zone_code)
);
create index grid_zones_by_region on public.grid_zones (region_id);
comment on table public.grid_zones is
    'Grid zones of the Beckn catalogue. Anyone may read.';
comment on column public.grid_zones.zone_code is 'Code as the provider writes it.';
comment on column public.grid_zones.area is 'Name of the area the zone lies in.';
comment on column public.grid_zones.region_id is
    'Distribution area we could map it to; null: windows of this zone cannot be used.';
comment on column public.grid_zones.geometry is 'GeoJSON as published.';

create table public.compute_windows (
    bpp_id text not null check (char_length(bpp_id) between 1 and 256),
    item_id text not null check (char_length(item_id) between 1 and 256),
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    zone_code text not null check (char_length(zone_code) between 1 and 256),
    capacity_kw double precision not null check (capacity_kw between 0 and 1e8),
    intensity_gco2_per_kwh double precision check (intensity_gco2_per_kwh between 0 and 1000),
    renewable_pct double precision check (renewable_pct between 0 and 100),
    state text not null default 'offered'
        check (state in ('offered', 'selected', 'booked', 'refused', 'changed', 'unusable')),
    state_reason text check (char_length(state_reason) <= 4096),
    name text check (char_length(name) <= 4096),
    slot_id text check (char_length(slot_id) between 1 and 256),
    reservation_required boolean,
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    zone_id uuid not null references public.grid_zones (id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint compute_windows_key unique (run_id, bpp_id, item_id, starts_at),
    constraint compute_windows_ends_after_start check (starts_at < ends_at)
);
create index compute_windows_by_zone on public.compute_windows (zone_id);
create index compute_windows_by_time on public.compute_windows (run_id, starts_at);
comment on table public.compute_windows is
    'Stretches of limited cheap or clean energy that a provider offers to compute. Anyone may '
    'read.';
comment on column public.compute_windows.item_id is 'The provider''s id of the item.';
comment on column public.compute_windows.starts_at is
    'Start, included; dated by us when the provider gives a time of day only.';
comment on column public.compute_windows.ends_at is 'End, excluded.';
comment on column public.compute_windows.capacity_kw is 'Power on offer, kW.';
comment on column public.compute_windows.intensity_gco2_per_kwh is
    'Carbon intensity of its energy, gCO2/kWh.';
comment on column public.compute_windows.renewable_pct is 'Renewable share of its energy, percent.';
comment on column public.compute_windows.state is
    'offered, selected, booked (by us), refused (NACK), changed (by the provider) or unusable.';
comment on column public.compute_windows.state_reason is 'Why it is in that state.';
comment on column public.compute_windows.name is 'Name as published.';
comment on column public.compute_windows.slot_id is 'The provider''s id of the time slot.';
comment on column public.compute_windows.reservation_required is
    'Whether it must be booked before use.';
comment on column public.compute_windows.zone_id is 'Row of its zone in grid_zones.';

create table public.offers (
    bpp_id text not null check (char_length(bpp_id) between 1 and 256),
    offer_id text not null check (char_length(offer_id) between 1 and 256),
    item_id text not null check (char_length(item_id) between 1 and 256),
    window_starts_at timestamptz not null,
    price_per_kwh double precision not null check (price_per_kwh between -100 and 1000),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    price_stability text check (char_length(price_stability) between 1 and 256),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    window_id uuid not null references public.compute_windows (id) on delete cascade,
    version bigint not null default 0 check (version >= 0),
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint offers_key unique (run_id, bpp_id, offer_id, item_id, window_starts_at)
);
create index offers_by_window on public.offers (window_id);
comment on table public.offers is 'A provider''s price for one window. Anyone may read.';
comment on column public.offers.offer_id is 'The provider''s id of the offer.';
comment on column public.offers.item_id is 'The provider''s id of the item it prices.';
comment on column public.offers.window_starts_at is 'Start of the window it prices.';
comment on column public.offers.price_per_kwh is
    'Price of one kWh in the provider''s currency; below zero: the buyer is paid.';
comment on column public.offers.currency is 'ISO 4217 code as published; never converted.';
comment on column public.offers.price_stability is 'How firm the price is, as published.';
comment on column public.offers.window_id is 'Row of its window in compute_windows.';

create table public.grid_snapshots (
    zone_code text not null check (char_length(zone_code) between 1 and 256),
    observed_at timestamptz not null,
    renewable_pct double precision check (renewable_pct between 0 and 100),
    intensity_gco2_per_kwh double precision check (intensity_gco2_per_kwh between 0 and 1000),
    frequency_hz double precision check (frequency_hz between 45 and 55),
    quality text not null default 'published'
        check (quality in ('published', 'estimated', 'synthetic')),
    source text not null default 'beckn' check (char_length(source) between 1 and 256),
    changes jsonb check (jsonb_typeof(changes) = 'object'),
    reason text check (char_length(reason) <= 4096),
    seed bigint check (seed >= 0),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    retrieved_at timestamptz,
    recorded_at timestamptz not null default now(),
    constraint grid_snapshots_key unique (run_id, zone_code, observed_at, quality)
);
comment on table public.grid_snapshots is
    'Condition of a zone at one moment, as a provider reported it. Anyone may read.';
comment on column public.grid_snapshots.observed_at is 'The moment it describes.';
comment on column public.grid_snapshots.renewable_pct is 'Renewable share, percent.';
comment on column public.grid_snapshots.intensity_gco2_per_kwh is 'Carbon intensity, gCO2/kWh.';
comment on column public.grid_snapshots.frequency_hz is 'Grid frequency, Hz.';
comment on column public.grid_snapshots.changes is 'What an on_update said has changed.';

create table public.beckn_transactions (
    action text not null check (char_length(action) between 1 and 256),
    direction text not null check (direction in ('sent', 'received')),
    occurred_at timestamptz not null,
    ack_status text check (char_length(ack_status) between 1 and 256),
    status text check (char_length(status) between 1 and 256),
    order_id text check (char_length(order_id) between 1 and 256),
    agent_name text check (char_length(agent_name) between 1 and 256),
    bpp_id text check (char_length(bpp_id) between 1 and 256),
    error jsonb check (jsonb_typeof(error) = 'object'),
    transaction_id text not null check (char_length(transaction_id) between 1 and 256),
    message_id text not null check (char_length(message_id) between 1 and 256),
    body jsonb not null check (jsonb_typeof(body) = 'object'),
    id uuid primary key,
    run_id uuid not null references public.scenario_runs (run_id) on delete cascade,
    recorded_at timestamptz not null default now(),
    constraint beckn_transactions_key
        unique (run_id, transaction_id, message_id, action, direction)
);
create index beckn_transactions_by_time on public.beckn_transactions (run_id, occurred_at);
comment on table public.beckn_transactions is
    'Every Beckn message sent or received, with its raw body. Service role only: orders are '
    'between us and a provider.';
comment on column public.beckn_transactions.action is
    'discover, select, on_select, init, on_init, confirm, on_confirm, on_update, …';
comment on column public.beckn_transactions.direction is 'sent or received.';
comment on column public.beckn_transactions.occurred_at is
    'When it was sent or received, by the run''s clock.';
comment on column public.beckn_transactions.ack_status is 'ACK or NACK of the other side.';
comment on column public.beckn_transactions.status is 'State of the order, as the message says.';
comment on column public.beckn_transactions.order_id is 'The provider''s id of the order.';
comment on column public.beckn_transactions.agent_name is
    'The compute agent (organisation) the order is for.';
comment on column public.beckn_transactions.error is 'The error of a NACK, as received.';
comment on column public.beckn_transactions.transaction_id is
    'Ties the messages of one order together.';
comment on column public.beckn_transactions.message_id is 'Ties a request and its reply together.';
comment on column public.beckn_transactions.body is 'The message as sent or received.';

call gridpact.protect_table('grid_zones', p_versioned => true, p_public => true);
call gridpact.protect_table('compute_windows', p_versioned => true, p_public => true);
call gridpact.protect_table('offers', p_versioned => true, p_public => true);
call gridpact.protect_table('grid_snapshots', p_public => true);
call gridpact.protect_table('beckn_transactions');
call gridpact.hide_table('beckn_transactions');

call gridpact.describe_common_columns();
