"""Circuit breaker, rate limit and retry: rules on a clock that is passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from fetchers.breaker import Breaker, BreakerState
from fetchers.bucket import Bucket, Rate
from fetchers.retry import RetryPolicy
from schema.errors import SourceError, SourceRejected, SourceThrottled, SourceUnavailable

NOON = datetime(2031, 2, 3, 12, tzinfo=UTC)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_three_failures_in_a_row_open_the_breaker_for_a_minute() -> None:
    breaker = Breaker().failed(NOON).failed(NOON)
    assert breaker.state(NOON) is BreakerState.CLOSED
    breaker = breaker.failed(NOON)
    assert breaker.state(NOON + seconds(59)) is BreakerState.OPEN
    assert breaker.state(NOON + seconds(60)) is BreakerState.HALF_OPEN


def test_an_answer_in_between_starts_the_count_again() -> None:
    breaker = Breaker().failed(NOON).failed(NOON).succeeded().failed(NOON).failed(NOON)
    assert breaker.state(NOON) is BreakerState.CLOSED


def test_a_failed_try_doubles_the_pause_up_to_a_quarter_of_an_hour() -> None:
    breaker, now, pauses = Breaker(failures=2), NOON, []
    for _ in range(6):
        breaker = breaker.failed(now)
        assert breaker.open_until is not None
        pauses.append((breaker.open_until - now).total_seconds())
        now = breaker.open_until
    assert pauses == [60, 120, 240, 480, 900, 900]
    assert breaker.succeeded() == Breaker()


def test_a_source_that_asks_for_a_pause_gets_it_at_once() -> None:
    breaker = Breaker().failed(NOON, at_least=seconds(300))
    assert breaker.state(NOON + seconds(299)) is BreakerState.OPEN
    assert breaker.state(NOON + seconds(300)) is BreakerState.HALF_OPEN


def test_a_bucket_never_lets_more_through_than_its_rate() -> None:
    bucket, now, sent = Bucket.full(Rate(31.0), NOON), NOON, []
    for _ in range(20):
        now += seconds(bucket.wait_s(now))
        bucket = bucket.taken(now)
        sent.append(now)
        now += seconds(0.1)
    # No window of 60 s holds more than two.
    for first, third in zip(sent, sent[2:], strict=False):
        assert third - first >= seconds(60)


def test_a_burst_is_allowed_once_and_comes_back_with_time() -> None:
    bucket = Bucket.full(Rate(10.0, burst=2), NOON)
    bucket = bucket.taken(NOON).taken(NOON)
    assert bucket.wait_s(NOON) == pytest.approx(10.0)
    assert bucket.wait_s(NOON + seconds(25)) == 0
    assert bucket.filled(NOON + timedelta(days=1)).tokens == 2


def test_time_spent_on_a_request_is_no_pause_after_it() -> None:
    # Taken at noon, answered 4 s later: the next one may leave 10 s after the answer.
    bucket = Bucket.full(Rate(10.0), NOON).taken(NOON).held(NOON + seconds(4))
    assert bucket.wait_s(NOON + seconds(4)) == pytest.approx(10.0)
    assert bucket.wait_s(NOON + seconds(13)) == pytest.approx(1.0)
    assert bucket.wait_s(NOON + seconds(14)) == 0


def test_a_clock_set_back_gives_no_tokens_and_no_endless_wait() -> None:
    bucket = Bucket.full(Rate(30.0), NOON).taken(NOON)
    assert bucket.wait_s(NOON - timedelta(hours=1)) == pytest.approx(30.0)


def wait(error: SourceError, attempt: int = 1, **policy: float) -> float | None:
    settings: dict[str, float] = {"attempts": 3, **policy}
    return RetryPolicy(**settings).wait_s(attempt, error, Random(1))  # type: ignore[arg-type]


def test_only_what_is_retryable_is_tried_again_and_not_for_ever() -> None:
    assert wait(SourceRejected("no")) is None
    assert wait(SourceUnavailable("later")) is not None
    assert wait(SourceUnavailable("later"), attempt=3) is None


def test_the_wait_is_jittered_below_a_doubling_ceiling() -> None:
    policy, rng = RetryPolicy(attempts=10), Random(7)
    for attempt in range(1, 6):
        drawn = [policy.wait_s(attempt, SourceUnavailable(""), rng) or 0.0 for _ in range(200)]
        ceiling = 2.0 ** (attempt - 1)
        assert 0 <= min(drawn) < 0.2 * ceiling
        assert 0.8 * ceiling < max(drawn) <= ceiling


def test_retry_after_is_the_least_and_too_much_is_left_to_the_next_poll() -> None:
    assert wait(SourceThrottled("slow", retry_after_s=12)) == 12
    assert wait(SourceThrottled("slow", retry_after_s=31)) is None


def test_a_breaker_can_be_tried_before_its_pause_is_over_unless_the_source_asked_for_it() -> None:
    opened = Breaker(failures=2).failed(NOON)
    assert opened.probing(NOON + seconds(10)).state(NOON + seconds(10)) is BreakerState.HALF_OPEN
    # The failed try opens it for twice the pause, as after any half-open try.
    again = opened.probing(NOON + seconds(10)).failed(NOON + seconds(10))
    assert again.open_until == NOON + seconds(130)
    asked = Breaker().failed(NOON, at_least=seconds(300), asked=seconds(300))
    assert asked.probing(NOON + seconds(299)).state(NOON + seconds(299)) is BreakerState.OPEN
    assert Breaker().probing(NOON) == Breaker()


def test_a_pause_that_was_asked_for_is_kept_although_the_breaker_is_closed() -> None:
    breaker = Breaker().failed(NOON, asked=seconds(20))
    assert breaker.state(NOON) is BreakerState.CLOSED
    assert [breaker.asked_s(NOON + seconds(at)) for at in (0, 15, 20, 60)] == [20, 5, 0, 0]
    assert breaker.succeeded().asked_s(NOON) == 0
