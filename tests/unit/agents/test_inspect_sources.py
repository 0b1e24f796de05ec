"""``inspect sources``: requests counted, and how a live run's fetchers say they are now."""

from __future__ import annotations

from typing import Any

from agents import pages, stories

AT = "2031-02-03T12:0{}:00+00:00"


def log(source: str, minute: int, outcome: str = "ok", **more: Any) -> dict[str, Any]:
    return {
        "source": source,
        "requested_at": AT.format(minute),
        "outcome": outcome,
        "rows_parsed": 5,
        "rows_rejected": 1,
        "fallback": False,
        "error": None,
        **more,
    }


def fetcher(source: str | None, **more: Any) -> dict[str, Any]:
    told = {"source": source, "lag_s": 0.02, "breaker": "open", "next_due": AT.format(9), **more}
    return {
        "status": "active",
        "last_heartbeat_at": AT.format(8),
        "capabilities": None if source is None else told,
    }


def test_requests_are_counted_by_source() -> None:
    logs = [
        log("neso", 1),
        log("neso", 2, "timeout", error="late", fallback=True),
        log("elexon", 3),
    ]
    first, second = stories.sources(logs)
    assert (first["source"], first["requests"], first["last_success"]) == (
        "elexon",
        1,
        AT.format(3),
    )
    assert (second["requests"], second["ok"], second["rows"], second["rejected"]) == (2, 1, 10, 2)
    assert (second["last_success"], second["fallbacks"]) == (AT.format(1), 1)
    assert second["last_error"] == "late"


def test_a_live_fetcher_tells_lag_breaker_and_next_due() -> None:
    (line,) = stories.sources([log("neso", 1)], [fetcher("neso", skipped_slots=3)])
    assert (line["lag_s"], line["breaker"], line["next_due"]) == (0.02, "open", AT.format(9))
    assert (line["fetcher"], line["heard_at"], line["skipped_slots"]) == ("active", AT.format(8), 3)


def test_a_source_that_was_never_reached_is_shown_by_what_its_fetcher_tells() -> None:
    (line,) = stories.sources([], [fetcher("beckn", last_success=AT.format(0))])
    assert (line["source"], line["requests"], line["last_success"]) == ("beckn", 0, AT.format(0))


def test_a_replays_fetchers_tell_nothing_and_its_page_has_no_columns_for_it() -> None:
    lines = stories.sources([log("neso", 1)], [fetcher(None)])
    assert [line["source"] for line in lines] == ["neso"]
    assert lines[0]["breaker"] is None
    assert "breaker" not in pages.sources(lines)[0]


def test_the_page_of_a_live_run_has_columns_for_now() -> None:
    (line,) = pages.sources(stories.sources([log("neso", 1)], [fetcher("neso")]))
    assert (line["fetcher"], line["lag s"], line["breaker"]) == ("active", 0.02, "open")
    assert (line["heard"], line["next due"]) == ("12:08:00", "12:09:00")
