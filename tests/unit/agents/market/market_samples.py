"""Small markets and workloads for the tests of the market, and their answers in plain Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from agents.core.market.fleet import Fleet
from agents.core.market.instances import Instance, Trace, make_instance
from agents.core.market.order import groups_of, workload_keys
from agents.core.market.problem import GRID, Market, Window, build_market
from agents.core.market.units import NANO, Floats, Ints, Q

#: Delay cost of 0.01 GBP per kWh and half hour, in the market's units.
OMEGA = round(0.01 * Q)


@dataclass(frozen=True, slots=True)
class Work:
    """One workload; periods count from the horizon's start."""

    power_w: int
    duration: int
    earliest: int
    deadline: int
    sites: tuple[int, ...]
    apart: bool = False
    omega_q: int = 0
    refusal_gbp: float = 100.0
    release: int | None = None
    accepted: bool = False
    name: str = ""


def fleet_of(organisation: str, works: Sequence[Work], sites: int) -> Fleet:
    """Give workloads as the market wants them; unnamed ones are numbered."""
    names = tuple(work.name or f"w{number:05d}" for number, work in enumerate(works))
    masks = np.zeros((len(works), sites), np.bool_)
    for row, work in enumerate(works):
        masks[row, list(work.sites)] = True
    kinds, kind = np.unique(masks, axis=0, return_inverse=True)
    return Fleet(
        organisation=organisation,
        names=names,
        key=workload_keys(organisation, names),
        power_w=_ints(work.power_w for work in works),
        duration=_ints(work.duration for work in works),
        earliest=_ints(work.earliest for work in works),
        deadline=_ints(work.deadline for work in works),
        release=_ints(work.earliest if work.release is None else work.release for work in works),
        masks=kinds,
        mask=kind.reshape(-1).astype(np.int64),
        home=_ints(work.sites[0] if work.sites else 0 for work in works),
        interruptible=np.array([work.apart for work in works], np.bool_),
        omega_q=_ints(work.omega_q for work in works),
        refusal_nano=_ints(round(work.refusal_gbp * NANO) for work in works),
        accepted=np.array([work.accepted for work in works], np.bool_),
    )


def market_of_prices(
    price_gbp_per_kwh: Floats,
    capacity_kw: Floats | float,
    *,
    regions: Sequence[int] | None = None,
    windows: Sequence[Window] = (),
) -> Market:
    """Give a market with these values of energy [S, T]; a region a site unless said."""
    sites = price_gbp_per_kwh.shape[0]
    return build_market(
        [f"site-{site}" for site in range(sites)],
        list(range(1, sites + 1)) if regions is None else regions,
        price_gbp_per_mwh=1000.0 * price_gbp_per_kwh,
        intensity_gco2_per_kwh=np.zeros(price_gbp_per_kwh.shape),
        capacity_kw=np.broadcast_to(capacity_kw, price_gbp_per_kwh.shape),
        windows=windows,
    )


def window(
    region: int, first: int, last: int, price: float, capacity_kw: float, name: str = "w"
) -> Window:
    """Give a window without carbon."""
    return Window(f"{name}-{region}-{first}", region, first, last, price, 0.0, capacity_kw)


def names_in_group(organisation: str, group: int, count: int) -> list[str]:
    """Find names whose keys fall into one of the eight groups."""
    candidates = [f"n{number}" for number in range(200 * count)]
    found = np.flatnonzero(groups_of(workload_keys(organisation, candidates)) == group)
    return [candidates[at] for at in found[:count].tolist()]


def _ints(values: Iterable[int]) -> Ints:
    return np.array(list(values), dtype=np.int64)


# -- random ones -------------------------------------------------------------------------------


