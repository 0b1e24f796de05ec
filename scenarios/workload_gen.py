"""Named trace models: how long jobs run, what they draw, and the feasible schedule beneath them.

The planted schedule comes first: each workload is put on an allowed site at a time when the site
is least busy among a few draws. Earliest start and deadline are then laid around that place,
tight for some and loose for others. So a feasible schedule exists by construction.

Sources: durations are heavy-tailed as in public cluster traces. ``azure-like`` uses our own
computation on the 99,988 jobs of the Azure sample published with GAIA (ASPLOS 2024): log of the
length in hours has mean -0.11 and standard deviation 1.55; 58 % of jobs ask for 2 cores, 30 %
for 4, 8 % for 8, 3.5 % for 24. Hours as the unit are inferred there, and power (1 kW a core pair),
regions and deadlines are our assumptions. ``batch`` and ``training`` are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scenarios.fleet import MASK_ALL, Fleet
from scenarios.model import (
    MAX_HOURS,
    GeneratedWorkloads,
    Organisation,
    ScenarioFile,
    TraceModel,
)
from scenarios.rng import Floats, Ints, Stream
from schema.regions import REGION_COUNT, REGION_IDS

_STEP_MIN = 5
_DRAWS = 4
_MEDIUM_SPARE = 8
_TIGHT_SPARE = 2
_LATE_SPARE = 8
_FEW_REGIONS = (3, 5)
#: How often each priority from 0 to 9 is drawn. Priority scales what a refusal costs; from 4 on
#: that is more than any usual price, so that a refusal says there was no room, not it was dear.
_PRIORITIES: Final = np.array([0, 0, 0, 0, 15, 45, 18, 12, 7, 3], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Trace:
    """Log-normal duration (median in hours, sigma of the log) and power classes with weights."""

    median_h: float
    sigma: float
    power_w: tuple[int, ...]
    weights: tuple[float, ...]


TRACES: Final = {
    TraceModel.BATCH: Trace(1.6, 0.8, (2_000, 4_000, 6_000, 10_000), (0.35, 0.3, 0.2, 0.15)),
    TraceModel.TRAINING: Trace(5.0, 0.5, (8_000, 12_000, 20_000), (0.5, 0.3, 0.2)),
    TraceModel.AZURE_LIKE: Trace(
        0.9, 1.55, (1_000, 2_000, 4_000, 12_000), (0.582, 0.302, 0.078, 0.038)
    ),
}
_TRAINING_PART_OF_MIXED: Final = 0.25

#: Neighbours of each region on the map (1 to 14), used for "home and near".
_NEIGHBOURS: Final = (
    (2, 4, 3, 5), (1, 4, 3, 5), (5, 6, 8, 2), (2, 5, 3, 9), (3, 9, 4, 10), (3, 8, 7, 9),
    (11, 8, 6, 12), (9, 3, 7, 12), (8, 5, 10, 3), (9, 13, 14, 5), (7, 12, 8, 14),
    (11, 14, 13, 8), (14, 10, 12, 9), (13, 12, 10, 11),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Places:
    """All sites of a scenario: owner (index), position within the owner, and region 1-14."""

    organisation: Ints
    position: Ints
    region: Ints

    @classmethod
    def of(cls, organisations: tuple[Organisation, ...]) -> Places:
        """List the sites in the order of the file."""
        rows = [
            (o, s, site.region_id)
            for o, organisation in enumerate(organisations)
            for s, site in enumerate(organisation.sites)
        ]
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        return cls(table[:, 0], table[:, 1], table[:, 2])


def generate_fleet(file: ScenarioFile, how: GeneratedWorkloads, seed: int) -> Fleet:
    """Draw all workloads of a scenario with their planted schedule."""
    duration, power = _sizes(how, seed)
    longest = max(1, min(usable_periods(file), _patience(how), round(2 * how.max_duration_h)))
    tick = _ticks(file, how, seed)
    jobs = Jobs(np.minimum(duration, 30 * longest), power, tick, tick * (file.tick_min // 30))
    return lay_out(file, how, jobs, seed)


@dataclass(frozen=True, slots=True)
class Jobs:
    """What is known of jobs before owner, place and deadline.

    Minutes, W, the tick at which each arrives, and the first half hour it may run in.
    """

    duration_min: Ints
    power_w: Ints
    arrival_tick: Ints
    first: Ints


def lay_out(file: ScenarioFile, how: GeneratedWorkloads, jobs: Jobs, seed: int) -> Fleet:
    """Give jobs an owner, regions, a planted place, and room around it.

    A job that could not end in time from its ``first`` on arrives at tick 0 instead.
    """
    places = Places.of(file.organisations)
    count = len(jobs.power_w)
    window = usable_periods(file)
    owner = Stream(seed, "workloads/owner").choice(
        np.array([organisation.share for organisation in file.organisations]), count
    )
    periods = -(-jobs.duration_min // 30)
    home = _homes(file, how, places, owner, seed)
    regions = _regions(how, places, home, jobs.arrival_tick > 0, seed)
    late = jobs.first + periods > window
    tick = np.where(late, 0, jobs.arrival_tick)
    first = np.where(late, 0, jobs.first)
    last = np.minimum(first + _patience(how), window)
    site, start = _plant(how, places, regions, jobs.power_w, periods, first, last, seed)
    release, deadline = _room(how, start, periods, first, last, seed)
    early = Stream(seed, "workloads/early").integers(0, 5, count) * _STEP_MIN
    after = Stream(seed, "workloads/late").integers(0, 5, count) * _STEP_MIN
    interruptible = Stream(seed, "workloads/interruptible").uniform(count) < how.interruptible
    return Fleet(
        number=_numbers(owner),
        organisation=owner,
        power_w=jobs.power_w,
        duration_min=jobs.duration_min,
        release=release,
        deadline=deadline,
        # Nothing is asked for before it is known, and nothing ends after the window.
        early_min=np.where(release > first, early, 0),
        late_min=np.where(deadline < last, after, 0),
        regions=regions,
        home=home,
        interruptible=interruptible.astype(np.int64),
        priority=Stream(seed, "workloads/priority").choice(_PRIORITIES, count),
        delay_micro=_delay_costs(seed, count),
        arrival_tick=tick,
        planted_site=site,
        planted_start=start,
    )


def usable_periods(file: ScenarioFile) -> int:
    """Give the half hours from the start in which work may run."""
    if isinstance(file.workloads, GeneratedWorkloads):
        hours = file.workloads.window_h
        return round(2 * (file.duration_h if hours is None else hours))
    return max(file.run_periods, file.horizon_periods)


def _patience(how: GeneratedWorkloads) -> int:
    """Give the half hours from its arrival within which a workload must be done."""
    return round(2 * (MAX_HOURS if how.patience_h is None else how.patience_h))


def _numbers(owner: Ints) -> Ints:
    """Number each organisation's workloads from 1."""
    numbers = np.empty_like(owner)
    for organisation in np.unique(owner):
        mine = owner == organisation
        numbers[mine] = np.arange(1, int(mine.sum()) + 1)
    return numbers


