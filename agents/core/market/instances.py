"""Seeded instances with a planted schedule, shaped like real fleets and the British grid.

Durations are heavy-tailed, powers come in accelerator steps, intensity follows wind and sun by
region. Capacity is laid around a planted schedule, so that a plan without a miss exists and
energy / capacity is what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from agents.core.market.fleet import Fleet
from agents.core.market.order import workload_keys
from agents.core.market.problem import Market, Window, build_market
from agents.core.market.units import NANO, Bools, Floats, Ints, Q

REGIONS = 14


class Trace(StrEnum):
    """Shape of durations and powers."""

    PAI = "pai"
    """Machine-learning cluster: log-normal durations, mean 4.6 h; 1 to 8 accelerators."""
    AZURE = "azure"
    """Batch virtual machines: median 0.6 h, mean 4 h, up to 72 h; 2 to 30 cores. Quantiles follow
    the sample of a public Azure trace that GAIA's authors published."""


@dataclass(frozen=True, eq=False)
class Given:
    """Figures that are not drawn: of the grid, and of the work.

    Attributes:
        intensity: [14, T] gCO2/kWh.
        price_gbp_per_mwh: [14, T].
        power_w, duration: [n] of the workloads, W and half hours.
    """

    intensity: Floats
    price_gbp_per_mwh: Floats
    power_w: Ints
    duration: Ints


@dataclass(frozen=True, eq=False)
class Instance:
    """A market, its fleets, and a schedule that misses nobody."""

    market: Market
    fleets: tuple[Fleet, ...]
    planted_site: tuple[Ints, ...]
    planted_start: tuple[Ints, ...]
    intensity: Floats
    price_gbp_per_mwh: Floats


def make_instance(
    count: int,
    *,
    seed: int,
    trace: Trace = Trace.PAI,
    periods: int = 192,
    utilisation: float = 0.70,
    organisations: int = 1,
    interruptible: float = 0.25,
    carbon_value_gbp_per_kg: float = 0.264,
    price_weight: float = 1.0,
    window_share: float = 0.0,
    window_ratio: tuple[float, float] = (4.0, 12.0),
    window_count: int = 0,
    given: Given | None = None,
) -> Instance:
    """Draw an instance.

    Args:
        count: Workloads in all.
        seed: Same seed, same instance.
        trace: Shape of the work.
        periods: Half hours of the horizon.
        utilisation: Energy of all work / capacity of all cells.
        organisations: Contractors the work is dealt to.
        interruptible: Share of work whose half hours may be apart.
        carbon_value_gbp_per_kg, price_weight: The objective, as in ``build_market``.
        window_share: Capacity of Beckn windows / energy of all work.
        window_ratio: Window capacity / typical power, drawn between these.
        window_count: So many windows hold ``window_share`` together, whatever the ratio that
            makes; 0 leaves their number open.
        given: Grid and work in place of drawn ones; ``count``, ``periods`` are theirs then.
    """
    draw = np.random.Generator(np.random.Philox(key=seed))
    if given is None:
        intensity, price = _signals(draw, periods)
        power, duration = _work(draw, count, trace, periods)
    else:
        intensity, price = given.intensity, given.price_gbp_per_mwh
        power, duration = given.power_w, given.duration
    allowed = _allowed(draw, count)
    site, start, capacity = _plant(draw, power, duration, allowed, periods, utilisation)
    # GAIA lets short jobs wait 6 h and long ones 24 h; here each draws between those and twice.
    slack = np.where(duration <= 4, 12.0, 48.0) * draw.uniform(1.0, 2.0, count)
    early = slack * draw.random(count)
    earliest = np.maximum(0, start - early).astype(np.int64)
    deadline = np.minimum(periods, start + duration + slack - early).astype(np.int64)
    windows = _windows(
        draw, power, duration, price, periods, window_share, window_ratio, window_count
    )
    market = build_market(
        [f"site-{region}" for region in range(1, REGIONS + 1)],
        list(range(1, REGIONS + 1)),
        price_gbp_per_mwh=price,
        intensity_gco2_per_kwh=intensity,
        capacity_kw=capacity / 1000.0,
        windows=windows,
        carbon_value_gbp_per_kg=carbon_value_gbp_per_kg,
        price_weight=price_weight,
    )
    omega = np.where(draw.random(count) < 0.5, draw.exponential(0.001, count), 0.0)
    dearest = max(3.0 * float(market.grid_q.max()) / Q, 0.5)
    # On top of the usual value: the most that waiting may cost, so that missing never pays.
    waiting = omega * (deadline - earliest)
    refusal = power / 2000.0 * duration * (dearest + waiting)
    masks, mask = np.unique(allowed, axis=0, return_inverse=True)
    owner = draw.integers(0, organisations, count)
    apart = draw.random(count) < interruptible
    home = _first_allowed(draw, allowed)
    fleets, sites, starts = [], [], []
    for number in range(organisations):
        mine = np.flatnonzero(owner == number)
        name = f"org-{number}"
        ids = np.array([f"w{index:07d}" for index in mine.tolist()])
        fleets.append(
            Fleet(
                organisation=name,
                names=ids,
                key=workload_keys(name, ids.tolist()),
                power_w=power[mine],
                duration=duration[mine],
                earliest=earliest[mine],
                deadline=deadline[mine],
                release=earliest[mine],
                masks=masks,
                mask=mask.reshape(-1)[mine].astype(np.int64),
                home=home[mine],
                interruptible=apart[mine],
                omega_q=np.rint(omega[mine] * Q).astype(np.int64),
                refusal_nano=np.rint(refusal[mine] * NANO).astype(np.int64),
                accepted=np.zeros(len(mine), np.bool_),
            )
        )
        sites.append(site[mine])
        starts.append(start[mine])
    return Instance(market, tuple(fleets), tuple(sites), tuple(starts), intensity, price)