@st.composite
def markets(draw: st.DrawFn, *, with_windows: bool = True) -> Market:
    """Draw one to four sites in one to three regions over two to ten half hours."""
    sites = draw(st.integers(1, 4))
    periods = draw(st.integers(2, 10))
    regions = sorted(draw(st.lists(st.integers(1, 3), min_size=sites, max_size=sites)))
    # Steps of a penny make equal prices common, below zero too.
    pennies = st.integers(-5, 30)
    by_region = {
        region: draw(st.lists(pennies, min_size=periods, max_size=periods))
        for region in sorted(set(regions))
    }
    watts = st.sampled_from([0, 400, 1000, 1500, 5000])
    capacity = draw(
        st.lists(
            st.lists(watts, min_size=periods, max_size=periods), min_size=sites, max_size=sites
        )
    )
    offered = st.builds(
        window,
        region=st.sampled_from(regions),
        first=st.integers(0, periods - 1),
        last=st.integers(1, periods),
        price=st.integers(-10, 30).map(lambda penny: penny / 100.0),
        capacity_kw=st.sampled_from([0.2, 1.0, 1.2, 4.0]),
    )
    return market_of_prices(
        np.array([by_region[region] for region in regions]) / 100.0,
        np.array(capacity) / 1000.0,
        regions=regions,
        windows=draw(st.lists(offered, max_size=4)) if with_windows else (),
    )


@st.composite
def work_for(draw: st.DrawFn, market: Market) -> Work:
    """Draw a workload that fits the horizon."""
    periods, sites = market.periods, market.site_count
    earliest = draw(st.integers(0, periods - 1))
    deadline = draw(st.integers(earliest + 1, periods))
    return Work(
        power_w=draw(st.sampled_from([1, 300, 400, 401, 1000, 1500, 2000, 6000])),
        # Few durations, so that runs of rows share tables.
        duration=min(draw(st.integers(1, 3)), deadline - earliest),
        earliest=earliest,
        deadline=deadline,
        sites=tuple(sorted(draw(st.sets(st.integers(0, sites - 1))))),
        apart=draw(st.booleans()),
        omega_q=draw(st.sampled_from([0, 0, 1, OMEGA, 7 * OMEGA])),
        refusal_gbp=draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 100.0])),
        release=earliest - draw(st.integers(0, 5)),
    )


