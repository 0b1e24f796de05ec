"""Made-up rows to measure with, marked as synthetic. Pure.

They are of the table that gets most rows in a real run: nine fuels in each of 14 regions and each
half hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from schema.periods import HALF_HOUR
from schema.readings import Quality
from schema.regions import REGION_IDS
from schema.rows import Record
from schema.rows.grid import GenerationMixRegionalRow

TABLE = GenerationMixRegionalRow.TABLE
SOURCE = "bench"
_FUELS = ("biomass", "coal", "imports", "gas", "nuclear", "other", "hydro", "solar", "wind")
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_AHEAD = timedelta(hours=24)


def made_records(count: int, run_id: str, *, seed: int, version: int) -> list[Record]:
    """Draw figures half hour after half hour; another version has the same keys, other figures."""
    rng = Random(f"{seed}/{version}")  # noqa: S311  # figures of a benchmark, no secret
    records = []
    for number in range(count):
        place, fuel = divmod(number, len(_FUELS))
        period, region = divmod(place, len(REGION_IDS))
        valid_from = _FIRST + period * HALF_HOUR
        row = GenerationMixRegionalRow(
            region_id=REGION_IDS[region],
            fuel=_FUELS[fuel],
            generation_pct=round(rng.uniform(0.0, 100.0), 1),
            valid_from=valid_from,
            valid_to=valid_from + HALF_HOUR,
            quality=Quality.SYNTHETIC,
            source=SOURCE,
            issued_at=valid_from - _AHEAD,
            reason="benchmark",
            seed=seed,
            version=version,
        )
        records.append(row.to_record(run_id, retrieved_at=valid_from))
    return records