def _signals(draw: np.random.Generator, periods: int) -> tuple[Floats, Floats]:
    """Regional intensity (gCO2/kWh) and price (GBP/MWh), both [14, T]."""
    t = np.arange(periods)
    hour = (t % 48) / 2.0
    demand = 1.0 + 0.25 * np.sin((hour - 9.0) / 24.0 * 2 * np.pi) + 0.15 * (abs(hour - 18) < 3)
    wind = np.convolve(draw.normal(0, 1, periods + 47), np.ones(48) / 48**0.5, "valid")
    wind = 0.45 + 0.18 * wind
    sun = np.maximum(0.0, np.sin((hour - 6.0) / 12.0 * np.pi)) * 0.35
    level = np.linspace(25.0, 330.0, REGIONS) * draw.uniform(0.85, 1.15, REGIONS)
    local = draw.normal(0, 0.05, (REGIONS, periods))
    clean = np.clip(wind + sun, 0.0, 1.1)[None, :]
    intensity = np.clip(level[:, None] * (demand[None, :] - 0.6 * clean + local), 0.0, 600.0)
    price = 30.0 + 75.0 * (demand - 0.75 * clean[0]) + draw.normal(0, 4.0, periods)
    return intensity, np.repeat(price[None, :], REGIONS, axis=0)


