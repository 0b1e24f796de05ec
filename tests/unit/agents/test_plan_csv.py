"""CSV files of the planner: what is right is read, what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plan_samples import GRID, GRID_HEADER, WORKLOAD_HEADER, WORKLOADS, batch_of, grid_of

from agents.plan_batch import read_batch
from agents.plan_grid import read_grid
from agents.plan_table import parse_table
from schema.errors import InputError
from schema.periods import half_hour_number, parse_instant

ORIGIN = half_hour_number(parse_instant("2026-01-01T00:00Z"))


def refused_grid(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        grid_of(text)
    return caught.value


def refused_batch(text: str) -> InputError:
    with pytest.raises(InputError) as caught:
        batch_of(text)
    return caught.value


# -- what is right ---------------------------------------------------------------------------


def test_a_grid_is_laid_out_by_region_and_half_hour_whatever_the_order_of_rows() -> None:
    header, *rows = GRID.strip().split("\n")
    for text in (GRID, "\n".join([header, *reversed(rows)])):
        grid = grid_of(text)
        assert grid.regions.tolist() == [1, 13]
        assert (grid.origin, grid.periods) == (ORIGIN, 4)
        assert grid.intensity_gco2_per_kwh.tolist() == [[100, 100, 10, 10], [200] * 4]
        assert grid.price_gbp_per_mwh.tolist() == [[50] * 4, [20, 20, -20, -20]]
        assert grid.capacity_kw.tolist() == [[10] * 4, [5] * 4]


def test_columns_may_stand_in_any_order_behind_a_byte_order_mark_and_with_windows_line_ends() -> (
    None
):
    text = (
        "\ufeffcapacity_kw,region_id,price_gbp_per_mwh,valid_from,intensity_gco2_per_kwh\r\n"
        "5, 13 ,-20,2026-01-01T01:00+01:00,200\r\n\r\n"
    )
    grid = grid_of(text)
    assert (grid.origin, grid.capacity_kw.tolist()) == (ORIGIN, [[5.0]])


def test_workloads_are_rounded_so_that_a_plan_never_promises_too_much() -> None:
    batch = batch_of(
        f"{WORKLOAD_HEADER}\nw,1.0001,31,2026-01-01T00:10Z,2026-01-01T01:59Z,13;1,yes,,,\n"
    )
    # 1000.1 W need 1001; 31 min need two half hours; 00:10 -> 00:30, 01:59 -> 01:30.
    assert batch.power_w.tolist() == [1001]
    assert batch.duration.tolist() == [2]
    assert (batch.earliest.tolist(), batch.deadline.tolist()) == ([1], [3])
    assert batch.interruptible.tolist() == [True]
    # The first region named is home: 13, the grid's second row.
    assert batch.home.tolist() == [1]


def test_a_whole_number_of_watts_is_not_rounded_up_by_binary_fractions() -> None:
    rows = "\n".join(
        f"w{watts},{watts / 1000},30,2026-01-01T00:00Z,2026-01-01T01:00Z,1,no,,,"
        for watts in range(1, 4000, 7)
    )
    assert batch_of(f"{WORKLOAD_HEADER}\n{rows}\n").power_w.tolist() == list(range(1, 4000, 7))


def test_private_values_are_read_and_empty_ones_have_their_defaults() -> None:
    batch = batch_of()
    # 0.01 GBP/kWh per hour is 0.005 per half hour.
    assert batch.omega_q.tolist() == [0, round(0.005 * 2**32)]
    assert batch.refusal_nano.tolist() == [-1, 5_000_000_000]
    assert batch.masks[batch.mask].tolist() == [[True, True], [False, True]]


def test_a_window_beyond_the_grid_is_cut_to_it_and_waiting_counts_from_its_start() -> None:
    batch = batch_of(f"{WORKLOAD_HEADER}\nw,1,30,2025-12-31T23:00Z,2026-01-09T00:00Z,1,no,,,\n")
    assert batch.release.tolist() == [-2]
    assert (batch.earliest.tolist(), batch.deadline.tolist()) == ([0], [4])


def test_regions_that_the_grid_lacks_are_left_out_if_another_is_there() -> None:
    batch = batch_of(f"{WORKLOAD_HEADER}\nw,1,30,2026-01-01T00:00Z,2026-01-01T02:00Z,5;13,no,,,\n")
    assert batch.masks[batch.mask].tolist() == [[False, True]]
    assert batch.home.tolist() == [1]


# -- what is wrong with a file -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", ["is empty", GRID_HEADER], id="empty"),
        pytest.param(GRID_HEADER.encode(), ["no rows"], id="header only"),
        pytest.param(b"\xff\xfe" + GRID.encode(), ["line 1", "not UTF-8"], id="not UTF-8"),
        pytest.param(GRID.encode("utf-16"), ["NUL"], id="UTF-16"),
        pytest.param(GRID.replace("100", "1\x000", 1).encode(), ["line 2", "NUL"], id="NUL"),
        pytest.param(
            GRID.replace(",price_gbp_per_mwh", "", 1).encode(),
            ["'price_gbp_per_mwh' is missing"],
            id="missing column",
        ),
        pytest.param(
            GRID.replace("capacity_kw", "capacity_kw,note", 1).encode(),
            ["'note' is unknown", "capacity_kw"],
            id="extra column",
        ),
        pytest.param(
            GRID.replace("capacity_kw", "capacity_kw,capacity_kw", 1).encode(),
            ["twice"],
            id="column twice",
        ),
        pytest.param(
            GRID.replace("100,50,10", "100,50", 1).encode(),
            ["line 2", "4 fields", "5"],
            id="short row",
        ),
        pytest.param(
            GRID.replace("100,50,10", '"100,50,10', 1).encode(), ["no valid CSV"], id="open quote"
        ),
        pytest.param(
            GRID.replace("100,50,10", "1" * 9000, 1).encode(), ["no valid CSV"], id="huge field"
        ),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(data: bytes, words: list[str]) -> None:
    from agents.plan_grid import GRID_COLUMNS

    with pytest.raises(InputError) as caught:
        parse_table(data, "G.csv", GRID_COLUMNS)
    assert [word for word in ["G.csv", *words] if word not in str(caught.value)] == []
    assert caught.value.exit_code == 2


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        read_grid(tmp_path / "none.csv")
    with pytest.raises(InputError, match="no plain file"):
        read_batch(tmp_path, grid_of())


# -- what is wrong with a grid -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param(
            "13,2026-01-01T00:30Z",
            "15,2026-01-01T00:30Z",
            ["line 7", "region_id", "'15'", "1 to 14"],
            id="unknown region",
        ),
        pytest.param(
            "1,2026-01-01T00:30Z,100",
            "1,2026-01-01T00:30Z,nan",
            ["line 3", "intensity_gco2_per_kwh", "'nan'"],
            id="NaN",
        ),
        pytest.param(
            "200,-20,5\n13",
            "200,inf,5\n13",
            ["line 8", "price_gbp_per_mwh", "'inf'"],
            id="infinite",
        ),
        pytest.param(
            "200,20,5",
            "200,20,-5",
            ["line 6", "capacity_kw", "'-5'", "0 to"],
            id="negative capacity",
        ),
        pytest.param("200,20,5", "200,,5", ["line 6", "price_gbp_per_mwh", "''"], id="empty"),
        pytest.param(
            "200,20,5", "200,2_0,5", ["line 6", "price_gbp_per_mwh", "'2_0'"], id="underscore"
        ),
        pytest.param(
            "13,2026-01-01T00:30Z",
            "13,2026-01-01T00:30",
            ["line 7", "valid_from", "zone"],
            id="naive time",
        ),
        pytest.param(
            "13,2026-01-01T00:30Z",
            "13,2026-01-01T00:45Z",
            ["line 7", "valid_from", "half hour"],
            id="not half hours",
        ),
        pytest.param(
            "13,2026-01-01T00:30Z",
            "13,yesterday",
            ["line 7", "valid_from", "'yesterday'"],
            id="no time",
        ),
        pytest.param(
            "13,2026-01-01T00:30Z",
            "13,2026-01-01T00:00Z",
            ["line 7", "region 13", "line 6"],
            id="double cell",
        ),
        pytest.param(
            "13,2026-01-01T00:30Z,200,20,5\n",
            "",
            ["hole", "region 13", "2026-01-01T00:30:00Z", "1 missing"],
            id="hole",
        ),
        pytest.param(
            "13,2026-01-01T01:30Z",
            "13,2036-01-01T01:30Z",
            ["half hours; at most 2047"],
            id="too long",
        ),
    ],
)
def test_a_wrong_grid_is_refused_with_line_field_value_and_what_is_allowed(
    old: str, new: str, words: list[str]
) -> None:
    assert old in GRID
    message = str(refused_grid(GRID.replace(old, new, 1)))
    assert [word for word in ["G.csv", *words] if word not in message] == []


# -- what is wrong with workloads --------------------------------------------------------------

A = "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1;13,false,,,"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        pytest.param(
            "a,0,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,",
            ["power_kw", "'0'", "0.001"],
            id="zero power",
        ),
        pytest.param(
            "a,-4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,",
            ["power_kw", "'-4'"],
            id="negative power",
        ),
        pytest.param(
            "a,NaN,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,",
            ["power_kw", "'NaN'"],
            id="NaN",
        ),
        pytest.param(
            "a,inf,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,",
            ["power_kw", "'inf'"],
            id="infinite",
        ),
        pytest.param(
            "a,4kW,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,",
            ["power_kw", "'4kW'"],
            id="power with unit",
        ),
        pytest.param(
            "a,4,0,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,",
            ["duration_min", "'0'"],
            id="zero duration",
        ),
        pytest.param(
            "a,4,30.5,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,",
            ["duration_min", "'30.5'", "whole"],
            id="part of a minute",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00,2026-01-01T02:00Z,1,false,,,",
            ["earliest_start", "zone"],
            id="naive start",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01,1,false,,,", ["deadline", "zone"], id="date only"
        ),
        pytest.param(
            "a,4,60,0001-01-01T00:00+14:00,2026-01-01T02:00Z,1,false,,,",
            ["earliest_start"],
            id="before the calendar",
        ),
        pytest.param(
            "a,4,60,2026-01-01T02:00Z,2026-01-01T01:00Z,1,false,,,",
            ["deadline", "after earliest_start", "2026-01-01T02:00Z"],
            id="deadline before start",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:10Z,2026-01-01T01:20Z,1,false,,,",
            ["duration_min", "needs 2 whole half hours", "lie 1"],
            id="longer than its window",
        ),
        pytest.param(
            "a,4,60,2026-01-01T01:30Z,2026-01-01T09:00Z,1,false,,,",
            ["duration_min", "the grid (2026-01-01T00:00:00Z to 2026-01-01T02:00:00Z) has 1"],
            id="runs past the grid",
        ),
        pytest.param(
            "a,4,60,2026-06-01T00:00Z,2026-06-01T09:00Z,1,false,,,",
            ["duration_min", "the grid", "has 0"],
            id="after the grid",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,15,false,,,",
            ["regions", "'15'", "region 15 is unknown", "1 to 14"],
            id="unknown region",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,2;3,false,,,",
            ["regions", "'2;3'", "grid, which has region 1, 13"],
            id="no region of the grid",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1;1,false,,,",
            ["regions", "twice"],
            id="region twice",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,,false,,,",
            ["regions", "separated by ';'"],
            id="no regions",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,London,false,,,",
            ["regions", "'London'"],
            id="region by name",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,maybe,,,",
            ["interruptible", "'maybe'", "true or false"],
            id="no flag",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,13,,",
            ["home_region", "'13'", "one of its regions [1]"],
            id="home not allowed",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1;2,false,2,,",
            ["home_region", "'2'", "grid's regions 1, 13"],
            id="home not in the grid",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,-1,",
            ["delay_cost_gbp_per_kwh_h", "'-1'"],
            id="negative delay cost",
        ),
        pytest.param(
            "a,4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,nan",
            ["refusal_value_gbp", "'nan'"],
            id="NaN refusal",
        ),
        pytest.param(
            "a,4,60,1970-01-01T00:00Z,2026-01-01T02:00Z,1,false,,999,",
            ["delay_cost_gbp_per_kwh_h", "'999'", "beyond"],
            id="delay beyond counting",
        ),
        pytest.param(
            ",4,60,2026-01-01T00:00Z,2026-01-01T02:00Z,1,false,,,",
            ["workload_id", "1 to 256"],
            id="no id",
        ),
    ],
)
def test_a_wrong_workload_is_refused_with_line_field_value_and_what_is_allowed(
    row: str, words: list[str]
) -> None:
    message = str(refused_batch(f"{WORKLOAD_HEADER}\nfirst{A[1:]}\n{row}\n"))
    assert [word for word in ["W.csv: line 3", *words] if word not in message] == []


def test_the_same_id_twice_is_refused_with_both_lines() -> None:
    error = refused_batch(WORKLOADS + A + "\n")
    assert str(error) == (
        "W.csv: line 4 ('a'), workload_id is 'a': is at line 2 already; each may be there once"
    )
    assert error.details == {"file": "W.csv", "line": 4, "field": "workload_id", "value": "'a'"}


def test_all_faults_are_listed_in_order_of_lines_up_to_a_limit() -> None:
    wrong = [f"w{number},0,60,2026-01-01T00:00Z,2026-01-01T02:00Z,99,no,,," for number in range(50)]
    message = str(refused_batch("\n".join([WORKLOAD_HEADER, *wrong])))
    lines = message.split("\n")
    assert lines[0] == "W.csv has 100 faults:"
    assert lines[1].startswith("  W.csv: line 2 ('w0'), power_kw is '0'")
    assert lines[2].startswith("  W.csv: line 2 ('w0'), regions is '99'")
    assert lines[-1] == "  and 90 more"
    assert len(lines) == 12


def test_a_large_table_with_one_fault_names_its_line() -> None:
    rows = [f"w{n},1,30,2026-01-01T00:00Z,2026-01-01T02:00Z,1,no,,," for n in range(5000)]
    rows[4321] = rows[4321].replace(",1,30,", ",oops,30,")
    error = refused_batch("\n".join([WORKLOAD_HEADER, *rows]))
    assert (error.details["line"], error.details["field"]) == (4323, "power_kw")


def test_reading_keeps_the_order_of_the_file() -> None:
    rows = [f"w{n % 7}-{n},1,30,2026-01-01T00:00Z,2026-01-01T02:00Z,1,no,,," for n in range(40)]
    batch = batch_of("\n".join([WORKLOAD_HEADER, *rows]))
    assert batch.names.tolist() == [f"w{n % 7}-{n}" for n in range(40)]
    assert np.all(batch.power_kw == 1.0)
