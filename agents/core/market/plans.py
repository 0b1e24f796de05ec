"""Plans as they leave a shard: who stands where, on which supply.

Places are public once they are awarded; costs never are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.core.market.kernels_places import copy_spans
from agents.core.market.order import Keys
from agents.core.market.units import Ints


@dataclass(frozen=True, eq=False)
class Places:
    """Places of some workloads of one organisation.

    Attributes:
        organisation: The contractor.
        key: [n] workload keys, rising.
        power_w, duration: [n]
        site: [n] -1 without a place.
        ptr: [n + 1] first half hour of each workload in the next two; refused ones have none.
        period: Half hours in rising order.
        window: Index of the market's window that supplies it, GRID (-1) from the grid.
    """

    organisation: str
    key: Keys
    power_w: Ints
    duration: Ints
    site: Ints
    ptr: Ints
    period: Ints
    window: Ints

    def __len__(self) -> int:
        return int(self.key.shape[0])

    def half_hours(self, position: int) -> Ints:
        """Half hours of one workload."""
        return self.period[self.ptr[position] : self.ptr[position + 1]]

    def supplies(self, position: int) -> Ints:
        """Windows of one workload's half hours."""
        return self.window[self.ptr[position] : self.ptr[position + 1]]

    def segments(self, position: int) -> list[tuple[int, int, int]]:
        """Give contiguous stretches of one supply: (first period, end, window)."""
        periods = self.half_hours(position).tolist()
        windows = self.supplies(position).tolist()
        out: list[tuple[int, int, int]] = []
        for period, window in zip(periods, windows, strict=True):
            if out and out[-1][1] == period and out[-1][2] == window:
                out[-1] = (out[-1][0], period + 1, window)
            else:
                out.append((period, period + 1, window))
        return out


def join_places(parts: list[Places]) -> Places:
    """Put the shards of one organisation together, by rising key."""
    key = np.concatenate([part.key for part in parts])
    order = np.argsort(key, kind="stable")
    count = np.concatenate([np.diff(part.ptr) for part in parts])
    first = np.concatenate(
        [part.ptr[:-1] + offset for part, offset in zip(parts, _offsets(parts), strict=True)]
    )
    period = np.concatenate([part.period for part in parts])
    window = np.concatenate([part.window for part in parts])
    ptr = np.concatenate((np.zeros(1, np.int64), np.cumsum(count[order])))
    joined = np.empty((2, int(ptr[-1])), np.int64)
    copy_spans(order, first, ptr, period, window, joined[0], joined[1])
    return Places(
        organisation=parts[0].organisation,
        key=key[order],
        power_w=np.concatenate([part.power_w for part in parts])[order],
        duration=np.concatenate([part.duration for part in parts])[order],
        site=np.concatenate([part.site for part in parts])[order],
        ptr=ptr,
        period=joined[0],
        window=joined[1],
    )


def join_by_organisation(parts: list[Places]) -> tuple[Places, ...]:
    """Put the shards' places together, by name of organisation."""
    return tuple(
        join_places([part for part in parts if part.organisation == name])
        for name in sorted({part.organisation for part in parts})
    )


def _offsets(parts: list[Places]) -> list[int]:
    sizes = np.cumsum([0, *(len(part.period) for part in parts[:-1])])
    return [int(size) for size in sizes]


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Best responses of some workloads to announced prices, by rising key."""

    organisation: str
    key: Keys
    site: Ints
    start: Ints
