"""Finding prices: rounds of calls for proposals with a certified bound in each.

Prices climb by diagonally scaled momentum along (load - capacity) / capacity. Only additions,
products, quotients and square roots take part, which IEEE arithmetic rounds alike everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agents.core.market.contractors import Contractors
from agents.core.market.problem import Market
from agents.core.market.questions import Respond
from agents.core.market.tables import window_capacity_price_q
from agents.core.market.units import MAX_PRICE, Floats, Ints, priced_capacity_nano

MOMENTUM = 0.8
SCALE_MEMORY = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """Announced integer tables: congestion [S, T] and supply [A, T], Q units."""

    mu_q: Ints
    supply_q: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One call for proposals and what came back, added up."""

    number: int
    prices: Prices
    bound_nano: int
    loads_by_organisation: dict[str, Ints]
    refusing: int
    impossible: int
    energy_w: int
    """Watts times half hours of those asked."""
    priced_nano: int
    """Value of all capacity and windows at the prices."""
    sampled: bool


@dataclass(frozen=True, slots=True, eq=False)
class Discovered:
    """The best prices found and every round on the way."""

    prices: Prices
    bound_nano: int
    rounds: tuple[Round, ...]
    refusing: int


@dataclass(frozen=True, slots=True)
class Level:
    """One stretch of discovery.

    Attributes:
        rounds: Calls for proposals.
        step: First step, as part of the mean value of energy.
        sample: Workloads asked, of 2^32; 0 asks all.
        salt: Which of them.
        lift: Rounds before, in which all congestion prices rise together.
    """

    rounds: int
    step: float
    sample: int = 0
    salt: int = 0
    lift: int = 0


def decay(number: int, rounds: int) -> float:
    """Give the step's factor of a round: (1 - x^2)^2, near a cosine without one."""
    x = number / rounds
    return (1.0 - x * x) * (1.0 - x * x)


def opening_prices(market: Market) -> Prices:
    """Give prices without congestion: the cheapest supply of each region and half hour."""
    supply = market.area_grid_q().copy()
    if len(market.slot_q):
        np.minimum.at(supply, (market.slot_area, market.slot_period), market.slot_q)
    return Prices(np.zeros_like(market.grid_q), supply)


def announce(
    market: Market, contractors: Contractors, prices: Prices, level: Level, number: int
) -> Round:
    """Call for proposals at prices and add the answers up; the bound is exact and rounded down.

    In a sampled round the bound counts the sample alone and certifies nothing.
    """
    answers = contractors.ask(
        Respond(prices.mu_q, prices.supply_q, sample=level.sample, salt=level.salt)
    )
    loads: dict[str, Ints] = {}
    for answer in answers:
        known = loads.get(answer.organisation)
        loads[answer.organisation] = answer.loads if known is None else known + answer.loads
    priced = _priced(market, prices)
    return Round(
        number=number,
        prices=prices,
        bound_nano=sum(answer.bound_nano for answer in answers) - priced,
        loads_by_organisation=loads,
        refusing=sum(answer.refusing for answer in answers),
        impossible=sum(answer.impossible for answer in answers),
        energy_w=sum(answer.energy_w for answer in answers),
        priced_nano=priced,
        sampled=level.sample != 0,
    )


def discover(
    market: Market,
    contractors: Contractors,
    start: Prices,
    levels: tuple[Level, ...],
    *,
    energy_w: int,
    first_number: int = 1,
    on_round: Callable[[Round], None] | None = None,
) -> Discovered:
    """Look for the prices with the highest bound.

    Args:
        market: The public side.
        contractors: Who answers.
        start: First prices (``opening_prices`` or those of the last conversation).
        levels: Stretches; later ones start from the best prices of those before.
        energy_w: Watts times half hours of all work; a sample climbs against its share of the
            capacity.
        first_number: Number of the first round.
        on_round: Told of every round.
    """
    rounds: list[Round] = []
    prices = start
    best: Round | None = None

    def call(prices: Prices, level: Level) -> Round:
        current = announce(market, contractors, prices, level, first_number + len(rounds))
        rounds.append(current)
        if on_round is not None:
            on_round(current)
        return current

    for level in levels:
        climber = _Climber(market, prices)
        level_best: Round | None = None
        lift = _Lift()
        for _ in range(level.lift):
            current = call(climber.lifted(lift.shift), level)
            climber.share = current.energy_w / energy_w if energy_w else 1.0
            level_best = _better(level_best, current, climber.share)
            lift.learn(rises=climber.wanted(current) > climber.share)
        if level_best is not None:
            climber = _Climber(market, level_best.prices)
        for turn in range(level.rounds):
            current = call(climber.prices(), level)
            if turn == 0:
                climber.share = current.energy_w / energy_w if energy_w else 1.0
            level_best = _better(level_best, current, climber.share)
            climber.climb(current, level.step * decay(turn, level.rounds))
            climber.remember(keep=turn >= level.rounds * 0.6)
        averaged = call(climber.average(), level)
        level_best = _better(level_best, averaged, climber.share)
        prices = level_best.prices
        if not level_best.sampled and (best is None or level_best.bound_nano > best.bound_nano):
            best = level_best
    if best is None:
        best = call(prices, Level(1, 0.0))
    return Discovered(best.prices, best.bound_nano, tuple(rounds), best.refusing)


class _Lift:
    """Search for how far all prices rise together, in mean values of energy.

    The bound is concave along that line, and rises while more is wanted than there is in all.
    """

    def __init__(self) -> None:
        self.shift = 0.0
        self._low = 0.0
        self._high = 0.0

    def learn(self, *, rises: bool) -> None:
        if rises:
            self._low = self.shift
        else:
            self._high = self.shift
        if self._high > 0.0:
            self.shift = 0.5 * (self._low + self._high)
        else:
            self.shift = 2.0 * self._low + 0.5 if rises else 0.0


