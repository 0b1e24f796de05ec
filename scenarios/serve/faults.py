"""Faults by name: what they are, how they are written, which one hits a request.

    SOURCE:KIND[=VALUE][:FROM-TO][:PATH]     neso:throttle=60:120-300:/datastore_search
    random[:SEED]                            episodes drawn for each source

Seconds count from the server's start, on its clock; without an end a fault stays. PATH is text that
the request's path must contain. The first fault that hits a request is done to it: of those
listed, then of the scenario's own, then of the random ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from random import Random
from typing import Final

from scenarios.model import AckShape, FaultKind, WireFault
from schema.clock import Clock
from schema.errors import InputError
from schema.readings import Source


class Kind(StrEnum):
    """What a source can do wrong, down to the socket."""

    REFUSE = "refuse"
    RESET = "reset"
    HANG = "hang"
    DRIP = "drip"
    THROTTLE = "throttle"
    ERROR = "error"
    HTML = "html"
    TRUNCATED = "truncated"
    WRONG_TYPES = "wrong-types"
    SCHEMA_DRIFT = "schema-drift"
    GZIP_BOMB = "gzip-bomb"
    STALE_RESOURCE = "stale-resource"
    CLOCK_SKEW = "clock-skew"
    REDIRECT = "redirect"
    DEEP = "deep"
    NACK = "nack"
    LATE_CALLBACK = "late-callback"
    DUPLICATE_CALLBACK = "duplicate-callback"


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a kind's VALUE may be: a number from low to high, one of some words, or nothing."""

    default: float = math.nan
    low: float = 0.0
    high: float = 0.0
    words: tuple[str, ...] = ()
    only: Source | None = None

    @property
    def allowed(self) -> str:
        if self.words:
            return f"one of {', '.join(self.words)}"
        if math.isnan(self.default):
            return "no value"
        return f"a number from {self.low:g} to {self.high:g}"


_DAY_S = 86_400.0
_SHAPES = ("message-status", "message-ack", "ack-status", "status")
_RULES: Final[dict[Kind, _Rule]] = {
    Kind.REFUSE: _Rule(),
    Kind.RESET: _Rule(),
    Kind.HANG: _Rule(),
    Kind.DRIP: _Rule(1, 0.1, 1_000_000),
    Kind.THROTTLE: _Rule(30, 0, _DAY_S),
    Kind.ERROR: _Rule(500, 500, 599),
    Kind.HTML: _Rule(),
    Kind.TRUNCATED: _Rule(words=("right", "wrong")),
    Kind.WRONG_TYPES: _Rule(),
    Kind.SCHEMA_DRIFT: _Rule(words=("all", "renamed", "missing", "extra")),
    Kind.GZIP_BOMB: _Rule(100, 1, 1024),
    Kind.STALE_RESOURCE: _Rule(only=Source.NESO),
    Kind.CLOCK_SKEW: _Rule(3600, -30 * _DAY_S, 30 * _DAY_S),
    Kind.REDIRECT: _Rule(words=("metadata", "file")),
    Kind.DEEP: _Rule(10_000, 1, 1_000_000),
    Kind.NACK: _Rule(words=_SHAPES, only=Source.BECKN),
    Kind.LATE_CALLBACK: _Rule(45, 0, _DAY_S, only=Source.BECKN),
    Kind.DUPLICATE_CALLBACK: _Rule(only=Source.BECKN),
}
_OF_THE_SCENARIO = {
    FaultKind.REFUSE: Kind.REFUSE,
    FaultKind.TIMEOUT: Kind.HANG,
    FaultKind.THROTTLE: Kind.THROTTLE,
    FaultKind.SERVER_ERROR: Kind.ERROR,
    FaultKind.HTML: Kind.HTML,
    FaultKind.TRUNCATED: Kind.TRUNCATED,
    FaultKind.WRONG_TYPES: Kind.WRONG_TYPES,
}
_RANGE = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)?")
_ALL = "all"
_RANDOM = "random"

