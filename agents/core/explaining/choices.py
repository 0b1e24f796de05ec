"""Where one workload could have run, and what each place cost at the settled prices.

Prices are the market's integers (2^-32 GBP/kWh), summed over half hours; money is made of them at
the end. What waiting is worth to the workload is private and no part of any figure here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agents.core.market.units import NEVER, UNUSABLE, Bools, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """What one workload finds in its time window at its allowed sites; tables [sites, half hours].

    Attributes:
        sites: Names; row order of the tables.
        regions: Region of each site.
        first: Half-hour number of column 0.
        power_w: What the workload draws.
        duration: Half hours it needs.
        interruptible: Whether they may lie apart, at one site.
        grid_q: Value of grid energy, carbon included.
        mu_q: Congestion price of the site's power.
        posted_q: The price announced: congestion, and the cheaper of the grid and a window that is
            large enough. NEVER in a cell that cannot hold the workload at all.
        open_q: The same where only what has room counts; NEVER in a full cell.
        load_w: Power of all other work, after the conversation.
        capacity_w: Power of the site.
        room_w: What is left of it for this workload.
    """

    sites: tuple[str, ...]
    regions: tuple[int, ...]
    first: int
    power_w: int
    duration: int
    interruptible: bool
    grid_q: Ints
    mu_q: Ints
    posted_q: Ints
    open_q: Ints
    load_w: Ints
    capacity_w: Ints
    room_w: Ints

    @property
    def full(self) -> Bools:
        """[sites, half hours] cells without room for the workload."""
        return self.open_q >= UNUSABLE


@dataclass(frozen=True, slots=True)
class Choice:
    """One place: a site's row and columns of the board, with sums over its half hours.

    ``has_room`` is about the power of the site; ``free_w`` is the least of it.
    """

    site: int
    columns: tuple[int, ...]
    grid_q: int
    mu_q: int
    posted_q: int
    has_room: bool
    free_w: int

    def overlaps(self, other: Choice) -> bool:
        """Say whether two places share a cell."""
        return self.site == other.site and not set(self.columns).isdisjoint(other.columns)


def choice_at(board: Board, site: int, columns: tuple[int, ...]) -> Choice:
    """Give the sums of a place."""
    at = (site, list(columns))
    return Choice(
        site=site,
        columns=columns,
        grid_q=int(board.grid_q[at].sum()),
        mu_q=int(board.mu_q[at].sum()),
        posted_q=int(board.posted_q[at].sum()),
        has_room=bool(not board.full[at].any()),
        free_w=int(board.room_w[at].min()),
    )


def choices(board: Board) -> list[Choice]:
    """Give the places that were on offer, the cheapest at the posted prices first.

    Of unbroken work every start at every site. Work that may be interrupted has too many to count:
    of each site the places that are cheapest at the posted prices, by the grid alone, and among
    the cells with room.
    """
    places = _apart(board) if board.interruptible else _unbroken(board)
    found = [choice_at(board, site, columns) for site, columns in places]
    return sorted(found, key=lambda item: (item.posted_q, item.site, item.columns))


def cheapest_open(board: Board) -> int | None:
    """Give the lowest price of a place with room, by what was left of windows; None: no room."""
    if board.posted_q.shape[1] < board.duration or not len(board.sites):
        return None
    if board.interruptible:
        kept = np.sort(board.open_q, axis=1)[:, : board.duration]
        best = int(kept.sum(axis=1).min())
    else:
        sums = np.cumsum(np.pad(board.open_q, ((0, 0), (1, 0))), axis=1)
        best = int((sums[:, board.duration :] - sums[:, : -board.duration]).min())
    return None if best >= UNUSABLE else best


def cheapest_apart(found: list[Choice], count: int) -> list[Choice]:
    """Keep the first places that share no cell, so that not all of them are one with a shift."""
    kept: list[Choice] = []
    for choice in found:
        if len(kept) == count:
            break
        if not any(choice.overlaps(other) for other in kept):
            kept.append(choice)
    return kept


def _unbroken(board: Board) -> list[tuple[int, tuple[int, ...]]]:
    closed = np.cumsum(np.pad(board.posted_q >= UNUSABLE, ((0, 0), (1, 0))), axis=1)
    starts = max(board.posted_q.shape[1] - board.duration + 1, 0)
    blocked = closed[:, board.duration :] - closed[:, :starts] if starts else closed[:, :0]
    return [
        (site, tuple(range(start, start + board.duration)))
        for site, start in np.argwhere(blocked == 0).tolist()
    ]


def _apart(board: Board) -> list[tuple[int, tuple[int, ...]]]:
    usable = board.posted_q < UNUSABLE
    places: dict[tuple[int, tuple[int, ...]], None] = {}
    for table in (board.posted_q, np.where(usable, board.grid_q, NEVER), board.open_q):
        for site in range(len(board.sites)):
            order = np.argsort(table[site], kind="stable")[: board.duration]
            if len(order) == board.duration and (table[site][order] < UNUSABLE).all():
                places[site, tuple(sorted(order.tolist()))] = None
    return list(places)