def _work(draw: np.random.Generator, count: int, trace: Trace, periods: int) -> tuple[Ints, Ints]:
    if trace is Trace.PAI:
        hours = np.clip(draw.lognormal(np.log(1.5), 1.5, count), 0.1, 48.0)
        units = draw.choice([1, 2, 4, 8], count, p=[0.55, 0.2, 0.13, 0.12])
        power = units * draw.uniform(300.0, 500.0, count)
    else:
        hours = np.clip(draw.lognormal(np.log(0.6), 2.1, count), 0.17, 72.0)
        cores = draw.choice([2, 4, 8, 24, 30], count, p=[0.58, 0.303, 0.077, 0.035, 0.005])
        power = (5.0 + cores) * draw.uniform(10.0, 14.0, count)
    duration = np.clip(np.ceil(hours * 2.0), 1, (periods * 3) // 4).astype(np.int64)
    return np.ceil(power).astype(np.int64), duration


def _allowed(draw: np.random.Generator, count: int) -> Bools:
    """Allowed regions: 30 % anywhere, 20 % one region, the others a band of three to eight."""
    allowed = np.zeros((count, REGIONS), np.bool_)
    kind = draw.random(count)
    home = draw.integers(0, REGIONS, count)
    width = draw.integers(3, 9, count)
    offset = draw.integers(0, 2, count)
    for shift in range(8):
        chosen = shift < width
        allowed[np.flatnonzero(chosen), (home + shift - offset)[chosen] % REGIONS] = True
    allowed[kind < 0.3] = True
    single = kind >= 0.8
    allowed[single] = False
    allowed[np.flatnonzero(single), home[single]] = True
    return allowed


def _first_allowed(draw: np.random.Generator, allowed: Bools) -> Ints:
    weight = draw.random(allowed.shape) * allowed
    return np.asarray(np.argmax(weight, axis=1), dtype=np.int64)


def _plant(
    draw: np.random.Generator,
    power: Ints,
    duration: Ints,
    allowed: Bools,
    periods: int,
    utilisation: float,
) -> tuple[Ints, Ints, Floats]:
    """Lay all work under equal capacities, big first; raise a capacity only where it must be."""
    energy = float((power * duration).sum())
    share = draw.uniform(0.6, 1.4, REGIONS)
    share /= share.sum()
    capacity = np.repeat((energy / utilisation / periods * share)[:, None], periods, axis=1)
    load = np.zeros((REGIONS, periods))
    site = np.zeros(len(power), np.int64)
    start = np.zeros(len(power), np.int64)
    places = [np.flatnonzero(row) for row in allowed]
    tries = 12
    tried_site = draw.random((len(power), tries))
    tried_start = draw.random((len(power), tries))
    for i in np.argsort(-power * duration, kind="stable").tolist():
        d, p, options = int(duration[i]), float(power[i]), places[i]
        best, best_over = (int(options[0]), 0), float("inf")
        for k in range(tries):
            s = int(options[int(tried_site[i, k] * len(options))])
            t = int(tried_start[i, k] * (periods - d + 1))
            over = float((load[s, t : t + d] + p - capacity[s, t : t + d]).max())
            if over < best_over:
                best, best_over = (s, t), over
            if over <= 0.0:
                break
        s, t = best
        site[i], start[i] = s, t
        load[s, t : t + d] += p
    return site, start, _trimmed(capacity, load, energy / utilisation)


def _trimmed(capacity: Floats, load: Floats, wanted: float) -> Floats:
    """Scale the capacities, but never below the planted load, until they add up to ``wanted``."""
    low, high = 0.0, 4.0
    for _ in range(50):
        middle = (low + high) / 2.0
        if float(np.maximum(capacity * middle, load).sum()) < wanted:
            low = middle
        else:
            high = middle
    return np.maximum(capacity * high, load)


def _windows(
    draw: np.random.Generator,
    power: Ints,
    duration: Ints,
    price: Floats,
    periods: int,
    share: float,
    ratio: tuple[float, float],
    count: int,
) -> list[Window]:
    wanted = share * float((power * duration).sum()) / 1000.0
    if wanted == 0.0:
        return []
    typical = float(np.median(power)) / 1000.0
    windows: list[Window] = []
    while wanted > 0.0 if count == 0 else len(windows) < count:
        length = int(draw.integers(4, 13))
        first = int(draw.integers(0, max(periods - length, 1)))
        region = int(draw.integers(1, REGIONS + 1))
        capacity = typical * float(draw.uniform(*ratio))
        now = float(price[region - 1, first : first + length].mean()) / 1000.0
        windows.append(
            Window(
                window_id=f"window-{len(windows):05d}",
                region_id=region,
                first=first,
                last=min(first + length, periods),
                price_gbp_per_kwh=now * float(draw.uniform(0.6, 0.95)),
                intensity_gco2_per_kwh=float(draw.uniform(10.0, 80.0)),
                capacity_kw=capacity,
            )
        )
        wanted -= capacity * length
    if count == 0:
        return windows
    drawn = sum(window.capacity_kw * (window.last - window.first) for window in windows)
    scale = share * float((power * duration).sum()) / 1000.0 / drawn
    return [replace(window, capacity_kw=window.capacity_kw * scale) for window in windows]
