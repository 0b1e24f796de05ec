"""What a workload does when the figures it needs are old, made up, or not there yet.

Intensity is published 48 hours ahead and anew every half hour, so how far real figures reach says
how old they are: where they reach 40 hours, nothing was heard for about 8. A price of a future
half hour is an estimate at any time; one that is made up is used and said, and only one that is
missing counts as unknown.

    figures reach over the work, and are fresh       negotiate
    figures reach over the work, but are old         negotiate on the last forecast, and say so
    the work lies beyond what is known, and can wait wait for figures
    ... and must start soon to meet its deadline     run in time, on made-up or older figures

Pure: the grid, the workload and the half hour come as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from agents.core.market.units import Bools, Floats, Ints
from agents.core.view import SYNTHETIC, GridView
from schema.periods import format_instant, half_hour_start
from storage.grid_prices import QualityCode

#: Half hours that a forecast reaches when it has just been published. One may have begun since.
FRESH_REACH = 95
#: From this age on a forecast is called old, in half hours: 6 hours.
OLD_AFTER = 12
#: Work that waits for figures is placed this many half hours before it must start: 2 hours, so that
#: there is still a choice of cells, and a second conversation if a site is full.
LAST_CALL = 4
_DAY = 48


class Grounds(StrEnum):
    """On what a workload may be placed now."""

    PUBLISHED = "published"
    OLD = "old"
    """The last forecast, though it is old."""
    WAIT = "wait"
    """Nothing yet: figures are missing, and there is time."""
    MUST_RUN = "must-run"
    """Whatever there is: its deadline does not wait."""


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """How far real figures go.

    Attributes:
        origin: The first half hour that is still open.
        half_hours: [14] by distribution area, from ``origin`` on without a gap.
    """

    origin: int
    half_hours: Ints

    @property
    def age(self) -> int:
        """About how old the newest forecast is, in half hours."""
        return max(0, FRESH_REACH - int(self.half_hours.max()))

    @property
    def old(self) -> bool:
        """Whether it is too old to be used without a word."""
        return self.age >= OLD_AFTER


def reach_of(view: GridView) -> Reach:
    """Find how far real figures go in each distribution area."""
    known = np.isfinite(view.intensity) & np.isfinite(view.price)[None, :]
    real = known & (view.intensity_quality != SYNTHETIC)
    gap = ~real
    first_gap = np.where(gap.any(axis=1), gap.argmax(axis=1), real.shape[1])
    return Reach(view.origin, first_gap.astype(np.int64))


def grounds_for(
    reach: Reach, regions: Bools, *, release: int, duration: int, deadline: int
) -> Grounds:
    """Decide on what a workload may be placed.

    Args:
        reach: Of the figures.
        regions: [14] where it may run; the area whose figures go furthest counts.
        release: Its first possible half hour.
        duration: Half hours that it runs.
        deadline: First half hour after its latest finish.
    """
    known_until = reach.origin + int(reach.half_hours[regions].max(initial=0))
    if max(release, reach.origin) + duration <= min(known_until, deadline):
        return Grounds.OLD if reach.old else Grounds.PUBLISHED
    if deadline - duration > reach.origin + LAST_CALL:
        return Grounds.WAIT
    return Grounds.MUST_RUN


def why_wait(duration: int, deadline: int) -> str:
    """Say what a workload waits for; the same words for as long as it does."""
    latest = format_instant(half_hour_start(deadline - duration - LAST_CALL))
    return f"no figures are known yet for when it could run; placed on what there is from {latest}"


def words_on(reach: Reach) -> str:
    """Say how old the forecast is that a decision rests on; nothing where it is fresh."""
    if not reach.half_hours.any():
        return ", without a forecast"
    return f", on a forecast about {reach.age // 2} hours old" if reach.old else ""


def made_up(view: GridView, region_id: int, first: int, end: int) -> bool:
    """Say whether half hours ``[first, end)`` of an area rest on a made-up figure."""
    cells = slice(first - view.origin, end - view.origin)
    return bool(
        np.any(view.intensity_quality[region_id - 1, cells] == SYNTHETIC)
        or np.any(view.price_quality[cells] == SYNTHETIC)
    )


def filled(view: GridView, until: int) -> GridView:
    """Carry figures on to where there are none, for work that must run before ``until``.

    A half hour takes the figures of the same one a day before, as far back as needed; where there
    is none, the largest known of its area, so that what is unknown never looks attractive; where
    nothing is known at all, nought, so that all half hours are alike. What was carried on is
    marked as made up.
    """
    periods = min(max(until - view.origin, 0), view.periods)
    intensity, made_up = _carried_on(view.intensity, periods)
    price, price_made_up = _carried_on(view.price[None, :], periods)
    return replace(
        view,
        intensity=intensity,
        intensity_quality=np.where(
            made_up, np.uint8(QualityCode.SYNTHETIC), view.intensity_quality
        ),
        price=price[0],
        price_quality=np.where(
            price_made_up[0], np.uint8(QualityCode.SYNTHETIC), view.price_quality
        ),
    )


def _carried_on(table: Floats, periods: int) -> tuple[Floats, Bools]:
    filled_in = table.copy()
    missing = ~np.isfinite(table)
    missing[:, periods:] = False
    for row, period in np.argwhere(missing).tolist():
        day_before = filled_in[row, period % _DAY : period : _DAY]
        known = day_before[np.isfinite(day_before)]
        all_known = table[row][np.isfinite(table[row])]
        if known.size:
            filled_in[row, period] = known[-1]
        else:
            filled_in[row, period] = all_known.max() if all_known.size else 0.0
    return filled_in, missing