def _sizes(how: GeneratedWorkloads, seed: int) -> tuple[Ints, Ints]:
    """Draw minutes (multiples of five, at least 20) and watts."""
    count = how.count
    normal = Stream(seed, "workloads/duration").normal(count)
    pick = Stream(seed, "workloads/power").uniform(count)
    kind = Stream(seed, "workloads/kind").uniform(count)
    if how.model is TraceModel.MIXED:
        training = kind < _TRAINING_PART_OF_MIXED
        parts = [(TRACES[TraceModel.TRAINING], training), (TRACES[TraceModel.BATCH], ~training)]
    else:
        parts = [(TRACES[how.model], np.ones(count, dtype=np.bool_))]
    minutes = np.zeros(count, dtype=np.int64)
    watts = np.zeros(count, dtype=np.int64)
    for trace, chosen in parts:
        # exp is quantised to five minutes at once: see the note in scenarios.rng.
        hours = trace.median_h * np.exp(trace.sigma * normal[chosen])
        minutes[chosen] = np.rint(hours * 60 / _STEP_MIN).astype(np.int64) * _STEP_MIN
        edges = np.cumsum(np.rint(np.array(trace.weights) * 1e6)) / 1e6
        classes = np.searchsorted(edges, pick[chosen] * edges[-1], side="right")
        watts[chosen] = np.array(trace.power_w)[np.minimum(classes, len(trace.power_w) - 1)]
    scaled = np.maximum(np.rint(watts * how.power_scale / 100).astype(np.int64) * 100, 100)
    return np.maximum(minutes, 20), scaled


def _homes(
    file: ScenarioFile, how: GeneratedWorkloads, places: Places, owner: Ints, seed: int
) -> Ints:
    """Draw a home region for each workload, from its owner's sites unless weights are given."""
    stream = Stream(seed, "workloads/home")
    if how.home_weights is not None:
        weights = _by_region(how.home_weights)
        weights[~np.isin(np.array(REGION_IDS), places.region)] = 0
        return stream.choice(_some(weights), len(owner)) + 1
    pick = stream.words(len(owner))
    home = np.empty_like(owner)
    for o in range(len(file.organisations)):
        mine = owner == o
        own = places.region[places.organisation == o]
        near = own if own.size else places.region
        home[mine] = near[(pick[mine] * len(near)) >> 32]
    return home


def _by_region(weights: dict[str, float] | None) -> Floats:
    if weights is None:
        return np.ones(REGION_COUNT)
    return np.array([weights.get(str(number), 0.0) for number in REGION_IDS])


def _some(weights: Floats) -> Floats:
    """Fall back to equal weights where none of the weighted regions has a site."""
    return weights if weights.any() else np.ones_like(weights)