def tables_for(market: Market, seed: int) -> tuple[Ints, Ints]:
    """Draw congestion prices [S, T], many of them 0, and supply prices within their limits."""
    random = np.random.default_rng(seed)
    mu = random.integers(0, 4, market.grid_q.shape) * random.integers(0, 2, market.grid_q.shape)
    grid = market.area_grid_q()
    low = grid.copy()
    np.minimum.at(low, (market.slot_area, market.slot_period), market.slot_q)
    part = random.integers(0, 5, grid.shape)
    return mu * (Q // 100), low + (grid - low) * part // 4


# -- answers in plain Python -------------------------------------------------------------------


def unit_price(
    market: Market, work: Work, site: int, period: int, mu_q: Ints, supply_q: Ints
) -> int | None:
    """Give the price of one half hour as announced; None where the workload can never run."""
    if int(market.capacity_w[site, period]) < work.power_w:
        return None
    energy = int(market.grid_q[site, period])
    for index, offered in enumerate(market.windows):
        here = offered.region_id == int(market.region_id[site])
        if (
            here
            and offered.first <= period < offered.last
            and int(market.window_w[index]) >= work.power_w
        ):
            announced = int(supply_q[int(market.area[site]), period])
            energy = min(energy, max(int(market.window_q[index]), announced))
    return energy + int(mu_q[site, period])


def places_of(
    market: Market, work: Work, mu_q: Ints, supply_q: Ints
) -> list[tuple[int, int, int, tuple[int, ...]]]:
    """List what each place costs: price sum with delay, first period, site, periods.

    Of an interruptible workload only the cheapest periods of each site are listed.
    """
    found = []
    release = work.earliest if work.release is None else work.release
    for site in work.sites:
        cost = {}
        for period in range(work.earliest, work.deadline):
            price = unit_price(market, work, site, period, mu_q, supply_q)
            if price is not None:
                cost[period] = price + work.omega_q * (period - release)
        if work.apart:
            cheapest = sorted(cost, key=lambda period: (cost[period], period))[: work.duration]
            choices = [tuple(sorted(cheapest))]
        else:
            choices = [
                tuple(range(first, first + work.duration))
                for first in range(work.earliest, work.deadline - work.duration + 1)
            ]
        for periods in choices:
            if len(periods) == work.duration and all(period in cost for period in periods):
                total = sum(cost[period] for period in periods)
                found.append((total, periods[0], site, periods))
    return found


def money_nano(price_sum_q: int, power_w: int) -> float:
    """Turn a price sum into 1e-9 GBP: half an hour of watts at 2^-32 GBP/kWh each."""
    return price_sum_q / Q * (power_w / 1000.0) * 0.5 * NANO


def true_price_sum(market: Market, work: Work, site: int, periods: Ints, windows: Ints) -> int:
    """Give the true price sum of a place, delay included."""
    release = work.earliest if work.release is None else work.release
    total = 0
    for period, index in zip(periods.tolist(), windows.tolist(), strict=True):
        grid = int(market.grid_q[site, period])
        total += grid if index == GRID else int(market.window_q[index])
        total += work.omega_q * (period - release)
    return total


# -- larger ones ---------------------------------------------------------------------------------


def in_pairs(made: Instance) -> Instance:
    """Put two neighbouring sites each into one region, with the windows of both."""
    market = made.market
    region = (market.region_id + 1) // 2
    first = np.searchsorted(region, region)
    return replace(
        made,
        market=Market(
            sites=market.sites,
            region_id=region,
            grid_q=market.grid_q[first],
            capacity_w=market.capacity_w,
            windows=tuple(
                replace(one, region_id=(one.region_id + 1) // 2) for one in market.windows
            ),
            window_q=market.window_q,
            window_w=market.window_w,
        ),
    )


def overloaded(made: Instance, factor: float) -> Instance:
    """Leave only a part of the capacity."""
    capacity = np.floor(made.market.capacity_w * factor).astype(np.int64)
    return replace(made, market=replace(made.market, capacity_w=capacity))


def half_hearted(made: Instance, seed: int, share: float = 0.4) -> Instance:
    """Let a share of the workloads refuse soon, and some be in a hurry."""
    random = np.random.default_rng(seed)
    fleets = []
    for fleet in made.fleets:
        soon = random.random(len(fleet)) < share
        part = (fleet.refusal_nano * random.uniform(0.0, 0.5, len(fleet))).astype(np.int64)
        hurried = random.random(len(fleet)) < 0.3
        fleets.append(
            replace(
                fleet,
                refusal_nano=np.where(soon, part, fleet.refusal_nano),
                omega_q=np.where(hurried, 20 * fleet.omega_q, fleet.omega_q),
            )
        )
    return replace(made, fleets=tuple(fleets))


def worth_nothing(made: Instance) -> Instance:
    """Give energy no value at all."""
    return replace(made, market=replace(made.market, grid_q=np.zeros_like(made.market.grid_q)))


@st.composite
def instances(draw: st.DrawFn, *, largest: int = 60) -> tuple[Instance, int]:
    """Draw an instance of any kind, and a seed."""
    seed = draw(st.integers(0, 2**31))
    made = make_instance(
        draw(st.integers(0, largest)),
        seed=seed,
        trace=draw(st.sampled_from(Trace)),
        periods=draw(st.sampled_from([24, 48])),
        utilisation=draw(st.sampled_from([0.4, 0.6, 0.75])),
        organisations=draw(st.integers(1, 3)),
        interruptible=draw(st.sampled_from([0.0, 0.25, 1.0])),
        window_share=draw(st.sampled_from([0.0, 0.1, 0.3])),
        window_ratio=draw(st.sampled_from([(0.5, 2.0), (4.0, 12.0)])),
        price_weight=draw(st.sampled_from([1.0, -1.0])),
    )
    if draw(st.booleans()):
        made = in_pairs(made)
    if draw(st.booleans()):
        made = half_hearted(made, seed)
    factor = draw(st.sampled_from([1.0, 1.0, 0.6, 0.3]))
    return overloaded(made, factor), seed
