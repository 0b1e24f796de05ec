"""Rows, their ids and hashes; errors that survive a trip between processes."""

from __future__ import annotations

import pickle
import unicodedata
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid5

import orjson
import pytest
from pydantic import ValidationError

from schema import errors
from schema.ids import NAMESPACE, SEPARATOR, row_id
from schema.readings import Quality
from schema.rows import ALL_TABLES, ROW_MODELS, VIEWS, CarbonIntensityNationalRow, OfferRow

RUN = "a3bb189e-8bf9-4888-9912-ace4e6543002"
START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)


def national(**changes: object) -> CarbonIntensityNationalRow:
    columns = {"source": "carbon_intensity", "valid_from": START, "valid_to": END, **changes}
    return CarbonIntensityNationalRow.model_validate(columns)


def test_there_are_22_tables_and_4_views() -> None:
    assert len(ALL_TABLES) == 22
    assert len(set(ALL_TABLES)) == 22
    assert len(VIEWS) == 4


def test_an_id_depends_on_the_instant_and_not_on_its_spelling() -> None:
    local = datetime.fromisoformat("2026-07-01T01:00:00+01:00")
    utc = datetime(2026, 7, 1, tzinfo=UTC)
    assert row_id("t", RUN, local) == row_id("t", RUN, utc)


@pytest.mark.parametrize("key", ["w", "Łódź", "e\u0301", 7, None])
def test_an_id_is_the_uuid5_of_table_and_key_in_normal_form(key: str | int | None) -> None:
    text = "" if key is None else unicodedata.normalize("NFC", str(key))
    # Many, because every sixteenth digit is one that the version and variant bits replace.
    for number in range(64):
        name = SEPARATOR.join(("t", text, str(number)))
        assert row_id("t", key, number) == str(uuid5(NAMESPACE, name))


def test_a_synthetic_figure_never_shares_the_id_of_a_real_one() -> None:
    real = national(forecast_gco2_per_kwh=90)
    made_up = national(forecast_gco2_per_kwh=90, quality=Quality.SYNTHETIC)
    assert real.row_id(RUN) != made_up.row_id(RUN)


def test_fetching_the_same_content_later_gives_the_same_hash() -> None:
    row = national(forecast_gco2_per_kwh=90)
    first = row.to_record(RUN, retrieved_at=START, version=1)
    later = row.to_record(RUN, retrieved_at=END, version=2)
    assert first.sha256 == later.sha256
    assert (first.version, later.version) == (1, 2)


def test_a_change_of_one_figure_changes_the_hash_and_keeps_the_id() -> None:
    before = national(forecast_gco2_per_kwh=90).to_record(RUN)
    after = national(forecast_gco2_per_kwh=91).to_record(RUN)
    assert before.id == after.id
    assert before.sha256 != after.sha256


def test_a_record_holds_what_pydantic_would_write_and_its_stamps() -> None:
    row = national(
        valid_from=datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC),
        forecast_gco2_per_kwh=0.1 + 0.2,
        reason='wéather "x"',
        version=3,
    )
    record = row.to_record(RUN, retrieved_at=END)
    columns = row.model_dump(mode="json")
    assert orjson.loads(record.body) == columns | {
        "run_id": RUN,
        "id": record.id,
        "retrieved_at": "2026-01-01T00:30:00Z",
    }
    assert columns["valid_from"] == "2026-01-01T00:00:00.250000Z"
    del columns["version"]
    hashed = orjson.dumps(columns | {"run_id": RUN}, option=orjson.OPT_SORT_KEYS)
    assert record.sha256 == sha256(hashed).digest()


def test_the_rows_own_version_wins_over_the_shells() -> None:
    assert national(version=7).to_record(RUN, version=3).version == 7


@pytest.mark.parametrize("value", [-1, 1001, float("nan"), float("inf")])
def test_an_intensity_outside_physical_bounds_is_refused(value: float) -> None:
    with pytest.raises(ValidationError):
        national(forecast_gco2_per_kwh=value)


def test_a_name_with_a_nul_character_is_refused_before_the_spool() -> None:
    with pytest.raises(ValidationError, match="NUL"):
        national(intensity_index="low\x00")


def test_an_offer_points_at_its_window_by_natural_key() -> None:
    offer = OfferRow(
        bpp_id="bpp",
        offer_id="o",
        item_id="i",
        window_starts_at=START,
        price_per_kwh=0.1,
        currency="GBP",
    )
    assert offer.links(RUN)["window_id"] == row_id("compute_windows", RUN, "bpp", "i", START)


@pytest.mark.parametrize("model", ROW_MODELS, ids=lambda model: model.TABLE)
def test_every_key_column_is_a_column(model: type) -> None:
    assert set(model.KEY) <= set(model.model_fields)


@pytest.mark.parametrize(
    "cls",
    [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.GridpactError)
    ],
)
def test_an_error_keeps_type_message_and_details_between_processes(
    cls: type[errors.GridpactError],
) -> None:
    back = pickle.loads(pickle.dumps(cls("what happened", field="power_kw", value=3)))
    assert type(back) is cls
    assert str(back) == "what happened"
    assert back.details == {"field": "power_kw", "value": 3}
