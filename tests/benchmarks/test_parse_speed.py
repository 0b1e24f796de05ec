"""Parser speed on the largest live reply; off by default."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter

import pytest

from fetchers.carbon_intensity.endpoints import format_minute
from fetchers.carbon_intensity.parse import parse_regional
from fetchers.carbon_intensity.wire import FUELS
from fetchers.parsing import ParseContext
from schema.regions import REGIONS, AggregateArea

NOW = datetime(2031, 2, 3, 4, 0, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
#: One reply a half hour: anything near a second would do; this keeps a regression visible.
LIMIT_S = 0.080


def reply(periods: int) -> bytes:
    """Give an all-region reply as the API writes it, pretty-printed."""
    areas = [(area.region_id, area.dno_name, area.short_name) for area in REGIONS]
    areas += [(area.value, area.name, area.name) for area in AggregateArea]
    data = [
        {
            "from": format_minute(NOW + (index - 1) * HALF_HOUR),
            "to": format_minute(NOW + index * HALF_HOUR),
            "regions": [
                {
                    "regionid": number,
                    "dnoregion": dno,
                    "shortname": short,
                    "intensity": {"forecast": (index * number) % 300, "index": "moderate"},
                    "generationmix": [{"fuel": fuel, "perc": 11.1} for fuel in sorted(FUELS)],
                }
                for number, dno, short in areas
            ],
        }
        for index in range(periods)
    ]
    return json.dumps({"data": data}, indent=4).encode()


@pytest.mark.long
def test_forty_eight_hours_of_all_regions_are_read_fast_enough() -> None:
    body = reply(97)
    context = ParseContext(now=NOW)
    times = []
    for _ in range(9):
        started = perf_counter()
        parsed = parse_regional(body, context)
        times.append(perf_counter() - started)
    # 97 half hours x 14 areas, and the mixes of the two that have begun.
    assert len(parsed.rows) == 97 * 14 + 2 * 14 * 9
    best, middle = min(times) * 1e3, median(times) * 1e3
    print(f"{len(body) / 1e6:.1f} MB: best {best:.0f} ms, median {middle:.0f} ms")
    assert min(times) < LIMIT_S
