"""What only small conversations do: prices of slight excess, missing work first, leads alone."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pytest

from agents.core.market.contractors import Contractors, InProcessContractors, make_books
from agents.core.market.digest import digest_of
from agents.core.market.instances import make_instance
from agents.core.market.kernels_improve import list_missing
from agents.core.market.kernels_search import quote_cells
from agents.core.market.negotiate import Options, negotiate
from agents.core.market.questions import Question, Step
from agents.core.market.replies import Token

R = TypeVar("R")


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        # 1,000 W where 990 W are free: 10 W too many, a hundredth of its power.
        # Without a least part 5,000 + 0.01 * 40,000; with it 5,000 + (0.25 + 0.75 * 0.01) * 40,000.
        (0.0, 5_400),
        (0.25, 15_300),
    ],
)
def test_a_big_load_a_few_watts_too_high_costs_a_least_part_of_the_ramp(
    least: float, expected: int
) -> None:
    out = np.zeros((1, 2), np.int64)
    nothing = np.zeros((1, 2))
    quote_cells(
        1_000,
        False,
        0,
        0,
        2,
        np.array([[-990.0, -1_000.0]]),
        np.array([[5_000, 5_000]]),
        np.array([[4_000, 4_000]]),
        nothing,
        nothing,
        np.array([[40_000.0, 40_000.0]]),
        least,
        out,
        0,
        0,
    )
    assert out.tolist() == [[expected, 5_000]]


def test_those_without_a_place_are_listed_by_row() -> None:
    out = np.zeros(5, np.int64)
    count = list_missing(np.array([3, -1, 0, 7, -1]), out)
    assert out[:count].tolist() == [1, 4]


class _Counted:
    """Passes everything on and notes how many shards answer each question."""

    def __init__(self, contractors: Contractors, answers: list[tuple[str, int]]) -> None:
        self._contractors, self._answers = contractors, answers

    def ask(self, question: Question[R]) -> list[R]:
        answers = self._contractors.ask(question)
        self._answers.append((type(question).__name__, len(answers)))
        return answers

    def relay(self, step: Step, token: Token) -> Token:
        return self._contractors.relay(step, token)

    def leads(self) -> Contractors:
        return _Counted(self._contractors.leads(), self._answers)


@pytest.mark.parametrize(
    ("muster_up_to", "answering"), [(20_000, {2}), (0, {8})], ids=["mustered", "scattered"]
)
def test_after_a_muster_only_the_lead_of_each_organisation_is_asked(
    muster_up_to: int, answering: set[int]
) -> None:
    made = make_instance(40, seed=3, periods=48, organisations=2)
    answers: list[tuple[str, int]] = []
    them = _Counted(InProcessContractors(make_books(made.fleets, 4)), answers)
    outcome = negotiate(made.market, them, Options(muster_up_to=muster_up_to))
    before = [count for name, count in answers if name in {"Describe", "Open", "Muster"}]
    after = [count for name, count in answers if name not in {"Describe", "Open", "Muster"}]
    assert set(before) == {8}
    assert set(after) == answering
    whole = InProcessContractors(make_books(made.fleets, 1))
    again = negotiate(made.market, whole, Options(muster_up_to=muster_up_to))
    assert digest_of(again) == digest_of(outcome)
