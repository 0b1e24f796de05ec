"""Why a workload has the slot it has, or none: prices, alternatives, full cells, regret.

All of it follows from public rows. The workload's own cost of delay is private, so a place may be
cheaper at the posted prices than the one it took and yet dearer to it: the text says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.core.auditing.findings import Findings
from agents.core.auditing.reading import Award, Tables, instant, read_award, read_tables
from agents.core.explaining.choices import (
    Board,
    Choice,
    cheapest_apart,
    cheapest_open,
    choice_at,
    choices,
)
from agents.core.explaining.scene import Drawn, Wall, board_of
from agents.core.market.units import Q
from schema.messages import Performative
from schema.periods import format_instant, half_hour_start

Row = Mapping[str, Any]

_DECIDES = {
    Performative.ACCEPT_PROPOSAL: "placed",
    Performative.REJECT_PROPOSAL: "refused",
    Performative.CANCEL: "cancelled",
    Performative.FAILURE: "lost its place",
}
_ALTERNATIVES = 5
_BINDING = 10


@dataclass(frozen=True, slots=True)
class Parts:
    """What the slot costs at the posted prices, in GBP.

    ``posted`` is the sum of the first four; ``paid`` is less by ``capped`` where the refusal value
    is lower.
    """

    grid_gbp: float
    window_gbp: float
    window_scarcity_gbp: float
    congestion_gbp: float
    posted_gbp: float
    capped_gbp: float
    paid_gbp: float


@dataclass(frozen=True, slots=True)
class Cell:
    """One half hour of one site; ``load_kw`` is of all other work after the conversation.

    ``one_more_kw_saves_gbp``: what all work together would have saved by one kW more there in
    this half hour, half the congestion price; exact for small changes.
    """

    site: str
    region_id: int
    starts_at: str
    grid_gbp_per_kwh: float
    congestion_gbp_per_kwh: float
    load_kw: float
    capacity_kw: float
    one_more_kw_saves_gbp: float


@dataclass(frozen=True, slots=True)
class Taken:
    """One half hour of the slot, its own power in the load.

    ``price_gbp_per_kwh`` is what was posted for it: the grid or the window, what its scarcity adds,
    and congestion.
    """

    cell: Cell
    window: str | None
    window_gbp_per_kwh: float | None
    window_scarcity_gbp_per_kwh: float | None
    price_gbp_per_kwh: float


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another place, valued for the whole workload.

    ``grid_gbp`` is without congestion and windows. ``dearer_gbp`` is against the slot, below 0
    where this place was cheaper; None without a slot. ``free_kw`` is the least room of its half
    hours.
    """

    site: str
    region_id: int
    starts_at: str
    ends_at: str
    half_hours: int
    grid_gbp: float
    congestion_gbp: float
    posted_gbp: float
    dearer_gbp: float | None
    has_room: bool
    free_kw: float