def _better(known: Round | None, new: Round, share: float) -> Round:
    """Give the round with the higher scaled bound, the earlier one of two alike."""
    if known is None or _scaled_bound(new, share) > _scaled_bound(known, share):
        return new
    return known


def _scaled_bound(answer: Round, share: float) -> float:
    """Give a sampled round's bound with the capacity shrunk to the sample's share.

    The round itself subtracts the whole capacity at its prices.
    """
    return answer.bound_nano + (1.0 - share) * answer.priced_nano


def _priced(market: Market, prices: Prices) -> int:
    """Value of all capacity and windows at prices, 1e-9 GBP."""
    priced = priced_capacity_nano(prices.mu_q, market.capacity_w)
    if len(market.slot_q):
        priced += priced_capacity_nano(
            window_capacity_price_q(market, prices.supply_q), market.slot_w
        )
    return priced


class _Climber:
    """State of the ascent; all tables [S, T] or [A, T], prices in units of ``unit``."""

    def __init__(self, market: Market, start: Prices) -> None:
        self._market = market
        self._unit = unit = market.scale_q
        self.share = 1.0
        self._mu = start.mu_q / unit
        self._supply = start.supply_q / unit
        self._push = np.zeros(self._mu.shape)
        self._size = np.zeros(self._mu.shape)
        self._turn = 0
        self._sum_mu = np.zeros(self._mu.shape)
        self._sum_supply = np.zeros(self._supply.shape)
        self._kept = 0
        self._beta = (1.0, 1.0)
        self._windows = _WindowClimber(market, unit) if len(market.slot_q) else None

    def prices(self) -> Prices:
        return self._quantised(self._mu, self._supply)

    def lifted(self, shift: float) -> Prices:
        return self._quantised(self._mu + shift, self._supply)

    def wanted(self, answer: Round) -> float:
        """Give the load in parts of the whole capacity."""
        loads = sum(int(part.sum()) for part in answer.loads_by_organisation.values())
        return loads / max(int(self._market.capacity_w.sum()), 1)

    def average(self) -> Prices:
        kept = max(self._kept, 1)
        if not self._kept:
            return self.prices()
        return self._quantised(self._sum_mu / kept, self._sum_supply / kept)

    def remember(self, *, keep: bool) -> None:
        if keep:
            self._sum_mu += self._mu
            self._sum_supply += self._supply
            self._kept += 1

    def climb(self, answer: Round, step: float) -> None:
        loads = np.zeros(self._mu.shape)
        for part in answer.loads_by_organisation.values():
            loads += part
        capacity = np.maximum(self._market.capacity_w * self.share, 1.0)
        gradient = np.clip((loads - capacity) / capacity, -1.0, 10.0)
        self._mu = np.maximum(0.0, self._mu + step * self._direction(gradient))
        if self._windows is not None:
            self._supply = self._windows.climb(self._supply, loads / self.share, step)

    def _direction(self, gradient: Floats) -> Floats:
        self._push = MOMENTUM * self._push + (1.0 - MOMENTUM) * gradient
        self._size = SCALE_MEMORY * self._size + (1.0 - SCALE_MEMORY) * gradient * gradient
        first, second = self._beta
        self._beta = (first * MOMENTUM, second * SCALE_MEMORY)
        mean = self._push / (1.0 - self._beta[0])
        scale = self._size / (1.0 - self._beta[1])
        return np.asarray(mean / (np.sqrt(scale) + 1e-8))

    def _quantised(self, mu: Floats, supply: Floats) -> Prices:
        mu_q = np.minimum(np.rint(mu * self._unit), MAX_PRICE).astype(np.int64)
        return Prices(mu_q, np.rint(supply * self._unit).astype(np.int64))


class _WindowClimber:
    """Moves the supply price between the cheapest window and the grid."""

    def __init__(self, market: Market, unit: float) -> None:
        self._market = market
        grid = market.area_grid_q() / unit
        cheapest = grid.copy()
        np.minimum.at(cheapest, (market.slot_area, market.slot_period), market.slot_q / unit)
        self._low, self._high = cheapest, grid
        self._slot_value = market.slot_q / unit
        self._whole = np.zeros(grid.shape)
        np.add.at(self._whole, (market.slot_area, market.slot_period), market.slot_w)
        self._push = np.zeros(grid.shape)
        self._size = np.zeros(grid.shape)

    def climb(self, supply: Floats, loads: Floats, step: float) -> Floats:
        market = self._market
        cells = (market.slot_area, market.slot_period)
        cheaper = self._slot_value < supply[cells]
        offered = np.zeros(supply.shape)
        np.add.at(offered, cells, np.where(cheaper, market.slot_w, 0.0))
        drawn = np.zeros(supply.shape)
        np.add.at(drawn, market.area, loads)
        there = self._whole > 0.0
        gradient = np.where(
            there, np.clip((drawn - offered) / np.maximum(self._whole, 1.0), -3.0, 3.0), 0.0
        )
        stuck = ((supply <= self._low) & (gradient < 0)) | ((supply >= self._high) & (gradient > 0))
        gradient[stuck] = 0.0
        self._push = MOMENTUM * self._push + (1.0 - MOMENTUM) * gradient
        self._size = SCALE_MEMORY * self._size + (1.0 - SCALE_MEMORY) * gradient * gradient
        moved = supply + step * self._push / (np.sqrt(self._size) + 1e-8)
        return np.clip(np.where(there, moved, self._high), self._low, self._high)
