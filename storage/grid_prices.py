"""The price of each half hour: what was published, else the last comparable day's.

No free half-hourly price of Great Britain is published ahead, so the price of a future half hour
is that of the same half hour of the last comparable day, and says so (``estimated``). Comparable
means: both Monday to Friday, or both weekend; bank holidays are not told apart. The same half hour
means the same London wall time, so a clock change does not shift the morning peak. A wall time
that the other day lacks (spring) is looked for a day further back; one that it has twice (autumn)
is its first. Where no comparable day of the last seven has a price, the last day of any kind does.

Which price counts: APXMIDP, then N2EXMIDP, then other indices by name; rows of an index without
volume mean "no index" and are left out. The imbalance price (``system``) is another thing and
stands in, as ``estimated``, only where no index is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import NamedTuple

from schema.periods import LONDON
from schema.readings import Quality
from storage.grid_facts import Fact

SYSTEM_MARKET = "system"
LOOK_BACK_DAYS = 7
_INDEX_RANK = {"APXMIDP": 0, "N2EXMIDP": 1}
_OTHER_INDEX = 2
_SATURDAY = 5


class QualityCode(IntEnum):
    """Quality as it stands in arrays; the lower of two known ones wins."""

    NONE = 0
    PUBLISHED = 1
    ESTIMATED = 2
    SYNTHETIC = 3


CODE_OF = {
    Quality.PUBLISHED.value: QualityCode.PUBLISHED,
    Quality.ESTIMATED.value: QualityCode.ESTIMATED,
    Quality.SYNTHETIC.value: QualityCode.SYNTHETIC,
}


class PricePoint(NamedTuple):
    """A price in GBP/MWh and how good it is."""

    price: float
    quality: QualityCode


def price_series(facts: Iterable[Fact]) -> tuple[dict[int, PricePoint], dict[int, PricePoint]]:
    """Choose one price a half hour from all markets.

    Args:
        facts: Facts of ``wholesale_prices``.

    Returns:
        Start in seconds to price: real ones (published or estimated), and synthetic ones.
    """
    best: tuple[dict[int, tuple[tuple[int, int, str], PricePoint]], ...] = ({}, {})
    for fact in facts:
        market, quality, price, volume = fact.values
        if not isinstance(price, int | float):
            continue
        system = market == SYSTEM_MARKET
        if not system and volume == 0:
            continue
        code = CODE_OF.get(str(quality), QualityCode.SYNTHETIC)
        synthetic = code is QualityCode.SYNTHETIC
        rank = (int(system) * 2 + int(code is QualityCode.ESTIMATED),)
        order = (*rank, _INDEX_RANK.get(str(market), _OTHER_INDEX), str(market))
        shown = QualityCode.ESTIMATED if system and not synthetic else code
        held = best[synthetic].get(fact.starts_at)
        if held is None or order < held[0]:
            best[synthetic][fact.starts_at] = (order, PricePoint(float(price), shown))
    real, made_up = ({at: point for at, (_, point) in part.items()} for part in best)
    return real, made_up


def price_points(
    starts: Sequence[datetime], real: Mapping[int, PricePoint], made_up: Mapping[int, PricePoint]
) -> list[PricePoint | None]:
    """Give each half hour its price, or None.

    In this order: what is known of the half hour itself, an estimate from real prices, a
    synthetic one, an estimate from synthetic prices (which is synthetic too).
    """
    points: list[PricePoint | None] = []
    for start in starts:
        at = int(start.timestamp())
        known = real.get(at)
        if known is None and (price := last_comparable(start, real)) is not None:
            known = PricePoint(price, QualityCode.ESTIMATED)
        if known is None:
            known = made_up.get(at)
        if known is None and made_up and (price := last_comparable(start, made_up)) is not None:
            known = PricePoint(price, QualityCode.SYNTHETIC)
        points.append(known)
    return points


def last_comparable(start: datetime, series: Mapping[int, PricePoint]) -> float | None:
    """Give the price of the same half hour of the last comparable day; None when there is none."""
    wall = start.astimezone(LONDON).replace(tzinfo=None, fold=0)
    weekend = wall.weekday() >= _SATURDAY
    other_kind: float | None = None
    for days in range(1, LOOK_BACK_DAYS + 1):
        earlier = wall - timedelta(days=days)
        at = _instant_of(earlier)
        point = None if at is None else series.get(at)
        if point is None:
            continue
        if (earlier.weekday() >= _SATURDAY) == weekend:
            return point.price
        if other_kind is None:
            other_kind = point.price
    return other_kind


def _instant_of(wall: datetime) -> int | None:
    """Give the instant of a London wall time, the first of two; None when the clock skips it."""
    instant = wall.replace(tzinfo=LONDON).astimezone(UTC)
    if instant.astimezone(LONDON).replace(tzinfo=None, fold=0) != wall:
        return None
    return int(instant.timestamp())
