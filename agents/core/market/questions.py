"""Everything the manager can ask a shard, as small values that may cross processes.

A question names the method and carries its arguments; a shell only has to call ``put`` or
``take`` on the shard it owns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from agents.core.market.order import Keys
from agents.core.market.plans import Places, Proposals
from agents.core.market.problem import Market
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
from agents.core.market.shard import ShardBook
from agents.core.market.units import Bools, Ints

R_co = TypeVar("R_co", covariant=True)


class Question(Protocol, Generic[R_co]):
    """Asked of every shard at once."""

    def put(self, book: ShardBook) -> R_co:
        """Answer on a shard."""
        ...


class Step(Protocol):
    """Done by one shard after the other, or only by those that own group 0 (``lead_only``)."""

    @property
    def lead_only(self) -> bool:
        """Whether shards without group 0 are passed over."""
        ...

    def take(self, book: ShardBook, token: Token) -> Token:
        """Take the token, move own workloads, pass it on."""
        ...


@dataclass(frozen=True, slots=True)
class Describe:
    """Who are you, and what may be known of your work?"""

    def put(self, book: ShardBook) -> Description:
        """Answer on a shard."""
        return book.describe()


@dataclass(frozen=True, slots=True, eq=False)
class Open:
    """A conversation begins over this market."""

    market: Market
    class_edges: Ints
    in_force: tuple[Places, ...] = ()
    lowest_w: int = 0

    def put(self, book: ShardBook) -> int:
        """Answer on a shard: how many workloads take part."""
        return book.open(self.market, self.class_edges, self.in_force, self.lowest_w)


@dataclass(frozen=True, slots=True)
class Muster:
    """Bring small organisations together in their leads; ``everybody`` counts all workloads."""

    everybody: int

    def put(self, book: ShardBook) -> int:
        """Answer on a shard: how many workloads it stands for."""
        return book.muster(self.everybody)


@dataclass(frozen=True, slots=True, eq=False)
class Respond:
    """Call for proposals: what would you do at these prices?"""

    mu_q: Ints
    supply_q: Ints
    sample: int = 0
    salt: int = 0

    def put(self, book: ShardBook) -> Response:
        """Answer on a shard."""
        return book.respond(self.mu_q, self.supply_q, sample=self.sample, salt=self.salt)


@dataclass(frozen=True, slots=True, eq=False)
class Begin:
    """Take your best responses as where you stand, one copy a start.

    ``mu_q`` [B, S, T] and ``supply_q`` [B, A, T] may differ between starts; [S, T] and [A, T] are
    the same for all.
    """

    mu_q: Ints
    supply_q: Ints
    outside: Bools
    in_force: Bools

    def put(self, book: ShardBook) -> Standing:
        """Answer on a shard."""
        return book.begin(self.mu_q, self.supply_q, self.outside, self.in_force)


@dataclass(frozen=True, slots=True, eq=False)
class Stand:
    """Where do you stand?"""

    save: Bools | None = None

    def put(self, book: ShardBook) -> Standing:
        """Answer on a shard."""
        return book.standing(self.save)


@dataclass(frozen=True, slots=True, eq=False)
class Revert:
    """Go back to what you saved in these starts."""

    starts: Bools

    def put(self, book: ShardBook) -> Standing:
        """Answer on a shard."""
        return book.revert(self.starts)


@dataclass(frozen=True, slots=True)
class Keep:
    """Forget all starts but this one."""

    start: int

    def put(self, book: ShardBook) -> Standing:
        """Answer on a shard."""
        return book.keep(self.start)


@dataclass(frozen=True, slots=True, eq=False)
class NameCrowds:
    """Who stands in overfull cells? ``everyone``: also those back at their contract's place."""

    loads: Ints
    starts: Bools
    everyone: bool = False

    def put(self, book: ShardBook) -> list[Crowd]:
        """Answer on a shard."""
        return book.crowds(self.loads, self.starts, everyone=self.everyone)


@dataclass(frozen=True, slots=True, eq=False)
class Evict:
    """These workloads lose their places, each in its start."""

    start_of: Ints
    keys: Keys

    def put(self, book: ShardBook) -> Standing:
        """Answer on a shard."""
        return book.evict(self.start_of, self.keys)


@dataclass(frozen=True, slots=True, eq=False)
class Restore:
    """Accepted work without a place goes back to its contract's place."""

    starts: Bools

    def put(self, book: ShardBook) -> Standing:
        """Answer on a shard."""
        return book.restore(self.starts)


@dataclass(frozen=True, slots=True)
class Renounce:
    """Whoever would rather be refused gives up its place."""

    def put(self, book: ShardBook) -> Standing:
        """Answer on a shard."""
        return book.renounce()


@dataclass(frozen=True, slots=True)
class NamePlaces:
    """Where does everybody stand?"""

    def put(self, book: ShardBook) -> Places:
        """Answer on a shard."""
        return book.places()


@dataclass(frozen=True, slots=True, eq=False)
class Propose:
    """What would each of your workloads do at these prices?"""

    mu_q: Ints
    supply_q: Ints

    def put(self, book: ShardBook) -> Proposals:
        """Answer on a shard."""
        return book.proposals(self.mu_q, self.supply_q)


@dataclass(frozen=True, slots=True, eq=False)
class Regret:
    """How far are you from your best responses to the posted prices?"""

    mu_q: Ints
    supply_q: Ints

    def put(self, book: ShardBook) -> Regrets:
        """Answer on a shard."""
        return book.regrets(self.mu_q, self.supply_q)


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Move one by one at these terms."""

    terms: Terms
    lead_only: bool = False

    def take(self, book: ShardBook, token: Token) -> Token:
        """Move a shard's workloads."""
        return book.sweep(self.terms, token)


@dataclass(frozen=True, slots=True, eq=False)
class Explain:
    """Why has everybody without a place none? ``loads`` [S, T] are the final ones."""

    loads: Ints

    def put(self, book: ShardBook) -> list[Refusal]:
        """Answer on a shard."""
        return book.refusals(self.loads)


@dataclass(frozen=True, slots=True, eq=False)
class Improve:
    """Try coalitions within each organisation."""

    terms: Terms
    trials: int
    lead_only: bool = True

    def take(self, book: ShardBook, token: Token) -> Token:
        """Release and award again in a shard."""
        return book.improve(self.terms, self.trials, token)


@dataclass(frozen=True, slots=True)
class ListSupplies:
    """Which of your half hours could draw on a window, and which do?"""

    start: int

    def put(self, book: ShardBook) -> Supplied:
        """Answer on a shard."""
        return book.list_supplies(self.start)


@dataclass(frozen=True, slots=True, eq=False)
class SetSupplies:
    """Draw as packed; one array a shard, in the order of its own list."""

    start: int
    shards: tuple[tuple[str, tuple[int, ...]], ...]
    slots: tuple[Ints, ...]

    def put(self, book: ShardBook) -> int:
        """Answer on a shard: how many half hours it took over."""
        mine = self.slots[self.shards.index((book.organisation, book.groups))]
        return book.set_supplies(self.start, mine)


@dataclass(frozen=True, slots=True, eq=False)
class Choose:
    """Which of your workloads could gain enough to be asked in the sweeps to come?"""

    terms: Terms
    token: Token
    power_w: int
    least_gain_q: int

    def put(self, book: ShardBook) -> int:
        """Answer on a shard: how many."""
        return book.choose(self.terms, self.token, self.power_w, self.least_gain_q)
