"""A file of workloads to submit: read whole, or refused with every fault by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.live import submitting
from scenarios.live.submitting import read_file
from schema.errors import InputError

HEADER = (
    "workload_id,power_kw,duration_min,earliest_start,deadline,regions,interruptible,home_region,"
    "delay_cost_gbp_per_kwh_h,refusal_value_gbp"
)
GOOD = "train-1,40,180,2026-05-01T18:00Z,2026-05-02T08:00Z,2;4,false,4,0.05,12"


def written(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "work.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def test_the_planners_columns_and_an_agent_make_a_submission(tmp_path: Path) -> None:
    ((line, agent, workload),) = read_file(written(tmp_path, GOOD), "north")
    assert (line, agent, workload.workload_name) == (2, "north", "train-1")
    assert (workload.allowed_regions, workload.home, workload.periods) == ((2, 4), 4, 6)
    assert (workload.delay_cost_gbp_per_kwh_h, workload.refusal_value_gbp) == (0.05, 12.0)
    assert workload.priority == 5


def test_a_row_may_name_its_agent_and_priority_itself(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"{GOOD},south,9",
        f"{GOOD.replace('train-1', 'train-2')},,0",
        header=f"{HEADER},agent_name,priority",
    )
    read = read_file(path, "north")
    assert [(agent, workload.priority) for _, agent, workload in read] == [
        ("south", 9),
        ("north", 0),
    ]


def test_every_fault_is_told_with_line_field_and_value(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        GOOD,
        GOOD.replace(",40,", ",-40,"),
        GOOD.replace("2;4", "2;15"),
        GOOD.replace("18:00Z", "18:00"),
    )
    with pytest.raises(InputError) as caught:
        read_file(path, "north")
    told = str(caught.value)
    assert told.startswith("work.csv has 3 faults:")
    assert "line 3, power_kw is '-40': " in told
    assert "line 4, regions is '2;15': " in told
    assert "line 5, earliest_start is '2026-05-01T18:00': " in told


@pytest.mark.parametrize(
    ("rows", "agent", "reason"),
    [
        ([GOOD], None, "line 2, agent_name: is missing; give --agent, or fill the column in"),
        ([GOOD, GOOD], "north", "line 3, workload_id is 'train-1': is there twice"),
        ([], "north", "rows: are none; at least one workload is needed"),
    ],
    ids=["no-agent", "twice", "empty"],
)
def test_what_one_row_alone_cannot_show(
    tmp_path: Path, rows: list[str], agent: str | None, reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_file(written(tmp_path, *rows), agent)
    assert reason in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.csv: is missing in"):
        read_file(tmp_path / "nowhere.csv", "north")


def test_more_than_goes_in_at_once_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "MAX_ROWS", 2)
    rows = [GOOD.replace("train-1", f"train-{n}") for n in range(3)]
    with pytest.raises(InputError, match="rows is 3: at most 2 at a time; split the file"):
        read_file(written(tmp_path, *rows), "north")