#: Random faults: a source has a bad spell in every second minute, of 5 to 30 s.
_SLOT_S = 60.0
_SPELLS = 0.5


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one source.

    Attributes:
        source: Whose.
        kind: What.
        amount: The number of kinds that have one: seconds, status, depth, MiB, bytes a second.
        variant: The word of kinds that have one.
        from_s: First second, from the server's start.
        to_s: First second after it.
        path: Text that the request's path must contain.
    """

    source: Source
    kind: Kind
    amount: float = math.nan
    variant: str = ""
    from_s: float = -math.inf
    to_s: float = math.inf
    path: str = ""

    def hits(self, source: Source, path: str, elapsed_s: float) -> bool:
        """Say whether it is done to a request."""
        return self.source is source and self.from_s <= elapsed_s < self.to_s and self.path in path

    @property
    def ack_shape(self) -> AckShape:
        """The shape of a NACK."""
        return AckShape(self.variant.replace("-", "_"))


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """All faults asked for."""

    faults: tuple[Fault, ...] = ()
    seeds: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> FaultPlan:
        """Read faults separated by commas; empty is none.

        Raises:
            InputError: One of them is not understood; the message says what is allowed.
        """
        faults: list[Fault] = []
        seeds: list[int] = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            head, *rest = part.split(":")
            if head == _RANDOM:
                seeds.append(_seed(part, rest))
            else:
                faults += _faults(part, head, rest)
        return cls(tuple(faults), tuple(seeds))

    def listed(self, source: Source, path: str, elapsed_s: float) -> Fault | None:
        """Give the first listed fault that hits a request."""
        return next((f for f in self.faults if f.hits(source, path, elapsed_s)), None)

    def drawn(self, source: Source, elapsed_s: float) -> Fault | None:
        """Give the random fault that hits a source at a moment; the same for the same seed."""
        for seed in self.seeds:
            fault = _spell(seed, source, elapsed_s)
            if fault is not None and fault.hits(source, "", elapsed_s):
                return fault
        return None


class ActiveFaults:
    """The faults in force as time goes by; ``plan`` may be replaced at any moment.

    Args:
        clock: The server's.
        own: Gives the scenario's own fault of a source, path and instant.
        plan: What was asked for.
    """

    def __init__(
        self,
        clock: Clock,
        own: Callable[[Source, str, datetime], WireFault | None],
        plan: FaultPlan,
    ) -> None:
        self.plan = plan
        self._clock = clock
        self._own = own
        self._began = clock.now()

    def of(self, source: Source, path: str) -> Fault | None:
        """Give the fault that hits a request made now."""
        now = self._clock.now()
        elapsed_s = (now - self._began).total_seconds()
        listed = self.plan.listed(source, path, elapsed_s)
        if listed is not None:
            return listed
        own = self._own(source, path, now)
        if own is not None:
            kind = _OF_THE_SCENARIO[own.kind]
            rule = _RULES[kind]
            amount = own.retry_after_s if kind is Kind.THROTTLE else rule.default
            variant = rule.words[0] if rule.words else ""
            return Fault(source, kind, amount, variant, path=own.path)
        return self.plan.drawn(source, elapsed_s)

    def refused(self, source: Source) -> bool:
        """Say whether the whole port is closed now; a port cannot be closed for one path."""
        fault = self.of(source, "")
        return fault is not None and fault.kind is Kind.REFUSE


def _seed(part: str, rest: list[str]) -> int:
    if not rest:
        return 0
    if len(rest) == 1 and rest[0].isdigit():
        return int(rest[0])
    raise InputError(f"--faults {part!r}: write random or random:SEED, a whole number", value=part)


def _faults(part: str, head: str, rest: list[str]) -> list[Fault]:
    source = head.strip().replace("-", "_")
    names = [s.value for s in Source]
    if source != _ALL and source not in names:
        raise InputError(_unknown(part, "source", head, [*names, _ALL, _RANDOM]), value=part)
    if not rest:
        raise InputError(f"--faults {part!r} names no kind; one of {', '.join(Kind)}", value=part)
    word, _, value = rest[0].partition("=")
    name = word.strip().replace("_", "-")
    if name not in set(Kind):
        known = [kind.value for kind in Kind]
        raise InputError(_unknown(part, "kind", word, known), value=part)
    kind = Kind(name)
    rule = _RULES[kind]
    if rule.only is not None and source != rule.only.value:
        msg = f"--faults {part!r}: {kind.value} is a fault of {rule.only.value} alone"
        raise InputError(msg, value=part)
    amount, variant = _value(part, kind, value)
    from_s, to_s, path = _place(part, rest[1:])
    return [
        Fault(s, kind, amount, variant, from_s, to_s, path)
        for s in Source
        if source in {_ALL, s.value}
    ]


def _value(part: str, kind: Kind, text: str) -> tuple[float, str]:
    rule = _RULES[kind]
    if not text:
        return rule.default, rule.words[0] if rule.words else ""
    wrong = InputError(f"--faults {part!r}: {kind.value} takes {rule.allowed}", value=part)
    if rule.words:
        word = text.replace("_", "-")
        if word not in rule.words:
            raise wrong
        return math.nan, word
    try:
        number = float(text)
    except ValueError:
        raise wrong from None
    if not rule.low <= number <= rule.high or math.isnan(rule.default):
        raise wrong
    return number, ""


def _place(part: str, rest: list[str]) -> tuple[float, float, str]:
    from_s, to_s = -math.inf, math.inf
    if rest and (match := _RANGE.fullmatch(rest[0])):
        from_s = float(match[1])
        to_s = float(match[2]) if match[2] else math.inf
        if to_s <= from_s:
            msg = f"--faults {part!r}: the second {to_s:g} must be after {from_s:g}"
            raise InputError(msg, value=part)
        rest = rest[1:]
    return from_s, to_s, ":".join(rest)


def _unknown(part: str, what: str, given: str, known: list[str]) -> str:
    near = get_close_matches(given, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"--faults {part!r}: there is no {what} {given!r}{hint} Known: {', '.join(known)}"


def _spell(seed: int, source: Source, elapsed_s: float) -> Fault | None:
    """Draw the bad spell of one minute of one source."""
    slot = math.floor(elapsed_s / _SLOT_S)
    rng = Random(f"{seed}|{source.value}|{slot}")  # noqa: S311 - a schedule, not a secret
    if slot < 0 or rng.random() >= _SPELLS:
        return None
    kind = rng.choice([k for k, rule in _RULES.items() if rule.only in {None, source}])
    rule = _RULES[kind]
    begins = slot * _SLOT_S + rng.uniform(0, 30)
    variant = rng.choice(rule.words) if rule.words else ""
    return Fault(source, kind, rule.default, variant, begins, begins + rng.uniform(5, 30))
