"""One shard of a contractor: its groups' workloads, their private costs and where they stand.

Only tables, counts and places leave a shard, never a delay cost or the cost of one workload.
Every method takes and returns small values and arrays, so that a shard may live in another
process. Arrays that come in are copied where a kernel would write or where another process may
have made them read-only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.core.market.fleet import Fleet, Rows, sort_rows
from agents.core.market.kernels_flow import flow_groups
from agents.core.market.kernels_improve import improve_start
from agents.core.market.kernels_plan import (
    add_loads,
    price_rows,
    standing_rows,
    tally_rows,
)
from agents.core.market.kernels_respond import REFUSED, prefix_sums, respond_rows
from agents.core.market.kernels_search import Plan, Prices, quote_table
from agents.core.market.kernels_settle import sweep_groups
from agents.core.market.order import GROUPS, Keys, groups_of, sampled
from agents.core.market.plans import Places, Proposals
from agents.core.market.problem import GRID, Market
from agents.core.market.reasons import Refusal
from agents.core.market.replies import (
    Crowd,
    Description,
    Regrets,
    Response,
    Standing,
    Supplied,
    Terms,
    Token,
)
from agents.core.market.shard_contracts import InForce
from agents.core.market.shard_crowds import name_crowds
from agents.core.market.shard_parts import (
    FORCED,
    RESTORED,
    Level,
    copy_plan,
    copy_starts,
    side_by_side,
    spell,
    spread,
    subset,
    why_refused,
)
from agents.core.market.tables import ClassTables, supply_view
from agents.core.market.units import NANO_PER_QW, NEVER, Bools, Floats, Ints, nano_up

MUSTER_UP_TO = 20_000
"""Largest organisation that settles in one shard."""


class ShardBook:
    """The groups of one organisation that one shard owns.

    Args:
        fleet: The organisation's workloads; those of other groups are left out.
        groups: Groups this shard owns, rising. The shard that owns group 0 is its organisation's
            lead.
    """

    def __init__(self, fleet: Fleet, groups: Sequence[int] = tuple(range(GROUPS))) -> None:
        self.organisation = fleet.organisation
        self.groups = tuple(groups)
        mine = np.flatnonzero(np.isin(groups_of(fleet.key), self.groups))
        self.fleet = fleet.take(mine)
        self._whole = fleet if len(fleet) <= MUSTER_UP_TO else None
        self._market: Market | None = None
        self._rows: Rows
        self._plan: Plan | None = None
        self._saved: Plan | None = None

    # -- before the conversation -------------------------------------------------------------

    def describe(self) -> Description:
        """Tell what may be known before prices are announced."""
        fleet = self.fleet
        return Description(
            organisation=self.organisation,
            groups=self.groups,
            workloads=len(fleet),
            energy_w=int((fleet.power_w * fleet.duration).sum()),
            half_hours=int(fleet.duration.sum()),
            powers=np.sort(fleet.power_w),
            accepted=int(fleet.accepted.sum()),
            refusals_nano=int(fleet.refusal_nano.sum()),
        )

    def open(
        self,
        market: Market,
        class_edges: Ints,
        in_force: Sequence[Places] = (),
        lowest_w: int = 0,
    ) -> int:
        """Start a conversation: sort the workloads and forget the last one.

        Args:
            market: The public side.
            class_edges: Lowest power of each power class but the first.
            in_force: Places of contracts in force, all organisations'.
            lowest_w: Lowest power of all workloads; 0 if unknown.

        Returns:
            How many workloads take part.
        """
        self._market = market
        self._grid = np.array(market.grid_q)
        self._capacity = np.array(market.capacity_w)
        self._slot_q = np.array(market.slot_q)
        self._supplies = supply_view(market)
        self._edges = np.array(class_edges)
        self._tables = ClassTables(market, class_edges, lowest_w)
        self._force = next((p for p in in_force if p.organisation == self.organisation), None)
        self._everybody = 0
        self._sort(self.fleet, self.groups)
        return len(self._rows.key)

    def muster(self, everybody: int) -> int:
        """Bring a small organisation together in its lead; its other shards step back.

        Privacy ends at the organisation, so its lead may hold all of its workloads. A settlement
        then needs one call an organisation, however many shards it has.

        Args:
            everybody: Workloads of all organisations.

        Returns:
            How many workloads this shard now stands for.
        """
        assert self._whole is not None, f"at most {MUSTER_UP_TO} workloads can be brought together"
        self._everybody = everybody
        if 0 in self.groups:
            self._sort(self._whole, tuple(range(GROUPS)))
            self._place = np.array([0, len(self._rows.key)], dtype=np.int64)
        else:
            self._sort(self._whole, ())
        return len(self._rows.key)

    def _sort(self, fleet: Fleet, groups: Sequence[int]) -> None:
        # What the last conversation left goes before this one's tables are made.
        self._samples: dict[tuple[int, int], Level] = {}
        self._plan = None
        self._saved = None
        self._chosen = np.zeros((0, 0), np.uint8)
        self._rows, self._place, self._origin = sort_rows(
            fleet, groups, self._edges, with_supplies=len(self._slot_q) > 0
        )
        self._by_key = np.argsort(self._rows.key, kind="stable")
        self._in_force = InForce(self._rows, self._force, self._need_market())

    # -- discovery ---------------------------------------------------------------------------

    def respond(
        self, mu_q: Ints, supply_q: Ints, *, sample: int = 0, salt: int = 0, outside: bool = True
    ) -> Response:
        """Answer a price table with loads and a part of the bound.

        Args:
            mu_q: [S, T] congestion prices.
            supply_q: [A, T] supply prices (the grid's value where there is no window).
            sample: Ask only workloads whose hash is below this (of 2^32); 0 asks all.
            salt: Salt of the sample.
            outside: Leave out those whose best cost passes their refusal value.
        """
        level = self._level(sample, salt)
        table = self._tables.prices(mu_q, supply_q)
        loads = np.zeros(self._grid.shape, np.int64)
        bound, refusing, impossible = respond_rows(
            level.rows,
            table,
            prefix_sums(table),
            outside,
            level.site,
            level.start,
            level.periods,
            level.value,
            loads,
        )
        return Response(
            organisation=self.organisation,
            loads=loads,
            bound_nano=int(bound),
            refusing=int(refusing),
            impossible=int(impossible),
            energy_w=level.energy_w,
        )

    def _level(self, sample: int, salt: int) -> Level:
        known = self._samples.get((sample, salt))
        if known is None:
            if sample == 0:
                known = Level(self._rows)
            else:
                chosen = sampled(self._rows.key, np.uint64(salt), sample)
                known = Level(subset(self._rows, chosen))
            self._samples[(sample, salt)] = known
        return known

    # -- settlement --------------------------------------------------------------------------

    def begin(self, mu_q: Ints, supply_q: Ints, outside: Bools, in_force: Bools) -> Standing:
        """Put every workload at its best response.

        Args:
            mu_q, supply_q: [B, S, T], [B, A, T] announced prices of each start, or [S, T], [A, T]
                for all.
            outside: [B] starts in which those refuse whose best cost passes their refusal value.
            in_force: [B] starts in which accepted work stands where its contract says and
                newcomers have no place yet.
        """
        level, rows = self._level(0, 0), self._rows
        starts, count = len(outside), len(rows.key)
        mu_q = np.broadcast_to(mu_q, (starts, *mu_q.shape[-2:]))
        supply_q = np.broadcast_to(supply_q, (starts, *supply_q.shape[-2:]))
        plan = Plan(
            site=np.empty((starts, count), np.int64),
            start=np.empty((starts, count), np.int64),
            periods=np.empty((starts, int(rows.period_ptr[-1])), np.int64),
            supply=np.full((starts, int(rows.supply_ptr[-1])), GRID, np.int64),
            protected=np.zeros((starts, count), np.uint8),
        )
        self._plan = plan
        for b in range(starts):
            if b == 0 or np.any(mu_q[b] != mu_q[b - 1]) or np.any(supply_q[b] != supply_q[b - 1]):
                self.respond(mu_q[b], supply_q[b], outside=False)
                dear = level.value.astype(np.float64) * rows.power * NANO_PER_QW > rows.refusal
                dear &= rows.accepted == 0
            plan.site[b] = level.site
            plan.start[b] = level.start
            plan.periods[b] = level.periods
            if in_force[b]:
                plan.site[b][rows.accepted == 0] = REFUSED
                self._in_force.put_back(plan, b, np.flatnonzero(self._in_force.position >= 0))
            elif outside[b]:
                plan.site[b][dear] = REFUSED
        return self.standing()

    def standing(self, save: Bools | None = None) -> Standing:
        """Add up where the workloads stand; ``save`` [B] remembers starts for ``revert``."""
        plan = self._need_plan()
        if save is not None:
            if self._saved is None:
                self._saved = copy_plan(plan)
            copy_starts(plan, self._saved, save)
        starts = plan.site.shape[0]
        loads = np.zeros((starts, *self._grid.shape), np.int64)
        used = np.zeros((starts, len(self._slot_q)), np.int64)
        for b in range(starts):
            add_loads(self._rows, plan, b, loads[b], used[b])
        cost = np.zeros(starts, np.int64)
        refused = np.zeros(starts, np.int64)
        dropped = np.zeros(starts, np.int64)
        lost = np.zeros(starts, np.int64)
        tally_rows(self._rows, plan, self._grid, self._slot_q, cost, refused, dropped, lost)
        return Standing(self.organisation, loads, used, cost, refused, dropped, lost)

    def revert(self, starts: Bools) -> Standing:
        """Go back to what was saved in those starts."""
        plan, saved = self._need_plan(), self._saved
        assert saved is not None, "a revert needs something saved"
        copy_starts(saved, plan, starts)
        return self.standing()

    def keep(self, start: int) -> Standing:
        """Forget all starts but one."""
        plan = self._need_plan()
        only = slice(start, start + 1)
        self._plan = Plan(
            plan.site[only].copy(),
            plan.start[only].copy(),
            plan.periods[only].copy(),
            plan.supply[only].copy(),
            plan.protected[only].copy(),
        )
        self._saved = None
        return self.standing()

    def sweep(self, terms: Terms, token: Token) -> Token:
        """Let this shard's workloads move one by one, group after group."""
        plan = self._need_plan()
        starts = token.loads.shape[0]
        capacity = self._capacity
        excess = (token.loads - capacity[None]).astype(np.float64)
        room = np.array(token.room)
        moved = np.array(token.moved)
        prices = self._prices(terms, starts, excess.shape, token.ramp)
        before = plan.site.copy() if terms.protect else plan.site
        chosen = self._chosen if terms.filtered else np.zeros((0, 0), np.uint8)
        salts = np.array(terms.salts, dtype=np.uint64)
        active = np.array(terms.active, dtype=np.bool_)
        outside = np.array(terms.outside, dtype=np.bool_)
        if terms.typical_w:
            flow_groups(
                self._rows,
                self._place,
                plan,
                excess,
                room,
                prices,
                self._supplies,
                salts,
                active,
                outside,
                chosen,
                terms.visit,
                terms.typical_w,
                moved,
            )
        else:
            step = np.zeros(starts) if terms.growth_step is None else np.array(terms.growth_step)

            def run(b: int) -> None:
                sweep_groups(
                    self._rows,
                    self._place,
                    plan,
                    excess,
                    room,
                    prices,
                    self._supplies,
                    salts,
                    active & (np.arange(starts) == b),
                    outside,
                    chosen,
                    terms.hard,
                    terms.visit,
                    terms.passes,
                    terms.growth,
                    step,
                    moved,
                )

            side_by_side(run, np.flatnonzero(active).tolist())
        if terms.protect:
            plan.protected[(before < 0) & (plan.site >= 0)] = FORCED
        loads = np.rint(excess).astype(np.int64) + capacity[None]
        return Token(loads, room, moved, None if token.ramp is None else prices.ramp)

    def improve(self, terms: Terms, trials: int, token: Token) -> Token:
        """Try coalitions; ``trials`` are for all workloads and shared out by their number."""
        plan, rows = self._need_plan(), self._rows
        starts = token.loads.shape[0]
        excess = (token.loads - self._capacity[None]).astype(np.float64)
        room = np.array(token.room)
        moved = np.array(token.moved)
        nothing = np.zeros(excess.shape)
        prices = Prices(
            self._grid, self._capacity, nothing, nothing, nothing, 0.0, self._offers(terms, starts)
        )
        mine = -(-trials * len(rows.key) // max(self._everybody, 1))

        def run(b: int) -> None:
            moved[b] += improve_start(
                rows,
                plan,
                b,
                excess[b],
                room[b],
                prices,
                self._supplies,
                np.array(terms.mu_q[b % terms.mu_q.shape[0]]),
                mine,
                terms.coalition,
                terms.tolerance,
                terms.refusal_weight,
                np.uint64(terms.salts[b]),
            )

        side_by_side(run, np.flatnonzero(terms.active).tolist())
        return Token(np.rint(excess).astype(np.int64) + self._capacity[None], room, moved)

    def choose(self, terms: Terms, token: Token, power_w: int, least_gain_q: int) -> int:
        """Choose who takes part in filtered sweeps: those who could gain enough at present.

        Everybody is compared at the same quotes, made for a typical power; a sweep then asks
        those chosen one by one at exact ones.

        Args:
            terms: Prices of the sweep to come.
            token: Loads and room at its beginning; only the first start counts.
            power_w: Typical power.
            least_gain_q: Least gain a half hour, Q units.

        Returns:
            How many are chosen.
        """
        plan, rows, level = self._need_plan(), self._rows, self._level(0, 0)
        starts = token.loads.shape[0]
        excess = (token.loads - self._capacity[None]).astype(np.float64)
        prices = self._prices(terms, starts, excess.shape, None)
        self._chosen = np.zeros((starts, len(rows.key)), np.uint8)
        table = np.empty(self._grid.shape, np.int64)
        now = np.empty(len(rows.key), np.int64)
        chosen = 0
        for b in np.flatnonzero(terms.active).tolist():
            quote_table(
                power_w,
                terms.hard,
                excess[b],
                self._grid,
                self._capacity,
                prices.mu[b],
                prices.rho[b],
                prices.ramp[b],
                prices.offer[b],
                np.array(token.room[b]),
                self._supplies,
                table,
            )
            classes = np.repeat(table[None], len(self._edges) + 1, axis=0)
            respond_rows(
                rows,
                classes,
                prefix_sums(classes),
                False,
                level.site,
                level.start,
                level.periods,
                level.value,
                np.zeros(self._grid.shape, np.int64),
            )
            standing_rows(
                rows,
                plan,
                b,
                terms.hard,
                excess[b],
                self._grid,
                prices.mu[b],
                prices.rho[b],
                prices.ramp[b],
                prices.offer[b],
                now,
            )
            self._chosen[b] = now - level.value > least_gain_q * rows.duration
            chosen += int(self._chosen[b].sum())
        return chosen

    def _prices(
        self, terms: Terms, starts: int, shape: tuple[int, ...], ramp: Floats | None
    ) -> Prices:
        capacity = self._capacity
        scale = np.where(capacity > 0, 1.0 / np.maximum(capacity, 1), 0.0)
        return Prices(
            grid=self._grid,
            capacity=capacity,
            mu=spread(terms.mu_q.astype(np.float64), shape),
            rho=np.ascontiguousarray(terms.rho_scale[:, None, None] * scale[None]),
            ramp=spread(terms.ramp if ramp is None else ramp, shape),
            least=terms.least,
            offer=self._offers(terms, starts),
        )

    def _offers(self, terms: Terms, starts: int) -> Ints:
        """[B, V] what each slot is offered at; NEVER in starts that leave windows out."""
        slots = len(self._slot_q)
        out = np.full((starts, slots), NEVER, np.int64)
        if slots == 0:
            return out
        market = self._need_market()
        for b in range(starts):
            if terms.naive is None or not terms.naive[b]:
                supply = terms.supply_q[b % len(terms.supply_q)]
                above = supply[market.slot_area, market.slot_period] - self._slot_q
                out[b] = self._slot_q + np.floor(terms.share * np.maximum(above, 0)).astype(
                    np.int64
                )
        return out

    # -- windows -----------------------------------------------------------------------------

    def list_supplies(self, start: int) -> Supplied:
        """List the half hours that stand where there are windows, by rising key."""
        rows = self._rows
        row, at, cell = self._window_halves(start)
        slot = self._need_plan().supply[start][at]
        return Supplied(self.organisation, self.groups, cell, rows.power[row], rows.key[row], slot)

    def set_supplies(self, start: int, slots: Ints) -> int:
        """Take over the slots of the listed half hours."""
        _, at, _ = self._window_halves(start)
        self._need_plan().supply[start][at] = slots
        return len(at)

    def _window_halves(self, start: int) -> tuple[Ints, Ints, Ints]:
        """Give rows, places in ``supply`` and cells of half hours that stand where windows are."""
        market, plan, rows = self._need_market(), self._need_plan(), self._rows
        if len(self._slot_q) == 0:
            nothing = np.zeros(0, np.int64)
            return nothing, nothing, nothing
        ptr, period, _ = spell(self._rows, self._need_plan(), start, self._by_key)
        count = np.diff(ptr)
        row = np.repeat(self._by_key, count)
        at = np.repeat(rows.supply_ptr[:-1][self._by_key] - ptr[:-1], count) + np.arange(len(row))
        cell = market.area[plan.site[start][row]] * market.periods + period
        there = np.diff(market.slot_ptr)[cell] > 0
        return row[there], at[there], cell[there]

    # -- who is in the way -------------------------------------------------------------------

    def crowds(self, loads: Ints, starts: Bools, *, everyone: bool) -> list[Crowd]:
        """Name the workloads in overfull cells, in the order in which they would leave."""
        plan = self._need_plan()
        return name_crowds(self._rows, plan, self._capacity, loads, starts, everyone=everyone)

    def evict(self, start_of: Ints, keys: Keys) -> Standing:
        """Take the place away from those workloads, each in its start."""
        plan = self._need_plan()
        for b, row in zip(start_of.tolist(), self._find(keys).tolist(), strict=True):
            if row >= 0:
                plan.site[b, row] = REFUSED
        return self.standing()

    def renounce(self) -> Standing:
        """Let those give up their places whom being refused would cost less; accepted ones stay."""
        plan, rows = self._need_plan(), self._rows
        slot = np.repeat(self._slot_q[None], len(self._grid), axis=0)
        now = np.empty(len(rows.key), np.int64)
        for b in range(plan.site.shape[0]):
            price_rows(rows, plan, b, self._grid, slot, now)
            dear = now.astype(np.float64) * rows.power * NANO_PER_QW > rows.refusal
            plan.site[b][dear & (rows.accepted == 0)] = REFUSED
        return self.standing()

    def restore(self, starts: Bools) -> Standing:
        """Put accepted work without a place back to its contract's place, for good."""
        plan, rows = self._need_plan(), self._rows
        for b in np.flatnonzero(starts).tolist():
            lost = (plan.site[b] < 0) & (rows.accepted != 0) & (self._in_force.position >= 0)
            self._in_force.put_back(plan, b, np.flatnonzero(lost))
            plan.protected[b][lost] = RESTORED
        return self.standing()

    def _find(self, keys: Keys) -> Ints:
        """Give each key's row, -1 where it belongs to another shard."""
        order = self._by_key
        mine = self._rows.key[order]
        if len(mine) == 0:
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(mine, keys), len(mine) - 1)
        return np.where(mine[at] == keys, order[at], -1)

    # -- the end -----------------------------------------------------------------------------

    def places(self, start: int = 0) -> Places:
        """Give where everybody stands in one start, by rising key."""
        plan, rows = self._need_plan(), self._rows
        ptr, period, slot = spell(self._rows, self._need_plan(), start, self._by_key)
        window = np.full(len(slot), GRID, np.int64)
        drawn = slot >= 0
        window[drawn] = self._need_market().slot_window[slot[drawn]]
        return Places(
            organisation=self.organisation,
            key=rows.key[self._by_key],
            power_w=rows.power[self._by_key],
            duration=rows.duration[self._by_key],
            site=plan.site[start][self._by_key],
            ptr=ptr,
            period=period,
            window=window,
        )

    def refusals(self, loads: Ints) -> list[Refusal]:
        """Say of everybody without a place what decided; ``loads`` [S, T] are the final ones."""
        plan, rows = self._need_plan(), self._rows
        room = self._capacity - loads
        return [
            why_refused(self.organisation, rows, i, self._capacity, room)
            for i in np.flatnonzero(plan.site[0] < 0).tolist()
        ]

    def proposals(self, mu_q: Ints, supply_q: Ints) -> Proposals:
        """Give everybody's best response to prices; -1 for those who would rather refuse."""
        self.respond(mu_q, supply_q, outside=False)
        level, rows = self._level(0, 0), self._rows
        dear = level.value.astype(np.float64) * rows.power * NANO_PER_QW > rows.refusal
        site = np.where(dear, REFUSED, level.site)
        order = self._by_key
        return Proposals(self.organisation, rows.key[order], site[order], level.start[order])

    def regrets(self, mu_q: Ints, supply_q: Ints) -> Regrets:
        """Compare where everybody stands with its best response to posted prices."""
        plan, rows = self._need_plan(), self._rows
        market = self._need_market()
        self.respond(mu_q, supply_q, outside=False)
        level = self._level(0, 0)
        cell = np.ascontiguousarray(self._grid + mu_q)
        announced = supply_q[market.slot_area, market.slot_period]
        offer = np.maximum(self._slot_q, announced)
        slot = np.ascontiguousarray(offer[None, :] + mu_q[:, market.slot_period])
        now = np.zeros(len(rows.key), np.int64)
        price_rows(rows, plan, 0, cell, slot, now)
        placed = (plan.site[0] >= 0) & (level.site >= 0)
        paid = nano_up(now, rows.power)
        best = nano_up(level.value, rows.power)
        regret = np.where(placed, paid - best, 0)
        return Regrets(
            organisation=self.organisation,
            regret_nano=int(regret.sum()),
            cost_nano=int(paid[placed].sum()),
            within_percent=int((regret[placed] <= 0.01 * np.abs(paid[placed])).sum()),
            placed=int(placed.sum()),
        )

    # -- guards ------------------------------------------------------------------------------

    def _need_plan(self) -> Plan:
        assert self._plan is not None, "begin comes before any step of the settlement"
        return self._plan

    def _need_market(self) -> Market:
        assert self._market is not None, "open comes before any other question"
        return self._market
