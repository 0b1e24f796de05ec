"""The table of feeds in the documents is the plans' own."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from fetchers import registry
from fetchers.beckn.plan import BecknPlan
from fetchers.plan import Feed
from schema.readings import Source

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "explanation" / "data.md"
UNITS = {"min": timedelta(minutes=1), "day": timedelta(days=1)}


def feeds_of(source: str) -> tuple[Feed, ...]:
    plan = registry.definition(source).plan
    return BecknPlan.feeds if plan is None else plan("https://api.example").feeds


def test_every_feed_is_listed_with_its_cadence() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `([\w-]+)` \| (\d+) (min|day) \|", DOCUMENT.read_text(), re.MULTILINE
    )
    listed = {(source, name): int(count) * UNITS[unit] for source, name, count, unit in rows}
    planned = {
        (source.value, feed.name): feed.every
        for source in Source
        for feed in feeds_of(source.value)
    }
    assert listed == planned


def test_only_what_the_documents_say_takes_longer_or_more_than_others() -> None:
    large = {
        feed.name for source in Source for feed in feeds_of(source) if feed.max_bytes > 5 * 2**20
    }
    slow = {feed.name for source in Source for feed in feeds_of(source) if feed.deadline_s > 10}
    files = {feed.name for feed in feeds_of("neso")}
    assert large == files
    assert slow == files | {"regional-fw48h"}
