"""Results of flexibility services: DFS events at evening scarcity, EAC auctions every day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from scenarios.axis import Axis
from scenarios.rng import Stream
from scenarios.synth.prices import Prices
from schema.periods import HALF_HOUR, LONDON, local_midnight

#: Response and reserve products of the Enduring Auction Capability and a usual price, GBP/MW/h.
EAC_PRODUCTS = (
    ("DCL", "Response", 2.4),
    ("DCH", "Response", 3.1),
    ("DML", "Response", 3.6),
    ("DMH", "Response", 2.2),
    ("DRL", "Response", 5.5),
    ("DRH", "Response", -0.6),
    ("PQR", "Reserve", 4.1),
    ("NQR", "Reserve", 1.2),
)
BLOCKS_A_DAY = 6
_DFS_THRESHOLD_PENCE = 10_500
_DFS_FROM, _DFS_UNTIL = 33, 39


@dataclass(frozen=True, slots=True)
class DfsBid:
    """One participant's bid in one half hour of an event; price in pence per MWh."""

    event: str
    starts_at: datetime
    participant: str
    unit: str
    zone: int
    procured_mw: int
    price_pence: int
    accepted: bool


@dataclass(frozen=True, slots=True)
class EacResult:
    """One product in one block; price in pence per MW and hour, may be negative."""

    auction: str
    product: str
    service: str
    starts_at: datetime
    ends_at: datetime
    volume_mw: int
    price_pence: int
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Flexibility:
    """All results on the axis, in time order."""

    dfs: tuple[DfsBid, ...]
    eac: tuple[EacResult, ...]


def synthesise_flexibility(
    axis: Axis, prices: Prices, start: datetime, end: datetime, seed: int
) -> Flexibility:
    """Make the results of the two days before a replay, its own days, and the day after."""
    first = (start - timedelta(days=2)).astimezone(LONDON).date()
    last = (end + timedelta(days=1)).astimezone(LONDON).date()
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return Flexibility(
        dfs=tuple(bid for day in days for bid in _dfs(axis, prices, day, seed)),
        eac=tuple(result for day in days for result in _eac(day, seed)),
    )


def _dfs(axis: Axis, prices: Prices, day: date, seed: int) -> list[DfsBid]:
    starts = [local_midnight(day) + n * HALF_HOUR for n in range(_DFS_FROM, _DFS_UNTIL)]
    known = [axis.index(at) for at in starts if axis.holds(axis.index(at))]
    if not known or int(np.max(prices.mid[known])) < _DFS_THRESHOLD_PENCE:
        return []
    stream = Stream(seed, f"dfs/{day.isoformat()}")
    bids = []
    for number, at in enumerate(starts[:4]):
        for unit, (step, size) in enumerate(
            zip(stream.integers(0, 900, 3), stream.integers(5, 60, 3), strict=True)
        ):
            bids.append(
                DfsBid(
                    event=f"DFS-{day:%Y%m%d}-{number + 1}",
                    starts_at=at,
                    participant=f"FLEX SUPPLIER {unit + 1}",
                    unit=f"DFS-UNIT-{unit + 1:02}",
                    zone=1 + 4 * unit,
                    procured_mw=int(size),
                    price_pence=12_000 + 2_500 * unit + int(step),
                    accepted=unit < 2,  # noqa: PLR2004
                )
            )
    return bids


def _eac(day: date, seed: int) -> list[EacResult]:
    # Blocks begin at 23:00 local of the day before, 03:00, 07:00 and so on; the one in which the
    # clock changes has 3 or 5 hours.
    wall = [(day - timedelta(days=1), 23), *((day, hour) for hour in range(3, 24, 4))]
    edges = [datetime.combine(d, time(hour), LONDON).astimezone(UTC) for d, hour in wall]
    published = local_midnight(day - timedelta(days=1)) + timedelta(hours=14, minutes=30)
    results: list[EacResult] = []
    for product, service, usual in EAC_PRODUCTS:
        stream = Stream(seed, f"eac/{day.isoformat()}/{product}")
        noise = stream.normal(BLOCKS_A_DAY)
        volume = stream.integers(150, 900, BLOCKS_A_DAY)
        results.extend(
            EacResult(
                auction=f"EAC-{day:%Y%m%d}-{service.upper()}",
                product=product,
                service=service,
                starts_at=edges[block],
                ends_at=edges[block + 1],
                volume_mw=int(volume[block]),
                price_pence=round(100 * (usual + float(noise[block]))),
                published_at=published,
            )
            for block in range(BLOCKS_A_DAY)
        )
    return results