def _regions(
    how: GeneratedWorkloads,
    places: Places,
    home: Ints,
    late: NDArray[np.bool_],
    seed: int,
) -> Ints:
    """Draw masks: home alone, home and two to four near regions, or every region with a site.

    Late ones have more than one region, see ``_room``.
    """
    present = 0
    for region in np.unique(places.region):
        present |= 1 << (int(region) - 1)
    kind = Stream(seed, "workloads/regions").uniform(len(home))
    size = Stream(seed, "workloads/region-count").integers(*_FEW_REGIONS, len(home))
    alone = np.left_shift(1, home - 1)
    near_table = np.zeros((REGION_COUNT + 1, _FEW_REGIONS[1] + 1), dtype=np.int64)
    for region in REGION_IDS:
        mask = 1 << (region - 1)
        near_table[region, 0:2] = mask
        for k, neighbour in enumerate(_NEIGHBOURS[region - 1]):
            mask |= 1 << (neighbour - 1)
            near_table[region, k + 2] = mask
    near = near_table[home, size] & present
    some = np.where((kind < how.one_region) & ~late, alone, near)
    return np.where(kind >= 1 - how.all_regions, present & MASK_ALL, some)


def _ticks(file: ScenarioFile, how: GeneratedWorkloads, seed: int) -> Ints:
    late = Stream(seed, "workloads/late-arrival").uniform(how.count) < how.late_share
    ticks = np.array([t for t in how.arrival_ticks if t < file.ticks] or [0], dtype=np.int64)
    which = Stream(seed, "workloads/arrival").integers(0, len(ticks) - 1, how.count)
    return np.where(late, ticks[which], 0)


def _plant(
    how: GeneratedWorkloads,
    places: Places,
    regions: Ints,
    power: Ints,
    periods: Ints,
    first: Ints,
    last: Ints,
    seed: int,
) -> tuple[Ints, Ints]:
    """Place every workload: the least busy of a few draws, largest energy first."""
    count = len(power)
    # Imported here: loading the compiler takes longer than listing scenarios.
    from scenarios.kernels_plant import plant

    weight = _by_region(how.plant_weights)[places.region - 1]
    if not weight.any():
        weight = np.ones(len(weight))
    masks, kind = np.unique(regions, return_inverse=True)
    sites_of = [_sites_of(int(mask), places, weight) for mask in masks]
    load = np.zeros((len(places.region), int(last.max())), dtype=np.int64)
    site = np.empty(count, dtype=np.int64)
    start = np.empty(count, dtype=np.int64)
    plant(
        np.lexsort((np.arange(count), -(power * periods))),
        power,
        periods,
        first,
        last,
        kind.reshape(-1).astype(np.int64),
        np.cumsum([0, *(len(sites) for sites, _ in sites_of)]),
        np.concatenate([sites for sites, _ in sites_of]),
        np.concatenate([edges for _, edges in sites_of]),
        Stream(seed, "plant/site").uniform(count * _DRAWS).reshape(count, _DRAWS),
        Stream(seed, "plant/time").uniform(count * _DRAWS).reshape(count, _DRAWS),
        np.maximum(weight, 0.05 * weight.max()),
        load,
        site,
        start,
    )
    return site, start


def _sites_of(mask: int, places: Places, weight: Floats) -> tuple[Ints, Floats]:
    """Give the sites of a mask, and the upper edges of their shares of [0, 1)."""
    sites = np.flatnonzero((mask >> (places.region - 1)) & 1)
    share = weight[sites] if weight[sites].any() else np.ones(len(sites))
    whole = np.cumsum(np.rint(share * 1e6))
    return sites, whole / whole[-1]


def _room(
    how: GeneratedWorkloads, start: Ints, periods: Ints, first: Ints, last: Ints, seed: int
) -> tuple[Ints, Ints]:
    """Lay release and deadline around the planted place, between ``first`` and ``last``."""
    count = len(start)
    kind = Stream(seed, "workloads/slack").uniform(count)
    spare = Stream(seed, "workloads/spare")
    tight = spare.integers(0, _TIGHT_SPARE, count)
    medium = spare.integers(_TIGHT_SPARE + 1, _MEDIUM_SPARE, count)
    extra = np.where(kind < how.tight, tight, medium)
    # Who comes late finds others already running: with little to spare it could only miss.
    extra = np.where(first > 0, medium + _LATE_SPARE, extra)
    before = (spare.words(count) * (extra + 1)) >> 32
    loose = kind >= 1 - how.loose
    release = np.where(loose, first, np.maximum(start - before, first))
    deadline = np.where(loose, last, np.minimum(start + periods + extra - before, last))
    return release, deadline


def _delay_costs(seed: int, count: int) -> Ints:
    """Draw what an hour of waiting costs: nothing for two fifths, else up to 0.4 p per kWh."""
    stream = Stream(seed, "workloads/delay-cost")
    cares = stream.uniform(count) >= 0.4  # noqa: PLR2004
    return np.where(cares, stream.integers(100, 4_000, count), 0)