@dataclass(frozen=True, slots=True)
class Regret:
    """How much less the cheapest place costs than the slot at the posted prices, in GBP.

    ``posted_gbp`` counts places that are full, too; ``with_room_gbp`` only what was left.
    """

    posted_gbp: float
    with_room_gbp: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a workload got what it got, by the conversation that decided.

    ``half_hours`` are those of the slot. ``nearest`` is the cheapest place by the grid alone, as
    if nobody else were there. ``binding`` are the dearest of ``binding_cells`` cells that kept the
    workload from a place which would have been cheaper without congestion.
    """

    outcome: str
    reason: str | None
    conversation: str | None
    decided_at: str | None
    refusal_value_gbp: float | None
    price: Parts | None = None
    half_hours: tuple[Taken, ...] = ()
    places: int = 0
    alternatives: tuple[Alternative, ...] = ()
    nearest: Alternative | None = None
    binding_cells: int = 0
    binding: tuple[Cell, ...] = ()
    regret: Regret | None = None


def deciding(said: Sequence[Row]) -> Row | None:
    """Give the last word on a workload's place; None while nothing was decided.

    Args:
        said: Messages about it, in the order they were sent.
    """
    words = [row for row in said if row["performative"] in _DECIDES]
    return words[-1] if words else None


def undecided(workload: Row, word: Row | None, why: str | None = None) -> Explanation:
    """Tell what can be told without settled prices."""
    content = {} if word is None else word["content"]
    return Explanation(
        outcome="undecided" if word is None else _DECIDES[word["performative"]],
        reason=why or content.get("reason") or content.get("why"),
        conversation=None if word is None else word["conversation_id"],
        decided_at=None if word is None else format_instant(instant(word["sent_at"])),
        refusal_value_gbp=workload["refusal_value_gbp"],
    )


def settled_tables(word: Row, calls: Sequence[Row]) -> Tables | None:
    """Read the prices of the conversation that decided; None if it was held without a market.

    Args:
        word: The last word on a place.
        calls: Calls for proposals of its conversation; one that settles nothing is passed over.
    """
    if word["performative"] in {Performative.CANCEL, Performative.FAILURE}:
        return None
    return read_tables(word["conversation_id"], calls, Findings())


def explain(
    workload: Row, word: Row, tables: Tables, drawn: Drawn, walls: Mapping[str, Wall]
) -> Explanation:
    """Explain a placed or refused workload.

    Args:
        workload: Its row of ``compute_workloads``.
        word: The message that accepts or rejects it.
        tables: Of the same conversation.
        drawn: What other work draws after it.
        walls: Where and when windows hold.
    """
    told = undecided(workload, word)
    board = board_of(workload, tables, drawn, walls)
    award = None
    if word["performative"] == Performative.ACCEPT_PROPOSAL:
        award = read_award(word, Findings())
        if award is None or not tables.covers(award.cells):
            return undecided(workload, word, "its award does not fit the settled prices")
    found = choices(board)
    mine = None if award is None else _slot_of(award, board)
    own_q = None if award is None else award.posted_price_q
    others = [item for item in found if item != mine]
    nearest = min(found, key=lambda item: (item.grid_q, item.posted_q), default=None)
    binding = _binding(board, found, mine, _limit_q(workload, award, tables, board))
    return Explanation(
        outcome=told.outcome,
        reason=told.reason,
        conversation=told.conversation,
        decided_at=told.decided_at,
        refusal_value_gbp=told.refusal_value_gbp,
        price=None if award is None else _parts(award, tables),
        half_hours=() if award is None else _taken(award, tables, drawn),
        places=len(found),
        alternatives=tuple(
            _alternative(board, item, own_q) for item in cheapest_apart(others, _ALTERNATIVES)
        ),
        nearest=None if nearest is None else _alternative(board, nearest, own_q),
        binding_cells=len(binding),
        binding=tuple(_cell(board, *cell) for cell in binding[:_BINDING]),
        regret=None if own_q is None else _regret(board, found, own_q),
    )


def _slot_of(award: Award, board: Board) -> Choice | None:
    """Find the slot on the board; None where the workload was allowed more than it is now."""
    site = next(iter(award.regions))
    columns = tuple(half_hour - board.first for half_hour in sorted(award.cells))
    inside = columns[0] >= 0 and columns[-1] < board.grid_q.shape[1]
    if site not in board.sites or not inside:
        return None
    return choice_at(board, board.sites.index(site), columns)


def _limit_q(workload: Row, award: Award | None, tables: Tables, board: Board) -> float:
    """Give the price sum that a place had to beat without congestion: the slot's, or refusal."""
    if award is not None:
        return sum(_values_q(award, tables))
    limit = workload["refusal_value_gbp"]
    return float("inf") if limit is None else limit * 2000.0 * Q / board.power_w


def _values_q(award: Award, tables: Tables) -> list[int]:
    """Give what the energy of each half hour is worth: the grid's value, or the window's own."""
    return [
        int(tables.grid_q[tables.sites[site], half_hour - tables.origin])
        if window is None
        else tables.window_q[window]
        for half_hour, (site, window) in sorted(award.cells.items())
    ]


def _binding(
    board: Board, found: Sequence[Choice], mine: Choice | None, limit_q: float
) -> list[tuple[int, int]]:
    """Give the cells that are full or carry a price in places cheaper without congestion.

    The dearest first, then those with least room. Its own cells stand in nobody's way.
    """
    full = board.full
    own = set() if mine is None else {(mine.site, column) for column in mine.columns}
    cells = {
        (item.site, column)
        for item in found
        if item.grid_q < limit_q
        for column in item.columns
        if board.mu_q[item.site, column] > 0 or full[item.site, column]
    }
    return sorted(
        cells - own, key=lambda cell: (-int(board.mu_q[cell]), int(board.room_w[cell]), cell)
    )


def _regret(board: Board, found: Sequence[Choice], own_q: int) -> Regret:
    left = cheapest_open(board)
    posted = min((item.posted_q for item in found), default=own_q)
    return Regret(
        posted_gbp=max(0.0, _gbp(own_q - posted, board.power_w)),
        with_room_gbp=0.0 if left is None else max(0.0, _gbp(own_q - left, board.power_w)),
    )


def _parts(award: Award, tables: Tables) -> Parts:
    grid_q = window_q = congestion_q = 0
    values = _values_q(award, tables)
    for (half_hour, (site, window)), value in zip(sorted(award.cells.items()), values, strict=True):
        congestion_q += int(tables.mu_q[tables.sites[site], half_hour - tables.origin])
        if window is None:
            grid_q += value
        else:
            window_q += value
    posted_q = tables.posted_price_q(award.cells)
    posted = _gbp(posted_q, award.power_w)
    return Parts(
        grid_gbp=_gbp(grid_q, award.power_w),
        window_gbp=_gbp(window_q, award.power_w),
        window_scarcity_gbp=_gbp(posted_q - grid_q - window_q - congestion_q, award.power_w),
        congestion_gbp=_gbp(congestion_q, award.power_w),
        posted_gbp=posted,
        capped_gbp=max(0.0, posted - award.paid_gbp),
        paid_gbp=award.paid_gbp,
    )


def _taken(award: Award, tables: Tables, drawn: Drawn) -> tuple[Taken, ...]:
    """List the slot's half hours; the workload's own power is part of the load."""
    taken = []
    for half_hour, (site, window) in sorted(award.cells.items()):
        row, column = tables.sites[site], half_hour - tables.origin
        cell = _price_cell(
            site,
            tables.regions[row],
            half_hour,
            grid_q=int(tables.grid_q[row, column]),
            mu_q=int(tables.mu_q[row, column]),
            load_w=int(drawn.load_w[row, column]) + award.power_w,
            capacity_w=int(tables.capacity_w[row, column]),
        )
        price_q = tables.posted_price_q({half_hour: (site, window)})
        own_q = None if window is None else tables.window_q[window]
        scarcity_q = None if own_q is None else price_q - own_q - int(tables.mu_q[row, column])
        taken.append(
            Taken(
                cell=cell,
                window=window,
                window_gbp_per_kwh=None if own_q is None else own_q / Q,
                window_scarcity_gbp_per_kwh=None if scarcity_q is None else scarcity_q / Q,
                price_gbp_per_kwh=price_q / Q,
            )
        )
    return tuple(taken)


def _cell(board: Board, site: int, column: int) -> Cell:
    return _price_cell(
        board.sites[site],
        board.regions[site],
        board.first + column,
        grid_q=int(board.grid_q[site, column]),
        mu_q=int(board.mu_q[site, column]),
        load_w=int(board.load_w[site, column]),
        capacity_w=int(board.capacity_w[site, column]),
    )


def _price_cell(
    site: str,
    region_id: int,
    half_hour: int,
    *,
    grid_q: int,
    mu_q: int,
    load_w: int,
    capacity_w: int,
) -> Cell:
    return Cell(
        site=site,
        region_id=region_id,
        starts_at=format_instant(half_hour_start(half_hour)),
        grid_gbp_per_kwh=grid_q / Q,
        congestion_gbp_per_kwh=mu_q / Q,
        load_kw=load_w / 1000.0,
        capacity_kw=capacity_w / 1000.0,
        one_more_kw_saves_gbp=_gbp(mu_q, 1000),
    )


def _alternative(board: Board, choice: Choice, own_q: int | None) -> Alternative:
    first, last = board.first + choice.columns[0], board.first + choice.columns[-1]
    return Alternative(
        site=board.sites[choice.site],
        region_id=board.regions[choice.site],
        starts_at=format_instant(half_hour_start(first)),
        ends_at=format_instant(half_hour_start(last + 1)),
        half_hours=len(choice.columns),
        grid_gbp=_gbp(choice.grid_q, board.power_w),
        congestion_gbp=_gbp(choice.mu_q, board.power_w),
        posted_gbp=_gbp(choice.posted_q, board.power_w),
        dearer_gbp=None if own_q is None else _gbp(choice.posted_q - own_q, board.power_w),
        has_room=choice.has_room,
        free_kw=choice.free_w / 1000.0,
    )


def _gbp(price_q: int, power_w: int) -> float:
    """Give the money for a power over half hours whose prices add up to a sum."""
    return price_q * power_w / (2000.0 * Q)
